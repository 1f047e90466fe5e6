//! What only the table of a topic has: how far it holds the topic, what became of the records, and by
//! which schemas and which event time they are judged.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, Lsn, Offset, PartitionId, SchemaId, TopicId};

use crate::Context;
use crate::topic_configs as configs;

/// A topic that is made again has another id, and gets a new table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TopicTable {
    #[n(0)]
    pub topic: TopicId,
    /// Does the topic have a schema? Without one there are no payload columns.
    #[n(1)]
    pub typed: bool,
    /// The table has the column `_value`: the topic had no schema when it was created. It stays when
    /// a schema comes later and is null for typed rows.
    #[n(2)]
    pub with_value: bool,
    /// Schemas that a record of this topic may name, and the entry that registered each for it.
    #[n(3)]
    pub schemas: BTreeMap<SchemaId, Lsn>,
    /// Schemas of `schemas` whose columns could not be taken into the table, and why: records that
    /// name them have no rows.
    #[n(4)]
    pub unfit: BTreeMap<SchemaId, String>,
    /// The changes of `tarn.event.time`, oldest first: a record is judged by the newest below its own
    /// Lsn, whenever it is read. Without any it is the record's timestamp.
    #[n(5)]
    pub event_times: Vec<EventTime>,
    /// M: below it the table is complete. A partition that is absent is at 0.
    #[n(6)]
    pub materialized: BTreeMap<PartitionId, Offset>,
    #[n(7)]
    pub counters: BTreeMap<PartitionId, Counters>,
    /// When the topic was deleted, if it was.
    #[n(8)]
    pub detached: Option<ClusterTime>,
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

impl TopicTable {
    /// Of a topic without a schema.
    pub fn new(topic: TopicId) -> TopicTable {
        TopicTable {
            topic,
            typed: false,
            with_value: true,
            schemas: BTreeMap::new(),
            unfit: BTreeMap::new(),
            event_times: Vec::new(),
            materialized: BTreeMap::new(),
            counters: BTreeMap::new(),
            detached: None,
        }
    }

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

    /// The topic's configs are these from the entry of `ctx` on.
    pub(crate) fn name_event_time(&mut self, configs: &BTreeMap<String, String>, ctx: &Context) {
        let named = configs::event_time(configs);
        let before = self.event_times.last();
        if named == before.and_then(|at| at.column.as_deref()) {
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
