//! Bodies of requests: within their bound, within their time, and only after their bytes were taken from the
//! budget.

use std::error::Error;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use tarn_model::ByteSize;
use tokio::time::{Instant, timeout_at};

use crate::{Budget, Permit};

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {max}")]
    TooLarge { max: ByteSize },
    #[error("the body ended too early")]
    Broken,
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("no memory was free for the body in time")]
    NoMemory,
}

/// Reads a body and takes its bytes from the budget, both until the deadline. One that does not announce
/// its length takes as many as are allowed.
pub async fn read_body(
    request: Request,
    max: ByteSize,
    budget: &Budget,
    deadline: Instant,
) -> Result<(Bytes, Permit), BodyError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    // What is too large is refused when too much has come: who still sends may not hear it before.
    let wanted = announced.unwrap_or(max.0).min(max.0);
    let permit = timeout_at(deadline, budget.acquire(wanted))
        .await
        .map_err(|_| BodyError::NoMemory)?
        .map_err(|_| BodyError::TooLarge { max })?;
    let bytes = timeout_at(deadline, whole(request.into_body(), max))
        .await
        .map_err(|_| BodyError::TooSlow)??;
    Ok((bytes, permit))
}

async fn whole(body: Body, max: ByteSize) -> Result<Bytes, BodyError> {
    to_bytes(body, max.as_usize()).await.map_err(|error| {
        match error
            .source()
            .is_some_and(|source| source.is::<LengthLimitError>())
        {
            true => BodyError::TooLarge { max },
            false => BodyError::Broken,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use futures::{StreamExt, stream};

    use super::*;

    const MAX: ByteSize = ByteSize::kib(4);

    async fn read(body: Body, announced: Option<usize>) -> Result<usize, BodyError> {
        let budget = Budget::new(ByteSize::kib(8));
        let mut request = Request::post("/");
        if let Some(length) = announced {
            request = request.header(CONTENT_LENGTH, length);
        }
        let request = request.body(body).expect("a request");
        let deadline = Instant::now() + Duration::from_secs(30);
        let (bytes, _permit) = read_body(request, MAX, &budget, deadline).await?;
        Ok(bytes.len())
    }

    fn chunks(count: usize) -> Body {
        let chunk = |_| Ok::<_, io::Error>(vec![b'x'; 1 << 10]);
        Body::from_stream(stream::iter((0..count).map(chunk)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_within_its_bound_and_its_time() {
        let too_large = Err(BodyError::TooLarge { max: MAX });
        assert_eq!(read(Body::from("abc"), Some(3)).await, Ok(3));
        assert_eq!(read(chunks(4), None).await, Ok(4 << 10));
        for announced in [Some(5 << 10), None] {
            assert_eq!(read(chunks(5), announced).await, too_large);
        }
        // The text of an error says nothing of its kind.
        let broken = stream::iter([Err::<Vec<u8>, _>(io::Error::other("length limit exceeded"))]);
        assert_eq!(
            read(Body::from_stream(broken), None).await,
            Err(BodyError::Broken)
        );
        let stalls = stream::iter([Ok::<_, io::Error>(vec![b'x'])]).chain(stream::pending());
        assert_eq!(
            read(Body::from_stream(stalls), None).await,
            Err(BodyError::TooSlow)
        );
    }
}
