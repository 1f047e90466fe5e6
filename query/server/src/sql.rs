//! `POST /v1/sql`: one statement in, rows out as they come.
//!
//! ```text
//! {"query": "SELECT …", "time_zone": "Europe/Oslo"}  ─▶  {"columns": […], "rows": [[…], …], "cut": {…}}
//! ```
//!
//! The first megabytes are made before the status is sent, so that nearly every failure has its own.
//! A later one breaks the connection off: half of an answer is never taken for all of it.
//!
//! What waits for a slow client is bounded: all but a last few chunks keeps the query's place, and is given
//! up when the query's time is over. What the connection holds by then goes when the listener finds that
//! it stalls (`tarn_runtime::http`).

mod json;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use tarn_engine::{Engine, QueryError, QueryResult, SqlSession};
use tarn_model::ByteSize;
use tarn_model::codes;
use tarn_replica::Node;
use tarn_runtime::http::Problem;
use tarn_runtime::{Budget, Permit, Pool, Scope, Task};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::error_code::problem;

pub use json::json_values;

/// Largest request.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// A request arrives within this.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// A query that has not answered so long after its time limit is answered for.
const PLANNING_GRACE: Duration = Duration::from_millis(500);
/// Bytes of the answer that are made before its status is sent.
const FIRST_BYTES: usize = 4 << 20;
/// Bytes of one chunk, …
const CHUNK_BYTES: usize = 64 << 10;
/// … and chunks that wait for the client.
const CHUNKS_WAITING: usize = 4;
/// Time that a client has for what was made so late that little of the query's own is left.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct SqlService {
    engine: Engine,
    budget: Budget,
    scope: Scope,
    /// Planning and running queries takes threads for as long as it likes: not those that serve Kafka.
    pool: Pool,
}

#[derive(Debug, Deserialize)]
struct Request {
    query: String,
    time_zone: Option<String>,
}

pub(crate) fn router(node: &Node, engine: Engine) -> Router {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let service = SqlService {
        engine,
        budget: node.budget.clone(),
        scope: node.scope.child("sql"),
        pool: Pool::new("sql", threads).expect("a process that starts can have threads"),
    };
    Router::new()
        .route("/v1/sql", post(answer))
        .with_state(service)
}

async fn answer(State(service): State<SqlService>, body: Body) -> Response {
    Box::pin(service.answer(body))
        .await
        .unwrap_or_else(Problem::into_response)
}

impl SqlService {
    async fn answer(&self, body: Body) -> Result<Response, Problem> {
        if self.scope.is_draining() {
            let why = "this process is stopping";
            return Err(Problem::new(&codes::SQL_NOT_NOW, why));
        }
        let (request, permit) = self.request(body).await?;
        let limit = self.engine.settings().time_limit;
        let service = self.clone();
        let work = async move { Box::pin(service.run(request, permit)).await };
        let mut query = Awaited(self.pool.spawn("sql.query", work));
        match timeout(limit + PLANNING_GRACE, &mut query.0).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(problem(&QueryError::Internal {
                why: "a defect in the query engine; the log says more".to_owned(),
            })),
            // A step that cannot be interrupted, as in planning. It ends by itself.
            Err(_) => Err(problem(&QueryError::TimeLimit { limit })),
        }
    }

    /// Plans and runs a query on the pool's threads, up to the first bytes of its answer.
    async fn run(&self, request: Request, permit: Permit) -> Result<Response, Problem> {
        let sql_session = SqlSession {
            time_zone: request.time_zone.clone(),
        };
        let result = Box::pin(self.engine.query_in(&sql_session, &request.query))
            .await
            .map_err(|error| problem(&error))?;
        // The text is not needed any more.
        drop((request, permit));
        let mut answer = Answer::new(result, self.engine.settings().memory_limit);
        let (mut first, mut length) = (VecDeque::new(), 0);
        let mut is_whole = false;
        while !is_whole && length < FIRST_BYTES {
            match answer.chunk().await.map_err(|error| problem(&error))? {
                Some(chunk) => {
                    length += chunk.len();
                    first.push_back(chunk);
                }
                None => is_whole = true,
            }
        }
        let body = match is_whole && first.len() == 1 {
            // No more than any connection may hold: it needs neither place nor time.
            true => first.pop_front().map_or(Body::empty(), Body::from),
            false => self.stream(first, answer),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if is_whole {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        Ok(response)
    }

    async fn request(&self, body: Body) -> Result<(Request, Permit), Problem> {
        let slow = || {
            Problem::new(
                &codes::SQL_BODY_TOO_SLOW,
                format!("after {} s", REQUEST_WITHIN.as_secs()),
            )
        };
        let permit = timeout(
            REQUEST_WITHIN,
            self.budget.acquire(REQUEST_BYTES_MAX as u64),
        )
        .await;
        let permit = permit
            .map_err(|_| Problem::new(&codes::SQL_NOT_NOW, "no memory is free for the request"))?
            .map_err(|error| Problem::new(&codes::SQL_NOT_NOW, error.to_string()))?;
        let read = timeout(REQUEST_WITHIN, to_bytes(body, REQUEST_BYTES_MAX))
            .await
            .map_err(|_| slow())?;
        let bytes = read.map_err(|error| {
            let source = std::error::Error::source(&error);
            match source.is_some_and(|source| source.to_string().contains("length limit")) {
                true => Problem::new(
                    &codes::SQL_BODY_TOO_LARGE,
                    format!("more than {REQUEST_BYTES_MAX} bytes"),
                ),
                false => Problem::new(
                    &codes::SQL_REQUEST,
                    format!("the body could not be read: {error}"),
                ),
            }
        })?;
        let request = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(
                &codes::SQL_REQUEST,
                format!("the body is not the JSON expected: {error}"),
            )
        })?;
        Ok((request, permit))
    }

    /// What was made and the rest, from a task that the client's reading drives.
    fn stream(&self, first: VecDeque<Bytes>, answer: Answer) -> Body {
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        drop(self.scope.spawn("sql.answer", send(first, answer, sender)));
        let chunks = stream::unfold(Some(receiver), async |receiver| {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Chunk::Rows(bytes)) => Some((Ok(bytes), Some(receiver))),
                Some(Chunk::End) => None,
                Some(Chunk::Failed(error)) => Some((Err(io::Error::other(error)), None)),
                // The task gave up waiting for the client.
                None => Some((Err(io::Error::other("the query's time is over")), None)),
            }
        });
        Body::from_stream(chunks)
    }
}

/// A query that ends when nobody waits for it any more: with the request whose client went away.
struct Awaited<T>(Task<T>);

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Chunk {
    Rows(Bytes),
    End,
    Failed(QueryError),
}

async fn send(mut first: VecDeque<Bytes>, mut answer: Answer, sender: mpsc::Sender<Chunk>) {
    let deadline = answer.result.deadline();
    let deadline = deadline.max(Instant::now() + TAKEN_WITHIN);
    loop {
        let made = match first.pop_front() {
            Some(bytes) => Ok(Some(bytes)),
            None => tokio::select! {
                made = answer.chunk() => made,
                () = sender.closed() => return,
            },
        };
        let chunk = match made {
            Ok(Some(bytes)) => Chunk::Rows(bytes),
            Ok(None) => Chunk::End,
            Err(error) => {
                debug!(%error, "a query failed after its answer had begun");
                Chunk::Failed(error)
            }
        };
        let is_last = !matches!(chunk, Chunk::Rows(_));
        let taken = matches!(timeout_at(deadline, sender.send(chunk)).await, Ok(Ok(())));
        if is_last {
            // Who was told the length asks no more.
            return;
        }
        if !taken {
            debug!("a client did not take its answer");
            return;
        }
    }
}

/// An answer on its way to JSON.
struct Answer {
    result: QueryResult,
    /// The batch that is being written, and its next row.
    batch: Option<(arrow::array::RecordBatch, usize)>,
    stage: Stage,
    row_bytes_max: ByteSize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    FirstRow,
    Rows,
    Done,
}

impl Answer {
    fn new(result: QueryResult, row_bytes_max: ByteSize) -> Answer {
        Answer {
            result,
            batch: None,
            stage: Stage::Head,
            row_bytes_max,
        }
    }

    /// The next chunk; `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, QueryError> {
        let mut out = Vec::new();
        if self.stage == Stage::Head {
            json::write_head(&mut out, self.result.schema());
            self.stage = Stage::FirstRow;
        }
        while self.stage != Stage::Done && out.len() < CHUNK_BYTES {
            let (batch, row) = match self.batch.take() {
                Some(batch) => batch,
                None => match self.result.next().await {
                    Some(batch) => (batch?, 0),
                    None => {
                        json::write_tail(&mut out, self.result.cut());
                        self.stage = Stage::Done;
                        break;
                    }
                },
            };
            let is_first = self.stage == Stage::FirstRow;
            let next = json::write_rows(
                &mut out,
                &batch,
                row,
                is_first,
                CHUNK_BYTES,
                self.row_bytes_max,
            )?;
            self.stage = Stage::Rows;
            if next < batch.num_rows() {
                self.batch = Some((batch, next));
            }
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }
}
