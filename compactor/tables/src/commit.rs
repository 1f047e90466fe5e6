//! Commits to a table: files first, then a part of a proposal, which moves pointer and M together.
//!
//! ```text
//! Append ─▶ prepare ─▶ Prepared ─▶ Metastore::commit ─▶ finish ─▶ Committed
//! ```
//!
//! Holds: the pointer compare in `apply` decides between committers, whoever they are; a loser plans
//! anew on the newer table. What is prepared is nothing that anybody reads.

pub(crate) mod append;

use std::sync::Arc;

use futures::future::BoxFuture;
use iceberg::spec::TableMetadata;
use tarn_model::{Fate, Kind, check_ids};
use tarn_replica::{Found, JointError, Node, Part, View};
use tarn_runtime::Runtime;
use tarn_state::commands::{CommitTables, LastIds, MaterializedChange, SchemaChange, TableCommit};
use tarn_state::{Command, Refusal, Table, TableKind, TableRefusal};
use tarn_store::StoreError;
use tracing::debug;

use crate::catalog::{Catalog, LoadError};
use crate::columns::columns_of;
use crate::summary::ancestry;
use append::{Append, Produced};

/// Adds to tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    catalog: Catalog,
    runtime: Runtime,
}

/// A commit whose files are all durable, and which waits for its proposal.
#[derive(Debug)]
pub struct Prepared {
    catalog: Catalog,
    table: Arc<Table>,
    commit: TableCommit,
    produced: Produced,
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
    #[error("the commit was not made: {0}")]
    Joint(#[from] JointError),
}

impl CommitError {
    pub fn kind(&self) -> Kind {
        match self {
            CommitError::Load(error) => error.kind(),
            CommitError::Store(error) => error.kind(),
            CommitError::Joint(JointError::Refused { .. }) if !self.is_moved() => Kind::Invalid,
            CommitError::Joint(error) => error.kind(),
            CommitError::Table(error) if error.retryable() => Kind::Unavailable,
            CommitError::Table(_) | CommitError::Json(_) => Kind::Internal,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            CommitError::Joint(error) => error.fate(),
            // A metadata file that may have been written is nothing that anybody reads.
            CommitError::Load(_)
            | CommitError::Table(_)
            | CommitError::Store(_)
            | CommitError::Json(_) => Fate::NotDone,
        }
    }

    /// Somebody else was first: plan anew.
    pub fn is_moved(&self) -> bool {
        match self {
            CommitError::Joint(JointError::Overtaken) => true,
            CommitError::Joint(JointError::Refused { refusal, .. }) => matches!(
                refusal,
                Refusal::Table(
                    TableRefusal::PointerMoved { .. }
                        | TableRefusal::MaterializedMoved { .. }
                        | TableRefusal::SchemaMoved { .. }
                )
            ),
            _ => false,
        }
    }

    /// There is no such table any more.
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            CommitError::Joint(JointError::Refused {
                refusal: Refusal::Table(TableRefusal::NoSuchTable(_)),
                ..
            })
        )
    }

    /// Files that the commit itself wrote before it failed, for the count of garbage: a manifest, a
    /// manifest list and a metadata file, unless it was writing these that failed.
    pub fn files_left(&self) -> u64 {
        match self {
            CommitError::Joint(error) if error.fate() == Fate::NotDone => 3,
            CommitError::Joint(_)
            | CommitError::Load(_)
            | CommitError::Table(_)
            | CommitError::Store(_)
            | CommitError::Json(_) => 0,
        }
    }
}

/// What `apply` has to know of metadata that was made on the table as the state has it: which ids somebody
/// else gave, and the columns of a plain table that there are by now, unless the state cannot hold them: then it
/// goes on with those it has. `None` if it gave all there are.
pub fn schema_change(table: &Table, metadata: &TableMetadata) -> Option<SchemaChange> {
    let on = LastIds {
        field: table.last_field_id,
        schema: table.schema_id,
    };
    let schemas = metadata.schemas_iter().map(|schema| schema.schema_id());
    let last = LastIds {
        field: metadata.last_column_id().max(on.field),
        schema: schemas.max().unwrap_or(on.schema).max(on.schema),
    };
    let columns = || {
        let fields = metadata.current_schema().as_struct().fields();
        let columns = columns_of(fields, &table.columns);
        check_ids(&columns, last.field).is_ok().then_some(columns)
    };
    let is_plain = matches!(table.kind, TableKind::Plain(_));
    (last != on).then(|| SchemaChange {
        on,
        last,
        columns: if is_plain { columns() } else { None },
    })
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

impl Committer {
    pub fn new(node: &Node, catalog: &Catalog) -> Committer {
        Committer {
            catalog: catalog.clone(),
            runtime: node.runtime.clone(),
        }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Writes what adds these files to the table and moves M. The files must be uploaded already.
    pub async fn prepare(&self, append: Append) -> Result<Prepared, CommitError> {
        let produced = Box::pin(append::produce(
            &self.catalog,
            self.runtime.random(),
            &append,
        ))
        .await?;
        let Append { steps, hidden, .. } = append;
        let commit = TableCommit {
            table: append.table.uuid,
            expected: append.loaded.pointer().map(str::to_owned),
            pointer: produced.pointer.clone(),
            table_snapshot: Some(produced.table_snapshot),
            materialized: match append.table.topic() {
                Some(_) => MaterializedChange::Move { steps, hidden },
                None => MaterializedChange::Keep,
            },
            schema: schema_change(&append.table, &produced.metadata),
        };
        Ok(Prepared {
            catalog: self.catalog.clone(),
            table: append.table,
            commit,
            produced,
        })
    }
}

impl Part for Prepared {
    fn commands(&self) -> Vec<Command> {
        vec![Command::CommitTables(CommitTables::one(
            self.commit.clone(),
        ))]
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        Box::pin(self.find_in(view))
    }
}

impl Prepared {
    async fn find_in(&self, view: &View) -> Found {
        let table = view.tables.get(&self.commit.table);
        let expected = self.commit.expected.as_deref();
        match standing(table.map(|table| &**table), expected, &self.commit.pointer) {
            Standing::Ours => Found::There,
            Standing::Open => Found::NotYet,
            Standing::Elsewhere => self.below(table).await.unwrap_or_else(|error| {
                debug!(table = %self.commit.table, %error, "a commit is looked for in vain");
                Found::Untold
            }),
        }
    }

    /// Looks in the history of the table as it now is.
    async fn below(&self, table: Option<&Arc<Table>>) -> Result<Found, LoadError> {
        let Some((table, pointer)) =
            table.and_then(|table| Some((table, table.pointer.as_deref()?)))
        else {
            return Ok(Found::Never);
        };
        let known = self.catalog.read(table, pointer).await?;
        Ok(match has_below(known.metadata(), &self.produced) {
            Some(true) => Found::There,
            Some(false) => Found::Never,
            None => Found::Untold,
        })
    }

    /// Called when the proposal landed: whoever loads the table next need not read its file.
    pub fn finish(self, view: View) -> Committed {
        let Produced {
            pointer,
            metadata,
            refs,
            bytes,
            table_snapshot,
            garbage,
            ..
        } = self.produced;
        let remembered = self
            .catalog
            .remember(&self.table, &pointer, metadata, refs, bytes);
        if let Err(error) = remembered {
            // The commit stands.
            debug!(table = %self.table.uuid, %error, "new metadata is not cached");
        }
        Committed {
            view,
            pointer,
            table_snapshot,
            garbage,
        }
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
