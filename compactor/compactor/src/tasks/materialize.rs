//! One round of the materializer: from M to the last stable offset, or as far as one commit goes.
//!
//! ```text
//! view ──▶ plan ──▶ read ─▶ decode ─▶ encode ─▶ upload     materialize.read: all is decoded
//!                   (at the same time, with room for       materialize.uploaded: a file is
//!                    one load between each)                materialize.written: all files are
//!               ──▶ manifests and metadata                 materialize.manifested
//!               ──▶ pointer and M in one proposal          materialize.committed
//! ```
//!
//! Holds: every offset in `[M, new M)` is a row of the new files, or counted as undecodable, or as
//! deleted before its time, and their sum is the number of offsets. A record that cannot be decoded,
//! or a batch that cannot be opened, stops nobody. A round that fails or loses against another leaves
//! files that nothing refers to, and no other trace.

mod backlog;
mod commit;
mod days;
mod decode;
mod metrics;
mod plan;
mod read;
mod seen;
mod task;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use iceberg::spec::DataFile;
use tarn_decode::{DecodeError, Decoder, Decoders};
use tarn_model::{Fate, Kind, TopicId};
use tarn_replica::{BarrierError, Node, View};
use tarn_runtime::{Scope, TaskError, step};
use tarn_state::commands::ReportTable;
use tarn_state::{Command, Counters};
use tarn_tables::{
    Append, Catalog, CommitError, Committed, Committer, FileWriter, LoadError, Loaded, ParquetError,
};
use tarn_topics::{ReadError, Reader};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tracing::debug;

use crate::settings::CompactorSettings;
use decode::Decoded;
use metrics::CompactorMetrics;

pub(crate) use days::DAYS_MAX;
pub(crate) use plan::{Waiting, waiting, waiting_of};
pub(crate) use task::Materialize;
pub use task::{MaterializerHandle, start_materializer};

/// How long a commit is proposed. Nobody waits for it, and what it would repeat is dear.
const COMMIT_PATIENCE: Duration = Duration::from_secs(60);
/// The least memory a round starts with. Less is not waited for in front of other requests.
const MEMORY_MIN: u64 = 8 << 20;
/// Memory for each stored byte that waits: what little waits needs little.
const MEMORY_PER_BYTE: u64 = 16;
/// Rows of one commit, for each byte of its memory. They pass through it.
const ROWS_PER_BYTE: u64 = 4;

/// How a round divides its memory, all of which can be in use at once.
#[derive(Debug, Clone, Copy)]
struct Shares {
    /// Stored batches of one load: one is read, one waits and one is decoded.
    load: u64,
    /// Rows of one go: some are decoded, some wait and some are encoded.
    hop: u64,
    /// Rows and files in the making.
    files: u64,
    /// Finished files.
    finished: u64,
    /// Rows of the whole round.
    round: u64,
}

impl Shares {
    fn of(memory: u64) -> Shares {
        Shares {
            load: memory / 32,
            hop: memory / 16,
            files: memory / 4,
            finished: memory / 4,
            round: memory * ROWS_PER_BYTE,
        }
    }
}

/// A round did not end with a commit.
#[derive(Debug, thiserror::Error)]
pub enum MaterializeError {
    #[error("topic {0} has no table")]
    NoTable(TopicId),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("its records could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("its records could not be decoded: {0}")]
    Decode(#[from] DecodeError),
    #[error("its rows could not be written: {0}")]
    Write(#[from] ParquetError),
    #[error("its files could not be uploaded: {0}")]
    Upload(#[from] tarn_store::StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("the newest view could not be had: {0}")]
    Barrier(#[from] BarrierError),
}

impl MaterializeError {
    pub fn kind(&self) -> Kind {
        match self {
            MaterializeError::NoTable(_) => Kind::NotFound,
            MaterializeError::Load(error) => error.kind(),
            MaterializeError::Read(error) => error.kind(),
            MaterializeError::Decode(error) => error.kind(),
            MaterializeError::Write(error) => error.kind(),
            MaterializeError::Upload(error) => error.kind(),
            MaterializeError::Commit(error) => error.kind(),
            MaterializeError::Task(_) => Kind::Internal,
            MaterializeError::Barrier(_) => Kind::Unavailable,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            MaterializeError::Commit(error) => error.fate(),
            MaterializeError::NoTable(_)
            | MaterializeError::Load(_)
            | MaterializeError::Read(_)
            | MaterializeError::Decode(_)
            | MaterializeError::Write(_)
            | MaterializeError::Upload(_)
            | MaterializeError::Task(_)
            | MaterializeError::Barrier(_) => Fate::NotDone,
        }
    }

    /// Nothing can be written until the table, its spec or its topic is another. Trying again before
    /// is of no use.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self, MaterializeError::Write(error) if error.kind() == Kind::Invalid)
    }

    /// Trying again does not pass it: somebody has to mend something.
    pub(crate) fn is_lasting(&self) -> bool {
        match self.kind() {
            Kind::Corrupt | Kind::Invalid | Kind::Denied | Kind::Internal => {
                self.fate() == Fate::NotDone
            }
            _ => false,
        }
    }

    pub(crate) fn is_topic_gone(&self) -> bool {
        match self {
            MaterializeError::NoTable(_) => true,
            MaterializeError::Commit(error) => error.is_gone(),
            _ => false,
        }
    }

    /// Another process was first; there is nothing to worry about.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, MaterializeError::Commit(error) if error.is_moved())
    }
}

/// What a round is about.
struct Source<'a> {
    view: &'a View,
    topic: TopicId,
    waiting: &'a [Waiting],
    days_max: usize,
}

/// What a round did.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) committed: Committed,
    /// Offsets of all partitions together.
    pub(crate) counted: Counters,
    /// Of the undecodable ones, why.
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// Records later than the header of their batch says.
    pub(crate) hidden_timestamps: u64,
    /// Memory, or the number of days, ended the round before the records did.
    pub(crate) is_partial: bool,
    /// It was the days.
    pub(crate) is_full_of_days: bool,
}

/// Materializes tables. One per process.
#[derive(Debug, Clone)]
pub(crate) struct Materializer {
    node: Node,
    scope: Scope,
    catalog: Catalog,
    committer: Committer,
    reader: Reader,
    metrics: CompactorMetrics,
    decoders: Arc<Decoders>,
    memory: u64,
    /// Decoding and encoding of all rounds together take no more threads than this.
    cores: Arc<Semaphore>,
}

impl Materializer {
    pub(crate) fn new(
        node: &Node,
        catalog: &Catalog,
        scope: &Scope,
        metrics: &CompactorMetrics,
        settings: &CompactorSettings,
    ) -> Materializer {
        let memory = settings.commit_memory.0;
        Materializer {
            node: node.clone(),
            scope: scope.clone(),
            committer: Committer::new(node, catalog),
            catalog: catalog.clone(),
            reader: Reader::new(node),
            metrics: metrics.clone(),
            decoders: Arc::default(),
            memory: memory.min(node.budget.total().0 / 2).max(MEMORY_MIN),
            cores: Arc::new(Semaphore::new(settings.cores.max(1))),
        }
    }

    /// One round for the topic as the view has it, over at most so many days of event time. `None` if
    /// no record waits.
    pub(crate) async fn round(
        &self,
        view: &View,
        topic: TopicId,
        days_max: usize,
    ) -> Result<Option<Round>, MaterializeError> {
        let table = view.table_of(topic);
        let table = table.ok_or(MaterializeError::NoTable(topic))?;
        let of = table.of_topic().ok_or(MaterializeError::NoTable(topic))?;
        let mut waiting = waiting(view, of);
        if waiting.is_empty() {
            return Ok(None);
        }
        plan::oldest_first(&mut waiting);
        let stored = plan::stored_bytes(view, topic, &waiting, self.memory / MEMORY_PER_BYTE);
        let wanted = (stored * MEMORY_PER_BYTE).clamp(MEMORY_MIN, self.memory);
        let memory = self.node.budget.acquire_some(MEMORY_MIN, wanted).await;
        let shares = Shares::of(memory.bytes());
        let loaded = self.catalog.load(table).await?;
        let decoder = self.decoders.of(&view.schemas, table, of);
        let uploaded = AtomicU64::new(0);
        let from = Source {
            view,
            topic,
            waiting: &waiting,
            days_max,
        };
        let flow = self.flow(from, &loaded, decoder, shares, &uploaded);
        let (decoded, files) = match Box::pin(flow).await {
            Ok(done) => done,
            Err(error) => {
                self.metrics.count_orphans(uploaded.into_inner());
                return Err(error);
            }
        };
        step!(self.node.runtime, "materialize.written");

        let (steps, counted) = commit::steps(decoded.partitions());
        let append = Append {
            table: Arc::clone(table),
            loaded,
            time: view.cluster_time,
            files,
            steps,
            hidden: decoded.hidden(view, topic),
        };
        let uploaded = append.files.len() as u64;
        let committed = match Box::pin(self.commit(append)).await {
            Ok(committed) => committed,
            Err(error) => {
                if error.fate() == Fate::NotDone {
                    self.metrics.count_orphans(uploaded + error.files_left());
                }
                return Err(error.into());
            }
        };
        step!(self.node.runtime, "materialize.committed");
        drop(memory);
        Ok(Some(Round {
            committed,
            counted,
            is_partial: decoded.is_partial(&waiting),
            is_full_of_days: decoded.days.is_full(),
            hidden_timestamps: decoded.hidden_timestamps,
            reasons: decoded.reasons,
        }))
    }

    async fn commit(&self, append: Append) -> Result<Committed, CommitError> {
        let prepared = self.committer.prepare(append).await?;
        step!(self.node.runtime, "materialize.manifested");
        let deadline = Instant::now() + COMMIT_PATIENCE;
        let landed = self.node.metastore.commit(&[&prepared], deadline).await?;
        Ok(prepared.finish(landed.view))
    }

    /// From stored batches to uploaded files, all stages at the same time.
    async fn flow(
        &self,
        from: Source<'_>,
        loaded: &Loaded,
        decoder: Arc<Decoder>,
        shares: Shares,
        uploaded: &AtomicU64,
    ) -> Result<(Decoded, Vec<DataFile>), MaterializeError> {
        let uuid = self.node.runtime.random().uuid();
        let base_url = self.node.store.base_url();
        // First of all: a table that nothing can be written to costs no reads.
        let writer = FileWriter::new(loaded, base_url, uuid, shares.files)?;
        let (loads_out, loads) = mpsc::channel(1);
        let (rows_out, rows) = mpsc::channel(1);
        let (files_out, files) = mpsc::channel(1);
        let Source {
            view,
            topic,
            waiting,
            days_max,
        } = from;
        let decoded = Decoded::new(days_max, shares.round);
        let ((), decoded, (), files) = tokio::try_join!(
            Box::pin(self.read(view, topic, waiting, shares.load, loads_out)),
            Box::pin(self.decode(decoded, decoder, shares.hop, loads, rows_out)),
            Box::pin(self.encode(writer, shares.finished, rows, files_out)),
            Box::pin(self.upload(files, uploaded)),
        )?;
        Ok((decoded, files))
    }

    /// Computes off the async threads, on one of the cores that rounds may take.
    async fn compute<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let _core = self.cores.acquire().await;
        self.scope.blocking(name, work).await
    }

    /// Says in the state why nothing can be written to a table, unless it says so already. Does it?
    pub(crate) async fn report(
        &self,
        view: &View,
        topic: TopicId,
        error: &MaterializeError,
    ) -> bool {
        let table = view.table_of(topic);
        let Some(table) = table.filter(|table| table.problem.is_none()) else {
            return true;
        };
        let report = ReportTable {
            table: table.uuid,
            pointer: table.pointer.clone(),
            problem: error.to_string(),
        };
        let commands = vec![Command::ReportTable(report)];
        let deadline = Instant::now() + COMMIT_PATIENCE;
        let proposed = self.node.metastore.propose(commands, deadline).await;
        if let Err(error) = &proposed {
            // The next failure reports it.
            debug!(%topic, %error, "a table's problem could not be written down");
        }
        proposed.is_ok()
    }
}
