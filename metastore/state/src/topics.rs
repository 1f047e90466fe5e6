//! Topics with their partitions, segments and producers, and what is left of those that are deleted.

mod allocate_producer_id;
mod alter_topic_configs;
mod commit_segment;
pub mod configs;
mod create_partitions;
mod create_topic;
mod delete_records;
mod delete_topic;
mod leftovers;
pub mod names;
mod outcome;
mod producers;
mod refusal;
mod types;
mod window;

pub use allocate_producer_id::AllocateProducerId;
pub use alter_topic_configs::{AlterTopicConfigs, ConfigChange};
pub use commit_segment::{CommitMode, CommitSegment, NewBatch, NewExtent};
pub use create_partitions::CreatePartitions;
pub use create_topic::CreateTopic;
pub use delete_records::{DeleteRecords, RecordsBelow};
pub use delete_topic::DeleteTopic;
pub use leftovers::GroupCursor;
pub use outcome::BatchOutcome;
pub use producers::{Producer, ProducerStamp, RememberedBatch};
pub use refusal::TopicRefusal;
pub use types::{Extent, Partition, Position, Segment, Topic, past_commit_deadline};
pub use window::Window;
