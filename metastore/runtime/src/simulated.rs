//! What a simulated machine keeps while the process on it crashes and comes back: the faults of
//! its clock, the step at which it is to die, and which steps were ever passed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarn_model::{Monotonic, Timestamp};

/// Simulated time begins in 2100: the `iceberg` crate compares with the real date and refuses a
/// table that was last updated in the future of a new snapshot, never one in the past.
const EPOCH_MILLIS: i64 = 4_102_444_800_000;

/// A simulated machine. Clones share it; the harness keeps one, the process another.
#[derive(Debug, Clone)]
pub struct SimulatedHost {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    seed: u64,
    starts: u64,
    wall_offset_millis: i64,
    /// Added to the wall clock per second of simulated time, for a clock that races.
    drift_millis_per_second: i64,
    monotonic_offset: Duration,
    armed: Option<(&'static str, u64)>,
    crash_wanted: Option<&'static str>,
    passed: BTreeMap<&'static str, u64>,
    last_elapsed: Duration,
}

impl SimulatedHost {
    pub fn new(seed: u64) -> SimulatedHost {
        SimulatedHost {
            inner: Arc::new(Mutex::new(Inner {
                seed,
                starts: 0,
                wall_offset_millis: 0,
                drift_millis_per_second: 0,
                monotonic_offset: Duration::ZERO,
                armed: None,
                crash_wanted: None,
                passed: BTreeMap::new(),
                last_elapsed: Duration::ZERO,
            })),
        }
    }

    /// What it was made of, and no other machine of its world.
    pub fn seed(&self) -> u64 {
        self.with(|inner| inner.seed)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("nobody panics while holding it"))
    }

    /// A fresh seed for each start of the process.
    pub(crate) fn next_seed(&self) -> u64 {
        self.with(|inner| {
            inner.starts += 1;
            inner
                .seed
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(inner.starts)
        })
    }

    /// Simulated time. Between two ticks, when the harness acts, it is that of the last look.
    fn elapsed(&self) -> Duration {
        match turmoil::sim_elapsed() {
            Some(elapsed) => self.with(|inner| {
                inner.last_elapsed = elapsed;
                elapsed
            }),
            None => self.with(|inner| inner.last_elapsed),
        }
    }

    pub(crate) fn wall(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed().as_millis()).expect("simulations are short");
        self.with(|inner| {
            Timestamp(
                EPOCH_MILLIS
                    + elapsed
                    + inner.wall_offset_millis
                    + elapsed * inner.drift_millis_per_second / 1000,
            )
        })
    }

    pub(crate) fn monotonic(&self) -> Monotonic {
        let elapsed = self.elapsed() + self.with(|inner| inner.monotonic_offset);
        Monotonic(u64::try_from(elapsed.as_millis()).expect("simulations are short"))
    }

    /// Moves the wall clock by so much from now on, either way.
    pub fn step_wall_clock(&self, millis: i64) {
        self.with(|inner| inner.wall_offset_millis += millis);
    }

    /// Makes the wall clock race (or crawl) by so much per second.
    pub fn race_wall_clock(&self, millis_per_second: i64) {
        self.with(|inner| inner.drift_millis_per_second = millis_per_second);
    }

    /// The machine slept: its monotonic clock and its wall clock moved on, its process did not.
    pub fn sleep(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).expect("simulations are short");
        self.with(|inner| {
            inner.monotonic_offset += duration;
            inner.wall_offset_millis += millis;
        });
    }

    /// The process dies when it passes this step for the `nth` time from now (1 = the next time).
    pub fn crash_at(&self, step: &'static str, nth: u64) {
        self.with(|inner| inner.armed = Some((step, nth.max(1))));
    }

    /// Lets the process live on: forgets an armed crash.
    pub fn disarm(&self) {
        self.with(|inner| inner.armed = None);
    }

    /// Somebody sets the wall clock right and mends it.
    pub fn set_right(&self) {
        self.with(|inner| {
            inner.wall_offset_millis = 0;
            inner.drift_millis_per_second = 0;
        });
    }

    /// The step at which the process waits to be crashed, once. The harness asks after each tick.
    pub fn take_crash(&self) -> Option<&'static str> {
        self.with(|inner| inner.crash_wanted.take())
    }

    /// How often each step was passed, over all starts.
    pub fn steps_passed(&self) -> BTreeMap<&'static str, u64> {
        self.with(|inner| inner.passed.clone())
    }

    pub(crate) async fn pass_step(&self, name: &'static str) {
        let dies = self.with(|inner| {
            *inner.passed.entry(name).or_default() += 1;
            match &mut inner.armed {
                Some((step, nth)) if *step == name => {
                    *nth -= 1;
                    if *nth == 0 {
                        inner.armed = None;
                        inner.crash_wanted = Some(name);
                        return true;
                    }
                    false
                }
                _ => false,
            }
        });
        if dies {
            // The harness drops this task with the whole process before the next tick.
            std::future::pending::<()>().await;
        }
    }
}
