//! The contract of the commit log: one order of entries, shared by every process of a cluster.
//!
//! Always holds, over every implementation (`contract.rs` checks it):
//! - entries of a generation stand at n = 1, 2, 3 … without holes, and an entry never changes;
//! - an append that returned `Ok` is durable and in the order, below or at every later `end()`;
//! - the **floor** F is the last Lsn that the state snapshot named with it covers; it only rises,
//!   ordered by (generation, n), and it is recorded before any entry at or below it is removed.
//!
//! Leaves to others: what the bytes mean, sessions and sequence checks (`apply`), whether a copy of an
//! entry counts. **A proposer learns its outcome only by seeing its (session, sequence) in `follow` or
//! in a snapshot**: the log may hold one (session, sequence) twice, `apply` takes it once.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use minicbor::{Decode, Encode};
use tarn_model::{Fate, Generation, Hash, Kind, Lsn, SessionId};

/// One entry to append. The log reads the first three fields and carries the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The node session that proposes it.
    pub session: SessionId,
    /// Its number within that session, from 1. (session, sequence) is the key that makes a repeated
    /// append harmless.
    pub sequence: u64,
    /// The last n of this generation that the proposer has applied. An implementation that finds the
    /// log shorter than that refuses: the log went back.
    pub applied_n: u64,
    pub bytes: Bytes,
}

/// An entry as `follow` yields it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    pub lsn: Lsn,
    pub bytes: Bytes,
}

/// The state snapshot that a floor stands on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotRef {
    /// Its object, as `store::paths` spells it.
    #[n(0)]
    pub path: String,
    /// SHA-256 of its bytes.
    #[n(1)]
    pub hash: Hash,
}

/// Where a new process begins: load the snapshot, then follow after `lsn`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Floor {
    /// The last Lsn the snapshot covers; n = 0 at the start of a generation.
    #[n(0)]
    pub lsn: Lsn,
    /// `None` only while nothing was ever trimmed in a cluster's first generation.
    #[n(1)]
    pub snapshot: Option<SnapshotRef>,
}

impl Floor {
    /// The floor of a log that was never trimmed.
    pub const START: Floor = Floor {
        lsn: Lsn::START,
        snapshot: None,
    };
}

/// The ordered log of one cluster, as one process sees it. Share it as `Arc<dyn CommitLog>`.
#[async_trait]
pub trait CommitLog: Send + Sync + Debug {
    /// The generation this process works in. It never changes: when the cluster is recovered to a new
    /// one, every call says so (`Trimmed` or `Superseded` with a floor of that generation).
    fn generation(&self) -> Generation;

    /// Durable and in the order when it returns. It returns no Lsn: see the head of this file.
    ///
    /// It repeats an unknown write by itself until its own deadline (`Settings::append_deadline`), so
    /// `Unknown` means that storage did not tell for that long; appending the same entry again is then
    /// right. `AppendError::fate` is `NotDone` only if this call sent nothing that can ever take effect;
    /// of earlier calls with the same entry it knows nothing. **Dropping the future leaves the fate
    /// unknown.** Calls may overlap, but each process does better with one in flight.
    async fn append(&self, entry: LogEntry) -> Result<(), AppendError>;

    /// A cursor that yields the entries after `after`, in order. Opening it asks nothing of storage:
    /// errors come from the first `next_batch`.
    fn follow(&self, after: Lsn) -> Box<dyn Follower>;

    /// Linearizable: at least every append that was complete before the call began.
    ///
    /// After a start it is compared with the archive and the snapshots: less than those means that the
    /// log went back. A log that holds nothing above its floor answers the floor.
    async fn end(&self) -> Result<Lsn, LogError>;

    /// Records the floor, then removes the entries at or below it. A lower floor than the recorded one
    /// changes nothing and is no error. When it returns `Ok` the floor is recorded; entries that could
    /// not be removed yet are removed by a later trim.
    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError>;

    /// The recorded floor; `Floor::START` in a log that was never trimmed.
    async fn floor(&self) -> Result<Floor, LogError>;

    /// A hint: somebody waits for news. A log that polls does so at once and goes back to its shortest
    /// pause; others ignore it. Own appends and `end()` wake by themselves.
    fn wake(&self);
}

/// A cursor over the log.
#[async_trait]
pub trait Follower: Send + Debug {
    /// Waits for at least one entry and returns what is at hand, in order and without a hole, at most
    /// `max` (at least 1). Waits as long as nothing comes. Dropping the future loses nothing: the next
    /// call yields the same entries.
    ///
    /// After an error the cursor stands where it stood. `Unavailable` may be called again.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError>;

    /// The last Lsn yielded, or where the cursor began.
    fn position(&self) -> Lsn;

    /// The next entry.
    async fn next(&mut self) -> Result<Followed, FollowError> {
        let mut batch = self.next_batch(1).await?;
        Ok(batch.pop().expect("a batch holds at least one entry"))
    }
}

/// An append did not return `Ok`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Nothing was sent by this call, or storage refused it for certain (no space, no permission). It
    /// says nothing of earlier calls with the same entry.
    #[error("the entry was not sent: {reason}")]
    NotSent { reason: String },
    /// The entry itself cannot be appended: too large, or a sequence of 0. Nothing was sent.
    #[error("the entry is invalid: {reason}")]
    Invalid { reason: String },
    /// Sent, and storage did not tell what became of it. Append the same entry again.
    #[error("the fate of the entry is unknown: {reason}")]
    Unknown { reason: String },
    /// The log was trimmed past the place where the entry may stand, so only the snapshot can tell:
    /// load it and decide. Its generation may be a later one; then this process must stop.
    #[error("the log was trimmed to {} while the entry was on its way", .floor.lsn)]
    Trimmed { floor: Floor },
    /// The log ends before what this proposer has applied: it was restored from an older copy or wiped.
    #[error("the log went back: it ends at {end}, but n = {applied_n} was applied")]
    WentBack { end: Lsn, applied_n: u64 },
    /// Storage holds bytes that the log did not write, so where it ends cannot be told.
    #[error("the log is corrupt: {reason}")]
    Corrupt { reason: String },
}

impl AppendError {
    pub fn fate(&self) -> Fate {
        match self {
            AppendError::NotSent { .. } | AppendError::Invalid { .. } => Fate::NotDone,
            // Of the last two too: an earlier attempt with the same key may have been applied.
            AppendError::Unknown { .. }
            | AppendError::Trimmed { .. }
            | AppendError::WentBack { .. }
            | AppendError::Corrupt { .. } => Fate::Unknown,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            AppendError::NotSent { .. } | AppendError::Unknown { .. } => Kind::Unavailable,
            AppendError::Invalid { .. } => Kind::Invalid,
            AppendError::Trimmed { .. } => Kind::Conflict,
            AppendError::WentBack { .. } | AppendError::Corrupt { .. } => Kind::Corrupt,
        }
    }
}

/// `end`, `floor` or `trim` failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Storage did not answer in time. A trim may have recorded its floor; trimming again is right.
    #[error("the log does not answer: {reason}")]
    Unavailable { reason: String },
    /// Storage holds bytes that the log did not write.
    #[error("the log is corrupt: {reason}")]
    Corrupt { reason: String },
    /// The credentials may not do this.
    #[error("the log refuses: {reason}")]
    Denied { reason: String },
    /// The cluster was recovered to a later generation: this process must stop.
    #[error("the log was recovered to generation {}", .floor.lsn.generation)]
    Superseded { floor: Floor },
    /// The log ends before what this process has seen of it: restored from an older copy, or wiped.
    #[error("the log went back: it ends at {end}, but {seen} was seen")]
    WentBack { end: Lsn, seen: Lsn },
    /// A trim beyond the end, or of another generation than the log's.
    #[error("the trim is invalid: {reason}")]
    Invalid { reason: String },
}

impl LogError {
    pub fn kind(&self) -> Kind {
        match self {
            LogError::Unavailable { .. } => Kind::Unavailable,
            LogError::Corrupt { .. } | LogError::WentBack { .. } => Kind::Corrupt,
            LogError::Denied { .. } => Kind::Denied,
            LogError::Superseded { .. } => Kind::Fenced,
            LogError::Invalid { .. } => Kind::Invalid,
        }
    }

    /// What became of a trim. Raising a floor twice is harmless, so nobody has to act on it.
    pub fn fate(&self) -> Fate {
        match self {
            LogError::Invalid { .. } | LogError::Denied { .. } | LogError::Superseded { .. } => {
                Fate::NotDone
            }
            LogError::Unavailable { .. } | LogError::Corrupt { .. } | LogError::WentBack { .. } => {
                Fate::Unknown
            }
        }
    }
}

/// A follower cannot go on from where it stands.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FollowError {
    /// The next entry is gone: load the floor's snapshot and follow after it. If the floor's
    /// generation is a later one, this process must stop.
    #[error("the log was trimmed to {}", .floor.lsn)]
    Trimmed { floor: Floor },
    /// Storage does not answer; call again. Followers of the polled log retry by themselves first.
    #[error("the log does not answer: {reason}")]
    Unavailable { reason: String },
    /// An entry is missing or is not what was written. Never skipped.
    #[error("the log is corrupt at {at}: {reason}")]
    Corrupt { at: Lsn, reason: String },
    /// The log ends before this follower's position: restored from an older copy, or wiped.
    #[error("the log went back: it ends at {end}, but {position} was followed")]
    WentBack { end: Lsn, position: Lsn },
}

impl FollowError {
    pub fn kind(&self) -> Kind {
        match self {
            FollowError::Trimmed { .. } => Kind::Conflict,
            FollowError::Unavailable { .. } => Kind::Unavailable,
            FollowError::Corrupt { .. } | FollowError::WentBack { .. } => Kind::Corrupt,
        }
    }
}
