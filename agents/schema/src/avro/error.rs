//! Why a text is no valid Avro schema, and where in it.

use tarn_model::{Kind, caps};

/// Types within types, and columns within columns, counted from the root: deeper schemas are refused.
/// It is what the cluster's state takes, where decoding and walking a level costs stack on every
/// replica.
pub const DEPTH_MAX: usize = 32;

/// The text is no valid Avro schema.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("at {at}: {problem}")]
pub struct ParseError {
    /// As in `$.fields[2].type`.
    pub at: String,
    pub problem: Problem,
}

impl ParseError {
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    #[error(
        "the schema and its references have {bytes} bytes, more than {}",
        caps::SCHEMA_BYTES_MAX
    )]
    TooLong { bytes: usize },
    #[error("this is not JSON: {0}")]
    Json(String),
    #[error("types are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("a type is a name, an object or an array of types")]
    NotAType,
    #[error("{key:?} is missing")]
    Missing { key: &'static str },
    #[error("{key:?} is not {expected}")]
    Wrong {
        key: &'static str,
        expected: &'static str,
    },
    #[error("{0:?} is not a name: a letter or an underscore, then letters, digits and underscores")]
    BadName(String),
    #[error("{0:?} is not a namespace: names with dots between them")]
    BadNamespace(String),
    #[error("no type is called {0:?}")]
    UnknownType(String),
    #[error("{0:?} is the name of a primitive type")]
    PrimitiveName(String),
    #[error("the default {0:?} is none of the symbols")]
    DefaultIsNoSymbol(String),
    #[error("a union needs a branch")]
    EmptyUnion,
    #[error("a union may not stand directly in a union")]
    UnionInUnion,
    #[error("the default {0} does not fit the field's type")]
    BadDefault(String),
    #[error(transparent)]
    Twice(Twice),
}

/// What may be there once.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Twice {
    #[error("the type {0:?} is defined twice")]
    Type(String),
    #[error("two fields are called {0:?}")]
    Field(String),
    #[error("the symbol {0:?} is there twice")]
    Symbol(String),
    #[error("two branches of the union are {0:?}")]
    Branch(String),
}
