//! Attempts of one request, until it is answered for certain or its deadline comes.
//!
//! Holds: what was tried more than once, and may have been done by an attempt without an answer, is not said to
//! be undone.

use std::future::Future;
use std::time::Duration;

use object_store::Error as ObjectError;
use object_store::path::Path;
use tarn_model::Fate;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::StoreError;
use crate::error::Failure;

use super::Store;

/// One attempt after another until the deadline.
pub(super) struct Attempts<'a> {
    pub(super) store: &'a Store,
    pub(super) path: &'a Path,
    pub(super) until: Instant,
    pub(super) pause: Duration,
    /// An attempt may have had an effect, or may still.
    pub(super) ambiguous: bool,
    pub(super) last: String,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(store: &'a Store, path: &'a Path) -> Attempts<'a> {
        Attempts {
            store,
            path,
            until: Instant::now() + store.deadline,
            pause: store.inner.options.backoff,
            ambiguous: false,
            last: String::new(),
        }
    }

    /// Runs one attempt within what is left of the deadline.
    pub(super) async fn run<T>(
        &self,
        attempt: impl Future<Output = Result<T, ObjectError>>,
    ) -> Result<T, Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        match timeout(left.min(self.store.attempt), attempt).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::of(self.path, &error)),
            Err(_) => Err(Failure::Ambiguous("no answer in time".to_owned())),
        }
    }

    /// Waits before the next attempt, or says that there is none.
    pub(super) async fn again(&mut self, reason: String) -> Result<(), StoreError> {
        let pause = self.store.inner.runtime.random().jitter(self.pause);
        if Instant::now() + pause >= self.until {
            self.last = reason;
            return Err(self.give_up());
        }
        debug!(path = %self.path, reason, "object storage: trying again");
        self.last = reason;
        sleep(pause).await;
        self.pause = (self.pause * 2).min(self.store.inner.options.backoff_max);
        Ok(())
    }

    pub(super) fn give_up(&self) -> StoreError {
        StoreError::Unavailable {
            path: self.path.clone(),
            fate: if self.ambiguous {
                Fate::Unknown
            } else {
                Fate::NotDone
            },
            reason: self.last.clone(),
        }
    }

    /// A final error of this attempt, unless an earlier one may have had its effect.
    pub(super) fn refuse(&self, error: StoreError) -> StoreError {
        if self.ambiguous {
            StoreError::Unavailable {
                path: self.path.clone(),
                fate: Fate::Unknown,
                reason: error.to_string(),
            }
        } else {
            error
        }
    }

    pub(super) fn not_found(&self) -> StoreError {
        StoreError::NotFound {
            path: self.path.clone(),
        }
    }
}
