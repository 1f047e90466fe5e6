//! Writes state snapshots and trims the log to them.
//!
//! Holds: a snapshot gets a fresh name, is read back, hashed and decoded again before it becomes the
//! floor; the log is trimmed only up to where the archive covers it. Three snapshots are kept; older
//! ones are counted, and collected by whoever collects garbage. A snapshot is written from a view, so
//! applying goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tarn_commit_log::{LogError, SnapshotRef};
use tarn_model::{ByteSize, Generation, Hash, Lsn};
use tarn_runtime::{Scope, step};
use tarn_store::{Store, StoreError, paths};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::follower::{decode, sha256};
use crate::metastore::{Shared, Trimmed, View};
use crate::metrics::gauge;
use crate::session::minds_the_log;

/// Snapshots that are kept.
const KEPT: usize = 3;
/// Snapshots that a listing counts at most.
const LIST_MAX: usize = 1000;
/// Pause after a failure; it doubles up to the second, for each attempt writes another object.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Largest state snapshot: what one put of the store takes.
const SNAPSHOT_BYTES_MAX: ByteSize = ByteSize::gib(4);
/// Up to this size a snapshot that was read back is compared with the state it was written from; of a
/// larger one the hash of its bytes has to do.
const COMPARED_BYTES_MAX: ByteSize = ByteSize::mib(64);

#[derive(Debug)]
pub(crate) struct Snapshotter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshot_bytes: ByteSize,
    pub(crate) snapshot_entries: u64,
}

impl Snapshotter {
    pub(crate) async fn run(self, scope: Scope) {
        let stopped = Arc::clone(&self.shared).when_stopped();
        tokio::select! {
            biased;
            () = scope.stopped() => {}
            _ = stopped => {}
            () = self.watch(&scope) => {}
        }
    }

    async fn watch(&self, scope: &Scope) {
        let mut views = self.shared.views.subscribe();
        let mut pause = PAUSE;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            if self.is_due(&view) && self.is_mine(&view) {
                match self.snapshot(view, scope).await {
                    Ok(()) => pause = PAUSE,
                    Err(reason) => {
                        self.shared.metrics.snapshot_failures.inc();
                        warn!(reason, "no state snapshot was made, trying again");
                        sleep(self.shared.runtime.random().jitter(pause)).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
                continue;
            }
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    fn is_due(&self, view: &View) -> bool {
        let trimmed = *self
            .shared
            .trimmed
            .lock()
            .expect("nobody panics while holding it");
        let entries = view.n.saturating_sub(trimmed.n);
        let bytes = self
            .shared
            .entry_bytes
            .load(Ordering::Relaxed)
            .saturating_sub(trimmed.entry_bytes);
        entries > 0 && (entries >= self.snapshot_entries || bytes >= self.snapshot_bytes.0)
    }

    fn is_mine(&self, view: &View) -> bool {
        let identity = *self.shared.identity.borrow();
        identity.is_some_and(|identity| minds_the_log(view, identity.session))
    }

    /// Writes a snapshot of this view and trims the log to it, unless another process minds the log
    /// by then.
    async fn snapshot(&self, view: View, scope: &Scope) -> Result<(), String> {
        let entry_bytes = self.shared.entry_bytes.load(Ordering::Relaxed);
        let lsn = view.lsn();
        let snapshot = self.write(view, scope).await?;
        if !self.is_archived(lsn).await? || !self.trim(lsn, snapshot).await? {
            info!(%lsn, "another process minds the log now, it trims");
            return Ok(());
        }
        step!(self.shared.runtime, "snapshot.trimmed");
        *self
            .shared
            .trimmed
            .lock()
            .expect("nobody panics while holding it") = Trimmed {
            n: lsn.n,
            entry_bytes,
        };
        self.shared.metrics.trims.inc();
        info!(%lsn, "wrote a state snapshot and trimmed the log");
        match count(&self.shared.store, lsn.generation).await {
            Ok(snapshots) => {
                self.shared
                    .metrics
                    .snapshot_garbage
                    .set(gauge(snapshots.saturating_sub(KEPT) as u64));
            }
            Err(error) => warn!(%error, "old state snapshots could not be counted"),
        }
        Ok(())
    }

    /// A snapshot of this view, read back and found to be it.
    async fn write(&self, view: View, scope: &Scope) -> Result<SnapshotRef, String> {
        let Shared {
            runtime,
            store,
            metrics,
            ..
        } = &*self.shared;
        let lsn = view.lsn();
        let written = Arc::clone(&view);
        let encoded = scope.blocking("encode-snapshot", move || {
            let bytes = Bytes::from(written.to_snapshot());
            let hash = sha256(&bytes);
            (bytes, hash)
        });
        let (bytes, hash) = encoded.await.map_err(text)?;
        let size = bytes.len() as u64;
        if size > SNAPSHOT_BYTES_MAX.0 {
            return Err(format!(
                "the state snapshot has {size} bytes, more than {SNAPSHOT_BYTES_MAX}"
            ));
        }
        let path = paths::snapshot(lsn, runtime.random().u64());
        let store = store.for_bytes(size);
        store.put_if_absent(&path, bytes).await.map_err(text)?;
        step!(runtime, "snapshot.written");

        let read = store.get(&path).await.map_err(text)?;
        let name = path.to_string();
        let verified = scope.blocking("verify-snapshot", move || verify(&name, &read, hash, &view));
        verified.await.map_err(text)??;
        metrics.snapshots.inc();
        metrics.snapshot_bytes.set(size);
        step!(runtime, "snapshot.verified");
        Ok(SnapshotRef {
            path: path.to_string(),
            hash,
        })
    }

    /// Waits until the archive covers the log up to there; false if that is no longer ours to wait for.
    async fn is_archived(&self, lsn: Lsn) -> Result<bool, String> {
        let mut archived = self.shared.archived.subscribe();
        loop {
            if *archived.borrow_and_update() >= lsn.n {
                return Ok(true);
            }
            tokio::select! {
                biased;
                changed = archived.changed() => changed.map_err(text)?,
                () = sleep(PAUSE) => {
                    if !self.is_mine(&self.shared.view()) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Trims until the log answers; false if that is no longer ours to do.
    async fn trim(&self, lsn: Lsn, snapshot: SnapshotRef) -> Result<bool, String> {
        loop {
            match self.shared.log.trim(lsn, snapshot.clone()).await {
                Ok(()) => return Ok(true),
                Err(error @ LogError::WentBack { .. }) => {
                    self.shared.log_went_back(&error);
                    return Ok(false);
                }
                Err(error @ LogError::Superseded { .. }) => {
                    self.shared.stop(error.to_string());
                    return Ok(false);
                }
                Err(error @ LogError::Unavailable { .. }) => {
                    warn!(%error, %lsn, "the log was not trimmed, trying again");
                    sleep(self.shared.runtime.random().jitter(PAUSE)).await;
                    if !self.is_mine(&self.shared.view()) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// Are these bytes the snapshot of this hash, and do they read as this view?
fn verify(path: &str, read: &Bytes, hash: Hash, view: &View) -> Result<(), String> {
    let state = decode(path, read, hash, view.cluster, view.lsn()).map_err(text)?;
    if read.len() as u64 <= COMPARED_BYTES_MAX.0 && state != **view {
        return Err(format!(
            "the state snapshot {path} reads as another state than it was written from"
        ));
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn count(store: &Store, generation: Generation) -> Result<usize, StoreError> {
    let listed = store
        .list(&paths::snapshots(generation), None, LIST_MAX)
        .await?;
    Ok(listed
        .iter()
        .filter(|listed| paths::parse_snapshot(&listed.path).is_some())
        .count())
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, ProducerId};
    use tarn_state::State;

    use super::*;

    #[test]
    fn a_snapshot_that_lacks_something_of_its_view_is_refused() {
        let state = State::new(ClusterId::from_u128(1));
        let bytes = Bytes::from(state.to_snapshot());
        let hash = sha256(&bytes);
        let verify = |state: State| verify("snapshots/x", &bytes, hash, &Arc::new(state));
        assert_eq!(verify(state.clone()), Ok(()));
        let more = State {
            next_producer: ProducerId(9),
            ..state
        };
        let refused = verify(more).expect_err("it holds another state");
        assert!(refused.contains("another state"), "{refused}");
    }
}
