//! A query on its way: it gets a place, is planned and run on threads of the engine's own, and ends when
//! nobody waits for it any more.
//!
//! ```text
//! caller ─▶ a place ─▶ execute ────────────────────▶ next, next, …
//! pool                 cut, plan ─▶ rows, a batch ahead of who takes them
//! ```
//!
//! Holds: who drops the future of [`Engine::execute`] or the [`QueryResult`] has ended the query, wherever it
//! stands: what works for it looks before each batch whether it shall go on (`watch`). Its place is
//! free as soon as that work has let go, and no earlier. A caller hears something soon after the time limit,
//! even if the work cannot be interrupted.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info_span};

use crate::engine::Begun;
use crate::functions::calendar::Zone;
use crate::metrics::Measured;
use crate::statement::{self, Parsed};
use crate::{Engine, Parameter, QueryCut, QueryError, SqlSession};

/// A query that has not answered so long after its time limit is answered for: it is in a step that cannot
/// be interrupted, and ends by itself.
const GRACE: Duration = Duration::from_millis(500);

/// A statement that may run. It keeps nothing of the time when it was prepared: what it names is looked up
/// at the cut of each execution.
#[derive(Clone)]
pub struct Prepared {
    /// SUBTLE: it may be so deep that a copy is made only where there is a large stack.
    parsed: Arc<Parsed>,
}

impl Prepared {
    /// The parameters, `$1` first, each with PostgreSQL's own name of its type (`int4`, `timestamptz`) where the
    /// statement says it: all casts of the parameter are to this type, or it is a `LIMIT` or `OFFSET`.
    ///
    /// For others it is `None`. PostgreSQL infers some more from columns and functions beside them, which are
    /// known only at a cut, and takes `text` for the rest. Who has to name a type without one names `text`:
    /// [`Parameter::Text`] is read as whatever its place wants.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.parsed.parameters.types()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("class", &self.parsed.class)
            .finish_non_exhaustive()
    }
}

/// A running query: its rows, batch by batch. Dropping it ends the query.
pub struct QueryResult {
    schema: SchemaRef,
    cut: QueryCut,
    rows: Option<mpsc::Receiver<Made>>,
    deadline: Instant,
    engine: Engine,
    cancel: CancellationToken,
    ticket: Arc<Ticket>,
    _ends: DropGuard,
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResult")
            .field("schema", &self.schema)
            .field("cut", &self.cut.lsn)
            .finish_non_exhaustive()
    }
}

/// Ends a query from elsewhere than where its rows are taken.
#[derive(Debug, Clone)]
pub struct Canceller(CancellationToken);

impl Canceller {
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// A query's place among those that run at the same time. Both have it, who works and who takes.
#[derive(Debug)]
struct Ticket {
    measured: Measured,
    _place: OwnedSemaphorePermit,
}

enum Made {
    Rows(RecordBatch),
    End,
    Failed(QueryError),
}

impl Engine {
    /// One statement from a text, as often to be executed as one likes.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, QueryError> {
        let sql = sql.to_owned();
        let parse = async move { statement::parse(&sql) };
        let parsed = self.pool().spawn("sql.prepare", parse).await;
        match parsed.unwrap_or_else(|_| Err(QueryError::defect())) {
            Ok(parsed) => Ok(Prepared {
                parsed: Arc::new(parsed),
            }),
            Err(error) => {
                self.metrics().begin().failed(&error);
                Err(error)
            }
        }
    }

    /// Prepares and executes a statement, in a SQL session that has set nothing.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        let prepared = self.prepare(sql).await?;
        let no_parameters = Vec::new();
        self.execute(&prepared, no_parameters, &SqlSession::default())
            .await
    }

    /// Begins a query: waits for a place, takes its cut, plans it and starts it. It sees everything that
    /// was acknowledged before the call, and means what its SQL session has set. A value has to come for each
    /// of its parameters.
    pub async fn execute(
        &self,
        prepared: &Prepared,
        parameters: Vec<Parameter>,
        sql_session: &SqlSession,
    ) -> Result<QueryResult, QueryError> {
        let mut measured = self.metrics().begin();
        measured.class(prepared.parsed.class);
        let deadline = Instant::now() + self.settings().time_limit;
        let admitted = self.admit(sql_session, deadline).await;
        let (zone, place) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                measured.failed(&error);
                return Err(error);
            }
        };
        let ticket = Arc::new(Ticket {
            measured,
            _place: place,
        });
        let cancel = CancellationToken::new();
        let ends = cancel.clone().drop_guard();
        let (sender, rows) = mpsc::channel(1);
        let (begin, begun) = oneshot::channel();
        let work = Work {
            engine: self.clone(),
            deadline,
            cancel: cancel.clone(),
            ticket: Arc::clone(&ticket),
        };
        let asked = Asked {
            parsed: Arc::clone(&prepared.parsed),
            parameters,
            zone,
        };
        let span = info_span!("query", class = prepared.parsed.class.label());
        let work = work.run(asked, begin, sender);
        drop(self.pool().spawn("sql.query", work.instrument(span)));
        let begun = match timeout_at(deadline + GRACE, begun).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(_)) => Err(QueryError::defect()),
            Err(_) => Err(self.time_limit()),
        };
        match begun {
            Ok((schema, cut)) => Ok(QueryResult {
                schema,
                cut,
                rows: Some(rows),
                deadline,
                engine: self.clone(),
                cancel,
                ticket,
                _ends: ends,
            }),
            Err(error) => {
                ticket.measured.failed(&error);
                Err(error)
            }
        }
    }

    async fn admit(
        &self,
        sql_session: &SqlSession,
        deadline: Instant,
    ) -> Result<(Zone, OwnedSemaphorePermit), QueryError> {
        let zone = sql_session.zone()?;
        if self.is_draining() {
            let why = "this process is stopping".to_owned();
            return Err(QueryError::Unavailable { why });
        }
        let place = timeout_at(deadline, self.place()).await;
        Ok((zone, place.map_err(|_| self.time_limit())?))
    }
}

/// The part of a query that runs on the pool.
struct Work {
    engine: Engine,
    deadline: Instant,
    cancel: CancellationToken,
    ticket: Arc<Ticket>,
}

/// What was asked for.
struct Asked {
    parsed: Arc<Parsed>,
    parameters: Vec<Parameter>,
    zone: Zone,
}

type Beginning = Result<(SchemaRef, QueryCut), QueryError>;

impl Work {
    async fn run(
        self,
        asked: Asked,
        begin: oneshot::Sender<Beginning>,
        sender: mpsc::Sender<Made>,
    ) {
        let working = async {
            match self.begin(asked).await {
                Ok(Begun { schema, rows, cut }) => {
                    // Nobody may be there any more: then the token says so.
                    let _ = begin.send(Ok((Arc::clone(&schema), cut)));
                    self.make_rows(&schema, rows, sender).await;
                }
                Err(error) => {
                    let _ = begin.send(Err(error));
                }
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => self.ticket.measured.failed(&QueryError::Cancelled),
            () = working => {}
        }
    }

    async fn begin(&self, asked: Asked) -> Result<Begun, QueryError> {
        let Asked {
            parsed,
            parameters,
            zone,
        } = &asked;
        let begin = self
            .engine
            .begin(parsed, parameters, zone, self.deadline, &self.cancel);
        let begin = AssertUnwindSafe(Box::pin(begin)).catch_unwind();
        match timeout_at(self.deadline, begin).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(panic)) => Err(self.engine.panicked(panic.as_ref())),
            Err(_) => Err(self.engine.time_limit()),
        }
    }

    async fn make_rows(
        &self,
        schema: &SchemaRef,
        mut rows: SendableRecordBatchStream,
        sender: mpsc::Sender<Made>,
    ) {
        let mut seen = 0;
        // A place for a batch before the batch, so that no more than one waits.
        while let Ok(slot) = sender.reserve().await {
            let failed = match self.next_rows(schema, &mut rows, &mut seen).await {
                Ok(Some(batch)) => {
                    slot.send(Made::Rows(batch));
                    continue;
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            // Who hears that it is over may ask the next query, and shall find the memory free.
            drop(rows);
            slot.send(match failed {
                None => Made::End,
                Some(error) => {
                    self.ticket.measured.failed(&error);
                    Made::Failed(error)
                }
            });
            return;
        }
    }

    /// The next rows that are any; `None` at the end.
    async fn next_rows(
        &self,
        schema: &SchemaRef,
        rows: &mut SendableRecordBatchStream,
        seen: &mut usize,
    ) -> Result<Option<RecordBatch>, QueryError> {
        while let Some(batch) = self.next(rows).await? {
            if batch.num_rows() > 0 {
                *seen = seen.saturating_add(batch.num_rows());
                return self.within_limit(schema, batch, *seen).map(Some);
            }
        }
        Ok(None)
    }

    async fn next(
        &self,
        rows: &mut SendableRecordBatchStream,
    ) -> Result<Option<RecordBatch>, QueryError> {
        let next = AssertUnwindSafe(rows.next()).catch_unwind();
        match timeout_at(self.deadline, next).await {
            Ok(Ok(batch)) => batch
                .transpose()
                .map_err(|error| self.engine.failure(&error)),
            Ok(Err(panic)) => Err(self.engine.panicked(panic.as_ref())),
            Err(_) => Err(self.engine.time_limit()),
        }
    }

    fn within_limit(
        &self,
        schema: &SchemaRef,
        batch: RecordBatch,
        seen: usize,
    ) -> Result<RecordBatch, QueryError> {
        let limit = self.engine.settings().row_limit;
        if seen > limit {
            return Err(QueryError::RowLimit { limit });
        }
        self.ticket.measured.rows(batch.num_rows());
        if batch.schema_ref() == schema {
            return Ok(batch);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
            .map_err(|error| self.engine.failure(&error.into()))
    }
}

impl QueryResult {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn cut(&self) -> &QueryCut {
        &self.cut
    }

    /// When the query ends by its time limit.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn canceller(&self) -> Canceller {
        Canceller(self.cancel.clone())
    }

    /// The next rows; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        let rows = self.rows.as_mut()?;
        let error = match timeout_at(self.deadline + GRACE, rows.recv()).await {
            Ok(Some(Made::Rows(batch))) => return Some(Ok(batch)),
            Ok(Some(Made::End)) => {
                self.rows = None;
                return None;
            }
            Ok(Some(Made::Failed(error))) => error,
            Ok(None) if self.cancel.is_cancelled() => QueryError::Cancelled,
            Ok(None) => QueryError::defect(),
            Err(_) => {
                let error = self.engine.time_limit();
                self.ticket.measured.failed(&error);
                error
            }
        };
        self.rows = None;
        Some(Err(error))
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}
