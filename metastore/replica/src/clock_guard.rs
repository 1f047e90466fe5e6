//! Keeps a wrong wall clock from being voted with.
//!
//! A process whose clock is more than a minute off the object store's opens no node session. One that
//! finds it later (hourly, and at once when its wall and its monotonic clock have moved apart by a
//! minute) keeps its session, but its entries carry no vote until the clock is right again.
//! A process that is alone on a local folder has no other clock to compare with; it compares with the
//! newest time the log knows, and only warns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tarn_model::{ClusterTime, Monotonic, Timestamp, caps, format_duration};
use tarn_runtime::{Runtime, Scope};
use tarn_store::{Store, StoreError, paths};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::metastore::Shared;

/// How often the clocks are compared with each other …
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// … and with the store's.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// How far a lone process's clock may be ahead of the log's before it warns.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How far the wall clock is off the store's: by when the store says that an object was written.
pub(crate) async fn skew(store: &Store, runtime: &Runtime) -> Result<Duration, StoreError> {
    let probe = paths::clock_probe(runtime.random().u64());
    let before = runtime.clock().wall();
    store
        .put(&probe, Bytes::from_static(b"what time is it?"))
        .await?;
    let after = runtime.clock().wall();
    let written = store.last_modified(&probe).await?;
    if let Err(error) = store.delete(&probe).await {
        info!(%error, "the clock's probe was left behind");
    }
    Ok(outside(written, before, after))
}

/// How far `at` is outside of `[from, to]`.
fn outside(at: Timestamp, from: Timestamp, to: Timestamp) -> Duration {
    // One of the two is zero, unless the clock went back in between.
    from.since(at).max(at.since(to))
}

/// What is wrong with a lone process's clock, by the newest time its log knows.
pub(crate) fn warning(wall: Timestamp, newest: ClusterTime) -> Option<String> {
    if newest == ClusterTime::default() {
        return None;
    }
    let behind = newest.since(ClusterTime(wall.0));
    if behind > caps::CLOCK_SKEW_MAX {
        return Some(format!(
            "this machine's clock is {} behind the newest entry of the commit log: is its date right?",
            format_duration(Duration::from_secs(behind.as_secs()))
        ));
    }
    let ahead = ClusterTime(wall.0).since(newest);
    if ahead > DAY {
        return Some(format!(
            "this machine's clock is {} ahead of the newest entry of the commit log: if it was not away for so long, \
             is its date right?",
            format_duration(Duration::from_secs(ahead.as_secs()))
        ));
    }
    None
}

/// Both clocks at one moment.
pub(crate) type Clocks = (Timestamp, Monotonic);

pub(crate) fn clocks(runtime: &Runtime) -> Clocks {
    (runtime.clock().wall(), runtime.clock().monotonic())
}

#[derive(Debug)]
pub(crate) struct ClockGuard {
    pub(crate) shared: Arc<Shared>,
    /// When the wall clock was last compared with the store's and found right.
    pub(crate) checked: Clocks,
}

impl ClockGuard {
    pub(crate) async fn run(self, scope: Scope) {
        let stopped = Arc::clone(&self.shared).when_stopped();
        tokio::select! {
            biased;
            () = scope.stopped() => {}
            _ = stopped => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&self) {
        let mut base = self.checked;
        loop {
            sleep(LOOK_INTERVAL).await;
            let now = clocks(&self.shared.runtime);
            let is_right = self.shared.votes.load(Ordering::Relaxed);
            if apart(base, now) < caps::CLOCK_SKEW_MAX
                && now.1.since(base.1) < CHECK_INTERVAL
                && is_right
            {
                continue;
            }
            match skew(&self.shared.store, &self.shared.runtime).await {
                Ok(skew) => {
                    base = now;
                    self.judge(skew, is_right);
                }
                Err(error) => {
                    info!(%error, "the clock could not be compared with the object store's")
                }
            }
        }
    }

    fn judge(&self, skew: Duration, was_right: bool) {
        let right = skew <= caps::CLOCK_SKEW_MAX;
        if was_right && !right {
            warn!(
                ?skew,
                "this machine's clock is off the object store's: its time has no vote"
            );
        }
        if !was_right && right {
            info!("this machine's clock is right again: its time has a vote");
        }
        self.shared.votes.store(right, Ordering::Relaxed);
        self.shared.metrics.votes.set(i64::from(right));
    }
}

/// By how much two clocks have moved apart.
fn apart(base: Clocks, now: Clocks) -> Duration {
    let lived = i64::try_from(now.1.since(base.1).as_millis()).unwrap_or(i64::MAX);
    let moved = now.0.0.saturating_sub(base.0.0);
    Duration::from_millis(moved.abs_diff(lived))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_within_the_put_is_no_skew() {
        let at = |millis| Timestamp(millis);
        assert_eq!(outside(at(50), at(0), at(100)), Duration::ZERO);
        assert_eq!(outside(at(-30), at(0), at(100)), Duration::from_millis(30));
        assert_eq!(outside(at(130), at(0), at(100)), Duration::from_millis(30));
    }

    #[test]
    fn a_stepped_clock_is_noticed_both_ways_and_suspend_is_not() {
        let base = (Timestamp(1_000_000), Monotonic(5_000));
        assert_eq!(
            apart(base, (Timestamp(1_600_000), Monotonic(605_000))),
            Duration::ZERO
        );
        assert_eq!(
            apart(base, (Timestamp(1_070_000), Monotonic(10_000))),
            Duration::from_secs(65)
        );
        assert_eq!(
            apart(base, (Timestamp(940_000), Monotonic(10_000))),
            Duration::from_secs(65)
        );
    }

    #[test]
    fn a_lone_clock_is_warned_of_when_it_is_days_off() {
        let newest = ClusterTime(1_700_000_000_000);
        let wall = |days: i64| Timestamp(newest.0 + days * 86_400_000);
        assert_eq!(warning(wall(0), newest), None);
        assert_eq!(warning(wall(2), ClusterTime::default()), None);
        assert!(warning(wall(2), newest).is_some_and(|text| text.contains("2d ahead")));
        assert!(warning(wall(-3), newest).is_some_and(|text| text.contains("3d behind")));
    }
}
