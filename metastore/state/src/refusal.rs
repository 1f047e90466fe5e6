//! Why a command refused its proposal, by area; what any area may say stands here.

use minicbor::{Decode, Encode};
use tarn_model::ByteSize;

use crate::groups::GroupRefusal;
use crate::level::FeatureLevel;
use crate::schemas::SchemaRefusal;
use crate::sessions::SessionRefusal;
use crate::tables::TableRefusal;
use crate::tasks::TaskRefusal;
use crate::topics::TopicRefusal;
use tarn_model::TableColumnsError;

/// Why a command refused its proposal. Wire codes are chosen from these, so each says one thing.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum Refusal {
    #[error(transparent)]
    #[n(0)]
    Session(
        #[from]
        #[n(0)]
        SessionRefusal,
    ),
    #[error(transparent)]
    #[n(1)]
    Topic(
        #[from]
        #[n(0)]
        TopicRefusal,
    ),
    #[error(transparent)]
    #[n(2)]
    Group(
        #[from]
        #[n(0)]
        GroupRefusal,
    ),
    #[error(transparent)]
    #[n(3)]
    Schema(
        #[from]
        #[n(0)]
        SchemaRefusal,
    ),
    #[error(transparent)]
    #[n(4)]
    Table(
        #[from]
        #[n(0)]
        TableRefusal,
    ),
    #[error(transparent)]
    #[n(5)]
    Task(
        #[from]
        #[n(0)]
        TaskRefusal,
    ),
    #[error("the cluster holds no more than {max} {what}")]
    #[n(32)]
    Full {
        #[n(0)]
        what: String,
        #[n(1)]
        max: u64,
    },
    #[error("a name, a metadata text or an assignment is longer than {max}")]
    #[n(33)]
    TooLong {
        #[n(0)]
        max: ByteSize,
    },
    /// Of a proposal that nobody wrote into the log: see [`crate::State::try_proposal`].
    #[error("{command} needs feature level {needs}, the cluster works at level {level}")]
    #[n(35)]
    AboveLevel {
        #[n(0)]
        command: String,
        #[n(1)]
        needs: FeatureLevel,
        #[n(2)]
        level: FeatureLevel,
    },
    #[error("applying it failed: {0}")]
    #[n(34)]
    Panicked(#[n(0)] String),
}

impl Refusal {
    /// Is this a defect of ours, so that proposing it again changes nothing?
    pub fn is_defect(&self) -> bool {
        matches!(self, Refusal::Panicked(_))
    }

    /// Would a replica of the cluster's level be unable to read it?
    pub fn is_above_level(&self) -> bool {
        matches!(self, Refusal::AboveLevel { .. })
    }
}

impl From<TableColumnsError> for Refusal {
    fn from(error: TableColumnsError) -> Refusal {
        Refusal::Schema(SchemaRefusal::ColumnsDoNotFit(error.to_string()))
    }
}
