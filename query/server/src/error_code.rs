//! The one table from errors to HTTP statuses and to codes that never change their meaning.

#![deny(clippy::wildcard_enum_match_arm)]

use axum::http::StatusCode;
use tarn_engine::QueryError;

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErrorCode {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
    /// The next step, where there is one.
    pub(crate) hint: Option<&'static str>,
}

const fn of(
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    hint: Option<&'static str>,
) -> ErrorCode {
    ErrorCode {
        status,
        code,
        title,
        hint,
    }
}

/// The request is not what `POST /v1/sql` takes.
pub(crate) const BAD_REQUEST: ErrorCode = of(
    StatusCode::BAD_REQUEST,
    "TARN-1200",
    "Not a query request",
    Some("send {\"query\": \"SELECT …\"} as JSON"),
);
/// The body is too large, or took too long to arrive.
pub(crate) const BODY_TOO_LARGE: ErrorCode = of(
    StatusCode::PAYLOAD_TOO_LARGE,
    "TARN-1209",
    "The request is too large",
    None,
);
pub(crate) const BODY_TOO_SLOW: ErrorCode = of(
    StatusCode::REQUEST_TIMEOUT,
    "TARN-1210",
    "The request did not arrive in time",
    None,
);
pub(crate) const OVERLOADED: ErrorCode = of(
    StatusCode::SERVICE_UNAVAILABLE,
    "TARN-1208",
    "Not now",
    Some("try again in a moment"),
);

pub(crate) fn query(error: &QueryError) -> ErrorCode {
    match error {
        QueryError::Syntax { .. } => of(StatusCode::BAD_REQUEST, "TARN-1201", "Not SQL", None),
        QueryError::Invalid { .. } => of(StatusCode::BAD_REQUEST, "TARN-1202", "Wrong SQL", None),
        QueryError::OutOfRange { .. } => of(
            StatusCode::BAD_REQUEST,
            "TARN-1211",
            "Out of range",
            Some("cast to a wider type first, as in n::decimal(38,0)"),
        ),
        QueryError::NoSuchTable { .. } => of(
            StatusCode::NOT_FOUND,
            "TARN-1203",
            "No such table",
            Some(
                "SHOW TABLES lists them; names with upper case, dots or dashes stand in double quotes",
            ),
        ),
        QueryError::NotSupported { .. } => {
            of(StatusCode::BAD_REQUEST, "TARN-1204", "Not supported", None)
        }
        QueryError::TimeLimit { .. } => of(
            StatusCode::REQUEST_TIMEOUT,
            "TARN-1205",
            "Time limit",
            Some("read less, or raise the setting sql.time_limit"),
        ),
        QueryError::MemoryLimit { .. } => of(
            StatusCode::PAYLOAD_TOO_LARGE,
            "TARN-1206",
            "Memory limit",
            Some("group or sort less at a time, or raise the setting sql.memory_limit"),
        ),
        QueryError::RowLimit { .. } => of(
            StatusCode::PAYLOAD_TOO_LARGE,
            "TARN-1207",
            "Row limit",
            Some("aggregate, add a LIMIT, or raise the setting sql.row_limit"),
        ),
        QueryError::Unavailable { .. } => OVERLOADED,
        QueryError::Internal { .. } => of(
            StatusCode::INTERNAL_SERVER_ERROR,
            "TARN-1299",
            "A defect, or damaged data",
            None,
        ),
    }
}
