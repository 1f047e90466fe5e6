//! What can go wrong, one enum per kind of operation, and what each means to the caller.
//!
//! Holds: an operation that failed says whether it may have happened (`fate`).
//! Leaves to others: whether to try again.

use std::time::Duration;

use tarn_kafka::{BuildError, ErrorCode};
use tarn_model::{Fate, Kind};

/// One request to one server got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("cannot connect to {address}: {detail}")]
    Connect { address: String, detail: String },
    #[error("no server to ask: the bootstrap list is empty")]
    NoServers,
    #[error("the connection to {address} broke")]
    Lost { address: String, sent: bool },
    #[error("{address} did not answer {api} in time")]
    Timeout {
        address: String,
        api: &'static str,
        sent: bool,
    },
    #[error("{address} and this client have no version of {api} in common")]
    Unsupported { address: String, api: &'static str },
    #[error("the request cannot be encoded: {0}")]
    Encode(String),
    #[error("the answer of {address} cannot be decoded: {detail}")]
    Decode { address: String, detail: String },
}

impl RequestError {
    pub fn kind(&self) -> Kind {
        match self {
            RequestError::Connect { .. }
            | RequestError::Lost { .. }
            | RequestError::Timeout { .. } => Kind::Unavailable,
            RequestError::NoServers
            | RequestError::Unsupported { .. }
            | RequestError::Encode(_) => Kind::Invalid,
            RequestError::Decode { .. } => Kind::Corrupt,
        }
    }

    /// Whether the server may have carried the request out.
    pub fn fate(&self) -> Fate {
        match self {
            RequestError::Lost { sent, .. } | RequestError::Timeout { sent, .. } => {
                if *sent {
                    Fate::Unknown
                } else {
                    Fate::NotDone
                }
            }
            RequestError::Decode { .. } => Fate::Unknown,
            RequestError::Connect { .. }
            | RequestError::NoServers
            | RequestError::Unsupported { .. }
            | RequestError::Encode(_) => Fate::NotDone,
        }
    }
}

/// A server answered with an error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}{}", code_name(*.code), .message.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
pub struct Refused {
    /// What was asked for: a topic, a partition, a group.
    pub what: String,
    /// Kafka's error code.
    pub code: i16,
    pub message: Option<String>,
}

fn code_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(
        || format!("error code {code}"),
        |known| known.name().to_owned(),
    )
}

impl Refused {
    pub(crate) fn check(
        what: impl FnOnce() -> String,
        code: i16,
        message: Option<&str>,
    ) -> Result<(), Refused> {
        if code == ErrorCode::None.code() {
            return Ok(());
        }
        Err(Refused {
            what: what(),
            code,
            message: message.map(str::to_owned),
        })
    }

    /// The code; one that we do not know counts as an unknown error.
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::from_code(self.code).unwrap_or(ErrorCode::UnknownServerError)
    }

    pub fn kind(&self) -> Kind {
        use ErrorCode as C;
        match self.error_code() {
            C::UnknownTopicOrPartition
            | C::UnknownTopicId
            | C::GroupIdNotFound
            | C::ResourceNotFound
            | C::TransactionalIdNotFound => Kind::NotFound,
            C::TopicAlreadyExists
            | C::NonEmptyGroup
            | C::DuplicateResource
            | C::ConcurrentTransactions
            | C::RebalanceInProgress => Kind::Conflict,
            C::InvalidProducerEpoch
            | C::ProducerFenced
            | C::FencedInstanceId
            | C::FencedMemberEpoch
            | C::IllegalGeneration
            | C::UnknownMemberId => Kind::Fenced,
            C::TopicAuthorizationFailed
            | C::GroupAuthorizationFailed
            | C::ClusterAuthorizationFailed
            | C::TransactionalIdAuthorizationFailed
            | C::SecurityDisabled => Kind::Denied,
            C::ThrottlingQuotaExceeded | C::GroupMaxSizeReached => Kind::Overloaded,
            C::CorruptMessage => Kind::Corrupt,
            C::UnknownServerError => Kind::Internal,
            code if code.is_retriable() => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    /// Whether the server may have carried the request out although it answered with an error.
    pub fn fate(&self) -> Fate {
        match self.error_code() {
            ErrorCode::UnknownServerError
            | ErrorCode::RequestTimedOut
            | ErrorCode::NetworkException
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::KafkaStorageError => Fate::Unknown,
            _ => Fate::NotDone,
        }
    }
}

/// A record was not delivered, or nobody knows whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("not delivered within {timeout:?}; the last failure was: {last}")]
    Timeout { timeout: Duration, last: String },
    #[error("whether it was delivered is unknown: {last}")]
    Unknown { last: String },
    #[error("the record has {bytes} bytes, but at most {max} are allowed")]
    TooLarge { bytes: u64, max: u64 },
    #[error("the records cannot be put into a batch: {0}")]
    Batch(String),
    #[error("the producer is closed")]
    Closed,
}

impl From<BuildError> for ProduceError {
    fn from(error: BuildError) -> ProduceError {
        ProduceError::Batch(error.to_string())
    }
}

impl ProduceError {
    pub fn kind(&self) -> Kind {
        match self {
            ProduceError::Request(error) => error.kind(),
            ProduceError::Refused(refused) => refused.kind(),
            ProduceError::Timeout { .. } | ProduceError::Unknown { .. } | ProduceError::Closed => {
                Kind::Unavailable
            }
            ProduceError::TooLarge { .. } | ProduceError::Batch(_) => Kind::Invalid,
        }
    }

    /// Whether the record may be in the topic, now or later.
    pub fn fate(&self) -> Fate {
        match self {
            ProduceError::Unknown { .. } => Fate::Unknown,
            ProduceError::Request(error) => error.fate(),
            ProduceError::Refused(refused) => refused.fate(),
            ProduceError::Timeout { .. }
            | ProduceError::TooLarge { .. }
            | ProduceError::Batch(_)
            | ProduceError::Closed => Fate::NotDone,
        }
    }
}

/// Reading failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("{topic}/{partition} at offset {offset} cannot be read: {detail}")]
    Corrupt {
        topic: String,
        partition: i32,
        offset: i64,
        detail: String,
    },
    #[error("{topic}/{partition} is not assigned to this consumer")]
    NotAssigned { topic: String, partition: i32 },
}

impl ConsumeError {
    pub fn kind(&self) -> Kind {
        match self {
            ConsumeError::Request(error) => error.kind(),
            ConsumeError::Refused(refused) => refused.kind(),
            ConsumeError::Group(error) => error.kind(),
            ConsumeError::Corrupt { .. } => Kind::Corrupt,
            ConsumeError::NotAssigned { .. } => Kind::Invalid,
        }
    }
}

/// Joining a group, staying in it, or its offsets failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the group's bytes are malformed: {0}")]
    Malformed(&'static str),
}

impl GroupError {
    pub fn kind(&self) -> Kind {
        match self {
            GroupError::Request(error) => error.kind(),
            GroupError::Refused(refused) => refused.kind(),
            GroupError::Malformed(_) => Kind::Corrupt,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            GroupError::Request(error) => error.fate(),
            GroupError::Refused(refused) => refused.fate(),
            GroupError::Malformed(_) => Fate::NotDone,
        }
    }
}

/// An administrative request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the server's answer says nothing about {0}")]
    NoAnswer(String),
}

impl AdminError {
    pub fn kind(&self) -> Kind {
        match self {
            AdminError::Request(error) => error.kind(),
            AdminError::Refused(refused) => refused.kind(),
            AdminError::NoAnswer(_) => Kind::Corrupt,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            AdminError::Request(error) => error.fate(),
            AdminError::Refused(refused) => refused.fate(),
            AdminError::NoAnswer(_) => Fate::Unknown,
        }
    }
}
