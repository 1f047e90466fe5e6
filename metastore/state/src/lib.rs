//! The state of a cluster and the pure fold that makes it: `apply(State, Lsn, Entry)`.
//!
//! Holds: equal entries give equal states, outcomes and hashes, in every process and every build
//! that claims the level. There is no clock, no chance, no I/O and no dependence on hash order in
//! this crate; time arrives in the entry. Everything in [`State`] is a persistent map or small, so
//! that a clone costs a few pointers and a view can be held for as long as anybody likes.

pub mod advice;
mod apply;
mod command;
mod context;
mod entry;
mod groups;
mod invariants;
mod level;
mod outcome;
mod refusal;
#[cfg(debug_assertions)]
mod rehearsal;
mod schemas;
mod sessions;
mod snapshot;
mod state;
mod tables;
mod tasks;
mod topics;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod properties;

pub use apply::{Agreement, Applied, ApplyError, Ignored, Spoiled};
pub use command::{Command, CommandKind};
pub use context::{Context, SessionContext};
pub use entry::{Entry, Observed, Proposal};
pub use groups::{
    BroughtByMember, CommittedOffset, Group, GroupMember, GroupRefusal, is_metadata_too_long,
};
pub use invariants::BrokenInvariant;
pub use level::FeatureLevel;
pub use outcome::{Outcome, ProposalOutcome};
pub use refusal::Refusal;
#[cfg(debug_assertions)]
pub use rehearsal::Rehearse;
pub use schemas::{
    Compatibility, ResolvedReference, Schema, SchemaRefusal, Subject, referenced_schemas,
};
pub use sessions::{
    Advertised, Agent, ClockTrust, KnownNode, Rival, Session, SessionRefusal, Tombstone,
};
pub use snapshot::section::SnapshotError;
pub use state::State;
pub use tables::{
    Counters, EventTime, PlainTable, SqlView, Table, TableKind, TableName, TableRefusal, TopicTable,
};
pub use tarn_model::{names as topic_names, topic_configs};
pub use tasks::{Claim, ClaimEpoch, TaskRefusal};
pub use topics::{
    BatchOutcome, Extent, GroupCursor, Partition, Position, Producer, RememberedBatch, Segment,
    Topic, TopicRefusal, Window, extents_from, past_commit_deadline,
};

/// What a proposal is made of. Each is a file of its area, with its bytes and its `apply`.
pub mod commands {
    pub use crate::groups::commands::*;
    pub use crate::schemas::commands::*;
    pub use crate::sessions::commands::*;
    pub use crate::tables::commands::*;
    pub use crate::tasks::commands::*;
    pub use crate::topics::commands::*;
}
