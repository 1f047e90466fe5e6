//! Why a query has no answer. A closed list: each wire has one table from these to its codes.
//!
//! Leaves to others: statuses, codes and the form in which a client is told.

use std::error::Error;
use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use tarn_hot::HotError;
use tarn_model::{ByteSize, Kind};
use tarn_store::StoreError;
use tarn_tables::LoadError;

use crate::types::type_name;

/// A place in the statement's text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// A query that was not answered, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is not SQL.
    #[error("{message}")]
    Syntax {
        message: String,
        position: Option<Position>,
    },
    /// It is SQL, but wrong here: an unknown column, a type that does not fit, a division by zero.
    #[error("{message}")]
    Invalid {
        message: String,
        position: Option<Position>,
    },
    /// A value that its type cannot hold: SQLSTATE 22003.
    #[error("{message}")]
    OutOfRange { message: String },
    /// As many values have to come as the statement has parameters: SQLSTATE 08P01.
    #[error("the statement has {wanted} {}, and {given} {} given", if *.wanted == 1 { "parameter" } else { "parameters" }, if *.given == 1 { "value is" } else { "values are" })]
    Parameters { wanted: usize, given: usize },
    #[error("there is no table {name}")]
    NoSuchTable { name: String },
    #[error("{what}")]
    NotSupported { what: String },
    #[error("the query took longer than {} seconds, its time limit", .limit.as_secs_f64())]
    TimeLimit { limit: Duration },
    #[error("the query needs more memory than the {limit} that queries may take: {detail}")]
    MemoryLimit { limit: ByteSize, detail: String },
    #[error("the answer has more than {limit} rows, the limit; select fewer or aggregate")]
    RowLimit { limit: usize },
    /// Whoever asked does not wait for it any more.
    #[error("the query was cancelled")]
    Cancelled,
    /// The same query may succeed in a moment.
    #[error("the query cannot be answered now: {why}")]
    Unavailable { why: String },
    /// A defect, or data that is not what we wrote.
    #[error("the query failed: {why}")]
    Internal { why: String },
}

impl QueryError {
    pub fn kind(&self) -> Kind {
        match self {
            QueryError::Syntax { .. }
            | QueryError::Invalid { .. }
            | QueryError::OutOfRange { .. }
            | QueryError::Parameters { .. }
            | QueryError::NotSupported { .. }
            | QueryError::RowLimit { .. } => Kind::Invalid,
            QueryError::NoSuchTable { .. } => Kind::NotFound,
            QueryError::TimeLimit { .. } | QueryError::MemoryLimit { .. } => Kind::Overloaded,
            QueryError::Unavailable { .. } | QueryError::Cancelled => Kind::Unavailable,
            QueryError::Internal { .. } => Kind::Internal,
        }
    }

    /// For metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            QueryError::Syntax { .. } => "syntax",
            QueryError::Invalid { .. } => "invalid",
            QueryError::OutOfRange { .. } => "out-of-range",
            QueryError::Parameters { .. } => "parameters",
            QueryError::NoSuchTable { .. } => "no-such-table",
            QueryError::NotSupported { .. } => "not-supported",
            QueryError::TimeLimit { .. } => "time-limit",
            QueryError::MemoryLimit { .. } => "memory-limit",
            QueryError::RowLimit { .. } => "row-limit",
            QueryError::Cancelled => "cancelled",
            QueryError::Unavailable { .. } => "unavailable",
            QueryError::Internal { .. } => "internal",
        }
    }

    pub fn position(&self) -> Option<Position> {
        match self {
            QueryError::Syntax { position, .. } | QueryError::Invalid { position, .. } => *position,
            QueryError::OutOfRange { .. }
            | QueryError::Parameters { .. }
            | QueryError::NoSuchTable { .. }
            | QueryError::NotSupported { .. }
            | QueryError::TimeLimit { .. }
            | QueryError::MemoryLimit { .. }
            | QueryError::RowLimit { .. }
            | QueryError::Cancelled
            | QueryError::Unavailable { .. }
            | QueryError::Internal { .. } => None,
        }
    }

    pub(crate) fn defect() -> QueryError {
        QueryError::Internal {
            why: "a defect in the query engine; the log says more".to_owned(),
        }
    }

    /// By the kind of what went wrong beneath.
    fn beneath(kind: Kind, why: String) -> QueryError {
        match kind {
            Kind::Unavailable
            | Kind::Overloaded
            | Kind::Conflict
            | Kind::Fenced
            | Kind::NotFound => QueryError::Unavailable { why },
            Kind::Invalid | Kind::Denied | Kind::Corrupt | Kind::Internal => {
                QueryError::Internal { why }
            }
        }
    }

    /// Of DataFusion. Errors of ours come back as they went in.
    pub(crate) fn of(error: &DataFusionError, memory: ByteSize) -> QueryError {
        if let Some(ours) = sources(error)
            .into_iter()
            .find_map(|source| source.downcast_ref::<QueryError>())
        {
            return ours.clone();
        }
        let position = position_of(error);
        let root = error.find_root();
        let text = root.strip_backtrace();
        let message = strip_prefix(&text).to_owned();
        // Told in three ways, by what met the expression first: the optimizer, a kernel, a function.
        if message.contains("regex parse error") {
            return QueryError::Invalid {
                message: format!("invalid regular expression: {message}"),
                position,
            };
        }
        if let Some(message) = condition(&message) {
            return QueryError::Invalid { message, position };
        }
        match root {
            DataFusionError::SQL(parser, _) => syntax(parser),
            DataFusionError::Plan(plan) => match missing_table(plan) {
                Some(name) => QueryError::NoSuchTable { name },
                None => QueryError::Invalid { message, position },
            },
            DataFusionError::SchemaError(..)
            | DataFusionError::Execution(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Substrait(_) => QueryError::Invalid { message, position },
            DataFusionError::NotImplemented(_) => QueryError::NotSupported { what: message },
            DataFusionError::ResourcesExhausted(_) => QueryError::MemoryLimit {
                limit: memory,
                detail: message,
            },
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
                QueryError::Unavailable { why: message }
            }
            DataFusionError::ArrowError(arrow, _) => of_arrow(arrow, message, memory),
            DataFusionError::Collection(errors) => match errors.first() {
                Some(first) => QueryError::of(first, memory),
                None => QueryError::Internal { why: message },
            },
            DataFusionError::External(other) => of_external(other.as_ref(), message),
            DataFusionError::ParquetError(_) if let Some(kind) = store_kind(error) => {
                QueryError::beneath(kind, message)
            }
            DataFusionError::ParquetError(_)
            | DataFusionError::Internal(_)
            | DataFusionError::ExecutionJoin(_)
            | DataFusionError::Context(..)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Shared(_)
            | DataFusionError::Ffi(_) => QueryError::Internal { why: message },
        }
    }
}

impl From<LoadError> for QueryError {
    fn from(error: LoadError) -> QueryError {
        QueryError::beneath(error.kind(), error.to_string())
    }
}

impl From<HotError> for QueryError {
    fn from(error: HotError) -> QueryError {
        QueryError::beneath(error.kind(), error.to_string())
    }
}

impl From<iceberg::Error> for QueryError {
    fn from(error: iceberg::Error) -> QueryError {
        let kind = if error.retryable() {
            Kind::Unavailable
        } else {
            Kind::Internal
        };
        QueryError::beneath(kind, error.to_string())
    }
}

/// So that it passes through DataFusion.
impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> DataFusionError {
        DataFusionError::External(Box::new(error))
    }
}

/// An error and what it wraps, outermost first.
fn sources(error: &DataFusionError) -> Vec<&(dyn Error + 'static)> {
    let mut chain: Vec<&(dyn Error + 'static)> = vec![error];
    // An error that names itself as its source must not hold us for ever.
    while let Some(next) = chain
        .last()
        .and_then(|last| source(*last))
        .filter(|_| chain.len() < 64)
    {
        chain.push(next);
    }
    chain
}

/// Like `Error::source`, which passes over the box of some wrappers.
fn source<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match (
        error.downcast_ref::<DataFusionError>(),
        error.downcast_ref::<ArrowError>(),
    ) {
        (Some(DataFusionError::External(inner)), _)
        | (_, Some(ArrowError::ExternalError(inner))) => Some(inner.as_ref()),
        (Some(DataFusionError::Collection(errors)), _) => errors.first().map(|first| first as _),
        _ => error.source(),
    }
}

/// Of an error of the store, which comes through Parquet's readers.
fn store_kind(error: &DataFusionError) -> Option<Kind> {
    let mut sources = sources(error).into_iter();
    sources.find_map(|source| source.downcast_ref::<StoreError>().map(StoreError::kind))
}

fn of_arrow(error: &ArrowError, message: String, memory: ByteSize) -> QueryError {
    match error {
        ArrowError::ArithmeticOverflow(_) => QueryError::OutOfRange { message },
        ArrowError::ComputeError(_) if message.contains("overflow") => {
            QueryError::OutOfRange { message }
        }
        ArrowError::CastError(_) if message.contains("Can't cast value") => {
            QueryError::OutOfRange { message }
        }
        ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::InvalidArgumentError(_)
        | ArrowError::DivideByZero
        | ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError => QueryError::Invalid {
            message,
            position: None,
        },
        // A column of a batch that would take gigabytes.
        ArrowError::OffsetOverflowError(bytes) => QueryError::MemoryLimit {
            limit: memory,
            detail: format!("{bytes} bytes for some rows of a column"),
        },
        ArrowError::NotYetImplemented(_) => QueryError::NotSupported { what: message },
        ArrowError::MemoryError(_) => QueryError::MemoryLimit {
            limit: memory,
            detail: message,
        },
        ArrowError::IoError(..) => QueryError::Unavailable { why: message },
        ArrowError::ExternalError(other) => of_external(other.as_ref(), message),
        ArrowError::SchemaError(_)
        | ArrowError::CsvError(_)
        | ArrowError::JsonError(_)
        | ArrowError::AvroError(_)
        | ArrowError::IpcError(_)
        | ArrowError::ParquetError(_)
        | ArrowError::CDataInterface(_) => QueryError::Internal { why: message },
    }
}

fn of_external(other: &(dyn Error + Send + Sync + 'static), message: String) -> QueryError {
    if other.is::<object_store::Error>() {
        return QueryError::Unavailable { why: message };
    }
    QueryError::Internal { why: message }
}

pub(crate) fn syntax(error: &ParserError) -> QueryError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => "expressions nest too deep".to_owned(),
    };
    let (message, position) = split_position(&text);
    QueryError::Syntax {
        message: message.to_owned(),
        position,
    }
}

/// `Expected: …, found: FROM at Line: 1, Column: 8` as its message and its place.
fn split_position(text: &str) -> (&str, Option<Position>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return (text, None);
    };
    let position = || {
        let (line, column) = place.split_once(", Column: ")?;
        let digits = column
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(column.len());
        let column = column.get(..digits)?.parse().ok()?;
        Some(Position {
            line: line.trim().parse().ok()?,
            column,
        })
    };
    match position() {
        Some(position) => (message, Some(position)),
        None => (text, None),
    }
}

/// Where planning found something wrong, if it says so.
fn position_of(error: &DataFusionError) -> Option<Position> {
    let span = sources(error).into_iter().find_map(|source| {
        match source.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::Diagnostic(diagnostic, _)) => diagnostic.span,
            _ => None,
        }
    })?;
    (span.start.line > 0).then_some(Position {
        line: span.start.line,
        column: span.start.column,
    })
}

/// The name in `table 'tarn.events.nope' not found`, which is all that planning says of it.
fn missing_table(text: &str) -> Option<String> {
    let name = text.strip_prefix("table '")?.split_once("' not found")?.0;
    Some(name.strip_prefix("tarn.").unwrap_or(name).to_owned())
}

/// What DataFusion says in its own words and types of a condition that is none.
fn condition(text: &str) -> Option<String> {
    const JOINED: &str = "Cannot infer common argument type for logical boolean operation ";
    let kinds = if text.starts_with("Cannot create filter with non-boolean predicate ") {
        text.rsplit_once(" returning ")?.1
    } else if let Some(kind) = text.strip_prefix("Join condition must be boolean type, but got ") {
        kind
    } else {
        text.strip_prefix(JOINED)?
    };
    let mut kinds = kinds
        .split(" AND ")
        .flat_map(|kind| kind.split(" OR "))
        .map(str::parse);
    let kind = kinds.find_map(|kind| kind.ok().filter(|kind| *kind != DataType::Boolean))?;
    Some(no_condition(&kind))
}

pub(crate) fn no_condition(kind: &DataType) -> String {
    format!(
        "a condition must be of type boolean, not of type {}",
        type_name(kind)
    )
}

/// The text without DataFusion's word for its kind, and without its advice.
fn strip_prefix(text: &str) -> &str {
    const PREFIXES: [&str; 10] = [
        "Internal error: ",
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
        "Resources exhausted: ",
        "Object Store error: ",
        "External error: ",
        "Invalid or Unsupported Configuration: ",
    ];
    let text = PREFIXES
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    // Where to report it is for us to say.
    text.split_once("\nThis issue was likely caused by")
        .map_or(text, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_syntax_error_is_taken_from_its_text() {
        let error = ParserError::ParserError(
            "Expected: an expression, found: FROM at Line: 3, Column: 18".into(),
        );
        let expected = QueryError::Syntax {
            message: "Expected: an expression, found: FROM".into(),
            position: Some(Position {
                line: 3,
                column: 18,
            }),
        };
        assert_eq!(syntax(&error), expected);
        let without = ParserError::TokenizerError("Unterminated string".into());
        assert_eq!(syntax(&without).position(), None);
    }

    #[test]
    fn our_errors_come_back_through_datafusion() {
        let ours = QueryError::NotSupported { what: "x".into() };
        let wrapped = DataFusionError::from(ours.clone()).context("while scanning");
        assert_eq!(QueryError::of(&wrapped, ByteSize::mib(1)), ours);
        let arrow = ArrowError::ExternalError(Box::new(wrapped));
        let twice = DataFusionError::ArrowError(Box::new(arrow), None);
        assert_eq!(QueryError::of(&twice, ByteSize::mib(1)), ours);
    }
}
