//! The one table from errors of queries to the codes of the one list.

#![deny(clippy::wildcard_enum_match_arm)]

use serde_json::json;
use tarn_engine::{Position, QueryError};
use tarn_model::codes::{self, Code};
use tarn_runtime::http::Problem;

fn code(error: &QueryError) -> &'static Code {
    match error {
        QueryError::Syntax { .. } => &codes::NOT_SQL,
        QueryError::Invalid { .. } => &codes::WRONG_SQL,
        QueryError::OutOfRange { .. } => &codes::OUT_OF_RANGE,
        QueryError::Parameters { .. } => &codes::PARAMETERS,
        QueryError::NoSuchTable { .. } => &codes::NO_SUCH_TABLE,
        QueryError::NotSupported { .. } => &codes::NOT_SUPPORTED,
        QueryError::TimeLimit { .. } => &codes::TIME_LIMIT,
        QueryError::MemoryLimit { .. } => &codes::MEMORY_LIMIT,
        QueryError::RowLimit { .. } => &codes::ROW_LIMIT,
        QueryError::Cancelled => &codes::CANCELLED,
        QueryError::Unavailable { .. } => &codes::SQL_NOT_NOW,
        QueryError::Internal { .. } => &codes::DEFECT,
    }
}

/// A failed query, with the place in the statement where it helps.
pub(crate) fn problem(error: &QueryError) -> Problem {
    let problem = Problem::new(code(error), error.to_string());
    match error.position() {
        Some(Position { line, column }) => {
            problem.with("position", json!({ "line": line, "column": column }))
        }
        None => problem,
    }
}
