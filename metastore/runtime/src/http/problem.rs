//! Errors of our own HTTP faces: `application/problem+json` (RFC 9457) with a code of the one list.
//!
//! `type` is `urn:tarn:error:TARN-1203` and `title` and `code` go with it; `detail` says what was wrong this
//! time; `hint`, where there is one, what to do next. A face may add members of its own.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tarn_model::codes::Code;

/// A failure on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: &'static Code,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// With another member.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Problem {
        self.more.insert(member.to_owned(), value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Code {
            code,
            status,
            title,
            hint,
            ..
        } = *self.code;
        let mut body = self.more;
        body.insert("type".into(), json!(format!("urn:tarn:error:{code}")));
        body.insert("title".into(), json!(title));
        body.insert("status".into(), json!(status));
        body.insert("code".into(), json!(code));
        body.insert("detail".into(), json!(self.detail));
        if let Some(hint) = hint {
            body.insert("hint".into(), json!(hint));
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            status,
            [(CONTENT_TYPE, "application/problem+json")],
            Value::Object(body).to_string(),
        )
            .into_response()
    }
}
