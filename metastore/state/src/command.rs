//! The closed list of commands, and what each can answer.
//!
//! A command is one file in `commands/` and one line in each of the two lists here: its number never
//! changes its meaning. Unknown numbers are refused when an entry is decoded.

use minicbor::{Decode, Encode};
use tarn_model::{
    ByteSize, NodeId, Offset, PartitionId, ProducerId, SchemaId, SegmentId, SessionId, TopicId,
};

use crate::commands::{
    AllocateProducerId, AlterTopicConfigs, CloseSession, CommitGroupOffsets, CommitSegment,
    CommitTable, CompleteGroup, CreatePartitions, CreateTopic, DeleteGroup, DeleteGroupOffsets,
    DeleteRecords, DeleteSchemaVersions, DeleteTopic, ExpireSession, OpenSession, RaiseLevel,
    RegisterSchema, RemoveGroupMembers, ReportTable, SetCompatibility,
};
use crate::nesting::COLUMN_LEVELS_MAX;
use crate::tables::is_deeper_than;
use crate::topics::BatchOutcome;
use crate::{Context, State, TableColumnsError};

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

/// What a command that was applied answers.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Outcome {
    #[n(0)]
    Done,
    #[n(1)]
    SessionOpened(#[n(0)] NodeId),
    #[n(2)]
    TopicCreated(#[n(0)] TopicId),
    /// Per extent of the command, per batch of the extent, in the command's order.
    #[n(3)]
    SegmentCommitted(#[n(0)] Vec<Vec<BatchOutcome>>),
    #[n(4)]
    ProducerId(#[n(0)] ProducerId),
    #[n(5)]
    GroupGeneration(#[n(0)] i32),
    #[n(6)]
    SchemaRegistered {
        #[n(0)]
        id: SchemaId,
        #[n(1)]
        version: u32,
    },
    #[n(7)]
    SchemaVersionsDeleted(#[n(0)] Vec<u32>),
}

/// A proposal was applied whole, with an outcome per command, or refused whole.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum ProposalOutcome {
    #[n(0)]
    Applied(#[n(0)] Vec<Outcome>),
    #[n(1)]
    Refused {
        /// Index of the command that refused.
        #[n(0)]
        command: u32,
        #[n(1)]
        refusal: Refusal,
    },
}

/// Why a command refused its proposal. Wire codes are chosen from these, so each says one thing.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum Refusal {
    #[error("a session with this id is open or was closed")]
    #[n(0)]
    SessionKnown,
    #[error("no open session {0}")]
    #[n(1)]
    NoSuchSession(#[n(0)] SessionId),
    #[error("session {0} was heard of recently")]
    #[n(2)]
    SessionNotSilent(#[n(0)] SessionId),
    #[error("level {0} cannot be applied by every open session, or is not above the present one")]
    #[n(3)]
    LevelRefused(#[n(0)] u16),
    #[error("topic {0} exists already")]
    #[n(10)]
    TopicExists(#[n(0)] String),
    #[error("there is no topic {0}")]
    #[n(11)]
    NoSuchTopic(#[n(0)] TopicId),
    #[error("there is no partition {1} of topic {0}")]
    #[n(12)]
    NoSuchPartition(#[n(0)] TopicId, #[n(1)] PartitionId),
    #[error("topic name {name:?} is not allowed: {why}")]
    #[n(13)]
    InvalidTopicName {
        #[n(0)]
        name: String,
        #[n(1)]
        why: String,
    },
    #[error("a topic has between 1 and {max} partitions and never fewer than before")]
    #[n(14)]
    InvalidPartitions {
        #[n(0)]
        max: i32,
    },
    #[error("the cluster holds no more than {max} {what}")]
    #[n(15)]
    Full {
        #[n(0)]
        what: String,
        #[n(1)]
        max: u64,
    },
    #[error("config {name}: {why}")]
    #[n(16)]
    InvalidConfig {
        #[n(0)]
        name: String,
        #[n(1)]
        why: String,
    },
    /// Fate: not done. The same batches may go up again under a fresh id.
    #[error("segment {0} is older than its commit deadline")]
    #[n(20)]
    SegmentTooOld(#[n(0)] SegmentId),
    #[error("segment {0} was committed before")]
    #[n(21)]
    SegmentKnown(#[n(0)] SegmentId),
    #[error("the segment's description contradicts itself: {0}")]
    #[n(22)]
    SegmentInvalid(#[n(0)] String),
    /// Of a segment with `mode = all`.
    #[error("batch {batch} of extent {extent}: {outcome:?}")]
    #[n(23)]
    BatchRefused {
        #[n(0)]
        extent: u32,
        #[n(1)]
        batch: u32,
        #[n(2)]
        outcome: BatchOutcome,
    },
    #[error("there is no group {0:?}")]
    #[n(30)]
    NoSuchGroup(#[n(0)] String),
    #[error("node {0} does not coordinate this group")]
    #[n(31)]
    NotCoordinator(#[n(0)] NodeId),
    #[error("the group's generation is {have}")]
    #[n(32)]
    WrongGeneration {
        #[n(0)]
        have: i32,
    },
    #[error("{0:?} is not a member of the group")]
    #[n(33)]
    UnknownMember(#[n(0)] String),
    #[error("static member {0:?} was replaced by a newer one")]
    #[n(34)]
    FencedInstance(#[n(0)] String),
    #[error("the group has members")]
    #[n(35)]
    GroupNotEmpty,
    #[error("a name, a metadata text or an assignment is longer than {max}")]
    #[n(36)]
    TooLong {
        #[n(0)]
        max: ByteSize,
    },
    #[error("the group's description contradicts itself: {0}")]
    #[n(37)]
    GroupInvalid(#[n(0)] String),
    #[error("{0}")]
    #[n(40)]
    ColumnsDoNotFit(#[n(0)] String),
    #[error("there is no subject {0:?}")]
    #[n(41)]
    NoSuchSubject(#[n(0)] String),
    #[error("the subject has no version {0}")]
    #[n(42)]
    NoSuchSchemaVersion(#[n(0)] u32),
    #[error("it was deleted before")]
    #[n(43)]
    SchemaVersionDeleted,
    #[error("it was not deleted before it is to be deleted for good")]
    #[n(44)]
    SchemaVersionNotDeleted,
    #[error("topic {0} has no table")]
    #[n(50)]
    NoSuchTable(#[n(0)] TopicId),
    #[error("the table moved on to {have:?}")]
    #[n(51)]
    PointerMoved {
        #[n(0)]
        have: Option<String>,
    },
    #[error("M of partition {partition} is {have}")]
    #[n(52)]
    MaterializedMoved {
        #[n(0)]
        partition: PartitionId,
        #[n(1)]
        have: Offset,
    },
    #[error("the table commit contradicts itself: {0}")]
    #[n(53)]
    TableCommitInvalid(#[n(0)] String),
    #[error("applying it failed: {0}")]
    #[n(60)]
    Panicked(#[n(0)] String),
}

impl Refusal {
    /// Is this a defect of ours, so that proposing it again changes nothing?
    pub fn is_defect(&self) -> bool {
        matches!(self, Refusal::Panicked(_))
    }
}

impl From<TableColumnsError> for Refusal {
    fn from(error: TableColumnsError) -> Refusal {
        Refusal::ColumnsDoNotFit(error.to_string())
    }
}
