//! Why a command about tables refused its proposal; wire codes are chosen from these.

use minicbor::{Decode, Encode};
use tarn_model::{Offset, PartitionId, TableUuid, TopicId};

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum TableRefusal {
    #[error("there is no table {0}")]
    #[n(0)]
    NoSuchTable(#[n(0)] TableUuid),
    #[error("table {table} moved on to {have:?}")]
    #[n(1)]
    PointerMoved {
        #[n(0)]
        table: TableUuid,
        #[n(1)]
        have: Option<String>,
    },
    #[error("M of partition {partition} is {have} in table {table}")]
    #[n(2)]
    MaterializedMoved {
        #[n(0)]
        table: TableUuid,
        #[n(1)]
        partition: PartitionId,
        #[n(2)]
        have: Offset,
    },
    #[error("the table commit contradicts itself: {0}")]
    #[n(3)]
    TableCommitInvalid(#[n(0)] String),
    #[error("table {table} has got other columns meanwhile")]
    #[n(4)]
    SchemaMoved {
        #[n(0)]
        table: TableUuid,
    },
    #[error("{namespace}.{name} is there already")]
    #[n(5)]
    TableExists {
        #[n(0)]
        namespace: String,
        #[n(1)]
        name: String,
    },
    #[error("no table may be called {name:?}: {why}")]
    #[n(6)]
    InvalidTableName {
        #[n(0)]
        name: String,
        #[n(1)]
        why: String,
    },
    #[error("its columns cannot be: {0}")]
    #[n(7)]
    InvalidColumns(#[n(0)] String),
    #[error("it belongs to topic {0} and goes with it")]
    #[n(8)]
    BelongsToTopic(#[n(0)] TopicId),
}
