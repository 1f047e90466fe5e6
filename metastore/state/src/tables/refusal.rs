//! Why a command about tables refused its proposal; wire codes are chosen from these.

use minicbor::{Decode, Encode};
use tarn_model::{Offset, PartitionId, TopicId};

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum TableRefusal {
    #[error("topic {0} has no table")]
    #[n(0)]
    NoSuchTable(#[n(0)] TopicId),
    #[error("the table moved on to {have:?}")]
    #[n(1)]
    PointerMoved {
        #[n(0)]
        have: Option<String>,
    },
    #[error("M of partition {partition} is {have}")]
    #[n(2)]
    MaterializedMoved {
        #[n(0)]
        partition: PartitionId,
        #[n(1)]
        have: Offset,
    },
    #[error("the table commit contradicts itself: {0}")]
    #[n(3)]
    TableCommitInvalid(#[n(0)] String),
}
