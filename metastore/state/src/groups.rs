//! Consumer groups: their last completed generation and their committed offsets.

mod commit_group_offsets;
mod complete_group;
mod delete_group;
mod delete_group_offsets;
mod refusal;
mod remove_group_members;
mod types;

pub use commit_group_offsets::{CommitGroupOffsets, GroupOffset};
pub use complete_group::CompleteGroup;
pub use delete_group::DeleteGroup;
pub use delete_group_offsets::DeleteGroupOffsets;
pub use refusal::GroupRefusal;
pub use remove_group_members::RemoveGroupMembers;
pub use types::{BroughtByMember, CommittedOffset, Group, GroupMember, is_metadata_too_long};
