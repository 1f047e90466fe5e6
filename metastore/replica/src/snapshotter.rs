//! Writes state snapshots and trims the log to them.
//!
//! Holds: a snapshot gets a fresh name, is read back, hashed and decoded again before it becomes the
//! floor; the log is trimmed only up to where the archive covers it. Three snapshots are kept, and the
//! archive from the oldest of them on: what is older is deleted after each trim. The larger the state,
//! the more entries go into one snapshot of it, so that what is written stays a part of what was
//! appended. A snapshot is written from a view, so applying goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tarn_commit_log::{LogError, SnapshotRef};
use tarn_model::{ByteSize, Generation, Hash, Lsn};
use tarn_runtime::{Scope, TaskError, gauge, step};
use tarn_store::{Path, Store, StoreError, paths};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::follower::{LoadError, decode, sha256};
use crate::keeper::minds_the_log;
use crate::outcome::View;
use crate::shared::{Shared, Trimmed};

/// Snapshots that are kept.
const KEPT: usize = 3;
/// A snapshot is due when entries of this part of the last one's size were appended …
const GROWTH_PART: u64 = 4;
/// … or this many times the entries after which a small one is due: each of them is replayed.
const ENTRIES_FACTOR: u64 = 10;
/// Objects per listing, and per deletion.
const LIST_MAX: usize = 1000;
/// Pause after a failure; it doubles up to the second, for each attempt writes another object.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Largest state snapshot: what one put of the store takes.
const SNAPSHOT_BYTES_MAX: ByteSize = ByteSize::gib(4);
/// Up to this size a snapshot that was read back is compared with the state it was written from; of a
/// larger one the hash of its bytes has to do.
const COMPARED_BYTES_MAX: ByteSize = ByteSize::mib(64);

/// No state snapshot was made, or the log was not trimmed to it.
#[derive(Debug, thiserror::Error)]
enum SnapshotterError {
    #[error("the state snapshot has {size} bytes, more than {SNAPSHOT_BYTES_MAX}")]
    TooLarge { size: u64 },
    #[error("the state snapshot {path} reads as other bytes")]
    OtherBytes { path: String },
    #[error("the state snapshot {path} reads as another state than it was written from")]
    OtherState { path: String },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("nothing is archived any more: this process ends")]
    Ends,
}

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
                let made = self.snapshot(view, scope).await;
                self.shared
                    .snapshot_fails
                    .store(made.is_err(), Ordering::Relaxed);
                match made {
                    Ok(()) => pause = PAUSE,
                    Err(error) => {
                        self.shared.metrics.snapshot_failures.inc();
                        warn!(%error, "no state snapshot was made, trying again");
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
        let last = self.shared.metrics.snapshot_bytes.get();
        self.is_enough(entries, bytes, last)
    }

    /// Are so many entries, and bytes of them, enough after a snapshot of this size?
    fn is_enough(&self, entries: u64, bytes: u64, last: u64) -> bool {
        let grown = bytes >= last / GROWTH_PART;
        let many = entries >= self.snapshot_entries || bytes >= self.snapshot_bytes.0;
        let too_many = entries >= self.snapshot_entries.saturating_mul(ENTRIES_FACTOR);
        entries > 0 && ((many && grown) || too_many)
    }

    fn is_mine(&self, view: &View) -> bool {
        let identity = *self.shared.identity.borrow();
        identity.is_some_and(|identity| minds_the_log(view, identity))
    }

    /// Writes a snapshot of this view and trims the log to it, unless another process minds the log
    /// by then.
    async fn snapshot(&self, view: View, scope: &Scope) -> Result<(), SnapshotterError> {
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
        let garbage = match prune(&self.shared.store, lsn).await {
            Ok(()) => 0,
            Err((left, error)) => {
                warn!(%error, "old state snapshots, or what was archived before them, could not be deleted");
                left
            }
        };
        self.shared.metrics.snapshot_garbage.set(gauge(garbage));
        Ok(())
    }

    /// A snapshot of this view, read back and found to be it.
    async fn write(&self, view: View, scope: &Scope) -> Result<SnapshotRef, SnapshotterError> {
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
        let (bytes, hash) = encoded.await?;
        let size = bytes.len() as u64;
        if size > SNAPSHOT_BYTES_MAX.0 {
            return Err(SnapshotterError::TooLarge { size });
        }
        let path = paths::snapshot(lsn, runtime.random().u64());
        let store = store.for_bytes(size);
        store.put_if_absent(&path, bytes).await?;
        step!(runtime, "snapshot.written");

        let read = store.get(&path).await?;
        let name = path.to_string();
        let verified = scope.blocking("verify-snapshot", move || verify(&name, &read, hash, &view));
        verified.await??;
        metrics.snapshots.inc();
        metrics.snapshot_bytes.set(size);
        step!(runtime, "snapshot.verified");
        Ok(SnapshotRef {
            path: path.to_string(),
            hash,
        })
    }

    /// Waits until the archive covers the log up to there; false if that is no longer ours to wait for.
    async fn is_archived(&self, lsn: Lsn) -> Result<bool, SnapshotterError> {
        let mut archived = self.shared.archived.subscribe();
        loop {
            if *archived.borrow_and_update() >= lsn.n {
                return Ok(true);
            }
            tokio::select! {
                biased;
                changed = archived.changed() => changed.map_err(|_| SnapshotterError::Ends)?,
                () = sleep(PAUSE) => {
                    if !self.is_mine(&self.shared.view()) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Trims until the log answers; false if that is no longer ours to do.
    async fn trim(&self, lsn: Lsn, snapshot: SnapshotRef) -> Result<bool, SnapshotterError> {
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
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Are these bytes the snapshot of this hash, and do they read as this view?
fn verify(path: &str, read: &Bytes, hash: Hash, view: &View) -> Result<(), SnapshotterError> {
    if read.len() as u64 > COMPARED_BYTES_MAX.0 {
        // A second state of that size would be too much beside the first.
        let is_whole = sha256(read) == hash;
        return is_whole
            .then_some(())
            .ok_or_else(|| SnapshotterError::OtherBytes { path: path.into() });
    }
    let state = decode(path, read, hash, view.cluster, view.lsn(), view.level)?;
    if state != **view {
        return Err(SnapshotterError::OtherState { path: path.into() });
    }
    Ok(())
}

/// Deletes all but the newest snapshots, and what is archived of the log below the oldest of those.
/// What the floor names is kept: it is among the newest. After an error it says how many snapshots
/// are left over.
async fn prune(store: &Store, floor: Lsn) -> Result<(), (u64, StoreError)> {
    let folder = paths::snapshots(floor.generation);
    let mut found: Vec<(u64, Path)> = Vec::new();
    loop {
        let after = found.last().map(|(_, path)| path.clone());
        let page = store.list(&folder, after.as_ref(), LIST_MAX).await;
        let page = page.map_err(|error| (0, error))?;
        let is_last = page.len() < LIST_MAX;
        found.extend(page.into_iter().filter_map(|listed| {
            let (lsn, _) = paths::parse_snapshot(&listed.path)?;
            Some((lsn.n, listed.path))
        }));
        if is_last {
            break;
        }
    }
    // Others may have written newer ones, and not trimmed to them yet.
    let newer = found.iter().filter(|(n, _)| *n >= floor.n).count();
    let kept = found.split_off(found.len().saturating_sub(KEPT.max(newer)));
    let mut left = found.len() as u64;
    for page in found.chunks(LIST_MAX) {
        let page: Vec<Path> = page.iter().map(|(_, path)| path.clone()).collect();
        let deleted = store.delete_all(&page).await;
        deleted.map_err(|error| (left, error))?;
        left -= page.len() as u64;
    }
    let Some((oldest, _)) = kept.first().filter(|_| kept.len() >= KEPT) else {
        return Ok(());
    };
    prune_archive(store, floor.generation, *oldest)
        .await
        .map_err(|error| (0, error))
}

/// Deletes the archive's objects that hold nothing above `n`.
async fn prune_archive(store: &Store, generation: Generation, n: u64) -> Result<(), StoreError> {
    loop {
        let page = store
            .list(&paths::archive(generation), None, LIST_MAX)
            .await?;
        let is_last = page.len() < LIST_MAX;
        let old: Vec<Path> = page
            .into_iter()
            .map(|listed| listed.path)
            .filter(|path| paths::parse_archive_chunk(path).is_some_and(|(_, _, last)| last <= n))
            .collect();
        store.delete_all(&old).await?;
        if is_last || old.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, ProducerId};
    use tarn_state::State;

    use super::*;

    #[tokio::test]
    async fn three_snapshots_stay_and_the_archive_from_the_oldest_on() {
        let runtime = tarn_runtime::Runtime::real();
        let store = Store::memory(&runtime);
        let generation = Generation::FIRST;
        let put = async |path: Path| {
            let put = store.put(&path, Bytes::new()).await;
            put.expect("nothing fails here");
        };
        for n in [10, 20, 30, 40, 50] {
            put(paths::snapshot(Lsn::new(generation, n), n)).await;
        }
        for first in [1, 11, 21, 31, 41] {
            put(paths::archive_chunk(generation, first, first + 9)).await;
        }
        // One that reaches beyond is kept.
        put(paths::archive_chunk(generation, 25, 35)).await;
        let pruned = prune(&store, Lsn::new(generation, 50)).await;
        pruned.expect("nothing fails here");
        let listed = store.list(&Path::from(""), None, 100).await;
        let left: Vec<(u64, u64)> = listed
            .expect("it lists")
            .iter()
            .filter_map(|listed| {
                let snapshot = paths::parse_snapshot(&listed.path).map(|(lsn, _)| (0, lsn.n));
                let chunk = paths::parse_archive_chunk(&listed.path);
                snapshot.or(chunk.map(|(_, first, last)| (first, last)))
            })
            .collect();
        assert_eq!(
            left,
            [(25, 35), (31, 40), (41, 50), (0, 30), (0, 40), (0, 50)]
        );
        // An older floor than what is there: nothing that others may name next goes.
        for n in [60, 70, 80, 90] {
            put(paths::snapshot(Lsn::new(generation, n), n)).await;
        }
        let pruned = prune(&store, Lsn::new(generation, 50)).await;
        pruned.expect("nothing fails here");
        let left = store.list(&paths::snapshots(generation), None, 100).await;
        assert_eq!(left.expect("it lists").len(), 5);
    }

    #[test]
    fn a_snapshot_that_lacks_something_of_its_view_is_refused() {
        let state = State::new(ClusterId::from_u128(1));
        let bytes = Bytes::from(state.to_snapshot());
        let hash = sha256(&bytes);
        let verify = |state: State| verify("snapshots/x", &bytes, hash, &Arc::new(state));
        verify(state.clone()).expect("it reads as it was written");
        let more = State {
            next_producer: ProducerId(9),
            ..state
        };
        let refused = verify(more).expect_err("it holds another state");
        assert!(
            matches!(refused, SnapshotterError::OtherState { .. }),
            "{refused}"
        );
    }
}
