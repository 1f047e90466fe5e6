//! One file per command: its fields, its bytes, its outcome and its `apply` stand together.

mod allocate_producer_id;
mod alter_topic_configs;
mod close_session;
mod commit_group_offsets;
pub mod commit_segment;
mod commit_table;
mod complete_group;
mod create_partitions;
mod create_topic;
mod delete_group;
mod delete_group_offsets;
mod delete_topic;
mod expire_session;
mod open_session;
mod raise_level;
mod register_schema;
mod remove_group_members;
mod set_compatibility;

pub use allocate_producer_id::AllocateProducerId;
pub use alter_topic_configs::{AlterTopicConfigs, ConfigChange};
pub use close_session::CloseSession;
pub use commit_group_offsets::{CommitGroupOffsets, GroupOffset};
pub use commit_segment::{CommitMode, CommitSegment, NewBatch, NewExtent, ProducerStamp};
pub use commit_table::{CommitTable, MaterializedStep};
pub use complete_group::CompleteGroup;
pub use create_partitions::CreatePartitions;
pub use create_topic::CreateTopic;
pub use delete_group::DeleteGroup;
pub use delete_group_offsets::DeleteGroupOffsets;
pub use delete_topic::DeleteTopic;
pub use expire_session::ExpireSession;
pub use open_session::{Closes, OpenSession};
pub use raise_level::RaiseLevel;
pub use register_schema::RegisterSchema;
pub use remove_group_members::RemoveGroupMembers;
pub use set_compatibility::SetCompatibility;
