//! Follows the commit log and owns the state: the only task that applies.
//!
//! Holds: entries are applied in the log's order without a hole; a view is published once per batch of
//! entries, of at most 10 ms of work, so that a burst costs few clones of the state; every view
//! goes to the proposer together with what became of this process's own entries in it, after it was
//! published. A replica that was away past a trim loads the floor's snapshot and goes on by itself.
//! What must not be applied stops the process, with what is known.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tarn_commit_log::{Floor, FollowError, Followed, SnapshotRef};
use tarn_model::{ClusterId, Generation, Hash, Kind, Lsn};
use tarn_runtime::{Scope, gauge};
use tarn_state::{Applied, ApplyError, FeatureLevel, SnapshotError, State};
use tarn_store::{Path, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::archive::Recent;
use crate::fold::Fold;
use crate::outcome::View;
use crate::shared::{Shared, Trimmed, with_places};

/// Work between two published views.
const WORK_MAX: Duration = Duration::from_millis(10);
/// Entries taken from the log at once.
const BATCH_MAX: usize = 256;
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A view that was published, as the proposer is told of it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) view: View,
    /// What became of this process's own entries between the view before and this one.
    pub(crate) own: Vec<(Lsn, Applied)>,
    /// The view came from a snapshot: own entries may have been applied without being seen.
    pub(crate) jumped: bool,
}

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fold: Fold,
    pub(crate) progress: mpsc::Sender<Progress>,
    pub(crate) recent: Arc<Recent>,
}

impl Follower {
    pub(crate) async fn run(mut self, scope: Scope) {
        let stopped = Arc::clone(&self.shared).when_stopped();
        let draining = scope.stopped();
        tokio::select! {
            biased;
            () = draining => {}
            _ = stopped => {}
            why = self.follow(&scope) => self.shared.stop(why),
        }
    }

    /// Goes on until it cannot; answers why.
    async fn follow(&mut self, scope: &Scope) -> String {
        let mut cursor = self.shared.log.follow(self.fold.state().lsn());
        let mut pause = PAUSE;
        loop {
            match cursor.next_batch(BATCH_MAX).await {
                Ok(batch) => {
                    pause = PAUSE;
                    if let Err(error) = self.apply(batch).await {
                        return error.to_string();
                    }
                }
                Err(FollowError::Trimmed { floor }) => {
                    if let Err(error) = self.jump(floor, scope).await {
                        return error.to_string();
                    }
                    cursor = self.shared.log.follow(self.fold.state().lsn());
                }
                Err(FollowError::Unavailable { reason }) => {
                    warn!(reason, "the commit log does not answer, following again");
                    sleep(self.shared.runtime.random().jitter(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error @ FollowError::WentBack { .. }) => {
                    return with_places(&error, self.fold.state().generation);
                }
                Err(error @ FollowError::Corrupt { .. }) => return error.to_string(),
            }
        }
    }

    async fn apply(&mut self, batch: Vec<Followed>) -> Result<(), ApplyError> {
        let mut began = Instant::now();
        let mut own = Vec::new();
        for followed in batch {
            let lsn = followed.lsn;
            match self.fold.apply(lsn, &followed.bytes) {
                Ok(applied) => {
                    let bytes = followed.bytes.len() as u64;
                    self.shared.entry_bytes.fetch_add(bytes, Ordering::Relaxed);
                    self.shared.metrics.entries.inc();
                    self.shared.metrics.entry_bytes.inc_by(bytes);
                    let ticks_only = applied.outcomes.as_ref().map_or(true, Vec::is_empty);
                    self.recent.push(followed, ticks_only);
                    if self
                        .shared
                        .own
                        .lock()
                        .expect("nobody panics while holding it")
                        .contains(&applied.session)
                    {
                        own.push((lsn, applied));
                    }
                }
                Err(error) => {
                    // What came before it is applied and may be seen.
                    self.publish(std::mem::take(&mut own), false).await;
                    return Err(error);
                }
            }
            if began.elapsed() >= WORK_MAX {
                self.publish(std::mem::take(&mut own), false).await;
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
        self.publish(own, false).await;
        Ok(())
    }

    async fn publish(&mut self, own: Vec<(Lsn, Applied)>, jumped: bool) {
        if self.shared.views.borrow().lsn() >= self.fold.state().lsn() {
            return;
        }
        let view = self.fold.cut();
        self.shared.views.send_replace(Arc::clone(&view));
        self.shared.metrics.applied.set(gauge(view.n));
        self.shared.metrics.views.inc();
        // Without a proposer (it drained, or has not started) nobody waits for outcomes.
        let _ = self.progress.send(Progress { view, own, jumped }).await;
    }

    /// The next entry is gone: takes the state of the floor, or of a later one.
    async fn jump(&mut self, mut floor: Floor, scope: &Scope) -> Result<(), JumpError> {
        let mut pause = PAUSE;
        loop {
            if floor.lsn.generation != self.fold.state().generation {
                return Err(JumpError::Superseded {
                    generation: floor.lsn.generation,
                    at: self.fold.state().lsn(),
                });
            }
            if floor.lsn.n <= self.fold.state().n {
                // Nothing is missing here. Not at once: a log that says so again must not spin.
                sleep(self.shared.runtime.random().jitter(PAUSE)).await;
                return Ok(());
            }
            match load(
                &self.shared.store,
                scope,
                self.fold.state().cluster,
                &floor,
                self.shared.level_max,
            )
            .await
            {
                Ok(state) => {
                    info!(from = %self.fold.state().lsn(), to = %state.lsn(), "the log was trimmed past this replica: went on from the snapshot");
                    self.fold = Fold::new(state, self.shared.level_max);
                    self.recent.clear();
                    *self
                        .shared
                        .trimmed
                        .lock()
                        .expect("nobody panics while holding it") = Trimmed {
                        n: floor.lsn.n,
                        entry_bytes: self.shared.entry_bytes.load(Ordering::Relaxed),
                    };
                    self.shared.metrics.jumps.inc();
                    self.publish(Vec::new(), true).await;
                    return Ok(());
                }
                Err(LoadError::Store(error))
                    if error.kind().is_retriable() || error.kind() == Kind::NotFound =>
                {
                    // NotFound: the floor has moved on meanwhile, and its snapshot may be gone.
                    warn!(%error, floor = %floor.lsn, "the floor's snapshot cannot be read, trying again");
                    sleep(self.shared.runtime.random().jitter(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    if let Ok(newer) = self.shared.log.floor().await {
                        floor = newer;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A replica that the log was trimmed past cannot go on from the floor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JumpError {
    #[error(
        "the cluster was recovered to generation {generation} while this process was at {at}: start it again"
    )]
    Superseded { generation: Generation, at: Lsn },
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The floor's snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the state snapshot could not be read: {0}")]
    Store(#[from] StoreError),
    #[error(
        "the state snapshot {path} is not the one the floor names: its hash is {found}, expected {expected}"
    )]
    Hash {
        path: String,
        found: Hash,
        expected: Hash,
    },
    #[error("the state snapshot {path} was refused: {source}")]
    Refused { path: String, source: SnapshotError },
    #[error("the state snapshot {path} covers {found}, the floor is {floor}")]
    OtherLsn {
        path: String,
        found: Lsn,
        floor: Lsn,
    },
    #[error("the floor {floor} names no state snapshot, or a name that is none")]
    NoSnapshot { floor: Lsn },
    #[error("this process ends")]
    Ends,
}

/// Reads a floor's snapshot and checks that it is the one that was named.
pub(crate) async fn load(
    store: &Store,
    scope: &Scope,
    cluster: ClusterId,
    floor: &Floor,
    level_max: FeatureLevel,
) -> Result<State, LoadError> {
    let no_snapshot = || LoadError::NoSnapshot { floor: floor.lsn };
    let SnapshotRef { path, hash } = floor.snapshot.clone().ok_or_else(no_snapshot)?;
    let object = Path::parse(&path).map_err(|_| no_snapshot())?;
    let size = store.head(&object).await?.size;
    let bytes = store.for_bytes(size).get(&object).await?;
    let expected = hash;
    let lsn = floor.lsn;
    let decoded = scope
        .blocking("load-snapshot", move || {
            decode(&path, &bytes, expected, cluster, lsn, level_max)
        })
        .await;
    decoded.map_err(|_| LoadError::Ends)?
}

/// The state in these bytes, if they are the snapshot of this hash at this Lsn.
pub(crate) fn decode(
    path: &str,
    bytes: &Bytes,
    expected: Hash,
    cluster: ClusterId,
    lsn: Lsn,
    level_max: FeatureLevel,
) -> Result<State, LoadError> {
    let path = path.to_owned();
    let found = sha256(bytes);
    if found != expected {
        return Err(LoadError::Hash {
            path,
            found,
            expected,
        });
    }
    match State::from_snapshot_up_to(level_max, bytes, cluster) {
        Ok(state) if state.lsn() == lsn => Ok(state),
        Ok(state) => Err(LoadError::OtherLsn {
            path,
            found: state.lsn(),
            floor: lsn,
        }),
        Err(source) => Err(LoadError::Refused { path, source }),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}
