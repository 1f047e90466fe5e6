//! Bodies of requests, within their bound, and what is said of requests that no handler saw.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use tarn_runtime::Permit;
use tarn_runtime::http::{BodyError, read_body};
use tokio::time::Instant;

use crate::registry::Registry;

impl Registry {
    /// Reads a body within its bound, after its bytes were taken from the budget, both until the deadline.
    pub(crate) async fn body(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Bytes, Permit), BodyError> {
        let max = self.inner.settings.body_max;
        read_body(request, max, &self.inner.budget, deadline).await
    }
}

/// What is said of a path or a query that is malformed, in the form of an API: before a handler has a say
/// it is plain text.
pub(crate) async fn in_form(response: Response, form: fn(u16, String) -> Response) -> Response {
    const TEXT_BYTES_MAX: usize = 4 << 10;
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let is_text = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !status.is_client_error() || !is_text {
        return response;
    }
    let text = to_bytes(response.into_body(), TEXT_BYTES_MAX).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    form(status.as_u16(), text)
}
