//! A coarse index by time: for every so many extents of a partition the largest timestamp in them.
//!
//! Holds: an extent is looked at once in the life of the index, however often anybody asks, and once
//! more when its rows are in the table, because only then is its largest timestamp final; what an answer
//! costs beyond that is the blocks, and the extents of those that may hold it.
//! Leaves to others: the log start, which passes blocks and extents that are still listed here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tarn_model::{Offset, Timestamp, TopicPartition};
use tarn_state::Partition;

/// Extents in a block.
const BLOCK: usize = 64;
/// Extents that are looked at before others get their turn.
const TURN: usize = 16 << 10;
/// Partitions whose index is kept in each of two ages.
const KEPT: usize = 4 << 10;

/// A run of extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Where the first one begins …
    pub(super) start: Offset,
    /// … and the last one ends.
    pub(super) end: Offset,
    pub(super) max_timestamp: Timestamp,
    extents: usize,
}

/// The blocks of one partition, in the order of their offsets.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    /// What was looked at above it was not final.
    settled: Offset,
}

impl Blocks {
    fn end(&self) -> Offset {
        self.blocks.last().map_or(Offset::ZERO, |block| block.end)
    }

    /// Those that are not passed by the log start altogether.
    pub(super) fn from(&self, log_start: Offset) -> &[Block] {
        let passed = self.blocks.partition_point(|block| block.end <= log_start);
        self.blocks.get(passed..).unwrap_or_default()
    }

    /// Forgets what may have changed now that everything below `settled` is final.
    fn settle(&mut self, settled: Offset) {
        if settled > self.settled {
            let before = self.settled;
            let kept = self.blocks.partition_point(|block| block.end <= before);
            self.blocks.truncate(kept);
            self.settled = settled;
        }
    }

    /// Looks at the extents that came since.
    async fn extend(&mut self, partition: &Partition) {
        let from = self.end().max(partition.log_start);
        for (count, extent) in partition.extents_from(from).enumerate() {
            if count % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            match self.blocks.last_mut().filter(|block| block.extents < BLOCK) {
                Some(block) => {
                    block.end = extent.offsets.end;
                    block.max_timestamp = block.max_timestamp.max(extent.max_timestamp);
                    block.extents += 1;
                }
                None => self.blocks.push(Block {
                    start: extent.offsets.start,
                    end: extent.offsets.end,
                    max_timestamp: extent.max_timestamp,
                    extents: 1,
                }),
            }
        }
        let passed = self
            .blocks
            .partition_point(|block| block.end <= partition.log_start);
        self.blocks.drain(..passed);
    }
}

/// The indexes of the partitions that were asked about.
#[derive(Debug, Clone, Default)]
pub(super) struct TimeIndex {
    kept: Arc<Mutex<Kept>>,
}

/// In two ages: when the young ones are many, they take the place of the old ones.
#[derive(Debug, Default)]
struct Kept {
    young: BTreeMap<TopicPartition, Arc<Blocks>>,
    old: BTreeMap<TopicPartition, Arc<Blocks>>,
}

impl TimeIndex {
    /// The blocks of a partition of a view, up to its end. Extents below `settled` change no more.
    pub(super) async fn blocks(
        &self,
        at: TopicPartition,
        partition: &Partition,
        settled: Offset,
    ) -> Arc<Blocks> {
        let known = {
            let mut kept = self.kept.lock().expect("nobody panics while holding it");
            let young = kept.young.get(&at).map(Arc::clone);
            young.or_else(|| kept.old.remove(&at))
        };
        let mut blocks = known.unwrap_or_default();
        if blocks.settled < settled {
            Arc::make_mut(&mut blocks).settle(settled);
        }
        if blocks.end() < partition.high_watermark {
            Arc::make_mut(&mut blocks).extend(partition).await;
        }
        let mut kept = self.kept.lock().expect("nobody panics while holding it");
        if kept.young.len() >= KEPT && !kept.young.contains_key(&at) {
            kept.old = std::mem::take(&mut kept.young);
        }
        let newest = kept.young.entry(at).or_default();
        let age = |blocks: &Blocks| (blocks.settled, blocks.end());
        if age(newest) < age(&blocks) {
            newest.clone_from(&blocks);
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterTime, OffsetRange, PartitionId, SegmentId, TopicId};
    use tarn_state::{Extent, Position};

    use super::*;

    fn add(partition: &mut Partition, timestamp: i64) {
        let start = partition.high_watermark;
        let offsets = OffsetRange::new(start, start.advance(2));
        let extent = Extent {
            offsets,
            segment: SegmentId::new(ClusterTime(1), 1),
            position: Position {
                start: 0,
                length: 1,
            },
            max_timestamp: Timestamp(timestamp),
            committed_at: 1,
            committed_time: ClusterTime(1),
            leader_epoch: 1,
            hides_timestamps: false,
        };
        partition.extents.insert(start, extent);
        partition.high_watermark = offsets.end;
    }

    #[tokio::test]
    async fn an_index_follows_the_partition_and_looks_at_nothing_twice() {
        let at = TopicPartition::new(TopicId::from_u128(1), PartitionId(0));
        let index = TimeIndex::default();
        let mut partition = Partition::empty();
        let none = Offset::ZERO;
        assert!(index.blocks(at, &partition, none).await.blocks.is_empty());
        for timestamp in 0..100 {
            add(&mut partition, timestamp);
        }
        let blocks = index.blocks(at, &partition, none).await;
        let shape = |blocks: &Blocks| -> Vec<(u64, u64, i64)> {
            let blocks = blocks.blocks.iter();
            blocks
                .map(|block| (block.start.0, block.end.0, block.max_timestamp.0))
                .collect()
        };
        assert_eq!(shape(&blocks), [(0, 128, 63), (128, 200, 99)]);
        // What it has looked at it does not look at again: here it would find another timestamp.
        let first = *partition.extents.get(&Offset(0)).expect("it is there");
        let changed = Extent {
            max_timestamp: Timestamp(1_000),
            ..first
        };
        partition.extents.insert(Offset(0), changed);
        add(&mut partition, 7);
        let blocks = index.blocks(at, &partition, none).await;
        assert_eq!(shape(&blocks), [(0, 128, 63), (128, 202, 99)]);
        assert_eq!(blocks.from(Offset(127)).len(), 2);
        assert_eq!(blocks.from(Offset(128)).len(), 1);
        // The log start takes blocks with it.
        partition.log_start = Offset(130);
        add(&mut partition, 8);
        let blocks = index.blocks(at, &partition, none).await;
        assert_eq!(shape(&blocks), [(128, 204, 99)]);
    }

    /// The table has the rows of some extents: they may have another largest timestamp now, and so may
    /// those that come to it later; what was final before is not looked at again.
    #[tokio::test]
    async fn what_was_not_final_is_looked_at_again() {
        let at = TopicPartition::new(TopicId::from_u128(1), PartitionId(0));
        let index = TimeIndex::default();
        let mut partition = Partition::empty();
        for timestamp in 0..200 {
            add(&mut partition, timestamp);
        }
        let largest = async |partition: &Partition, settled: u64| -> Vec<i64> {
            let blocks = index.blocks(at, partition, Offset(settled)).await;
            let blocks = blocks.blocks.iter();
            blocks.map(|block| block.max_timestamp.0).collect()
        };
        assert_eq!(largest(&partition, 130).await, [63, 127, 191, 199]);
        let change = |partition: &mut Partition, start: u64, timestamp: i64| {
            let extent = *partition.extents.get(&Offset(start)).expect("there");
            let changed = Extent {
                max_timestamp: Timestamp(timestamp),
                hides_timestamps: true,
                ..extent
            };
            partition.extents.insert(Offset(start), changed);
        };
        change(&mut partition, 0, 5_000);
        change(&mut partition, 132, 6_000);
        change(&mut partition, 398, 7_000);
        assert_eq!(largest(&partition, 130).await, [63, 127, 191, 199]);
        // The second block ends above 130, so that it was not final.
        assert_eq!(largest(&partition, 300).await, [63, 6_000, 191, 7_000]);
        // A view from before may still ask.
        assert_eq!(largest(&partition, 130).await, [63, 6_000, 191, 7_000]);
    }
}
