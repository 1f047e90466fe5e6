//! Errors as Iceberg's REST specification has them: `{"error": {"message", "type", "code"}}`.

#![deny(clippy::wildcard_enum_match_arm)]

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tarn_model::Kind;
use tarn_replica::BarrierError;
use tarn_tables::LoadError;
use tracing::warn;

#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("Namespace does not exist: {0}")]
    NoSuchNamespace(String),
    #[error("Table does not exist: {0}")]
    NoSuchTable(String),
    #[error("View does not exist: {0}")]
    NoSuchView(String),
    /// The request itself is malformed.
    #[error("Malformed request: {0}")]
    BadRequest(String),
    #[error("There is no {0} in this catalog; /v1/config lists what there is")]
    NoSuchEndpoint(String),
    #[error(
        "{0} is not offered: this catalog is read only; tables are written through their topics"
    )]
    NotAllowed(String),
    #[error("The catalog cannot answer now: {0}")]
    Barrier(BarrierError),
    #[error("{0}")]
    Load(LoadError),
}

impl CatalogError {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            CatalogError::NoSuchNamespace(_) => (StatusCode::NOT_FOUND, "NoSuchNamespaceException"),
            CatalogError::NoSuchTable(_) => (StatusCode::NOT_FOUND, "NoSuchTableException"),
            CatalogError::NoSuchView(_) => (StatusCode::NOT_FOUND, "NoSuchViewException"),
            CatalogError::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequestException"),
            CatalogError::NoSuchEndpoint(_) => (StatusCode::NOT_FOUND, "NotFoundException"),
            // The specification's status for what a server does not support.
            CatalogError::NotAllowed(_) => {
                (StatusCode::NOT_ACCEPTABLE, "UnsupportedOperationException")
            }
            CatalogError::Barrier(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailableException",
            ),
            CatalogError::Load(error) => match error.kind() {
                Kind::Unavailable | Kind::Overloaded | Kind::Conflict | Kind::Fenced => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                ),
                Kind::Invalid | Kind::NotFound | Kind::Denied | Kind::Corrupt | Kind::Internal => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
                }
            },
        }
    }
}

impl IntoResponse for CatalogError {
    fn into_response(self) -> Response {
        let (status, kind) = self.code();
        if status.is_server_error() {
            warn!(error = %self, "the catalog could not answer");
        }
        let body = json!({ "error": { "message": self.to_string(), "type": kind, "code": status.as_u16() } });
        (
            status,
            [(CONTENT_TYPE, "application/json")],
            body.to_string(),
        )
            .into_response()
    }
}
