//! One round of the materializer: from M to the last stable offset, or as far as memory allows.
//!
//! ```text
//! view ──▶ plan ──▶ read and decode                   materialize.read
//!               ──▶ Parquet files, uploaded           materialize.written
//!               ──▶ manifests and metadata            materialize.manifested
//!               ──▶ pointer and M in one proposal     materialize.committed
//! ```
//!
//! Holds: every offset in `[M, new M)` is a row of the new files, or counted as undecodable, or as
//! deleted before its time, and their sum is the number of offsets. A record that cannot be decoded,
//! or a batch that cannot be opened, stops nobody. A round that fails or loses against another leaves
//! files that nothing refers to, and no other trace.

mod commit;
mod days;
mod plan;
mod read;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tarn_decode::{DecodeError, Decoders};
use tarn_model::{Fate, Kind, TopicId};
use tarn_replica::{BarrierError, Node, View};
use tarn_runtime::{Scope, TaskError, step};
use tarn_state::commands::ReportTable;
use tarn_state::{Command, Counters, Refusal};
use tarn_tables::{Append, Catalog, CommitError, Committed, Committer, LoadError, ParquetError};
use tarn_topics::{ReadError, Reader};
use tokio::time::Instant;
use tracing::debug;

use crate::metrics::CompactorMetrics;

pub(crate) use days::DAYS_MAX;
pub(crate) use plan::{is_large, lag, waiting};

/// How long the commit log may take for one answer.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);
/// The least memory a round starts with. Less is not waited for in front of other requests.
const MEMORY_MIN: u64 = 8 << 20;

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
        matches!(
            self,
            MaterializeError::NoTable(_)
                | MaterializeError::Commit(CommitError::Refused(Refusal::NoSuchTable(_)))
        )
    }

    /// Another process was first; there is nothing to worry about.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, MaterializeError::Commit(CommitError::Moved(_)))
    }
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
}

impl Materializer {
    pub(crate) fn new(
        node: &Node,
        catalog: &Catalog,
        scope: &Scope,
        metrics: &CompactorMetrics,
        memory: u64,
    ) -> Materializer {
        Materializer {
            node: node.clone(),
            scope: scope.clone(),
            committer: Committer::new(node, catalog),
            catalog: catalog.clone(),
            reader: Reader::new(node),
            metrics: metrics.clone(),
            decoders: Arc::default(),
            memory: memory.min(node.budget.total().0 / 2).max(MEMORY_MIN),
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
        let table = view
            .tables
            .get(&topic)
            .ok_or(MaterializeError::NoTable(topic))?;
        let mut waiting = waiting(view, table);
        if waiting.is_empty() {
            return Ok(None);
        }
        let memory = self.node.budget.acquire_some(MEMORY_MIN, self.memory).await;
        let loaded = self.catalog.load(table).await?;

        let decoder = self.decoders.of(view, table);
        plan::oldest_first(&mut waiting);
        let read = self.read(view, topic, &decoder, waiting, memory.bytes(), days_max);
        let rows = Box::pin(read).await?;
        step!(self.node.runtime, "materialize.read");

        let files = Box::pin(self.write(&loaded, rows.batches)).await?;
        step!(self.node.runtime, "materialize.written");

        let (steps, counted) = commit::steps(rows.partitions);
        let append = Append {
            table: Arc::clone(table),
            loaded,
            time: view.cluster_time,
            files,
            steps,
        };
        let uploaded = append.files.len() as u64;
        let committed = match Box::pin(self.committer.append(append, COMMIT_PATIENCE)).await {
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
            reasons: rows.reasons,
            hidden_timestamps: rows.hidden_timestamps,
            is_partial: rows.is_partial,
            is_full_of_days: rows.days.is_full(),
        }))
    }

    /// Says in the state why nothing can be written to a table, unless it says so already.
    pub(crate) async fn report(&self, view: &View, topic: TopicId, error: &MaterializeError) {
        let Some(table) = view
            .tables
            .get(&topic)
            .filter(|table| table.problem.is_none())
        else {
            return;
        };
        let report = ReportTable {
            topic,
            pointer: table.pointer.clone(),
            problem: error.to_string(),
        };
        let commands = vec![Command::ReportTable(report)];
        let deadline = Instant::now() + COMMIT_PATIENCE;
        if let Err(error) = self.node.metastore.propose(commands, deadline).await {
            // The next failure reports it.
            debug!(%topic, %error, "a table's problem could not be written down");
        }
    }
}
