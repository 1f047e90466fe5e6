//! Tables: their columns with ids, the pointer to Iceberg's metadata, and what is proper to their kind.
//!
//! Holds: the pointer and M change together or not at all.
//! Leaves to others: what the metadata says, which lies in object storage (`tarn-tables`).

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use tarn_model::{
    ClusterTime, ColumnType, FIRST_PAYLOAD_FIELD_ID, Field, Offset, PartitionId, TableUuid, TopicId,
};

use super::of_topic::{EventTime, TopicTable};
use crate::topic_configs as configs;
use crate::{Refusal, TopicRefusal};

/// A table, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Table {
    #[n(0)]
    pub uuid: TableUuid,
    #[n(1)]
    pub namespace: String,
    #[n(2)]
    pub name: String,
    /// Columns with assigned ids, in the order they came. Of a topic's table those of the payload: its
    /// metadata columns (`_topic_partition` …) are the same in every one and not kept here, and neither is
    /// `_value` (`with_value`).
    #[n(3)]
    pub columns: Vec<Field>,
    /// The last field id that was given, by `apply` or by another engine.
    #[n(4)]
    pub last_field_id: i32,
    /// Counts the versions of its columns: Iceberg's id of the schema that they make.
    #[n(5)]
    pub schema_id: i32,
    /// URL of the current Iceberg metadata file; `None` before the first commit.
    #[n(6)]
    pub pointer: Option<String>,
    /// Id of the head of branch `main`.
    #[n(7)]
    pub table_snapshot: Option<i64>,
    #[n(8)]
    pub created: ClusterTime,
    #[n(9)]
    pub committed: Option<ClusterTime>,
    /// Why nothing is written to the table until somebody mends it. The next commit takes it away.
    #[n(10)]
    pub problem: Option<String>,
    #[n(11)]
    pub kind: TableKind,
}

/// What a table is of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TableKind {
    /// A topic's records; made and ended by the topic.
    #[n(0)]
    Topic(#[n(0)] TopicTable),
    /// Rows that a commit brings.
    #[n(1)]
    Plain(#[n(0)] PlainTable),
    /// A query under a name.
    #[n(2)]
    View(#[n(0)] SqlView),
}

/// What the first metadata file of a table says that no topic made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct PlainTable {
    /// URL of its folder; one by its name if there is none.
    #[n(0)]
    pub location: Option<String>,
    #[n(1)]
    pub properties: BTreeMap<String, String>,
}

/// Its columns are those that it had when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SqlView {
    #[n(0)]
    pub sql: String,
    #[n(1)]
    pub properties: BTreeMap<String, String>,
}

/// Longest reason that is kept of a schema or of a table.
const REASON_CHARS_MAX: usize = 512;

pub(crate) fn short_reason(why: &str) -> String {
    why.chars().take(REASON_CHARS_MAX).collect()
}

impl Table {
    /// A table without columns that nothing was committed to.
    pub fn new(uuid: TableUuid, namespace: &str, name: &str, kind: TableKind) -> Table {
        let last_field_id = match kind {
            TableKind::Topic(_) => FIRST_PAYLOAD_FIELD_ID - 1,
            TableKind::Plain(_) | TableKind::View(_) => 0,
        };
        Table {
            uuid,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            last_field_id,
            schema_id: 0,
            pointer: None,
            table_snapshot: None,
            created: ClusterTime::default(),
            committed: None,
            problem: None,
            kind,
        }
    }

    /// What only a topic's table has.
    pub fn of_topic(&self) -> Option<&TopicTable> {
        match &self.kind {
            TableKind::Topic(of) => Some(of),
            TableKind::Plain(_) | TableKind::View(_) => None,
        }
    }

    pub(crate) fn of_topic_mut(&mut self) -> Option<&mut TopicTable> {
        match &mut self.kind {
            TableKind::Topic(of) => Some(of),
            TableKind::Plain(_) | TableKind::View(_) => None,
        }
    }

    /// Whose records it has, be the topic deleted or not.
    pub fn topic(&self) -> Option<TopicId> {
        self.of_topic().map(|of| of.topic)
    }

    /// The topic was deleted: the table stays readable under another name and nothing is added but what
    /// the topic left.
    pub fn is_detached(&self) -> bool {
        self.of_topic().is_some_and(|of| of.detached.is_some())
    }

    /// M: below it the table is complete.
    pub fn materialized(&self, partition: PartitionId) -> Offset {
        self.of_topic()
            .map_or(Offset::ZERO, |of| of.materialized(partition))
    }

    /// What names the time of events from now on.
    pub fn event_time(&self) -> Option<&EventTime> {
        self.of_topic()?.event_times.last()
    }

    /// Why no event can say its time, if `tarn.event.time` names a column that is not there or holds
    /// no timestamps.
    pub fn event_time_problem(&self) -> Option<String> {
        let name = self.event_time()?.column.as_ref()?;
        match self.columns.iter().find(|column| column.name == *name) {
            None => Some(format!("the table has no column {name}")),
            Some(column) => match column.kind {
                ColumnType::Timestamp | ColumnType::TimestampTz => None,
                ref other => Some(format!("column {name} is {other} and no timestamp")),
            },
        }
    }

    /// Its columns are others from now on.
    pub(crate) fn change_columns(&mut self, fields: Vec<Field>, last_id: i32) {
        self.last_field_id = last_id;
        if self.columns != fields {
            self.columns = fields;
            self.schema_id = self.schema_id.saturating_add(1);
        }
    }
}

/// A column that cannot say when an event happened must not be named for it.
pub(crate) fn check_event_time(table: &Table) -> Result<(), Refusal> {
    let named = table.event_time().and_then(|at| at.column.as_ref());
    let is_there = |name: &String| table.columns.iter().any(|column| column.name == *name);
    match table.event_time_problem() {
        // One that is missing may come with a schema.
        Some(why) if named.is_some_and(is_there) => {
            Err(Refusal::Topic(TopicRefusal::InvalidConfig {
                name: configs::EVENT_TIME.name.into(),
                why,
            }))
        }
        _ => Ok(()),
    }
}
