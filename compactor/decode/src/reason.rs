//! Why a record has no row, and why a schema gives none.

use std::fmt;

use tarn_schema::{ColumnsError, PayloadSchemaError};

/// Why a record has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Neither header nor prefix names a schema.
    NoSchema,
    /// It names one that was not registered for the topic when the record was committed.
    UnknownSchema,
    /// It names one that this table's columns cannot take.
    UnusableSchema,
    /// The payload ends too early.
    Truncated,
    /// The payload goes on after its last value.
    TrailingBytes,
    InvalidUtf8,
    /// A number, a branch, a symbol or a boolean that is none.
    InvalidValue,
    /// Its rows would be out of all proportion to its bytes.
    TooLarge,
}

impl Reason {
    pub const ALL: [Reason; 8] = [
        Reason::NoSchema,
        Reason::UnknownSchema,
        Reason::UnusableSchema,
        Reason::Truncated,
        Reason::TrailingBytes,
        Reason::InvalidUtf8,
        Reason::InvalidValue,
        Reason::TooLarge,
    ];

    /// For metrics and for the dead letter.
    pub fn label(self) -> &'static str {
        match self {
            Reason::NoSchema => "no_schema",
            Reason::UnknownSchema => "unknown_schema",
            Reason::UnusableSchema => "unusable_schema",
            Reason::Truncated => "truncated",
            Reason::TrailingBytes => "trailing_bytes",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::InvalidValue => "invalid_value",
            Reason::TooLarge => "too_large",
        }
    }

    /// For whoever asks what is wrong with a record.
    pub fn explained(self) -> &'static str {
        match self {
            Reason::NoSchema => "the topic has a schema, and the value names none",
            Reason::UnknownSchema => {
                "the schema that it names was not registered for the topic when the record came"
            }
            Reason::UnusableSchema => "the table's columns cannot take the schema that it names",
            Reason::Truncated => "the value ends before its schema does",
            Reason::TrailingBytes => "the value goes on behind the end of its schema",
            Reason::InvalidUtf8 => "a text in it is not UTF-8",
            Reason::InvalidValue => {
                "a number, union branch, symbol, boolean, UUID or time of day in it is none"
            }
            Reason::TooLarge => "its rows would be out of all proportion to its bytes",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A schema that the table cannot take. Registration refuses such schemas, so this is a defect of
/// ours or a column that an outside writer changed; only records that name the schema suffer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum UnusableSchema {
    #[error(transparent)]
    Schema(#[from] PayloadSchemaError),
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    #[error("field {field} does not fit its column of type {column}")]
    Mismatch { field: String, column: String },
    #[error("{0}")]
    Unfit(String),
}
