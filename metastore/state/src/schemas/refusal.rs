//! Why a command about schemas refused its proposal; wire codes are chosen from these.

use minicbor::{Decode, Encode};

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum SchemaRefusal {
    #[error("{0}")]
    #[n(0)]
    ColumnsDoNotFit(#[n(0)] String),
    #[error("there is no subject {0:?}")]
    #[n(1)]
    NoSuchSubject(#[n(0)] String),
    #[error("the subject has no version {0}")]
    #[n(2)]
    NoSuchSchemaVersion(#[n(0)] u32),
    #[error("it was deleted before")]
    #[n(3)]
    SchemaVersionDeleted,
    #[error("it was not deleted before it is to be deleted for good")]
    #[n(4)]
    SchemaVersionNotDeleted,
}
