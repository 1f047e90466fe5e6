//! The one table from our failures to Kafka's error codes.
//!
//! Holds: every match is exhaustive, so that a new failure does not compile until someone has
//! chosen its code; and a failure whose fate is unknown becomes a code that clients retry.

#![deny(clippy::wildcard_enum_match_arm)]

use tarn_coordinator::GroupError;
use tarn_kafka::ErrorCode;
use tarn_model::Kind;
use tarn_replica::ProposeError;
use tarn_state::{BatchOutcome, GroupRefusal, Refusal, SchemaRefusal, TopicRefusal};
use tarn_topics::{AppendError, ReadError};

/// Of a proposal that was not applied. A refusal is final; after everything else it may be repeated, and
/// `not_now` is the code after which clients of this API do that.
pub(crate) fn of_propose(error: &ProposeError, not_now: ErrorCode) -> ErrorCode {
    match error {
        ProposeError::Refused { refusal, .. } => of_refusal(refusal),
        ProposeError::NotDone { .. }
        | ProposeError::Unknown { .. }
        | ProposeError::Stopped { .. } => not_now,
    }
}

/// Of what `apply` refused. A handler whose clients know a better code for one of these picks it before.
pub(crate) fn of_refusal(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Topic(refusal) => of_topic(refusal),
        Refusal::Group(refusal) => of_group_refusal(refusal),
        Refusal::Schema(refusal) => of_schema(refusal),
        // There is no room for one more of what the request makes.
        Refusal::Full { .. } => ErrorCode::PolicyViolation,
        Refusal::TooLong { .. } => ErrorCode::InvalidRequest,
        // Not every process of the cluster has the version yet that can do this.
        Refusal::AboveLevel { .. } => ErrorCode::UnsupportedVersion,
        // The agent proposes none of these on behalf of a Kafka client, or it is a defect of ours.
        Refusal::Session(_) | Refusal::Table(_) | Refusal::Task(_) | Refusal::Panicked(_) => {
            ErrorCode::UnknownServerError
        }
    }
}

fn of_topic(refusal: &TopicRefusal) -> ErrorCode {
    match refusal {
        TopicRefusal::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        TopicRefusal::NoSuchTopic(_) | TopicRefusal::NoSuchPartition(..) => {
            ErrorCode::UnknownTopicOrPartition
        }
        TopicRefusal::InvalidTopicName { .. } => ErrorCode::InvalidTopic,
        TopicRefusal::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        TopicRefusal::InvalidConfig { .. } => ErrorCode::InvalidConfig,
        TopicRefusal::BatchRefused { outcome, .. } => of_batch_outcome(*outcome),
        // The writer meets these, and answers for itself.
        TopicRefusal::SegmentTooOld(_)
        | TopicRefusal::SegmentKnown(_)
        | TopicRefusal::SegmentInvalid(_) => ErrorCode::UnknownServerError,
    }
}

fn of_group_refusal(refusal: &GroupRefusal) -> ErrorCode {
    match refusal {
        GroupRefusal::NoSuchGroup(_) => ErrorCode::GroupIdNotFound,
        GroupRefusal::NotCoordinator(_) => ErrorCode::NotCoordinator,
        GroupRefusal::WrongGeneration { .. } => ErrorCode::IllegalGeneration,
        GroupRefusal::UnknownMember(_) => ErrorCode::UnknownMemberId,
        GroupRefusal::FencedInstance(_) => ErrorCode::FencedInstanceId,
        GroupRefusal::GroupNotEmpty => ErrorCode::NonEmptyGroup,
        GroupRefusal::GroupInvalid(_) => ErrorCode::UnknownServerError,
    }
}

fn of_schema(refusal: &SchemaRefusal) -> ErrorCode {
    match refusal {
        // Of a new topic, whose subject's versions do not fit into one table.
        SchemaRefusal::ColumnsDoNotFit(_) => ErrorCode::PolicyViolation,
        // Only the registry asks for what is answered so.
        SchemaRefusal::NoSuchSubject(_)
        | SchemaRefusal::NoSuchSchemaVersion(_)
        | SchemaRefusal::SchemaVersionDeleted
        | SchemaRefusal::SchemaVersionNotDeleted
        | SchemaRefusal::NoSuchReference { .. }
        | SchemaRefusal::SchemaReferenced { .. }
        | SchemaRefusal::GuidOfAnother => ErrorCode::UnknownServerError,
    }
}

/// Of what became of a batch. A duplicate is a success: it is answered with its first offset.
fn of_batch_outcome(outcome: BatchOutcome) -> ErrorCode {
    match outcome {
        BatchOutcome::Appended(_) | BatchOutcome::Duplicate(_) => ErrorCode::None,
        BatchOutcome::DuplicateForgotten => ErrorCode::DuplicateSequenceNumber,
        BatchOutcome::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
        BatchOutcome::FencedEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        BatchOutcome::NoSuchPartition => ErrorCode::UnknownTopicOrPartition,
    }
}

/// Of a batch that the writer did not append.
pub(crate) fn of_append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::FencedEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::DuplicateForgotten => ErrorCode::DuplicateSequenceNumber,
        AppendError::NoSuchPartition => ErrorCode::UnknownTopicOrPartition,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        // librdkafka counts a message as not persisted after the first of these two, and as possibly
        // persisted after the second; both retry, and idempotent producers meet their duplicate.
        AppendError::NotDone { .. } => ErrorCode::NotEnoughReplicas,
        AppendError::Unknown { .. } => ErrorCode::RequestTimedOut,
        AppendError::Refused { .. } => ErrorCode::UnknownServerError,
    }
}

/// Of records that could not be read.
pub(crate) fn of_read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NoSuchPartition { .. } => ErrorCode::UnknownTopicOrPartition,
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        // What the state refers to is not in the store, also at a newer view.
        ReadError::Corrupt { .. } | ReadError::Gone { .. } => ErrorCode::CorruptMessage,
        ReadError::Barrier(_) => ErrorCode::RequestTimedOut,
        ReadError::Store(error) => match error.kind() {
            Kind::Corrupt => ErrorCode::CorruptMessage,
            Kind::Invalid
            | Kind::NotFound
            | Kind::Conflict
            | Kind::Fenced
            | Kind::Denied
            | Kind::Overloaded
            | Kind::Unavailable
            | Kind::Internal => ErrorCode::KafkaStorageError,
        },
    }
}

/// Of what a group's coordinator answers with.
pub(crate) fn of_group(error: GroupError) -> ErrorCode {
    match error {
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::NotNow => ErrorCode::CoordinatorNotAvailable,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::InvalidRequest => ErrorCode::InvalidRequest,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::Full => ErrorCode::GroupMaxSizeReached,
        GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
        GroupError::NotFound => ErrorCode::GroupIdNotFound,
        GroupError::NotSupported => ErrorCode::UnsupportedVersion,
    }
}
