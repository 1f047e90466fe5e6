//! `POST /v1/sql`: one statement in, rows out as they come.
//!
//! ```text
//! {"query": "SELECT … $1 …", "parameters": [7], "time_zone": "Europe/Oslo"}
//!     ─▶  {"columns": […], "rows": [[…], …], "cut": {…}}
//! ```
//!
//! A parameter is `null`, a boolean, a number (every digit of it counts) or a text, which is read as whatever
//! type its place in the statement has: a moment, a uuid, a large number.
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
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::value::RawValue;
use tarn_engine::{Canceller, Engine, Number, Parameter, QueryError, QueryResult, SqlSession};
use tarn_model::ByteSize;
use tarn_model::codes;
use tarn_replica::Node;
use tarn_runtime::http::{BodyError, Problem, read_body};
use tarn_runtime::{Budget, Permit};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::error_code::problem;

pub use json::json_values;

/// Largest request.
const REQUEST_BYTES_MAX: ByteSize = ByteSize::mib(1);
/// A request arrives within this.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// An answer that has not begun so long after the query's time limit is answered for.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
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
}

/// A request's body. What a parameter is, it says in its own text, where a number has all its digits.
#[derive(Debug, Deserialize)]
struct QuestionBody<'a> {
    query: String,
    time_zone: Option<String>,
    #[serde(borrow)]
    parameters: Option<Vec<&'a RawValue>>,
}

#[derive(Debug)]
struct Question {
    query: String,
    parameters: Vec<Parameter>,
    sql_session: SqlSession,
}

impl Question {
    fn parse(body: &[u8]) -> Result<Question, Problem> {
        let refused = |why: String| Problem::new(&codes::SQL_REQUEST, why);
        let body: QuestionBody<'_> = serde_json::from_slice(body)
            .map_err(|error| refused(format!("the body is not the JSON expected: {error}")))?;
        let values = body.parameters.unwrap_or_default().into_iter().enumerate();
        let parameters = values.map(|(index, value)| {
            parameter(value.get())
                .map_err(|why| refused(format!("parameter ${} is {why}", index + 1)))
        });
        Ok(Question {
            parameters: parameters.collect::<Result<_, _>>()?,
            query: body.query,
            sql_session: SqlSession {
                time_zone: body.time_zone,
            },
        })
    }
}

fn parameter(json: &str) -> Result<Parameter, String> {
    let other =
        |what: &str| format!("{what}; null, true, false, a number or a text may stand there");
    match json.as_bytes().first() {
        Some(b'n') => Ok(Parameter::Null),
        Some(b't') => Ok(Parameter::Bool(true)),
        Some(b'f') => Ok(Parameter::Bool(false)),
        Some(b'"') => match serde_json::from_str(json) {
            Ok(text) => Ok(Parameter::Text(text)),
            Err(error) => Err(format!("no text: {error}")),
        },
        Some(b'[') => Err(other("a list")),
        Some(b'{') => Err(other("an object")),
        _ => match Number::parse(json) {
            Some(number) => Ok(Parameter::Number(number)),
            None => Err(other("no value")),
        },
    }
}

pub(crate) fn router(node: &Node, engine: Engine) -> Router {
    let service = SqlService {
        engine,
        budget: node.budget.clone(),
    };
    Router::new()
        .route("/v1/sql", post(answer))
        .with_state(service)
}

async fn answer(State(service): State<SqlService>, request: Request) -> Response {
    Box::pin(service.answer(request))
        .await
        .unwrap_or_else(Problem::into_response)
}

impl SqlService {
    async fn answer(&self, request: Request) -> Result<Response, Problem> {
        let (question, permit) = self.question(request).await?;
        let Question {
            query,
            parameters,
            sql_session,
        } = question;
        let failed = |error: QueryError| problem(&error);
        let prepared = self.engine.prepare(&query).await.map_err(failed)?;
        let result = self.engine.execute(&prepared, parameters, &sql_session);
        let result = result.await.map_err(failed)?;
        // The text is not needed any more.
        drop((query, permit, prepared));

        let deadline = result.deadline() + ANSWER_GRACE;
        let caller = Caller(result.canceller());
        let answer = Answer::new(result, self.engine.settings().memory_limit);
        let first = self.engine.pool().spawn("sql.first", first(answer));
        let (first, rest) = match timeout_at(deadline, first).await {
            Ok(Ok(first)) => first.map_err(failed)?,
            Ok(Err(_)) => {
                let why = "a defect in the query engine; the log says more".to_owned();
                return Err(failed(QueryError::Internal { why }));
            }
            Err(_) => {
                let limit = self.engine.settings().time_limit;
                return Err(failed(QueryError::TimeLimit { limit }));
            }
        };
        let length = rest
            .stage
            .is_done()
            .then(|| first.iter().map(Bytes::len).sum::<usize>());
        let mut first = first;
        let body = match length.is_some() && first.len() == 1 {
            // No more than any connection may hold: it needs neither place nor time.
            true => first.pop_front().map_or(Body::empty(), Body::from),
            false => self.stream(first, rest, caller),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        Ok(response)
    }

    async fn question(&self, request: Request) -> Result<(Question, Permit), Problem> {
        let deadline = Instant::now() + REQUEST_WITHIN;
        let read = read_body(request, REQUEST_BYTES_MAX, &self.budget, deadline).await;
        let (bytes, permit) = read.map_err(|error| {
            let code = match error {
                BodyError::TooLarge { .. } => &codes::SQL_BODY_TOO_LARGE,
                BodyError::Broken => &codes::SQL_REQUEST,
                BodyError::TooSlow => &codes::SQL_BODY_TOO_SLOW,
                BodyError::NoMemory => &codes::SQL_NOT_NOW,
            };
            Problem::new(code, error.to_string())
        })?;
        let question = Question::parse(&bytes)?;
        Ok((question, permit))
    }

    /// What was made and the rest, from a task that the client's reading drives.
    fn stream(&self, first: VecDeque<Bytes>, answer: Answer, caller: Caller) -> Body {
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let sending = send(first, answer, sender);
        drop(self.engine.pool().spawn("sql.answer", sending));
        let chunks = stream::unfold(Some((receiver, caller)), async |waiting| {
            let (mut receiver, caller) = waiting?;
            match receiver.recv().await {
                Some(Chunk::Rows(bytes)) => Some((Ok(bytes), Some((receiver, caller)))),
                Some(Chunk::End) => None,
                Some(Chunk::Failed(error)) => Some((Err(io::Error::other(error)), None)),
                // The task gave up waiting for the client.
                None => Some((Err(io::Error::other("the query's time is over")), None)),
            }
        });
        Body::from_stream(chunks)
    }
}

/// The client of a query. When it goes away, so does the query, wherever its rows are just being written.
struct Caller(Canceller);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The first chunks of an answer, and what gives the others.
async fn first(mut answer: Answer) -> Result<(VecDeque<Bytes>, Answer), QueryError> {
    let (mut first, mut length) = (VecDeque::new(), 0);
    while length < FIRST_BYTES {
        match answer.chunk().await? {
            Some(chunk) => {
                length += chunk.len();
                first.push_back(chunk);
            }
            None => break,
        }
    }
    Ok((first, answer))
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

impl Stage {
    fn is_done(self) -> bool {
        self == Stage::Done
    }
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
