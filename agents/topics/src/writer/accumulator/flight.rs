//! A segment from its first batch to its commit: open, closed, uploading, uploaded, committing.

use std::collections::BTreeMap;

use tarn_model::TopicPartition;
use tokio::time::Instant;

use super::super::Ticket;
use super::super::upload::Uploaded;
use super::Pending;
use super::producers::Stamp;

/// The open segment, or one that waits for its upload.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) partitions: BTreeMap<TopicPartition, Vec<Pending>>,
    pub(super) bytes: u64,
    /// An upper bound of its encoded commit, without what every commit has.
    pub(super) commit_bytes: u64,
    pub(super) since: Option<Instant>,
}

/// A segment on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) partitions: BTreeMap<TopicPartition, Vec<Sent>>,
    pub(super) commit_bytes: u64,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    Uploading,
    Uploaded(Uploaded),
    Committing,
}

/// What is left of a batch once its bytes are in the segment.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) stamp: Option<Stamp>,
    pub(super) bytes: u64,
    pub(super) offsets: u64,
}
