//! The engine of a process, and one query from its text to its rows.
//!
//! Holds: a query sees one cut from its first row to its last.
//! Leaves to others: who asks, and over which wire (`tarn-server`).

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::available_parallelism;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::datatypes::{FieldRef, Fields, Schema, SchemaRef};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::cache::DefaultFilesMetadataCache;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{DescribeTable, LogicalPlan};
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::{FutureExt, StreamExt};
use tarn_hot::{Cut, HotTier, TableCut};
use tarn_model::Lsn;
use tarn_replica::Node;
use tarn_tables::Catalog;
use tarn_topics::Reader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug, error, info_span};

use crate::context::QueryContext;
use crate::functions::calendar::Zone;
use crate::limits::{QueryLimits, QueryMemory};
use crate::metrics::{EngineMetrics, Measured};
use crate::session;
use crate::stack::poll_on_large_stack;
use crate::{EngineSettings, QueryError, names, statement, type_name};

/// SQL for one process. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node,
    hot: HotTier,
    tables: Catalog,
    reader: Reader,
    settings: EngineSettings,
    memory: QueryMemory,
    places: Arc<Semaphore>,
    footers: Arc<dyn FileMetadataCache>,
    base: SessionState,
    metrics: EngineMetrics,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

/// What a statement depends on beside its text and its cut: what `SET` sets on a connection, and what a
/// request brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SqlSession {
    /// A name of the tz database or an offset; UTC if it is `None`. It says what a `timestamptz` is as a
    /// date or timestamp, what a moment is whose text names no zone, and where a day begins.
    pub time_zone: Option<String>,
}

/// Where a query stood: its Lsn, and S, M and H of each topic that it read.
#[derive(Debug, Clone)]
pub struct QueryCut {
    pub lsn: Lsn,
    pub tables: Vec<TableCut>,
}

/// A running query: its rows, batch by batch. Dropping it ends the query.
pub struct QueryResult {
    schema: SchemaRef,
    cut: QueryCut,
    rows: Option<SendableRecordBatchStream>,
    seen: usize,
    deadline: Instant,
    engine: Engine,
    measured: Measured,
    _place: OwnedSemaphorePermit,
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResult")
            .field("schema", &self.schema)
            .field("cut", &self.cut.lsn)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The engine of a node. It has no task of its own: queries run where they are awaited, and in
    /// tasks that DataFusion starts for them and that end with them.
    pub fn start(node: &Node, tables: &Catalog, hot: HotTier, settings: EngineSettings) -> Engine {
        let parallelism = match settings.parallelism {
            0 => available_parallelism().map_or(1, std::num::NonZero::get),
            given => given,
        };
        let base = session::base(parallelism).expect("our functions have names of their own");
        Engine {
            inner: Arc::new(Inner {
                hot,
                reader: Reader::new(node),
                tables: tables.clone(),
                memory: QueryMemory::new(settings.memory_limit),
                places: Arc::new(Semaphore::new(settings.queries_at_once.max(1))),
                footers: Arc::new(DefaultFilesMetadataCache::new(
                    settings.footer_cache.as_usize(),
                )),
                metrics: node.runtime.metrics().register(EngineMetrics::register),
                base,
                settings,
                node: node.clone(),
            }),
        }
    }

    pub fn settings(&self) -> &EngineSettings {
        &self.inner.settings
    }

    /// The tables that queries read: whoever else shows them shares their cache.
    pub fn tables(&self) -> &Catalog {
        &self.inner.tables
    }

    /// Begins a query: takes its cut, plans it and starts it. It sees everything that was
    /// acknowledged before the call.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        self.query_in(&SqlSession::default(), sql).await
    }

    /// The same within a SQL session: what it has set is what the statement means.
    pub async fn query_in(
        &self,
        sql_session: &SqlSession,
        sql: &str,
    ) -> Result<QueryResult, QueryError> {
        let mut measured = self.inner.metrics.begin();
        let deadline = Instant::now() + self.inner.settings.time_limit;
        let span = info_span!("query");
        let begin = AssertUnwindSafe(
            Box::pin(self.begin(sql_session, sql, deadline, &mut measured)).instrument(span),
        );
        let begun = match timeout_at(deadline, begin.catch_unwind()).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(panic)) => Err(self.panicked(panic.as_ref())),
            Err(_) => Err(self.time_limit()),
        };
        match begun {
            Ok(begun) => Ok(QueryResult {
                schema: shown(&begun.rows.schema()),
                cut: begun.cut,
                rows: Some(begun.rows),
                seen: 0,
                deadline,
                engine: self.clone(),
                measured,
                _place: begun.place,
            }),
            Err(error) => {
                measured.failed(&error);
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        sql_session: &SqlSession,
        sql: &str,
        deadline: Instant,
        measured: &mut Measured,
    ) -> Result<Begun, QueryError> {
        let inner = &self.inner;
        let zone = sql_session.zone()?;
        let (mut statement, class) = statement::parse(sql)?;
        measured.class(class);
        let place = Arc::clone(&inner.places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");

        let view = inner.node.metastore.barrier(deadline).await;
        let view = view.map_err(|error| QueryError::Unavailable {
            why: error.to_string(),
        })?;
        debug!(lsn = %view.lsn(), class = class.label(), "a query begins");
        let cut = Cut::at(view);
        let lsn = cut.lsn();
        let context = Arc::new(QueryContext::new(
            cut,
            inner.hot.clone(),
            inner.tables.clone(),
            inner.reader.clone(),
            inner.node.cache.for_files(),
            Arc::clone(&inner.footers),
            inner.memory.scans.clone(),
        ));
        let limits = QueryLimits::new(&inner.memory, inner.settings.time_limit, deadline);
        let runtime = &inner.node.runtime;
        let mut session = session::open(
            &inner.base,
            &context,
            &inner.memory,
            &limits,
            &zone,
            runtime,
        )
        .map_err(|error| self.failure(&error))?;
        let rows = poll_on_large_stack(run(&mut session, &limits, &mut statement))
            .await
            .map_err(|error| self.failure(&error))?;
        Ok(Begun {
            rows,
            cut: QueryCut {
                lsn,
                tables: context.tables_read(),
            },
            place,
        })
    }

    fn failure(&self, error: &DataFusionError) -> QueryError {
        QueryError::of(error, self.inner.settings.memory_limit)
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> QueryError {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        // Arrow's way to say that a column would take gigabytes.
        if text.is_some_and(|text| text.contains("offset overflow")) {
            return QueryError::MemoryLimit {
                limit: self.inner.settings.memory_limit,
                detail: "some rows of a column are larger than an array can be".to_owned(),
            };
        }
        error!("a query panicked; this is a defect");
        QueryError::Internal {
            why: "a defect in the query engine; the log says more".to_owned(),
        }
    }

    fn time_limit(&self) -> QueryError {
        QueryError::TimeLimit {
            limit: self.inner.settings.time_limit,
        }
    }
}

impl SqlSession {
    fn zone(&self) -> Result<Zone, QueryError> {
        let name = self.time_zone.as_deref().unwrap_or("UTC");
        Zone::parse(name).ok_or_else(|| QueryError::Invalid {
            message: format!("invalid value for the time zone: \"{name}\""),
            position: None,
        })
    }
}

/// A query whose first row may be asked for.
struct Begun {
    rows: SendableRecordBatchStream,
    cut: QueryCut,
    place: OwnedSemaphorePermit,
}

async fn run(
    session: &mut SessionState,
    limits: &QueryLimits,
    statement: &mut Statement,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    names::unfold(session, statement).await?;
    statement::rewrite(statement)?;
    let plan = session.statement_to_plan(statement.clone()).await?;
    if let LogicalPlan::DescribeTable(table) = &plan {
        return describe(table, session);
    }
    // `statement` has refused nearly everything that is not a read; this is the second lock on that door.
    let reads = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    reads
        .verify_plan(&plan)
        .map_err(|_| QueryError::NotSupported {
            what: "the statement would write: SQL reads here".to_owned(),
        })?;
    let physical = session::physical(session, limits, &plan).await?;
    execute_stream(physical, session.task_ctx())
}

/// Columns with SQL's names for their types, where DataFusion has Arrow's.
fn describe(
    table: &DescribeTable,
    session: &SessionState,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let (mut names, mut kinds, mut nullable) = (Vec::new(), Vec::new(), Vec::new());
    for field in table.schema.fields() {
        names.push(field.name().clone());
        kinds.push(type_name(field.data_type()));
        nullable.push(if field.is_nullable() { "YES" } else { "NO" });
    }
    let schema = Arc::clone(table.output_schema.inner());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(names)),
        Arc::new(StringArray::from(kinds)),
        Arc::new(StringArray::from(nullable)),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    execute_stream(
        MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?,
        session.task_ctx(),
    )
}

/// The columns under the names that are shown, of which several may be the same.
fn shown(schema: &SchemaRef) -> SchemaRef {
    let is_marked = |field: &FieldRef| statement::shown(field.name()) != field.name();
    if !schema.fields().iter().any(is_marked) {
        return Arc::clone(schema);
    }
    let shown = |field: &FieldRef| {
        let name = statement::shown(field.name());
        Arc::new(field.as_ref().clone().with_name(name))
    };
    let fields: Fields = schema.fields().iter().map(shown).collect();
    Arc::new(Schema::new(fields))
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

    /// The next rows; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        loop {
            let rows = self.rows.as_mut()?;
            let next = AssertUnwindSafe(rows.next()).catch_unwind();
            let batch = match timeout_at(self.deadline, next).await {
                Ok(Ok(Some(Ok(batch)))) => Ok(batch),
                Ok(Ok(Some(Err(error)))) => Err(self.engine.failure(&error)),
                Ok(Ok(None)) => {
                    self.rows = None;
                    return None;
                }
                Ok(Err(panic)) => Err(self.engine.panicked(panic.as_ref())),
                Err(_) => Err(self.engine.time_limit()),
            };
            match batch.and_then(|batch| self.within_limit(batch)) {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => return Some(Ok(batch)),
                Err(error) => {
                    self.rows = None;
                    self.measured.failed(&error);
                    return Some(Err(error));
                }
            }
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    fn within_limit(&mut self, batch: RecordBatch) -> Result<RecordBatch, QueryError> {
        let limit = self.engine.inner.settings.row_limit;
        self.seen = self.seen.saturating_add(batch.num_rows());
        if self.seen > limit {
            return Err(QueryError::RowLimit { limit });
        }
        self.measured.rows(batch.num_rows());
        if batch.schema_ref() == &self.schema {
            return Ok(batch);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| self.engine.failure(&error.into()))
    }
}
