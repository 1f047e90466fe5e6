//! Runs from seeds: first those that ever failed, then fresh ones, half on each log.
//! `TARN_SIM_SEED=n` replays one, `TARN_SIM_SEEDS=n` runs that many, from `TARN_SIM_BASE` on.

#![expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test tells what it ran, and is told what to run"
)]

use std::collections::BTreeMap;

use tarn_sim::{ClaimCounts, Counts, Coverage, LogKind, Plan, Report, run};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Seeds that once failed, with what they found.
const REGRESSIONS: &[u64] = &[
    // A batch overtook its predecessor through another agent, and our client gave it up.
    10919,
];

/// Fresh seeds of a run that asks for no number.
const SEEDS: u64 = 20;
/// Seeds that are run twice, half of them on each log.
const PAIRS: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number"))
    })
}

fn checked(seed: u64) -> Report {
    match run(&Plan::from_seed(seed)) {
        Ok(report) => report,
        Err(violation) => panic!(
            "seed {seed}: {violation}\nreplay: TARN_SIM_SEED={seed} cargo test -p tarn-sim --test seeds -- --nocapture"
        ),
    }
}

/// Logs tell virtual time, so that those of two runs can be compared line by line.
struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        match turmoil::sim_elapsed() {
            Some(elapsed) => write!(out, "{elapsed:?}"),
            None => write!(out, "-"),
        }
    }
}

fn init_logging() {
    if std::env::var("RUST_LOG").is_ok() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Another test may have been first.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_timer(VirtualTime)
            .with_ansi(false)
            .try_init();
    }
}

/// Where two traces of one seed part.
fn difference(first: &Report, second: &Report) -> Option<String> {
    let (a, b) = (&first.trace, &second.trace);
    let at = (0..a.len().max(b.len())).find(|at| a.get(*at) != b.get(*at))?;
    Some(format!(
        "line {at} of {} and {}: {:?} and {:?}",
        a.len(),
        b.len(),
        a.get(at),
        b.get(at)
    ))
}

/// Before anything else is believed: a seed that fails has to fail again. `TARN_SIM_PAIRS=n` runs that
/// many seeds twice; a machine that is busy with other work finds more.
#[test]
fn the_same_seed_gives_the_same_trace() {
    init_logging();
    let base = number("TARN_SIM_BASE").unwrap_or(40);
    let pairs = number("TARN_SIM_PAIRS").unwrap_or(PAIRS);
    for seed in base..base + pairs {
        let parted = difference(&checked(seed), &checked(seed));
        assert_eq!(parted, None, "two runs of seed {seed} parted");
    }
}

#[test]
fn seeds_over_memory_keep_every_invariant() {
    sweep(0);
}

#[test]
fn seeds_over_objects_keep_every_invariant() {
    sweep(1);
}

/// Runs every second seed: the even ones are over memory, the odd ones over objects.
fn sweep(odd: u64) {
    init_logging();
    if let Some(seed) = number("TARN_SIM_SEED") {
        if seed % 2 == odd {
            eprintln!("{:#?}", Plan::from_seed(seed));
            eprintln!("{:#?}", checked(seed));
        }
        return;
    }
    let seeds = number("TARN_SIM_SEEDS").unwrap_or(SEEDS);
    let base = number("TARN_SIM_BASE").unwrap_or(100);
    let log = if odd == 0 {
        LogKind::Memory
    } else {
        LogKind::Object
    };
    let mut coverage = Coverage::new(log);
    let mut steps: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut sum, mut crashes, mut ran, mut metadata) = (Counts::default(), 0, 0, 0);
    let (mut claims, mut above_level) = (ClaimCounts::default(), (0, 0));
    for seed in REGRESSIONS
        .iter()
        .copied()
        .chain(base..base + seeds)
        .filter(|seed| seed % 2 == odd)
    {
        let report = checked(seed);
        ran += 1;
        coverage.add(&report);
        sum += report.counts;
        claims += report.claims;
        metadata += report.metadata_checked;
        above_level.0 += report.above_level.0;
        above_level.1 += report.above_level.1;
        crashes += report.crashes.len();
        for (step, count) in report.steps {
            *steps.entry(step).or_default() += count;
        }
    }
    eprintln!("{ran} seeds clean: {sum:?}, {crashes} crashes");
    eprintln!(
        "{claims:?}; above the level: {} refused, {} taken",
        above_level.0, above_level.1
    );
    eprintln!("{metadata} answers of Metadata; steps passed: {steps:?}");
    eprintln!("{coverage}");
    if ran == 0 {
        return;
    }
    for step in Plan::STEPS {
        assert!(steps.contains_key(step), "step {step} was never passed");
    }
    assert!(sum.outlived > 0, "no cut was held while its table moved on");
    assert!(metadata > 0, "nobody asked where to go");
    assert!(sum.gone > 0, "no cut was read when its objects were gone");
    let claimed = [
        ("taken over", claims.taken_over),
        ("fenced", claims.fenced),
        ("released", claims.released),
    ];
    for (what, count) in claimed {
        assert!(ran < 10 || count > 0, "no claim was {what}");
    }
    // Of a few seeds none may be of a mixed cluster.
    assert!(
        ran < 10 || above_level.0 > 0,
        "no command above the level was refused"
    );
    assert!(ran < 10 || above_level.1 > 0, "the level never rose");
    let gaps = coverage.gaps();
    assert!(gaps.is_empty(), "{}", gaps.join("\n"));
}
