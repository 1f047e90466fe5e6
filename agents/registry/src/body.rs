//! Bodies of requests, within their bound, and what is said of requests that no handler saw.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use tarn_model::ByteSize;
use tarn_runtime::Permit;
use tokio::time::{Instant, timeout_at};

use crate::registry::Registry;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than {max}")]
    TooLarge { max: ByteSize },
    #[error("the body ended too early")]
    Broken,
    #[error("no memory was free for the body in time")]
    NoMemory,
}

impl Registry {
    /// Reads a body within its bound, after its bytes were taken from the budget, both until the deadline.
    pub(crate) async fn body(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Bytes, Permit), BodyError> {
        let max = self.inner.settings.body_max;
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok());
        if announced.is_some_and(|length| length > max.0) {
            return Err(BodyError::TooLarge { max });
        }
        let wanted = announced.unwrap_or(max.0);
        let permit = timeout_at(deadline, self.inner.budget.acquire(wanted))
            .await
            .map_err(|_| BodyError::NoMemory)?
            .map_err(|_| BodyError::TooLarge { max })?;
        let reading = to_bytes(request.into_body(), max.as_usize());
        match timeout_at(deadline, reading).await {
            Ok(Ok(bytes)) => Ok((bytes, permit)),
            Ok(Err(error)) => {
                let text = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                Err(if text.contains("length limit") {
                    BodyError::TooLarge { max }
                } else {
                    BodyError::Broken
                })
            }
            Err(_) => Err(BodyError::Broken),
        }
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
