//! Every planted defect is found: by a run of the cluster, or by the history beside the code that is
//! named here, where no run reaches it.

#![expect(
    clippy::disallowed_methods,
    reason = "a test tells what it found, and is told what to hunt"
)]

use std::path::Path;
use std::time::Duration;

use tarn_model::DEFECTS;
use tarn_sim::{Event, LogFaults, LogKind, Newer, Plan, Violation, histories, run_with_defect};

/// Where a defect is found.
enum Finder {
    /// By these seeds; one is enough, the others stand by for when the code changes.
    Seeds(&'static [u64]),
    /// By plans that lead up to it.
    Plans(fn() -> Vec<Plan>),
    /// By this history, which breaks with the defect and keeps its promise without.
    History(fn() -> Result<(), String>),
    /// By this test, which plants it itself.
    Test {
        file: &'static str,
        name: &'static str,
    },
}

use Finder::{History, Plans, Seeds, Test};

const OBJECT_LOG: Finder = Test {
    file: "metastore/commit-log/src/contract/tests.rs",
    name: "histories_find_every_planted_defect_of_the_object_log",
};

const FINDERS: &[(&str, Finder)] = &[
    ("ack-before-commit", Seeds(&[2, 5, 3, 0])),
    ("skip-duplicate-check", Plans(killed_after_commits)),
    ("skip-floor-after-put", OBJECT_LOG),
    ("skip-floor-after-read", OBJECT_LOG),
    ("skip-floor-after-absent", OBJECT_LOG),
    ("floor-off-by-one", OBJECT_LOG),
    (
        "close-only-last-session",
        History(histories::a_session_that_was_given_up_never_opens),
    ),
    (
        "no-tombstones",
        History(histories::a_closed_session_stays_closed),
    ),
    ("not-done-after-jump", Plans(away_past_trims)),
    (
        "barrier-joins-sent-call",
        Test {
            file: "metastore/replica/src/tests.rs",
            name: "a_barrier_that_joins_a_call_already_sent_is_found",
        },
    ),
    (
        "dead-session-votes",
        History(histories::the_dead_do_not_hold_time_back),
    ),
    ("materialized-off-by-one", Seeds(&[5, 7])),
    ("hot-from-below-m", Seeds(&[5, 7])),
    ("hot-from-newest-m", Seeds(&[5, 7])),
    ("cut-without-an-extent", Seeds(&[5, 7])),
    ("joint-proposes-apart", Seeds(&[1, 2])),
    ("skip-unknown-command", Plans(left_by_a_newer_version)),
    (
        "ignore-session-sequence",
        History(histories::an_entry_counts_once),
    ),
    ("node-id-of-the-session", Plans(restarts)),
    ("advertise-before-serving", Plans(restarts)),
    ("drain-without-withdraw", Plans(restarts)),
    ("propose-above-level", Seeds(&[3, 4])),
    ("claim-without-fence", Plans(holders_that_are_away)),
    ("claim-never-taken-over", Plans(holders_that_are_away)),
    ("claim-progress-not-asked", Plans(holders_that_are_away)),
    (
        "negative-from-lagging-view",
        Test {
            file: "agents/agent/src/tests/lag.rs",
            name: "the_planted_defect_refuses_without_a_barrier",
        },
    ),
];

/// Agents die when batches are committed and nobody was told: their producers send them again.
fn killed_after_commits() -> Vec<Plan> {
    let step = Plan::STEPS
        .iter()
        .position(|step| *step == "produce.committed")
        .expect("it is a step");
    let plan = |(seed, log)| {
        let mut plan = Plan::quiet(seed, log);
        for (at, node) in [(2, 0), (2, 1), (6, 0), (6, 1)] {
            plan.events.push((
                Duration::from_secs(at),
                Event::KillAtStep { node, step, nth: 2 },
            ));
        }
        plan
    };
    [(1, LogKind::Memory), (2, LogKind::Object)]
        .into_iter()
        .map(plan)
        .collect()
}

/// Processes do not hear of a log that is trimmed meanwhile, and their appends land late.
fn away_past_trims() -> Vec<Plan> {
    let plan = |seed| {
        let mut plan = Plan::quiet(seed, LogKind::Memory);
        plan.snapshot_entries = 3;
        plan.heal_at = Duration::from_secs(35);
        plan.records = 60;
        plan.faults.log = LogFaults {
            late: 250,
            late_max: Duration::from_secs(12),
            ..LogFaults::default()
        };
        for at in 0..3 {
            let node = at % 2;
            plan.events.push((
                Duration::from_secs(3 + 10 * at as u64),
                Event::Lag {
                    node,
                    millis: 9_000,
                },
            ));
        }
        plan
    };
    (1..=10).map(plan).collect()
}

/// Whoever holds a claim is away for longer than it may be, and what it sent lands afterwards.
fn holders_that_are_away() -> Vec<Plan> {
    let plan = |seed| {
        let mut plan = Plan::quiet(seed, LogKind::Memory);
        plan.heal_at = Duration::from_secs(70);
        for at in 0..4 {
            let (node, millis) = (at % 2, 11_000);
            let event = Event::Lag { node, millis };
            plan.events
                .push((Duration::from_secs(8 + 15 * at as u64), event));
        }
        plan
    };
    (1..=6).map(plan).collect()
}

/// An agent of three drains and comes back, while a client asks where to go.
fn restarts() -> Vec<Plan> {
    let plan = |log| {
        let mut plan = Plan::quiet(3, log);
        plan.nodes = 3;
        plan.heal_at = Duration::from_secs(30);
        plan.records = 60;
        plan.events = vec![(Duration::from_secs(8), Event::Restart { node: 1 })];
        plan
    };
    vec![plan(LogKind::Memory), plan(LogKind::Object)]
}

/// A newer version leaves an entry with a command that nobody knows.
fn left_by_a_newer_version() -> Vec<Plan> {
    let plan = |log| {
        let mut plan = Plan::quiet(1, log);
        let leaves = Newer::Command;
        plan.events = vec![(Duration::from_secs(4), Event::NewerVersion { leaves })];
        plan
    };
    vec![plan(LogKind::Memory), plan(LogKind::Object)]
}

/// The first of these seeds that breaks with the defect and not without.
fn hunt(defect: &str, seeds: impl IntoIterator<Item = u64>) -> Option<(u64, Violation)> {
    let (seed, violation) = seeds.into_iter().find_map(|seed| {
        Some((
            seed,
            run_with_defect(&Plan::from_seed(seed), Some(defect)).err()?,
        ))
    })?;
    let clean = run_with_defect(&Plan::from_seed(seed), None);
    assert!(
        clean.is_ok(),
        "{defect}: seed {seed} breaks without it: {clean:?}"
    );
    Some((seed, violation))
}

fn find(defect: &str, finder: &Finder) -> Option<String> {
    match finder {
        Plans(plans) => {
            let (plan, violation) = plans().into_iter().find_map(|plan| {
                Some((plan.clone(), run_with_defect(&plan, Some(defect)).err()?))
            })?;
            let clean = run_with_defect(&plan, None);
            assert!(
                clean.is_ok(),
                "{defect}: plan {} breaks without it: {clean:?}",
                plan.seed
            );
            Some(format!("plan {}: {violation}", plan.seed))
        }
        Seeds(seeds) => hunt(defect, seeds.iter().copied())
            .map(|(seed, violation)| format!("seed {seed}: {violation}")),
        History(history) => {
            tarn_model::plant_defect(Some(defect));
            let broken = history().err();
            tarn_model::plant_defect(None);
            assert_eq!(history(), Ok(()), "{defect}: the history breaks without it");
            broken.map(|broken| format!("a history: {broken}"))
        }
        Test { file, name } => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .nth(2)
                .expect("tests/sim lies two folders down");
            let code = std::fs::read_to_string(root.join(file)).expect("the file that is named");
            let there =
                code.contains(&format!("fn {name}(")) && code.contains(&format!("\"{defect}\""));
            there.then(|| format!("{file}: {name}"))
        }
    }
}

#[test]
fn every_planted_defect_is_found() {
    if let Ok(defect) = std::env::var("TARN_SIM_HUNT") {
        let seeds =
            std::env::var("TARN_SIM_SEEDS").map_or(100, |text| text.parse().expect("a number"));
        for (seed, violation) in (0..seeds).filter_map(|seed| hunt(&defect, [seed])) {
            eprintln!("{defect}: seed {seed}: {violation}");
        }
        return;
    }
    let mut found = 0;
    for (defect, what) in DEFECTS {
        let finder = FINDERS
            .iter()
            .find(|(name, _)| name == defect)
            .map(|(_, finder)| finder);
        match finder.and_then(|finder| find(defect, finder)) {
            Some(how) => {
                found += 1;
                eprintln!("found {defect} ({what}) by {how}");
            }
            None => eprintln!("NOT FOUND: {defect} ({what})"),
        }
    }
    eprintln!("{found} of {} found", DEFECTS.len());
    assert_eq!(found, DEFECTS.len());
}
