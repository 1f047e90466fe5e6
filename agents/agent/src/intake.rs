//! Who may bring how many bytes in: requests wait here before their bodies are read.
//!
//! ```text
//! Heartbeat                       ──▶ a little that nobody else takes: they are answered from memory
//! small requests, but no Produce  ──▶ a part of their own, or what is left of the common one
//! everything else                 ──▶ the common budget, which a slow store fills with batches
//! ```
//!
//! Holds: however many batches wait for the store, a heartbeat and a small request come in; what all
//! lanes hold together is bounded. Who waits here for long although it might have said that it lives
//! is not held to have been silent (see [`tarn_coordinator::Coordinators::members_unheard`]).

use std::time::Duration;

use tarn_kafka::ApiKey;
use tarn_model::ByteSize;
use tarn_runtime::{Budget, BudgetError, Permit};
use tokio::time::sleep;

/// A request of at most this many bytes is small.
const SMALL: u64 = 64 << 10;
/// What heartbeats may take together. One is a few hundred bytes and is answered at once.
const HEARTBEATS: ByteSize = ByteSize::mib(1);
/// Who waited for longer could not be heard.
const UNHEARD_AFTER: Duration = Duration::from_secs(1);

/// The budgets of requests.
#[derive(Debug)]
pub(crate) struct Intake {
    common: Budget,
    small: Budget,
    heartbeats: Budget,
}

impl Intake {
    pub(crate) fn new(common: Budget, small: ByteSize) -> Intake {
        Intake {
            common,
            small: Budget::new(small),
            heartbeats: Budget::new(HEARTBEATS),
        }
    }

    /// Bytes of requests that are worked on.
    pub(crate) fn held(&self) -> u64 {
        [&self.common, &self.small, &self.heartbeats]
            .iter()
            .map(|budget| budget.total().0.saturating_sub(budget.available().0))
            .sum()
    }

    /// Waits for room for a request of this API key. `unheard` is called each second that the wait
    /// lasts.
    pub(crate) async fn enter(
        &self,
        key: i16,
        bytes: u64,
        unheard: impl Fn(),
    ) -> Result<Permit, BudgetError> {
        let api = ApiKey::from_key(key);
        if bytes > SMALL || api == Some(ApiKey::Produce) {
            return self.common.acquire(bytes).await;
        }
        let room = self.room_for_small(api, bytes);
        let mut room = std::pin::pin!(room);
        loop {
            tokio::select! {
                biased;
                permit = &mut room => return permit,
                () = sleep(UNHEARD_AFTER) => unheard(),
            }
        }
    }

    async fn room_for_small(&self, api: Option<ApiKey>, bytes: u64) -> Result<Permit, BudgetError> {
        if api == Some(ApiKey::Heartbeat)
            && let Ok(permit) = self.heartbeats.try_acquire(bytes)
        {
            return Ok(permit);
        }
        if bytes > self.small.total().0 {
            return self.common.acquire(bytes).await;
        }
        tokio::select! {
            biased;
            permit = self.small.acquire(bytes) => permit,
            permit = self.common.acquire(bytes) => permit,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;

    use super::*;

    const PRODUCE: i16 = 0;
    const FETCH: i16 = 1;
    const HEARTBEAT: i16 = 12;

    fn intake() -> Intake {
        Intake::new(Budget::new(ByteSize::mib(1)), ByteSize::kib(128))
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_of_batches_keeps_no_small_request_out() {
        let intake = intake();
        let _backlog = intake.enter(PRODUCE, 1 << 20, || {}).await.expect("fits");
        // More of them wait, and a small batch is a batch.
        let mut waiting = Box::pin(intake.enter(PRODUCE, 10, || {}));
        assert!(waiting.as_mut().now_or_never().is_none());
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(intake.enter(FETCH, SMALL, || {}).await.expect("fits"));
        }
        // Now small requests are full too, and a heartbeat still comes in.
        assert!(intake.enter(FETCH, 10, || {}).now_or_never().is_none());
        held.push(intake.enter(HEARTBEAT, 300, || {}).await.expect("fits"));
        assert_eq!(intake.held(), (1 << 20) + 2 * SMALL + 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn small_requests_take_what_is_left_of_the_common_budget() {
        let intake = intake();
        let mut held = Vec::new();
        for _ in 0..18 {
            held.push(intake.enter(FETCH, SMALL, || {}).await.expect("fits"));
        }
        assert!(intake.enter(FETCH, SMALL, || {}).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_read_is_told_of_as_unheard() {
        let intake = intake();
        let mut held = Vec::new();
        for _ in 0..18 {
            held.push(intake.enter(FETCH, SMALL, || {}).await.expect("fits"));
        }
        let seconds = Cell::new(0);
        let waited = tokio::time::timeout(
            Duration::from_millis(3_500),
            intake.enter(FETCH, 10, || seconds.set(seconds.get() + 1)),
        );
        assert!(waited.await.is_err());
        assert_eq!(seconds.get(), 3);
    }
}
