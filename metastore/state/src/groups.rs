//! Consumer groups: their last completed generation and their committed offsets.

mod commit_group_offsets;
mod complete_group;
mod delete_group;
mod delete_group_offsets;
mod invariants;
mod refusal;
mod remove_group_members;
mod section;
mod types;

pub use refusal::GroupRefusal;
pub(crate) use section::SECTIONS;
pub use types::{BroughtByMember, CommittedOffset, Group, GroupMember, is_metadata_too_long};

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::commit_group_offsets::{CommitGroupOffsets, GroupOffset};
    pub use super::complete_group::CompleteGroup;
    pub use super::delete_group::DeleteGroup;
    pub use super::delete_group_offsets::DeleteGroupOffsets;
    pub use super::remove_group_members::RemoveGroupMembers;
}
