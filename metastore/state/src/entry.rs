//! One append to the commit log: what it carries beside its commands is the evidence by which
//! every replica decides whether to take it.

use minicbor::{Decode, Encode};
use tarn_model::{ClusterId, Generation, Hash, Monotonic, SessionId, Timestamp};

use crate::{Command, FeatureLevel};

/// One append.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Entry {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub generation: Generation,
    #[n(2)]
    pub session: SessionId,
    /// 1 for OpenSession, then one more each time.
    #[n(3)]
    pub sequence: u64,
    /// Hash of the bytes of this session's previous entry; zero for the first.
    #[n(4)]
    pub previous: Hash,
    /// How far the proposer had applied the log when it wrote this …
    #[n(5)]
    pub applied: u64,
    /// … and its log hash there.
    #[n(6)]
    pub applied_hash: Hash,
    #[n(7)]
    pub wall: Timestamp,
    #[n(8)]
    pub monotonic: Monotonic,
    /// False when the proposer found its own wall clock wrong.
    #[n(9)]
    pub votes: bool,
    /// The level that a replica needs to apply this.
    #[n(10)]
    pub level: FeatureLevel,
    /// What the proposer's fold gave at an earlier place, for others to compare.
    #[n(11)]
    pub observed: Option<Observed>,
    #[n(12)]
    pub proposals: Vec<Proposal>,
}

/// A replica's rolling outcome hash at `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Observed {
    #[n(0)]
    pub n: u64,
    #[n(1)]
    pub outcome_hash: Hash,
}

/// Commands that are applied all or none.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(transparent)]
pub struct Proposal {
    #[n(0)]
    pub commands: Vec<Command>,
}

impl Proposal {
    pub fn of(commands: Vec<Command>) -> Proposal {
        Proposal { commands }
    }
}
