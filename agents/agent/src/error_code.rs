//! The one table from our failures to Kafka's error codes.
//!
//! Holds: every match is exhaustive, so that a new failure does not compile until someone has
//! chosen its code; and a failure whose fate is unknown becomes a code that clients retry.

#![deny(clippy::wildcard_enum_match_arm)]

use tarn_coordinator::GroupError;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::Kind;
use tarn_replica::ProposeError;
use tarn_state::BatchOutcome;
use tarn_state::Refusal;
use tarn_topics::{AppendError, ReadError};

/// What a client is told when the commit log did not say in time what it asks for, or what became
/// of what it wanted: the code after which clients of this API ask again.
pub(crate) fn not_now(api: ApiKey) -> ErrorCode {
    match api {
        // Answers that name topics or coordinators: clients refresh and retry.
        ApiKey::Metadata => ErrorCode::LeaderNotAvailable,
        ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch => ErrorCode::OffsetNotAvailable,
        ApiKey::FindCoordinator
        | ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::OffsetCommit
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DeleteGroups
        | ApiKey::OffsetDelete => ErrorCode::CoordinatorNotAvailable,
        // The Java consumer takes COORDINATOR_NOT_AVAILABLE here for an unexpected, final error; a
        // second producer id does no harm, so InitProducerId may be repeated likewise.
        ApiKey::OffsetFetch | ApiKey::InitProducerId => ErrorCode::CoordinatorLoadInProgress,
        // A fetch is answered empty instead; ApiVersions needs no log.
        ApiKey::Produce
        | ApiKey::Fetch
        | ApiKey::ApiVersions
        | ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::DeleteRecords
        | ApiKey::ElectLeaders
        | ApiKey::CreatePartitions
        | ApiKey::DescribeConfigs
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::DescribeCluster
        | ApiKey::AlterConfigs
        | ApiKey::DescribeLogDirs
        | ApiKey::DescribeProducers
        | ApiKey::DescribeTopicPartitions
        | ApiKey::DescribeQuorum
        | ApiKey::ListConfigResources => ErrorCode::RequestTimedOut,
        // These need no log.
        ApiKey::ListPartitionReassignments
        | ApiKey::ListTransactions
        | ApiKey::DescribeAcls
        | ApiKey::CreateAcls
        | ApiKey::DeleteAcls
        | ApiKey::DescribeUserScramCredentials
        | ApiKey::DescribeClientQuotas
        | ApiKey::AlterClientQuotas => ErrorCode::UnknownServerError,
    }
}

/// Of a proposal that was not applied. A refusal is final; everything else may be repeated.
pub(crate) fn of_propose(api: ApiKey, error: &ProposeError) -> ErrorCode {
    match error {
        ProposeError::Refused { refusal, .. } => of_refusal(api, refusal),
        ProposeError::NotDone { .. }
        | ProposeError::Unknown { .. }
        | ProposeError::Stopped { .. } => not_now(api),
    }
}

/// Of what `apply` refused.
pub(crate) fn of_refusal(api: ApiKey, refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        Refusal::NoSuchTopic(_) | Refusal::NoSuchPartition(..) => {
            ErrorCode::UnknownTopicOrPartition
        }
        Refusal::InvalidTopicName { .. } => ErrorCode::InvalidTopic,
        Refusal::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        Refusal::Full { .. } => full(api),
        Refusal::InvalidConfig { .. } => ErrorCode::InvalidConfig,
        Refusal::NoSuchGroup(_) => ErrorCode::GroupIdNotFound,
        Refusal::NotCoordinator(_) => ErrorCode::NotCoordinator,
        Refusal::WrongGeneration { .. } => ErrorCode::IllegalGeneration,
        Refusal::UnknownMember(_) => ErrorCode::UnknownMemberId,
        Refusal::FencedInstance(_) => ErrorCode::FencedInstanceId,
        Refusal::GroupNotEmpty => group_not_empty(api),
        Refusal::TooLong { .. } => too_long(api),
        Refusal::BatchRefused { outcome, .. } => of_batch_outcome(*outcome),
        // Of a new topic, whose subject's versions do not fit into one table.
        Refusal::ColumnsDoNotFit(_) => ErrorCode::PolicyViolation,
        // The agent proposes none of these on behalf of a Kafka client, or never gets this answer.
        Refusal::SessionKnown
        | Refusal::NoSuchSession(_)
        | Refusal::SessionNotSilent(_)
        | Refusal::LevelRefused(_)
        | Refusal::SegmentTooOld(_)
        | Refusal::SegmentKnown(_)
        | Refusal::SegmentInvalid(_)
        | Refusal::GroupInvalid(_)
        | Refusal::NoSuchSubject(_)
        | Refusal::NoSuchSchemaVersion(_)
        | Refusal::SchemaVersionDeleted
        | Refusal::SchemaVersionNotDeleted
        | Refusal::NoSuchTable(_)
        | Refusal::PointerMoved { .. }
        | Refusal::MaterializedMoved { .. }
        | Refusal::TableCommitInvalid(_)
        | Refusal::Panicked(_) => ErrorCode::UnknownServerError,
    }
}

/// There is no room for one more of what the request makes.
fn full(api: ApiKey) -> ErrorCode {
    if api == ApiKey::JoinGroup || api == ApiKey::SyncGroup {
        ErrorCode::GroupMaxSizeReached
    } else if api == ApiKey::OffsetCommit {
        // Clients try that again; every other code would be final, though offsets expire.
        ErrorCode::CoordinatorNotAvailable
    } else {
        ErrorCode::PolicyViolation
    }
}

/// A consumer without membership that commits while the group has members is none of them.
fn group_not_empty(api: ApiKey) -> ErrorCode {
    if api == ApiKey::OffsetCommit {
        ErrorCode::UnknownMemberId
    } else {
        ErrorCode::NonEmptyGroup
    }
}

fn too_long(api: ApiKey) -> ErrorCode {
    if api == ApiKey::OffsetCommit {
        ErrorCode::OffsetMetadataTooLarge
    } else {
        ErrorCode::InvalidRequest
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
    }
}
