//! The closed list of commands.
//!
//! A command is one file in `commands/` and one line in each of the two lists here: its number never
//! changes its meaning. Unknown numbers are refused when an entry is decoded.

use minicbor::{Decode, Encode};

use crate::commands::{
    AllocateProducerId, AlterTopicConfigs, CloseSession, CommitGroupOffsets, CommitSegment,
    CommitTable, CompleteGroup, CreatePartitions, CreateTopic, DeleteGroup, DeleteGroupOffsets,
    DeleteRecords, DeleteSchemaVersions, DeleteTopic, ExpireSession, OpenSession, RaiseLevel,
    RegisterSchema, RemoveGroupMembers, ReportTable, SetCompatibility,
};
use crate::nesting::COLUMN_LEVELS_MAX;
use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::tables::is_deeper_than;
use crate::{Context, State};

/// One thing a proposal does.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Command {
    #[n(1)]
    OpenSession(#[n(0)] OpenSession),
    #[n(2)]
    ExpireSession(#[n(0)] ExpireSession),
    #[n(3)]
    CloseSession(#[n(0)] CloseSession),
    #[n(4)]
    RaiseLevel(#[n(0)] RaiseLevel),
    #[n(10)]
    CreateTopic(#[n(0)] CreateTopic),
    #[n(11)]
    DeleteTopic(#[n(0)] DeleteTopic),
    #[n(12)]
    CreatePartitions(#[n(0)] CreatePartitions),
    #[n(13)]
    AlterTopicConfigs(#[n(0)] AlterTopicConfigs),
    #[n(20)]
    CommitSegment(#[n(0)] CommitSegment),
    #[n(21)]
    AllocateProducerId(#[n(0)] AllocateProducerId),
    #[n(22)]
    DeleteRecords(#[n(0)] DeleteRecords),
    #[n(30)]
    CompleteGroup(#[n(0)] CompleteGroup),
    #[n(31)]
    RemoveGroupMembers(#[n(0)] RemoveGroupMembers),
    #[n(32)]
    CommitGroupOffsets(#[n(0)] CommitGroupOffsets),
    #[n(33)]
    DeleteGroup(#[n(0)] DeleteGroup),
    #[n(34)]
    DeleteGroupOffsets(#[n(0)] DeleteGroupOffsets),
    #[n(40)]
    RegisterSchema(#[n(0)] RegisterSchema),
    #[n(41)]
    SetCompatibility(#[n(0)] SetCompatibility),
    #[n(42)]
    DeleteSchemaVersions(#[n(0)] DeleteSchemaVersions),
    #[n(50)]
    CommitTable(#[n(0)] CommitTable),
    #[n(51)]
    ReportTable(#[n(0)] ReportTable),
}

impl Command {
    /// Applies the command. `state` is a clone that the caller throws away when this refuses, so a
    /// command may stop in the middle.
    pub fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        match self {
            Command::OpenSession(command) => command.apply(state, ctx),
            Command::ExpireSession(command) => command.apply(state, ctx),
            Command::CloseSession(command) => command.apply(state, ctx),
            Command::RaiseLevel(command) => command.apply(state, ctx),
            Command::CreateTopic(command) => command.apply(state, ctx),
            Command::DeleteTopic(command) => command.apply(state, ctx),
            Command::CreatePartitions(command) => command.apply(state, ctx),
            Command::AlterTopicConfigs(command) => command.apply(state, ctx),
            Command::CommitSegment(command) => command.apply(state, ctx),
            Command::AllocateProducerId(command) => command.apply(state, ctx),
            Command::DeleteRecords(command) => command.apply(state, ctx),
            Command::CompleteGroup(command) => command.apply(state, ctx),
            Command::RemoveGroupMembers(command) => command.apply(state, ctx),
            Command::CommitGroupOffsets(command) => command.apply(state, ctx),
            Command::DeleteGroup(command) => command.apply(state, ctx),
            Command::DeleteGroupOffsets(command) => command.apply(state, ctx),
            Command::RegisterSchema(command) => command.apply(state, ctx),
            Command::SetCompatibility(command) => command.apply(state, ctx),
            Command::DeleteSchemaVersions(command) => command.apply(state, ctx),
            Command::CommitTable(command) => command.apply(state, ctx),
            Command::ReportTable(command) => command.apply(state, ctx),
        }
    }
}

impl Command {
    /// Would replicas refuse to read it? See `nesting.rs`; only columns can contain themselves.
    pub(crate) fn is_unreadable(&self) -> bool {
        match self {
            Command::RegisterSchema(command) => command
                .columns
                .iter()
                .any(|column| is_deeper_than(column, COLUMN_LEVELS_MAX)),
            _ => false,
        }
    }
}
