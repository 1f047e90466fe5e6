//! Why a command about topics and their segments refused its proposal; wire codes are chosen from these.

use minicbor::{Decode, Encode};
use tarn_model::{PartitionId, SegmentId, TopicId};

use super::outcome::BatchOutcome;

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum TopicRefusal {
    #[error("topic {0} exists already")]
    #[n(0)]
    TopicExists(#[n(0)] String),
    #[error("there is no topic {0}")]
    #[n(1)]
    NoSuchTopic(#[n(0)] TopicId),
    #[error("there is no partition {1} of topic {0}")]
    #[n(2)]
    NoSuchPartition(#[n(0)] TopicId, #[n(1)] PartitionId),
    #[error("topic name {name:?} is not allowed: {why}")]
    #[n(3)]
    InvalidTopicName {
        #[n(0)]
        name: String,
        #[n(1)]
        why: String,
    },
    #[error("a topic has between 1 and {max} partitions and never fewer than before")]
    #[n(4)]
    InvalidPartitions {
        #[n(0)]
        max: i32,
    },
    #[error("config {name}: {why}")]
    #[n(5)]
    InvalidConfig {
        #[n(0)]
        name: String,
        #[n(1)]
        why: String,
    },
    /// Fate: not done. The same batches may go up again under a fresh id.
    #[error("segment {0} is older than its commit deadline")]
    #[n(6)]
    SegmentTooOld(#[n(0)] SegmentId),
    #[error("segment {0} was committed before")]
    #[n(7)]
    SegmentKnown(#[n(0)] SegmentId),
    #[error("the segment's description contradicts itself: {0}")]
    #[n(8)]
    SegmentInvalid(#[n(0)] String),
    /// Of a segment with `mode = all`.
    #[error("batch {batch} of extent {extent}: {outcome:?}")]
    #[n(9)]
    BatchRefused {
        #[n(0)]
        extent: u32,
        #[n(1)]
        batch: u32,
        #[n(2)]
        outcome: BatchOutcome,
    },
}
