//! `application/problem+json` (RFC 9457) with our code, and the place in the statement where it helps.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tarn_engine::{Position, QueryError};

use crate::error_code::{self, ErrorCode};

/// A failure on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    code: ErrorCode,
    detail: String,
    position: Option<Position>,
}

impl Problem {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            position: None,
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Problem {
        Problem {
            code: error_code::query(&error),
            detail: error.to_string(),
            position: error.position(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let ErrorCode {
            status,
            code,
            title,
            hint,
        } = self.code;
        let mut body = json!({
            "type": format!("urn:tarn:error:{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "detail": self.detail,
        });
        if let Some(Position { line, column }) = self.position {
            body["position"] = json!({ "line": line, "column": column });
        }
        if let Some(hint) = hint {
            body["hint"] = json!(hint);
        }
        (
            status,
            [(CONTENT_TYPE, "application/problem+json")],
            body.to_string(),
        )
            .into_response()
    }
}
