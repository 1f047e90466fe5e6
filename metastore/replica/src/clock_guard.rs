//! Keeps a wrong wall clock from being voted with.
//!
//! A process whose clock is more than a minute off the object store's opens no node session. One that
//! finds it later (hourly, and at once when its wall and its monotonic clock have moved apart by a
//! minute) keeps its session, but its entries carry no vote until the clock is right again.
//! A process that is alone on a local folder has no other clock to compare with; it compares with the
//! newest time the log knows. If it is more than a day ahead, its session is marked: nothing is deleted by
//! age, until it is started with the clock set or accepted. If it is a day behind or some months ahead, its
//! clock is not believed either: cluster time stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tarn_model::{ClusterTime, Monotonic, Timestamp, caps, format_duration};
use tarn_runtime::{Runtime, Scope};
use tarn_state::ClockTrust;
use tarn_store::{Store, StoreError, paths};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::shared::Shared;

/// How often the clocks are compared with each other …
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// … and with the store's.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// How far a lone process's clock may be off the newest time that its log knows.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A machine may have been off for this long: times go on, although nothing is deleted by them. Beyond
/// it the date is more likely to be wrong.
const AHEAD_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

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
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) clock: ClockTrust,
    /// What to tell whoever started the process, and what they can do.
    pub(crate) warning: String,
}

pub(crate) fn doubt(wall: Timestamp, newest: ClusterTime) -> Option<Doubt> {
    if newest == ClusterTime::default() {
        return None;
    }
    let behind = newest.since(ClusterTime(wall.0));
    let ahead = ClusterTime(wall.0).since(newest);
    let (off, where_to) = if behind > caps::CLOCK_SKEW_MAX {
        (behind, "behind")
    } else if ahead > DAY {
        (ahead, "ahead of")
    } else {
        return None;
    };
    let clock = if ahead > DAY && ahead <= AHEAD_MAX {
        ClockTrust::Ahead
    } else if off > DAY {
        ClockTrust::Doubtful
    } else {
        ClockTrust::Trusted
    };
    let advice = match clock {
        ClockTrust::Trusted => {
            "Nothing is deleted by age until it has caught up. Is the date right?"
        }
        ClockTrust::Ahead => {
            "Nothing is deleted by age as long as this process runs. If the date is wrong, set it and start again; if it \
             is right, it is enough to start again"
        }
        ClockTrust::Doubtful => {
            "It is not believed: times stand still and nothing is deleted by age as long as this process runs. If the \
             date is wrong, set it and start again; if it is right, start again with --accept-clock"
        }
    };
    let warning = format!(
        "this machine's clock is {} {where_to} the newest entry of the commit log. {advice}",
        format_duration(Duration::from_secs(off.as_secs()))
    );
    Some(Doubt { clock, warning })
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
            let votes = self.shared.votes.load(Ordering::Relaxed);
            let stepped = apart(base, now) >= caps::CLOCK_SKEW_MAX;
            if votes && !stepped && now.1.since(base.1) < CHECK_INTERVAL {
                continue;
            }
            if votes && stepped {
                // Not only once the store has told: it may take its time, or be away.
                warn!(
                    "this machine's clock was set: its time has no vote until it is compared with the object store's"
                );
                self.vote(false);
            }
            match skew(&self.shared.store, &self.shared.runtime).await {
                Ok(skew) => {
                    base = now;
                    self.judge(skew);
                }
                Err(error) => {
                    info!(%error, "the clock could not be compared with the object store's")
                }
            }
        }
    }

    fn judge(&self, skew: Duration) {
        let right = skew <= caps::CLOCK_SKEW_MAX;
        let voted = self.shared.votes.load(Ordering::Relaxed);
        if voted && !right {
            warn!(
                ?skew,
                "this machine's clock is off the object store's: its time has no vote"
            );
        }
        if !voted && right {
            info!("this machine's clock is right: its time has a vote again");
        }
        self.vote(right);
    }

    fn vote(&self, votes: bool) {
        self.shared.votes.store(votes, Ordering::Relaxed);
        self.shared.metrics.votes.set(i64::from(votes));
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
        assert_eq!(doubt(wall(0), newest), None);
        assert_eq!(doubt(wall(1), newest), None);
        assert_eq!(doubt(wall(2), ClusterTime::default()), None);
        for (days, text, clock) in [
            (2, "2d ahead", ClockTrust::Ahead),
            (90, "90d ahead", ClockTrust::Ahead),
            (91, "91d ahead", ClockTrust::Doubtful),
            (-3, "3d behind", ClockTrust::Doubtful),
        ] {
            let doubt = doubt(wall(days), newest).expect("it is days off");
            assert_eq!(doubt.clock, clock, "{doubt:?}");
            assert!(doubt.warning.contains(text), "{doubt:?}");
            let must_accept = clock == ClockTrust::Doubtful;
            assert_eq!(
                doubt.warning.contains("--accept-clock"),
                must_accept,
                "{doubt:?}"
            );
        }
        // It moves no time by itself, and will have caught up soon.
        let late = Timestamp(newest.0 - 3_600_000);
        let doubt = doubt(late, newest).expect("it is an hour off");
        assert_eq!(doubt.clock, ClockTrust::Trusted);
    }
}
