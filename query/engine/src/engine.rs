//! The engine of a process: what its queries share, and one query from its text to a plan that runs.
//!
//! Holds: a query sees one cut from its first row to its last.
//! Leaves to others: how a query gets its turn and how it ends (`running`), who asks, and over which wire
//! (`tarn-server`).

use std::any::Any;
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
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
use tarn_hot::{Cut, HotTier, TableCut};
use tarn_model::Lsn;
use tarn_replica::Node;
use tarn_runtime::Pool;
use tarn_tables::Catalog;
use tarn_topics::Reader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::context::QueryContext;
use crate::functions::calendar::Zone;
use crate::limits::{QueryLimits, QueryMemory};
use crate::metrics::EngineMetrics;
use crate::session;
use crate::stack::poll_on_large_stack;
use crate::statement::{Parsed, Values};
use crate::{EngineSettings, Parameter, QueryError, names, statement, type_name};

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
    /// Planning and running queries takes threads for as long as it likes: not those that serve Kafka.
    pool: Pool,
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

impl Engine {
    /// The engine of a node. Queries run on threads of its own, in tasks that end with them.
    pub fn start(node: &Node, tables: &Catalog, hot: HotTier, settings: EngineSettings) -> Engine {
        let cores = available_parallelism().map_or(2, NonZero::get);
        let parallelism = match settings.parallelism {
            0 => cores,
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
                pool: Pool::new("sql", cores).expect("a process that starts can have threads"),
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

    /// The threads that queries run on. Who puts their rows into a wire's form does it there, too: it
    /// computes for as long as there are rows.
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// Takes the query's cut, plans it and starts it.
    pub(crate) async fn begin(
        &self,
        parsed: &Parsed,
        parameters: &[Parameter],
        zone: &Zone,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Begun, QueryError> {
        let inner = &self.inner;
        let parameters = parsed.parameters.bind(parameters)?;
        let view = inner.node.metastore.barrier(deadline).await;
        let view = view.map_err(|error| QueryError::Unavailable {
            why: error.to_string(),
        })?;
        debug!(lsn = %view.lsn(), "a query begins");
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
        let time_limit = inner.settings.time_limit;
        let limits = QueryLimits::new(&inner.memory, time_limit, deadline, cancel.clone());
        let runtime = &inner.node.runtime;
        let mut session =
            session::open(&inner.base, &context, &inner.memory, &limits, zone, runtime)
                .map_err(|error| self.failure(&error))?;
        let rows = poll_on_large_stack(run(&mut session, &limits, &parsed.statement, parameters))
            .await
            .map_err(|error| self.failure(&error))?;
        Ok(Begun {
            schema: shown(&rows.schema()),
            rows,
            cut: QueryCut {
                lsn,
                tables: context.tables_read(),
            },
        })
    }

    pub(crate) fn metrics(&self) -> &EngineMetrics {
        &self.inner.metrics
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.node.scope.is_draining()
    }

    /// A place among the queries that run at the same time, when there is one.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.inner.places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    pub(crate) fn failure(&self, error: &DataFusionError) -> QueryError {
        QueryError::of(error, self.inner.settings.memory_limit)
    }

    pub(crate) fn panicked(&self, panic: &(dyn Any + Send)) -> QueryError {
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
        QueryError::defect()
    }

    pub(crate) fn time_limit(&self) -> QueryError {
        QueryError::TimeLimit {
            limit: self.inner.settings.time_limit,
        }
    }
}

impl SqlSession {
    pub(crate) fn zone(&self) -> Result<Zone, QueryError> {
        let name = self.time_zone.as_deref().unwrap_or("UTC");
        Zone::parse(name).ok_or_else(|| QueryError::Invalid {
            message: format!("invalid value for the time zone: \"{name}\""),
            position: None,
        })
    }
}

/// A query whose first row may be asked for.
pub(crate) struct Begun {
    pub(crate) schema: SchemaRef,
    pub(crate) rows: SendableRecordBatchStream,
    pub(crate) cut: QueryCut,
}

async fn run(
    session: &mut SessionState,
    limits: &QueryLimits,
    statement: &Statement,
    parameters: Values<'_>,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let mut statement = statement.clone();
    names::unfold(session, &mut statement).await?;
    statement::rewrite(&mut statement, parameters)?;
    let plan = session.statement_to_plan(statement).await?;
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
