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
    /// What the schema refers to.
    #[error("there is no version {version} of subject {subject:?}, which it refers to")]
    #[n(5)]
    NoSuchReference {
        #[n(0)]
        subject: String,
        #[n(1)]
        version: u32,
    },
    #[error("others refer to version {version} of subject {subject:?}")]
    #[n(6)]
    SchemaReferenced {
        #[n(0)]
        subject: String,
        #[n(1)]
        version: u32,
    },
    /// A defect of whoever derived the guid.
    #[error("its guid is that of another schema")]
    #[n(7)]
    GuidOfAnother,
}
