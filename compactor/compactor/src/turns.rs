//! Whose turn it is in this process, and what failed.
//!
//! Holds: one run per task and key at a time; what failed is left alone ever longer. What is neither
//! due nor at work is forgotten, so the memory is bounded by what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Pauses after failures double from here …
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// … to here.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Held while a task works on a key: nobody else in this process does, and a place among all that
/// runs is taken.
#[derive(Debug)]
pub struct Permit {
    pub(crate) _turn: Turn,
    pub(crate) _place: OwnedSemaphorePermit,
}

/// One run for one task and key.
pub(crate) type Turn = OwnedSemaphorePermit;

type Keys = BTreeMap<String, Progress>;

#[derive(Debug, Default)]
pub(crate) struct Turns {
    tasks: Mutex<BTreeMap<&'static str, Keys>>,
}

#[derive(Debug)]
struct Progress {
    /// Held during a run.
    turn: Arc<Semaphore>,
    /// Not before this.
    not_before: Instant,
    failures: u32,
}

impl Turns {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Keys>> {
        self.tasks.lock().expect("nobody panics while holding it")
    }

    fn change<T>(
        &self,
        task: &'static str,
        key: &str,
        change: impl FnOnce(&mut Progress) -> T,
    ) -> T {
        let mut tasks = self.tasks();
        let keys = tasks.entry(task).or_default();
        change(keys.entry(key.to_owned()).or_insert_with(Progress::new))
    }

    /// A turn, if nobody has it and no pause lasts.
    pub(crate) fn take(&self, task: &'static str, key: &str) -> Option<Turn> {
        self.change(task, key, |progress| {
            let is_time = progress.not_before <= Instant::now();
            let turn = Arc::clone(&progress.turn);
            is_time.then(|| turn.try_acquire_owned().ok()).flatten()
        })
    }

    /// A turn, as soon as nobody has it.
    pub(crate) async fn wait(&self, task: &'static str, key: &str) -> Turn {
        let turn = self.change(task, key, |progress| Arc::clone(&progress.turn));
        let turn = turn.acquire_owned().await;
        turn.expect("the semaphore is never closed")
    }

    /// Forgets what is neither due nor at work.
    pub(crate) fn keep(&self, task: &'static str, due: &BTreeSet<&str>) {
        let mut tasks = self.tasks();
        let Some(keys) = tasks.get_mut(task) else {
            return;
        };
        let now = Instant::now();
        keys.retain(|key, progress| {
            let is_at_work = Arc::strong_count(&progress.turn) > 1;
            is_at_work || progress.not_before > now || due.contains(key.as_str())
        });
    }

    /// How many failures came before.
    pub(crate) fn succeeded(&self, task: &'static str, key: &str) -> u32 {
        self.change(task, key, |progress| {
            progress.not_before = Instant::now();
            std::mem::take(&mut progress.failures)
        })
    }

    pub(crate) fn pause(&self, task: &'static str, key: &str, pause: Duration) {
        self.change(task, key, |progress| {
            progress.not_before = Instant::now() + pause;
        });
    }

    /// Leaves it alone for a while, longer each time. How many failures there were.
    pub(crate) fn failed(
        &self,
        task: &'static str,
        key: &str,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> u32 {
        self.change(task, key, |progress| {
            let pause = BACKOFF_MIN
                .saturating_mul(1 << progress.failures.min(10))
                .min(BACKOFF_MAX);
            progress.not_before = Instant::now() + jitter(pause);
            progress.failures = progress.failures.saturating_add(1);
            progress.failures
        })
    }
}

impl Progress {
    fn new() -> Progress {
        Progress {
            turn: Arc::new(Semaphore::new(1)),
            not_before: Instant::now(),
            failures: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_left_alone_ever_longer_and_what_is_not_due_is_forgotten() {
        let turns = Turns::default();
        for (failures, pause) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60)] {
            let turn = turns.take("one", "a").expect("free");
            assert!(turns.take("one", "a").is_none(), "one run at a time");
            assert!(turns.take("other", "a").is_some(), "of one task");
            assert_eq!(turns.failed("one", "a", |pause| pause), failures);
            drop(turn);
            let pause = Duration::from_secs(pause);
            tokio::time::advance(pause - Duration::from_millis(1)).await;
            turns.keep("one", &BTreeSet::new());
            assert!(turns.take("one", "a").is_none(), "failure {failures}");
            tokio::time::advance(Duration::from_millis(1)).await;
            turns.keep("one", &BTreeSet::from(["a"]));
        }
        assert_eq!(turns.succeeded("one", "a"), 7);
        turns.pause("one", "b", Duration::from_secs(1));
        let held = turns.wait("one", "c").await;
        turns.keep("one", &BTreeSet::from(["a"]));
        let known = |task| turns.tasks()[task].keys().cloned().collect::<Vec<_>>();
        assert_eq!(known("one"), ["a", "b", "c"]);
        drop(held);
        tokio::time::advance(Duration::from_secs(1)).await;
        turns.keep("one", &BTreeSet::new());
        assert!(known("one").is_empty());
    }
}
