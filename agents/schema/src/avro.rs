//! Avro: a schema's text, its types, and the canonical text that schemas are compared by.
//!
//! Leaves to others: which columns a table needs for a schema (`columns`), and payloads (`tarn-decode`).

mod canonical;
mod error;
mod kinds;
mod names;
mod parse;
mod types;

pub use error::{DEPTH_MAX, ParseError, Problem, Twice};
pub(crate) use kinds::base_name;
pub use parse::parse;
pub use types::{
    AvroSchema, EnumType, FixedLogical, FixedType, NamedId, NamedType, RecordField, RecordType,
    Type,
};
