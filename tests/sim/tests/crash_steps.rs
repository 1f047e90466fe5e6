//! A process may die at every numbered step of what it does, and again at the same step after it came
//! back: everything holds, over both logs.

use std::time::Duration;

use tarn_sim::{Event, LogKind, Plan, run};

/// Both nodes are to die at this step the nth time that they pass it. Each is killed once more, so
/// that also what happens only at a start happens often enough.
fn plan(log: LogKind, step: usize, nth: u64) -> Plan {
    let mut plan = Plan::quiet(step as u64 * 10 + nth, log);
    // Long enough, and busy enough, that each node comes by every step several times: one that was killed
    // is back when its session has been silent for fifteen seconds.
    plan.heal_at = Duration::from_secs(35);
    plan.records = 45;
    plan.table_interval = Duration::from_millis(500);
    for node in 0..plan.nodes {
        plan.events
            .push((Duration::ZERO, Event::KillAtStep { node, step, nth }));
    }
    for node in 0..plan.nodes {
        plan.events
            .push((Duration::from_secs(5 + node as u64), Event::Kill { node }));
    }
    plan
}

fn dies_at_every_step(log: LogKind) {
    for (step, name) in Plan::STEPS.iter().enumerate() {
        for nth in 1..=2 {
            let report = run(&plan(log, step, nth));
            let report = report.unwrap_or_else(|violation| {
                panic!("{log:?}: died at {name} the {nth}. time: {violation}")
            });
            assert!(
                report.crashes.contains(name),
                "{log:?}: nobody passed {name} {nth} times: {:?}",
                report.steps
            );
        }
    }
}

#[test]
fn a_process_may_die_at_any_step_over_memory() {
    dies_at_every_step(LogKind::Memory);
}

#[test]
fn a_process_may_die_at_any_step_over_objects() {
    dies_at_every_step(LogKind::Object);
}
