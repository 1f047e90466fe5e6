//! What a swarm meets too rarely: bad clocks, long stalls, everybody gone at once, a process that
//! sleeps past a trim, what a newer version left. Each over both logs, with what is special about it
//! checked by name.

use std::time::Duration;

use tarn_sim::{Event, LogKind, Newer, Plan, Report, run};

const LOGS: [LogKind; 2] = [LogKind::Memory, LogKind::Object];
const YEAR_MILLIS: i64 = 365 * 24 * 3600 * 1000;
/// How far cluster time may be off: what the guard lets pass, and how long it may stand still.
const MINUTE_MILLIS: i64 = 60_000;

fn plan(log: LogKind, nodes: usize, events: &[(u64, Event)]) -> Plan {
    let mut plan = Plan::quiet(7, log);
    plan.nodes = nodes;
    plan.heal_at = Duration::from_secs(15);
    plan.events = events
        .iter()
        .map(|(at, event)| (Duration::from_secs(*at), *event))
        .collect();
    plan
}

fn ran(plan: &Plan) -> Report {
    run(plan).unwrap_or_else(|violation| panic!("{:?}, {:?}: {violation}", plan.log, plan.events))
}

fn scenario(log: LogKind, nodes: usize, events: &[(u64, Event)]) -> Report {
    ran(&plan(log, nodes, events))
}

fn assert_time_is_right(report: &Report) {
    assert!(
        report.cluster_time_off.abs() < MINUTE_MILLIS,
        "cluster time is {} ms off",
        report.cluster_time_off
    );
}

#[test]
fn a_clock_that_is_years_off_opens_no_session() {
    for (log, years) in LOGS.into_iter().zip([10, -10]) {
        let report = scenario(log, 3, &[(3, Event::WrongClock { node: 2, years })]);
        assert!(
            report.counts.refused_clocks > 0,
            "{log:?}: it was not refused"
        );
        assert_time_is_right(&report);
    }
}

#[test]
fn a_clock_that_steps_by_years_later_moves_nobody_elses_time() {
    for (log, years) in LOGS.into_iter().zip([-10, 10]) {
        let report = scenario(
            log,
            3,
            &[(
                4,
                Event::StepClock {
                    node: 0,
                    millis: years * YEAR_MILLIS,
                },
            )],
        );
        assert_time_is_right(&report);
        assert_eq!(report.node_ids, 3, "{log:?}: somebody was expired");
    }
}

#[test]
fn clocks_that_race_or_step_back_expire_nobody() {
    for log in LOGS {
        let events = [
            (
                3,
                Event::RaceClock {
                    node: 0,
                    millis_per_second: 1_500,
                },
            ),
            (
                4,
                Event::StepClock {
                    node: 1,
                    millis: -40_000,
                },
            ),
        ];
        let report = scenario(log, 3, &events);
        assert_time_is_right(&report);
        assert_eq!(report.node_ids, 3, "{log:?}: somebody was expired");
    }
}

#[test]
fn a_log_that_stalls_for_a_minute_ages_nobody() {
    let stalls = [
        (LogKind::Memory, Event::StallLog { millis: 60_000 }),
        (LogKind::Object, Event::StoreDown { millis: 60_000 }),
    ];
    for (log, stall) in stalls {
        let report = scenario(log, 2, &[(4, stall)]);
        assert_eq!(report.node_ids, 2, "{log:?}: somebody was expired");
        assert_time_is_right(&report);
    }
}

#[test]
fn all_are_killed_and_all_come_back() {
    for log in LOGS {
        let report = scenario(log, 3, &[(4, Event::KillAll), (9, Event::KillAll)]);
        assert_eq!(report.crashes.len(), 6);
        assert_time_is_right(&report);
    }
}

/// Three agents restart in turn, by SIGTERM and by SIGKILL, while clients write, read and ask.
#[test]
fn clients_are_told_of_agents_that_answer_and_names_keep_their_ids() {
    for log in LOGS {
        let mut plan = plan(
            log,
            3,
            &[
                (8, Event::Restart { node: 1 }),
                (30, Event::Kill { node: 0 }),
                (58, Event::Restart { node: 2 }),
            ],
        );
        plan.heal_at = Duration::from_secs(85);
        plan.records = 60;
        let report = ran(&plan);
        assert!(report.metadata_checked > 100, "{}", report.metadata_checked);
        assert_eq!(report.node_ids, 3, "{log:?}: a restart took another id");
    }
}

/// Over objects it could not write to the log either, and its session would not live on.
#[test]
fn a_keeper_that_only_reads_loses_the_log_to_one_that_writes() {
    let event = Event::KeeperOnlyReads { millis: 400_000 };
    let mut plan = plan(LogKind::Memory, 2, &[(20, event)]);
    // It tells after a minute how far it came, and has three more.
    plan.heal_at = Duration::from_secs(270);
    plan.records = 10;
    let report = ran(&plan);
    let [first, second] = report.keepers[..] else {
        panic!("not taken over once: {:?}", report.keepers);
    };
    assert_ne!(first, second);
    assert_eq!(report.node_ids, 2, "somebody was expired");
    assert!(
        report.trims.iter().all(|trims| *trims > 0),
        "{:?}",
        report.trims
    );
}

#[test]
fn a_process_that_sleeps_past_a_trim_comes_back() {
    for log in LOGS {
        for node in 0..2 {
            scenario(
                log,
                2,
                &[(
                    3,
                    Event::Pause {
                        node,
                        millis: 25_000,
                    },
                )],
            );
            scenario(
                log,
                2,
                &[(
                    3,
                    Event::Lag {
                        node,
                        millis: 25_000,
                    },
                )],
            );
        }
    }
}

#[test]
fn an_entry_of_a_newer_version_stops_everybody() {
    for log in LOGS {
        for leaves in [Newer::Command, Newer::Level, Newer::Field] {
            // One process meets it in the middle of its work, one when it comes back, one when it wakes.
            let events = [
                (
                    3,
                    Event::Lag {
                        node: 2,
                        millis: 9_000,
                    },
                ),
                (6, Event::Kill { node: 1 }),
                (7, Event::NewerVersion { leaves }),
            ];
            let report = scenario(log, 3, &events);
            assert!(
                report.counts.acknowledged > 0,
                "{log:?}: nothing was acknowledged"
            );
            // Each refused to start twice, and two had been at work.
            assert!(
                report.stops.len() >= 3 * 2 + 2,
                "{log:?}, {leaves:?}: {:?}",
                report.stops
            );
        }
    }
}

#[test]
fn a_snapshot_of_a_newer_version_stops_who_needs_it() {
    for log in LOGS {
        // One process is away while the log is trimmed to it, the other comes back afterwards.
        let leaves = Newer::Snapshot;
        let events = [
            (
                3,
                Event::Lag {
                    node: 1,
                    millis: 9_000,
                },
            ),
            (7, Event::NewerVersion { leaves }),
            (9, Event::Kill { node: 0 }),
        ];
        let mut plan = plan(log, 2, &events);
        // Nobody else makes a floor.
        plan.snapshot_entries = 1_000_000;
        let report = ran(&plan);
        assert!(
            report.counts.acknowledged > 0,
            "{log:?}: nothing was acknowledged"
        );
        assert!(report.stops.len() > 2 * 2, "{log:?}: {:?}", report.stops);
    }
}
