//! What waits to be materialized, kept up to date by what differs between two views.
//!
//! Holds: the same as looking at every partition of every table (a test compares), for a look at those
//! that moved. Only the first view is looked at whole.

use std::collections::{BTreeMap, BTreeSet};

use imbl::ordmap::DiffItem;
use tarn_model::{ClusterTime, Offset, PartitionId, TopicId, TopicPartition};
use tarn_replica::View;
use tarn_state::{Partition, TopicTable};

use super::waiting_of;

/// What waits, of all tables.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    seen: Option<View>,
    tables: BTreeMap<TopicId, Behind>,
}

/// What waits, of one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    partitions: BTreeMap<PartitionId, Waits>,
    by_age: BTreeSet<(ClusterTime, PartitionId)>,
    /// Of the extents that hold what waits.
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waits {
    since: ClusterTime,
    from: Offset,
    /// `bytes` is of the extents from `from` to here.
    to: Offset,
    bytes: u64,
}

impl Behind {
    /// When the oldest record was committed that waits.
    pub(crate) fn since(&self) -> Option<ClusterTime> {
        self.by_age.first().map(|(since, _)| *since)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Backlog {
    /// Tables for which something waits.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (TopicId, &Behind)> {
        self.tables.iter().map(|(topic, behind)| (*topic, behind))
    }

    /// Looks at what moved since the view before. Gives the tables for which nothing waits any more.
    pub(crate) fn update(&mut self, view: &View) -> Vec<TopicId> {
        let moved = match &self.seen {
            None => {
                let all = view.partitions.keys().chain(view.leftovers.keys());
                all.copied().collect()
            }
            Some(seen) if seen.lsn() == view.lsn() => return Vec::new(),
            Some(seen) => moved(seen, view),
        };
        self.seen = Some(View::clone(view));
        let mut done = Vec::new();
        for at in moved {
            let behind = self.tables.entry(at.topic).or_default();
            behind.look(view, at);
            if behind.partitions.is_empty() {
                self.tables.remove(&at.topic);
                done.push(at.topic);
            }
        }
        done.dedup();
        done.retain(|topic| !self.tables.contains_key(topic));
        done
    }
}

/// Partitions for which something may wait, or no longer does.
fn moved(seen: &View, view: &View) -> BTreeSet<TopicPartition> {
    let mut moved = BTreeSet::new();
    let partitions = seen.partitions.diff(&view.partitions);
    for change in partitions.chain(seen.leftovers.diff(&view.leftovers)) {
        match change {
            DiffItem::Add(at, _)
            | DiffItem::Update { new: (at, _), .. }
            | DiffItem::Remove(at, _) => moved.insert(*at),
        };
    }
    for change in seen.tables.diff(&view.tables) {
        if let DiffItem::Update {
            old: (_, old),
            new: (_, new),
        } = change
            && let (Some(old), Some(new)) = (old.of_topic(), new.of_topic())
        {
            let steps = new.materialized.iter();
            let steps = steps.filter(|(at, to)| old.materialized.get(at) != Some(*to));
            moved.extend(steps.map(|(at, _)| TopicPartition::new(new.topic, *at)));
        }
    }
    moved
}

impl Behind {
    fn look(&mut self, view: &View, at: TopicPartition) {
        let before = self.partitions.remove(&at.partition);
        if let Some(before) = before {
            self.by_age.remove(&(before.since, at.partition));
            self.bytes -= before.bytes;
        }
        let Some(table) = view.table_of(at.topic).and_then(|table| table.of_topic()) else {
            return;
        };
        let partition = match table.detached {
            Some(_) => view.leftovers.get(&at),
            None => view.partitions.get(&at),
        };
        if let Some(partition) = partition
            && let Some(waits) = waits(view, table, at.partition, partition, before)
        {
            self.by_age.insert((waits.since, at.partition));
            self.bytes += waits.bytes;
            self.partitions.insert(at.partition, waits);
        }
    }
}

fn waits(
    view: &View,
    table: &TopicTable,
    at: PartitionId,
    partition: &Partition,
    before: Option<Waits>,
) -> Option<Waits> {
    let waiting = waiting_of(view, table, at, partition)?;
    let (from, to) = (waiting.readable.start, waiting.readable.end);
    let sum = |from: Offset, to: Offset| -> u64 {
        let extents = partition.extents_from(from);
        let extents = extents.take_while(|extent| extent.offsets.start < to);
        extents.map(|extent| extent.position.length).sum()
    };
    // Extents that retention took cannot be counted off any more.
    let known = before.filter(|before| partition.log_start <= before.from && before.to >= from);
    let bytes = match known {
        Some(before) => {
            let first = partition.extents_from(from).next();
            let whole = first.map_or(from, |extent| extent.offsets.start.min(from));
            let passed = sum(before.from, whole);
            before.bytes - passed.min(before.bytes) + sum(before.to, to)
        }
        None => sum(from, to),
    };
    Some(Waits {
        since: waiting.since,
        from,
        to,
        bytes,
    })
}

#[cfg(test)]
mod tests;
