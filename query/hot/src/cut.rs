//! The cut: one line through every topic at one view. Below M a query reads the table, from M to H the
//! hot tier; no row is read twice and none is missed, whatever is being committed meanwhile.
//!
//! ```text
//!  log start        M                     H = last stable offset
//!      |  table     |      hot tier       |   not decided yet
//!      +------------+---------------------+---------------------
//! ```
//!
//! The cut of a table is all that reading it needs beside the store: no view stands behind it, and its bytes
//! (`bytes`) say it to another process.

mod bytes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use tarn_model::{
    Lsn, Offset, OffsetRange, PartitionId, SchemaId, TableUuid, TopicId, TopicPartition, defect,
};
use tarn_replica::View;
use tarn_state::{Extent, Schema, Table, TopicTable, extents_from};

pub use bytes::CutError;

#[cfg(test)]
mod tests;

/// A view and what a query reads at it.
#[derive(Debug, Clone)]
pub struct Cut {
    pub view: View,
}

/// The cut of one table. What it has of a state it shares with it, so that one that is not sent anywhere
/// copies nothing but the offsets of its partitions.
#[derive(Debug, Clone)]
pub struct TableCut {
    /// The last entry that it sees.
    pub lsn: Lsn,
    /// Its pointer and table snapshot are S. It names its schemas, with the entry that registered each, and
    /// says when its events happened.
    pub table: Arc<Table>,
    /// The schemas that it names are among these.
    pub(crate) schemas: OrdMap<SchemaId, Arc<Schema>>,
    /// By partition.
    pub partitions: BTreeMap<PartitionId, PartitionCut>,
}

/// The cut of one partition.
#[derive(Clone)]
pub struct PartitionCut {
    pub log_start: Offset,
    /// Offsets below are in the table (or below the log start and gone).
    pub m: Offset,
    /// Offsets from here on are not visible yet.
    pub h: Offset,
    /// Those that hold its hot rows, and what lies beside them; none if it has no hot rows.
    pub(crate) extents: OrdMap<Offset, Extent>,
}

impl fmt::Debug for PartitionCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} of {} on", self.m, self.h, self.log_start)
    }
}

impl PartitionCut {
    /// What the hot tier answers.
    pub fn hot(&self) -> OffsetRange {
        OffsetRange::new(self.m, self.h)
    }

    /// Where the hot rows lie, in order.
    pub fn hot_extents(&self) -> impl Iterator<Item = &Extent> {
        let hot = self.hot();
        let is_hot = move |extent: &&Extent| extent.offsets.start < hot.end;
        extents_from(&self.extents, hot.start).take_while(is_hot)
    }
}

impl Cut {
    /// The cut at a view. To see everything that was acknowledged before, take the view from
    /// `Metastore::barrier`.
    pub fn at(view: View) -> Cut {
        Cut { view }
    }

    pub fn lsn(&self) -> Lsn {
        self.view.lsn()
    }

    /// The cut of a table. Of a topic's, the hot part is what it has not taken yet, be the topic deleted
    /// or not; others have none.
    pub fn table(&self, table: TableUuid) -> Option<TableCut> {
        let table = self.view.tables.get(&table)?;
        let partitions = table.of_topic().map(|of| self.partitions(of));
        Some(TableCut {
            lsn: self.lsn(),
            table: Arc::clone(table),
            schemas: self.view.schemas.clone(),
            partitions: partitions.unwrap_or_default(),
        })
    }

    /// The cut of a topic's table, if it has one.
    pub fn table_of(&self, topic: TopicId) -> Option<TableCut> {
        self.table(self.view.table_of(topic)?.uuid)
    }

    fn partitions(&self, table: &TopicTable) -> BTreeMap<PartitionId, PartitionCut> {
        let topic = table.topic;
        let mut partitions = BTreeMap::new();
        let first = TopicPartition::new(topic, PartitionId(0));
        let last = TopicPartition::new(topic, PartitionId(i32::MAX));
        let readable = match table.detached {
            Some(_) => &self.view.leftovers,
            None => &self.view.partitions,
        };
        for (at, state) in readable.range(first..=last) {
            let mut m = table.materialized(at.partition).max(state.log_start);
            if defect("hot-from-below-m") {
                m = Offset(m.0.saturating_sub(1));
            }
            let h = state.last_stable();
            let cut = PartitionCut {
                log_start: state.log_start,
                m,
                h,
                extents: match m < h {
                    true => state.extents.clone(),
                    false => OrdMap::new(),
                },
            };
            partitions.insert(at.partition, cut);
        }
        partitions
    }
}

impl TableCut {
    /// The same table with these partitions of it.
    #[must_use]
    pub fn with(&self, partitions: BTreeMap<PartitionId, PartitionCut>) -> TableCut {
        TableCut {
            lsn: self.lsn,
            table: Arc::clone(&self.table),
            schemas: self.schemas.clone(),
            partitions,
        }
    }

    pub fn topic(&self) -> Option<TopicId> {
        self.table.topic()
    }

    /// The hot ranges that are not empty.
    pub fn hot(&self) -> impl Iterator<Item = (TopicPartition, OffsetRange)> + '_ {
        let of = self.topic().into_iter();
        of.flat_map(|topic| {
            let partitions = self.partitions.iter();
            partitions.map(move |(at, cut)| (TopicPartition::new(topic, *at), cut.hot()))
        })
        .filter(|(_, range)| !range.is_empty())
    }
}
