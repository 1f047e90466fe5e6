//! Tables of topics: columns with their ids, the pointer to Iceberg's metadata, and M.
//!
//! Holds: the pointer and M change together or not at all.
//! Leaves to others: what the metadata says, which lies in object storage (`tarn-tables`).

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{
    ClusterTime, ColumnType, Field, Lsn, Offset, PartitionId, SchemaId, TableUuid, TopicId, caps,
};

use crate::topic_configs as configs;
use crate::{Context, Refusal, State, TopicRefusal};

/// Ids of payload columns start here; the metadata columns have the ones below.
pub const FIRST_PAYLOAD_FIELD_ID: i32 = 100;

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
    /// The changes of `tarn.event.time`, oldest first: a record is judged by the newest below its own
    /// Lsn, whenever it is read. Without any it is the record's timestamp.
    #[n(16)]
    pub event_times: Vec<EventTime>,
    /// Schemas of `schemas` whose columns could not be taken into the table, and why: records that
    /// name them have no rows.
    #[n(17)]
    pub unfit: BTreeMap<SchemaId, String>,
    /// Why nothing is written to the table until somebody mends it. The next commit takes it away.
    #[n(18)]
    pub problem: Option<String>,
}

/// Where the records above an entry say when they happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EventTime {
    #[n(0)]
    pub since: Lsn,
    #[n(1)]
    pub since_time: ClusterTime,
    /// A column of the payload; `None` is the record's timestamp.
    #[n(2)]
    pub column: Option<String>,
}

/// Changes of it that a table remembers. The records below the oldest have their timestamps.
const EVENT_TIMES_MAX: usize = 16;
/// Longest reason that is kept of a schema or of a table.
const REASON_CHARS_MAX: usize = 512;

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

pub(crate) fn short_reason(why: &str) -> String {
    why.chars().take(REASON_CHARS_MAX).collect()
}

impl Table {
    /// The entry that gave the topic its first schema: records committed above it must name one.
    pub fn typed_since(&self) -> Option<Lsn> {
        self.schemas.values().copied().min()
    }

    /// What names the time of events from now on.
    pub fn event_time(&self) -> Option<&EventTime> {
        self.event_times.last()
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

    /// The topic's configs are these from the entry of `ctx` on.
    pub(crate) fn name_event_time(&mut self, configs: &BTreeMap<String, String>, ctx: &Context) {
        let named = configs::event_time(configs);
        if named == self.event_time().and_then(|at| at.column.as_deref()) {
            return;
        }
        if self.event_times.len() >= EVENT_TIMES_MAX {
            self.event_times.remove(0);
        }
        self.event_times.push(EventTime {
            since: ctx.lsn,
            since_time: ctx.cluster_time,
            column: named.map(str::to_owned),
        });
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
        if !self.has_leftovers(topic) {
            self.release_schemas_of_table(topic);
        }
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
    /// Of the rows, those whose event time is that of their append: they claim none, or an absurd one.
    #[n(3)]
    pub append_timed: u64,
    /// Values in the rows that are null because their column's type does not have them.
    #[n(4)]
    pub nulled: u64,
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
            append_timed: self.append_timed.checked_add(more.append_timed)?,
            nulled: self.nulled.checked_add(more.nulled)?,
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
