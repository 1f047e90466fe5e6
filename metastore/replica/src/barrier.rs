//! Read barriers: a view that contains everything that was complete before the barrier was asked for.
//!
//! Holds: a waiter is answered by an `end()` call that was *sent after* the waiter came. So that many
//! waiters cost few calls, one call is in flight and the next gathers whoever comes meanwhile; joining
//! the call already sent would miss appends that completed in between.

use std::sync::Arc;
use std::time::Duration;

use tarn_commit_log::LogError;
use tarn_model::{Lsn, defect};
use tarn_runtime::{Scope, gauge};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use crate::outcome::{BarrierError, View};
use crate::shared::{Shared, WAITERS_MAX, Waiter};

/// A call that does not answer for this long is asked again.
const CALL_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the log for its end, once per gathering.
#[derive(Debug)]
pub(crate) struct BarrierTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) waiters: mpsc::Receiver<Waiter>,
}

impl BarrierTask {
    pub(crate) async fn run(self, scope: Scope) {
        let stopped = self.shared.clone().when_stopped();
        tokio::select! {
            biased;
            () = scope.stopped() => {}
            _ = stopped => {}
            () = self.answer() => {}
        }
    }

    async fn answer(mut self) {
        let mut gathered = Vec::new();
        while self.waiters.recv_many(&mut gathered, WAITERS_MAX).await > 0 {
            let Some(end) = self.end(&mut gathered).await else {
                return;
            };
            if defect("barrier-joins-sent-call") {
                while let Ok(late) = self.waiters.try_recv() {
                    gathered.push(late);
                }
            }
            let applied = self.shared.view().n;
            self.shared
                .metrics
                .view_lag
                .set(gauge(end.n.saturating_sub(applied)));
            for waiter in gathered.drain(..) {
                // One that has gone away needs no answer.
                let _ = waiter.send(end);
            }
        }
    }

    /// Calls until the log answers or nobody waits any more; `None` when this process has to stop.
    async fn end(&mut self, gathered: &mut Vec<Waiter>) -> Option<Lsn> {
        loop {
            self.shared.metrics.barrier_calls.inc();
            let failed = match timeout(CALL_MAX, self.shared.log.end()).await {
                Ok(Ok(end)) => return Some(end),
                // Credentials that lapse and answers that make no sense may be a matter of minutes. If the
                // log itself is damaged, the follower finds it out and stops this process.
                Ok(Err(
                    error @ (LogError::Unavailable { .. }
                    | LogError::Denied { .. }
                    | LogError::Corrupt { .. }
                    | LogError::Invalid { .. }),
                )) => error.to_string(),
                Ok(Err(error @ LogError::WentBack { .. })) => {
                    self.shared.log_went_back(&error);
                    return None;
                }
                Ok(Err(error @ LogError::Superseded { .. })) => {
                    self.shared.stop(error.to_string());
                    return None;
                }
                Err(_) => "no answer in time".to_owned(),
            };
            debug!(
                reason = failed,
                waiters = gathered.len(),
                "the log's end is not known, asking again"
            );
            sleep(self.shared.runtime.random().jitter(PAUSE)).await;
            gathered.retain(|waiter| !waiter.is_closed());
            // The next call is not sent yet, so whoever came meanwhile may join it.
            while gathered.len() < WAITERS_MAX {
                let Ok(waiter) = self.waiters.try_recv() else {
                    break;
                };
                gathered.push(waiter);
            }
            if gathered.is_empty() {
                // Nobody waits: whoever comes next starts a call of their own.
                let waiter = self.waiters.recv().await?;
                gathered.push(waiter);
            }
        }
    }
}

impl Shared {
    /// See `Metastore::barrier`.
    pub(crate) async fn barrier(&self, deadline: Instant) -> Result<View, BarrierError> {
        self.metrics.barriers.inc();
        let (waiter, answer) = oneshot::channel();
        match timeout_at(deadline, self.barriers.send(waiter)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.barrier_gone()),
            Err(_) => return Err(self.too_late()),
        }
        let end = match timeout_at(deadline, answer).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) => return Err(self.barrier_gone()),
            Err(_) => return Err(self.too_late()),
        };
        let view = self.wait_for(end, deadline).await?;
        if self.is_fenced() {
            return Err(BarrierError::Fenced);
        }
        Ok(view)
    }

    /// Waits until the view is at least at `lsn`.
    pub(crate) async fn wait_for(&self, lsn: Lsn, deadline: Instant) -> Result<View, BarrierError> {
        let mut views = self.views.subscribe();
        let mut stopped = self.stopped.subscribe();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            if view.lsn() >= lsn {
                return Ok(view);
            }
            if let Some(why) = stopped.borrow_and_update().as_deref() {
                return Err(BarrierError::Stopped {
                    why: why.to_owned(),
                });
            }
            tokio::select! {
                biased;
                // The senders live in `self`.
                _ = views.changed() => {}
                _ = stopped.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Err(self.too_late()),
            }
        }
    }

    fn barrier_gone(&self) -> BarrierError {
        BarrierError::Stopped {
            why: self.why_stopped().unwrap_or_else(|| "it drains".to_owned()),
        }
    }

    fn too_late(&self) -> BarrierError {
        if let Some(why) = self.why_stopped() {
            return BarrierError::Stopped { why };
        }
        if self.is_fenced() {
            BarrierError::Fenced
        } else {
            BarrierError::Deadline
        }
    }
}
