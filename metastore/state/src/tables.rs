//! Tables of topics: columns with their ids, the pointer to Iceberg's metadata, and M.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{
    ClusterTime, Field, Lsn, Offset, PartitionId, SchemaId, TableUuid, TopicId, caps,
};

use crate::State;

/// Ids of payload columns start here; the metadata columns have the ones below.
pub const FIRST_PAYLOAD_FIELD_ID: i32 = 100;

/// The namespace of topics' tables.
pub(crate) const EVENTS_NAMESPACE: &str = "events";

/// The table of one topic. Keyed by the topic's id, so that a topic that is made again gets a new
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Table {
    #[n(0)]
    pub uuid: TableUuid,
    #[n(1)]
    pub topic: TopicId,
    #[n(2)]
    pub namespace: String,
    #[n(3)]
    pub name: String,
    /// Payload columns with assigned ids, in the order they came. The metadata columns (`_topic_partition` …)
    /// are the same in every table and not kept here, and neither is `_value` (`with_value`): a topic
    /// without a schema has no payload columns.
    #[n(4)]
    pub columns: Vec<Field>,
    #[n(5)]
    pub last_field_id: i32,
    /// Does the topic have a schema?
    #[n(6)]
    pub typed: bool,
    /// Schemas that a record of this topic may name, and the entry that registered each for it.
    #[n(7)]
    pub schemas: BTreeMap<SchemaId, Lsn>,
    /// URL of the current Iceberg metadata file; `None` before the first commit.
    #[n(8)]
    pub pointer: Option<String>,
    /// Id of the head of branch `main`.
    #[n(9)]
    pub table_snapshot: Option<i64>,
    /// M: below it the table is complete. A partition that is absent is at 0.
    #[n(10)]
    pub materialized: BTreeMap<PartitionId, Offset>,
    #[n(11)]
    pub counters: BTreeMap<PartitionId, Counters>,
    #[n(12)]
    pub committed: Option<ClusterTime>,
    /// The topic was deleted: the table stays readable under another name and nothing is added.
    #[n(13)]
    pub detached: bool,
    /// The table has the column `_value`: the topic had no schema when it was created. It stays when
    /// a schema comes later and is null for typed rows.
    #[n(14)]
    pub with_value: bool,
    /// When the topic was deleted, if it was.
    #[n(15)]
    pub detached_at: ClusterTime,
}

impl Table {
    /// The entry that gave the topic its first schema: records committed above it must name one.
    pub fn typed_since(&self) -> Option<Lsn> {
        self.schemas.values().copied().min()
    }

    pub fn materialized(&self, partition: PartitionId) -> Offset {
        self.materialized
            .get(&partition)
            .copied()
            .unwrap_or(Offset::ZERO)
    }
}

impl State {
    /// The table of the living topic whose values a subject describes: `<topic>-value`.
    pub(crate) fn table_of_subject(&self, subject: &str) -> Option<TopicId> {
        let topic = self.topic_named(subject.strip_suffix("-value")?)?.id;
        self.table(topic).map(|table| table.topic)
    }

    /// The topic was deleted: its table goes on under a name that no other table has.
    pub(crate) fn detach_table(&mut self, topic: TopicId, now: ClusterTime) {
        let Some(table) = self.tables.get(&topic) else {
            return;
        };
        let digits = format!("{:032x}", u128::from_be_bytes(table.uuid.0));
        let short: String = digits.chars().take(8).collect();
        let mut name = format!("{}__{short}", table.name);
        if self.table_named(&table.namespace, &name).is_some() {
            name = format!("{}__{digits}", table.name);
        }
        let table = Arc::make_mut(self.tables.get_mut(&topic).expect("it was just found"));
        table.name = name;
        table.detached = true;
        table.detached_at = now;
        self.detached_tables.insert((now, topic));
        while self.detached_tables.len() > caps::DETACHED_TABLES_MAX
            && let Some((_, oldest)) = self.detached_tables.get_min().copied()
        {
            self.forget_table(oldest);
        }
    }

    /// Nothing tells of the table of a deleted topic any more.
    pub(crate) fn forget_table(&mut self, topic: TopicId) {
        self.leave_all(topic);
        if let Some(table) = self.tables.remove(&topic) {
            self.detached_tables.remove(&(table.detached_at, topic));
        }
    }

    /// The table of a topic, which may be deleted, for what its table has not taken yet.
    pub(crate) fn table_to_fill(&self, topic: TopicId) -> Option<&Arc<Table>> {
        let fills = |table: &&Arc<Table>| !table.detached || self.has_leftovers(topic);
        self.tables.get(&topic).filter(fills)
    }
}

/// What became of the offsets below M, per partition:
/// rows = offsets − markers − aborted − dead letters − undecodable − deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Counters {
    #[n(0)]
    pub rows: u64,
    #[n(1)]
    pub undecodable: u64,
    /// Below the log start before they were materialized.
    #[n(2)]
    pub deleted: u64,
}

impl Counters {
    /// The offsets they account for; `None` if there are more than a number can say.
    pub fn sum(self) -> Option<u64> {
        self.rows
            .checked_add(self.undecodable)?
            .checked_add(self.deleted)
    }

    pub(crate) fn checked_add(self, more: Counters) -> Option<Counters> {
        Some(Counters {
            rows: self.rows.checked_add(more.rows)?,
            undecodable: self.undecodable.checked_add(more.undecodable)?,
            deleted: self.deleted.checked_add(more.deleted)?,
        })
    }
}

/// Why a schema's columns do not fit the table that is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableColumnsError {
    #[error(
        "column {path} is {have} in the table and {want} in the schema; Iceberg cannot turn one into the other"
    )]
    TypeChanged {
        path: String,
        have: String,
        want: String,
    },
    #[error(
        "column {path} is named {have} in the table and {want} in the schema, and SQL does not tell upper from lower case"
    )]
    CaseChanged {
        path: String,
        have: String,
        want: String,
    },
    #[error("columns nest deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("the table would have more than {max} columns, nested ones counted")]
    TooMany { max: usize },
}
