//! Runs from seeds: first those that ever failed, then fresh ones, half on each log.
//! `TARN_SIM_SEED=n` replays one, `TARN_SIM_SEEDS=n` runs that many, from `TARN_SIM_BASE` on.

#![expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test tells what it ran, and is told what to run"
)]

use std::collections::BTreeMap;

use tarn_sim::{Counts, Coverage, LogKind, Plan, Report, run};

/// Seeds that once failed, with what they found.
const REGRESSIONS: &[u64] = &[];

/// Fresh seeds of a run that asks for no number.
const SEEDS: u64 = 20;

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

fn init_logging() {
    if std::env::var("RUST_LOG").is_ok() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Another test may have been first.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init();
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
    let (mut sum, mut crashes, mut ran) = (Counts::default(), 0, 0);
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
        crashes += report.crashes.len();
        for (step, count) in report.steps {
            *steps.entry(step).or_default() += count;
        }
    }
    eprintln!("{ran} seeds clean: {sum:?}, {crashes} crashes");
    eprintln!("steps passed: {steps:?}");
    eprintln!("{coverage}");
    if ran == 0 {
        return;
    }
    for step in Plan::STEPS {
        assert!(steps.contains_key(step), "step {step} was never passed");
    }
    assert!(sum.outlived > 0, "no cut was held while its table moved on");
    assert!(sum.gone > 0, "no cut was read when its objects were gone");
    let gaps = coverage.gaps();
    assert!(gaps.is_empty(), "{}", gaps.join("\n"));
}
