//! The state of a cluster and the pure fold that makes it: `apply(State, Lsn, Entry)`.
//!
//! Holds: equal entries give equal states, outcomes and hashes, in every process and every build
//! that claims the level. There is no clock, no chance, no I/O and no dependence on hash order in
//! this crate; time arrives in the entry. Everything in [`State`] is a persistent map or small, so
//! that a clone costs a few pointers and a view can be held for as long as anybody likes.

pub mod advice;
mod apply;
mod columns;
mod command;
pub mod commands;
mod context;
mod entry;
mod groups;
mod invariants;
mod leftovers;
mod level;
mod nesting;
mod producers;
mod schemas;
mod sessions;
mod snapshot;
mod state;
mod tables;
mod topics;
mod window;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod properties;

pub use apply::{Agreement, Applied, ApplyError, Ignored, Spoiled};
pub use command::{Command, Outcome, ProposalOutcome, Refusal};
pub use context::{Context, SessionContext};
pub use entry::{Entry, Observed, Proposal};
pub use groups::{BroughtByMember, CommittedOffset, Group, GroupMember, is_metadata_too_long};
pub use invariants::BrokenInvariant;
pub use leftovers::GroupCursor;
pub use level::FeatureLevel;
pub use producers::{Producer, RememberedBatch};
pub use schemas::{Compatibility, Schema, Subject};
pub use sessions::{Advertised, ClockTrust, Session, Tombstone};
pub use snapshot::SnapshotError;
pub use state::State;
pub use tables::{Counters, EventTime, FIRST_PAYLOAD_FIELD_ID, Table, TableColumnsError};
pub use topics::{Extent, Partition, Position, Segment, Topic, is_internal, past_commit_deadline};
pub use window::Window;
