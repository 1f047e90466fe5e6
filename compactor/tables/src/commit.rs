//! Commits to a table: files first, then one proposal that moves pointer and M together.
//!
//! Holds: a commit that answers [`Committed`] is in the log; one that answers `NotDone` never will
//! be; after `Unknown` it may be, and nothing it names may be deleted. The pointer compare in
//! `apply` decides between committers, whoever they are; a loser plans anew on the newer table.

pub(crate) mod append;

use std::time::Duration;

use iceberg::spec::TableMetadata;
use tarn_model::{Fate, Kind, TopicId};
use tarn_replica::{BarrierError, Metastore, Node, ProposeError, View};
use tarn_runtime::{Runtime, step};
use tarn_state::commands::CommitTable;
use tarn_state::{Command, Refusal, Table, TableRefusal};
use tarn_store::StoreError;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::catalog::{Catalog, LoadError};
use crate::summary::ancestry;
use append::{Append, Produced};

/// How often a proposal of unknown outcome goes out again. It is the same proposal: `apply` takes at
/// most one of them.
const PROPOSALS_MAX: usize = 3;
/// How often a fenced process asks whether it still is.
const FENCED_PAUSE: Duration = Duration::from_millis(500);

/// Adds to tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    catalog: Catalog,
    metastore: Metastore,
    runtime: Runtime,
}

/// A commit that is in the log.
#[derive(Debug, Clone)]
pub struct Committed {
    /// A view that contains it.
    pub view: View,
    pub pointer: String,
    /// Id of the table snapshot.
    pub table_snapshot: i64,
    pub garbage: Garbage,
}

/// Files that nothing refers to any more because of a commit, or because it did not happen. They
/// are counted here; deleting them is garbage collection's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Garbage {
    pub metadata_files: u64,
    pub manifest_lists: u64,
    pub manifests: u64,
}

/// The commit did not become real, or that is not known.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the files of the table: {0}")]
    Table(#[from] iceberg::Error),
    #[error("the table's new metadata could not be written: {0}")]
    Store(#[from] StoreError),
    #[error("the table's new metadata is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Somebody else was first: plan anew.
    #[error("the table moved: {0}")]
    Moved(Refusal),
    #[error("the commit was refused: {0}")]
    Refused(Refusal),
    #[error("the commit was not made: {why}")]
    NotDone { why: &'static str },
    #[error("it is not known whether the commit was made: {why}")]
    Unknown { why: String },
}

impl CommitError {
    pub fn kind(&self) -> Kind {
        match self {
            CommitError::Load(error) => error.kind(),
            CommitError::Store(error) => error.kind(),
            CommitError::Moved(_) => Kind::Conflict,
            CommitError::Table(error) if error.retryable() => Kind::Unavailable,
            CommitError::NotDone { .. } | CommitError::Unknown { .. } => Kind::Unavailable,
            CommitError::Refused(_) => Kind::Invalid,
            CommitError::Table(_) | CommitError::Json(_) => Kind::Internal,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            CommitError::Unknown { .. } => Fate::Unknown,
            // A metadata file that may have been written is nothing that anybody reads.
            CommitError::Load(_)
            | CommitError::Table(_)
            | CommitError::Store(_)
            | CommitError::Json(_)
            | CommitError::Moved(_)
            | CommitError::Refused(_)
            | CommitError::NotDone { .. } => Fate::NotDone,
        }
    }

    /// Files that the commit itself wrote before it failed, for the count of garbage: a manifest, a
    /// manifest list and a metadata file, unless it was writing these that failed.
    pub fn files_left(&self) -> u64 {
        match self {
            CommitError::Moved(_) | CommitError::Refused(_) | CommitError::NotDone { .. } => 3,
            CommitError::Load(_)
            | CommitError::Table(_)
            | CommitError::Store(_)
            | CommitError::Json(_)
            | CommitError::Unknown { .. } => 0,
        }
    }
}

/// Where the state's pointer stands, seen from a commit of ours whose outcome is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The pointer is what we proposed.
    Ours,
    /// It is what we expected: our commit may still come.
    Open,
    /// It is another. Ours may lie below it, or never happened and never will.
    Elsewhere,
}

pub(crate) fn standing(table: Option<&Table>, expected: Option<&str>, ours: &str) -> Standing {
    let pointer = table.and_then(|table| table.pointer.as_deref());
    if pointer == Some(ours) {
        Standing::Ours
    } else if table.is_some() && pointer == expected {
        Standing::Open
    } else {
        Standing::Elsewhere
    }
}

fn refused(refusal: Refusal) -> CommitError {
    match refusal {
        Refusal::Table(
            TableRefusal::PointerMoved { .. } | TableRefusal::MaterializedMoved { .. },
        ) => CommitError::Moved(refusal),
        _ => CommitError::Refused(refusal),
    }
}

impl Committer {
    pub fn new(node: &Node, catalog: &Catalog) -> Committer {
        Committer {
            catalog: catalog.clone(),
            metastore: node.metastore.clone(),
            runtime: node.runtime.clone(),
        }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Adds files to the table and moves M. The files must be uploaded already. The commit log may
    /// take `patience` for each of its answers.
    pub async fn append(
        &self,
        append: Append,
        patience: Duration,
    ) -> Result<Committed, CommitError> {
        let produced = Box::pin(append::produce(
            &self.catalog,
            self.runtime.random(),
            &append,
        ))
        .await?;
        step!(self.runtime, "materialize.manifested");
        let command = CommitTable {
            topic: append.table.topic,
            expected: append.loaded.pointer().map(str::to_owned),
            pointer: produced.pointer.clone(),
            table_snapshot: Some(produced.table_snapshot),
            steps: append.steps.clone(),
            hidden: append.hidden.clone(),
        };
        let view = self.propose(command, &produced, patience).await?;
        let Produced {
            pointer,
            metadata,
            refs,
            bytes,
            table_snapshot,
            garbage,
        } = produced;
        let remembered = self
            .catalog
            .remember(&append.table, &pointer, metadata, refs, bytes);
        if let Err(error) = remembered {
            // The commit stands; whoever loads the table next reads its file.
            debug!(topic = %append.table.topic, %error, "new metadata is not cached");
        }
        Ok(Committed {
            view,
            pointer,
            table_snapshot,
            garbage,
        })
    }

    async fn propose(
        &self,
        command: CommitTable,
        produced: &Produced,
        patience: Duration,
    ) -> Result<View, CommitError> {
        for attempt in 0..PROPOSALS_MAX {
            let commands = vec![Command::CommitTable(command.clone())];
            let error = match self
                .metastore
                .propose(commands, Instant::now() + patience)
                .await
            {
                Ok(committed) => return Ok(committed.view),
                Err(error) => error,
            };
            debug!(topic = %command.topic, attempt, %error, "a table commit was not acknowledged");
            let is_first = attempt == 0;
            match error {
                ProposeError::Refused { refusal, .. } if is_first => return Err(refused(refusal)),
                ProposeError::NotDone { why } if is_first => {
                    return Err(CommitError::NotDone { why });
                }
                ProposeError::Stopped { why } => return Err(CommitError::Unknown { why }),
                // An earlier copy of it may be what refuses this one, or may still come.
                ProposeError::Refused { .. }
                | ProposeError::NotDone { .. }
                | ProposeError::Unknown { .. } => {
                    if let Some(view) = self.look(&command, produced, patience).await? {
                        return Ok(view);
                    }
                }
            }
        }
        Err(CommitError::Unknown {
            why: "the commit log keeps giving no answer".to_owned(),
        })
    }

    /// Looks whether an open commit happened: the view that has it, or `None` while it may still.
    async fn look(
        &self,
        command: &CommitTable,
        produced: &Produced,
        patience: Duration,
    ) -> Result<Option<View>, CommitError> {
        let unknown = |error: BarrierError| CommitError::Unknown {
            why: error.to_string(),
        };
        let view = self
            .barrier(Instant::now() + patience)
            .await
            .map_err(unknown)?;
        let table = view.tables.get(&command.topic);
        match standing(
            table.map(|table| &**table),
            command.expected.as_deref(),
            &command.pointer,
        ) {
            Standing::Ours => Ok(Some(view)),
            Standing::Open => Ok(None),
            Standing::Elsewhere => match self.is_below(&view, command.topic, produced).await {
                Ok(Some(true)) => Ok(Some(view)),
                Ok(Some(false)) => {
                    let have = table.and_then(|table| table.pointer.clone());
                    Err(CommitError::Moved(Refusal::Table(
                        TableRefusal::PointerMoved { have },
                    )))
                }
                Ok(None) => Err(CommitError::Unknown {
                    why: "the table no longer tells of so early a commit".to_owned(),
                }),
                Err(error) => Err(CommitError::Unknown {
                    why: error.to_string(),
                }),
            },
        }
    }

    /// A barrier that waits out a process's own fence: what made a proposal's outcome unknown often
    /// kept the log from hearing of this process, too.
    async fn barrier(&self, deadline: Instant) -> Result<View, BarrierError> {
        loop {
            match self.metastore.barrier(deadline).await {
                Err(BarrierError::Fenced) if Instant::now() + FENCED_PAUSE < deadline => {
                    sleep(FENCED_PAUSE).await
                }
                done => return done,
            }
        }
    }

    /// Is a commit of ours in the history of the table as it now is? `None` if that does not go back so
    /// far.
    async fn is_below(
        &self,
        view: &View,
        topic: TopicId,
        produced: &Produced,
    ) -> Result<Option<bool>, LoadError> {
        let Some(table) = view.tables.get(&topic) else {
            return Ok(Some(false));
        };
        let Some(pointer) = &table.pointer else {
            return Ok(Some(false));
        };
        let known = self.catalog.read(table, pointer).await?;
        Ok(has_below(known.metadata(), produced))
    }
}

/// Do the table's snapshots have this commit? `None` if they begin behind it: a busy table forgets early.
pub(crate) fn has_below(metadata: &TableMetadata, produced: &Produced) -> Option<bool> {
    if metadata.snapshot_by_id(produced.table_snapshot).is_some() {
        return Some(true);
    }
    let Some(first) = ancestry(metadata, metadata.current_snapshot()).last() else {
        return Some(false);
    };
    let reaches_it = first.parent_snapshot_id().is_none()
        || first.sequence_number() <= produced.metadata.last_sequence_number();
    reaches_it.then_some(false)
}
