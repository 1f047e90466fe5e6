//! Moves the pointers of one or more tables, and the M of those that are of topics: all of it, or nothing.
//! The rows of `[from, to)` of each partition are in the files that the new metadata names, exactly once.
//! Whoever made the rows has opened every batch: what their headers hid of their timestamps comes with it,
//! and the index by time takes the truth.

use std::collections::BTreeSet;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{
    ByteSize, Field, Offset, OffsetRange, PartitionId, TableUuid, Timestamp, TopicId,
    TopicPartition, caps,
};

use super::of_topic::TopicTable;
use super::refusal::TableRefusal;
use super::types::{Table, TableKind};
use crate::{Context, Counters, Extent, Outcome, Refusal, State, TopicRefusal};
use tarn_model::check_ids;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommitTables {
    /// Each table once; at most [`caps::COMMIT_TABLES_MAX`], with [`HIDDEN_TIMESTAMPS_MAX`] together.
    #[n(0)]
    pub tables: Vec<TableCommit>,
}

/// The commit of one table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TableCommit {
    #[n(0)]
    pub table: TableUuid,
    /// Compared with what the table has; refused if it moved.
    #[n(1)]
    pub expected: Option<String>,
    #[n(2)]
    pub pointer: String,
    /// Head of branch `main`.
    #[n(3)]
    pub table_snapshot: Option<i64>,
    #[n(4)]
    pub materialized: MaterializedChange,
    /// If the new metadata has a schema that the state did not make.
    #[n(5)]
    pub schema: Option<SchemaChange>,
}

/// What becomes of M.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MaterializedChange {
    /// It stays: of a table that has none, and where the new head descends from the old one without a
    /// snapshot between them that names M.
    #[n(0)]
    Keep,
    #[n(1)]
    Move {
        /// Partitions whose M moves; each `from` must be the M that is there.
        #[n(0)]
        steps: Vec<MaterializedStep>,
        /// Where headers of batches name less than their records have.
        #[n(1)]
        hidden: Vec<HiddenTimestamp>,
    },
}

/// Another engine changed the table's schema: what it gave, so that `apply` never gives it again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SchemaChange {
    /// The last ids of the table that it was made on; refused if others were given since.
    #[n(0)]
    pub on: LastIds,
    /// The last ones of the new metadata.
    #[n(1)]
    pub last: LastIds,
    /// All columns of a plain table from now on. A topic's are those of its schemas, and what others
    /// added is in the metadata alone.
    #[n(2)]
    pub columns: Option<Vec<Field>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LastIds {
    #[n(0)]
    pub field: i32,
    #[n(1)]
    pub schema: i32,
}

/// Most of one commit.
pub const HIDDEN_TIMESTAMPS_MAX: usize = 16_384;

/// Others could not be counted on from here for ever.
const GIVEN_ID_MAX: i32 = 1 << 30;

/// Offsets with records that are later than the headers of their batches say, the latest at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HiddenTimestamp {
    #[n(0)]
    pub partition: PartitionId,
    #[n(1)]
    pub offsets: OffsetRange,
    #[n(2)]
    pub timestamp: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MaterializedStep {
    #[n(0)]
    pub partition: PartitionId,
    #[n(1)]
    pub from: Offset,
    #[n(2)]
    pub to: Offset,
    /// Added to the table's counters; their sum is `to − from`.
    #[n(3)]
    pub counted: Counters,
}

impl CommitTables {
    /// Of one table.
    pub fn one(commit: TableCommit) -> CommitTables {
        CommitTables {
            tables: vec![commit],
        }
    }

    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        self.check()?;
        for commit in &self.tables {
            commit.apply(state, ctx)?;
        }
        Ok(Outcome::Done)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.tables.is_empty() || self.tables.len() > caps::COMMIT_TABLES_MAX {
            return Err(invalid(format!("it names {} tables", self.tables.len())));
        }
        let mut named = BTreeSet::new();
        if let Some(twice) = self.tables.iter().find(|one| !named.insert(one.table)) {
            return Err(invalid(format!("it names table {} twice", twice.table)));
        }
        let hidden = self.tables.iter().map(|commit| commit.moves().1.len());
        let hidden: usize = hidden.sum();
        if hidden > HIDDEN_TIMESTAMPS_MAX {
            return Err(invalid(format!("it names {hidden} hidden timestamps")));
        }
        Ok(())
    }
}

impl TableCommit {
    fn moves(&self) -> (&[MaterializedStep], &[HiddenTimestamp]) {
        match &self.materialized {
            MaterializedChange::Keep => (&[], &[]),
            MaterializedChange::Move { steps, hidden } => (steps, hidden),
        }
    }

    fn apply(&self, state: &mut State, ctx: &Context) -> Result<(), Refusal> {
        // Also of a deleted topic, until it has taken what was acknowledged before.
        let takes = |table: &&Arc<Table>| match &table.kind {
            TableKind::Topic(of) => of.detached.is_none() || state.has_leftovers(of.topic),
            TableKind::Plain(_) => true,
            TableKind::View(_) => false,
        };
        let table = state.tables.get(&self.table).filter(takes);
        let table = table.ok_or(TableRefusal::NoSuchTable(self.table))?;
        if table.pointer != self.expected {
            return Err(TableRefusal::PointerMoved {
                table: self.table,
                have: table.pointer.clone(),
            }
            .into());
        }
        if self.pointer.len() > caps::NAME_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
            });
        }
        let mut table = table.as_ref().clone();
        if let Some(schema) = &self.schema {
            schema.apply(&mut table)?;
        }
        let (steps, hidden) = self.moves();
        match &mut table.kind {
            TableKind::Topic(of) => {
                for step in steps {
                    step.apply(state, self.table, of)?;
                }
            }
            TableKind::Plain(_) | TableKind::View(_) if !steps.is_empty() => {
                return Err(invalid(format!("table {} has no M", self.table)));
            }
            TableKind::Plain(_) | TableKind::View(_) => {}
        }
        table.pointer = Some(self.pointer.clone());
        table.table_snapshot = self.table_snapshot;
        table.committed = Some(ctx.cluster_time);
        table.problem = None;
        let (topic, is_detached) = (table.topic(), table.is_detached());
        state.tables.insert(self.table, Arc::new(table));
        let Some(topic) = topic else {
            return Ok(());
        };
        for hidden in hidden {
            hidden.unhide(state, topic);
        }
        for step in steps.iter().filter(|_| is_detached) {
            let at = TopicPartition::new(topic, step.partition);
            let all = state
                .leftovers
                .get(&at)
                .is_some_and(|partition| step.to >= partition.last_stable());
            if all {
                state.table_has_taken(at);
            }
        }
        Ok(())
    }
}

impl SchemaChange {
    fn apply(&self, table: &mut Table) -> Result<(), Refusal> {
        let have = LastIds {
            field: table.last_field_id,
            schema: table.schema_id,
        };
        if self.on != have {
            return Err(TableRefusal::SchemaMoved { table: table.uuid }.into());
        }
        let LastIds { field, schema } = self.last;
        if field < have.field || schema < have.schema || field.max(schema) > GIVEN_ID_MAX {
            return Err(invalid(format!(
                "its last field and schema are {field} and {schema}"
            )));
        }
        match (&table.kind, &self.columns) {
            (TableKind::Plain(_), Some(columns)) => {
                check_ids(columns, field)
                    .map_err(|error| TableRefusal::InvalidColumns(error.to_string()))?;
                table.columns = columns.clone();
            }
            (_, None) => {}
            (_, Some(_)) => return Err(invalid("a topic's columns are its schemas'".into())),
        }
        table.last_field_id = field;
        // What the metadata and the state's columns make together may be another schema than the
        // metadata's, and needs an id that nobody gave.
        table.schema_id = schema.saturating_add(1);
        Ok(())
    }
}

impl MaterializedStep {
    fn apply(&self, state: &State, table: TableUuid, of: &mut TopicTable) -> Result<(), Refusal> {
        let partition = state
            .readable(TopicPartition::new(of.topic, self.partition))
            .ok_or(TopicRefusal::NoSuchPartition(of.topic, self.partition))?;
        let have = of.materialized(self.partition);
        if self.from != have {
            return Err(TableRefusal::MaterializedMoved {
                table,
                partition: self.partition,
                have,
            }
            .into());
        }
        let invalid = |why: String| invalid(format!("partition {}: {why}", self.partition));
        let Some(length) = self.to.0.checked_sub(self.from.0) else {
            return Err(invalid(format!(
                "M would go back from {} to {}",
                self.from, self.to
            )));
        };
        let stable = partition.last_stable();
        if self.to > stable {
            return Err(invalid(format!(
                "{} is above the last stable offset {stable}",
                self.to
            )));
        }
        if self.counted.sum() != Some(length) {
            return Err(invalid(format!(
                "the counters do not account for {length} offsets"
            )));
        }
        let counters = of.counters.get(&self.partition).copied();
        let counters = counters
            .unwrap_or_default()
            .checked_add(self.counted)
            .ok_or_else(|| invalid("a counter is full".into()))?;
        of.counters.insert(self.partition, counters);
        of.materialized.insert(self.partition, self.to);
        Ok(())
    }
}

impl HiddenTimestamp {
    /// The extent may be gone meanwhile, and nobody asks a deleted topic for offsets by time.
    fn unhide(&self, state: &mut State, topic: TopicId) {
        let at = TopicPartition::new(topic, self.partition);
        let Some(partition) = state.partitions.get_mut(&at) else {
            return;
        };
        let extents = partition.extents_from(self.offsets.start);
        let extents = extents.take_while(|extent| extent.offsets.start < self.offsets.end);
        let extents: Vec<Extent> = extents.copied().collect();
        for mut extent in extents {
            extent.hides_timestamps = true;
            extent.max_timestamp = extent.max_timestamp.max(self.timestamp);
            let extents = &mut Arc::make_mut(partition).extents;
            extents.insert(extent.offsets.start, extent);
        }
    }
}

fn invalid(why: String) -> Refusal {
    Refusal::Table(TableRefusal::TableCommitInvalid(why))
}

#[cfg(test)]
mod tests;
