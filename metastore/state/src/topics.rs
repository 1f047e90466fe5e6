//! Topics with their partitions, segments and producers, and what is left of those that are deleted.

mod allocate_producer_id;
mod alter_topic_configs;
mod commit_segment;
mod create_partitions;
mod create_topic;
mod delete_records;
mod delete_topic;
mod invariants;
mod leftovers;
mod outcome;
mod producers;
mod refusal;
mod section;
mod types;
mod window;

pub use leftovers::GroupCursor;
pub use outcome::BatchOutcome;
pub use producers::{Producer, RememberedBatch};
pub use refusal::TopicRefusal;
pub(crate) use section::SECTIONS;
pub use types::{Extent, Partition, Position, Segment, Topic, extents_from, past_commit_deadline};
pub use window::Window;

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::allocate_producer_id::AllocateProducerId;
    pub use super::alter_topic_configs::{AlterTopicConfigs, ConfigChange};
    pub use super::commit_segment::{CommitMode, CommitSegment, NewBatch, NewExtent};
    pub use super::create_partitions::CreatePartitions;
    pub use super::create_topic::CreateTopic;
    pub use super::delete_records::{DeleteRecords, RecordsBelow};
    pub use super::delete_topic::DeleteTopic;
    pub use super::producers::ProducerStamp;
}
