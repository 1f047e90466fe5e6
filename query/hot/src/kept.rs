//! What is kept of all partitions, within one bound of bytes.
//!
//! Holds: keeping rows costs what is kept and not what lies there already; who gives way is the
//! partition that was added to longest ago. How far each partition was followed outlives its rows:
//! what gave way is never read again only because a record came after it.

use std::collections::BTreeMap;

use tarn_model::{Offset, OffsetRange, PartitionId, TopicPartition};
use tarn_state::TopicTable;

use crate::tail::{Extremes, Piece, Stretch, Tail, Times, widen};

/// Decoded bytes per stored one, until something was decoded, and the stored bytes that this guess
/// weighs as much as.
const GROWTH_GUESS: u64 = 8;
const GROWTH_GUESS_WEIGHT: u64 = 1 << 20;

/// The tails of all partitions.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    followed: BTreeMap<TopicPartition, Followed>,
    /// Those that keep rows, in the order in which they were last added to.
    turns: BTreeMap<u64, TopicPartition>,
    next_turn: u64,
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
    /// Stored bytes that were decoded, and Arrow's bytes that they became.
    stored: u64,
    decoded: u64,
}

#[derive(Debug, Default)]
struct Followed {
    tail: Tail,
    /// Offsets below it were kept once, or are not worth it.
    to: Offset,
    /// Of `turns`, while it keeps rows.
    turn: u64,
}

impl Kept {
    /// How far a partition was followed; `None` if it was not.
    pub(crate) fn followed_to(&self, at: TopicPartition) -> Option<Offset> {
        self.followed.get(&at).map(|followed| followed.to)
    }

    /// The partition is followed to `to` from now on, whether its rows are kept or not.
    pub(crate) fn follow_to(&mut self, at: TopicPartition, to: Offset) {
        let followed = self.followed.entry(at).or_default();
        followed.to = followed.to.max(to);
    }

    /// Keeps what came up to `to`. Gives the rows that gave way.
    pub(crate) fn keep(
        &mut self,
        at: TopicPartition,
        pieces: impl IntoIterator<Item = Piece>,
        to: Offset,
        bytes_max: usize,
    ) -> usize {
        let followed = self.followed.entry(at).or_default();
        followed.to = followed.to.max(to);
        let (bytes, rows) = (followed.tail.bytes(), followed.tail.rows());
        for piece in pieces {
            followed.tail.insert(piece);
        }
        self.bytes = self.bytes - bytes + followed.tail.bytes();
        self.rows = self.rows - rows + followed.tail.rows();
        self.turns.remove(&followed.turn);
        if !followed.tail.is_empty() {
            self.next_turn += 1;
            followed.turn = self.next_turn;
            self.turns.insert(self.next_turn, at);
        }
        self.shrink(bytes_max)
    }

    /// Drops the oldest pieces until `bytes_max` is kept. Gives the rows dropped.
    fn shrink(&mut self, bytes_max: usize) -> usize {
        let mut evicted = 0;
        while self.bytes > bytes_max
            && let Some((_, at)) = self.turns.pop_first()
        {
            let Some(followed) = self.followed.get_mut(&at) else {
                continue;
            };
            let bytes = followed.tail.bytes();
            let rows = followed.tail.drop_oldest();
            evicted += rows;
            self.rows -= rows;
            self.bytes -= bytes - followed.tail.bytes();
            if !followed.tail.is_empty() {
                // The next to give way is another one.
                self.next_turn += 1;
                followed.turn = self.next_turn;
                self.turns.insert(self.next_turn, at);
            }
        }
        evicted
    }

    /// Lets go of what the table has by now.
    pub(crate) fn drop_below(&mut self, table: &TopicTable) {
        let first = TopicPartition::new(table.topic, PartitionId(0));
        let last = TopicPartition::new(table.topic, PartitionId(i32::MAX));
        for (at, followed) in self.followed.range_mut(first..=last) {
            let (bytes, rows) = (followed.tail.bytes(), followed.tail.rows());
            followed.tail.drop_below(table.materialized(at.partition));
            self.bytes -= bytes - followed.tail.bytes();
            self.rows -= rows - followed.tail.rows();
            if followed.tail.is_empty() {
                self.turns.remove(&followed.turn);
            }
        }
    }

    /// The partition is gone.
    pub(crate) fn forget(&mut self, at: TopicPartition) {
        if let Some(followed) = self.followed.remove(&at) {
            self.bytes -= followed.tail.bytes();
            self.rows -= followed.tail.rows();
            self.turns.remove(&followed.turn);
        }
    }

    /// `range` of a partition, as far as it is kept.
    pub(crate) fn stretches(
        &self,
        at: TopicPartition,
        range: OffsetRange,
        times: Option<&Times>,
    ) -> Vec<Stretch> {
        match self.followed.get(&at) {
            Some(followed) => followed.tail.stretches(range, times),
            None => vec![Stretch::Missing(range)],
        }
    }

    /// Adds what is known of a partition's rows; `false` if not all of `range` is kept.
    pub(crate) fn measure(
        &self,
        at: TopicPartition,
        range: OffsetRange,
        all: &mut Extremes,
    ) -> bool {
        let before = all.rows;
        let followed = self.followed.get(&at);
        let whole = followed.is_some_and(|followed| followed.tail.measure(range, all));
        if all.rows > before {
            widen(&mut all.partitions, at.partition.0..=at.partition.0);
        }
        whole
    }

    /// So many stored bytes became so many of Arrow's.
    pub(crate) fn learn(&mut self, stored: u64, decoded: u64) {
        self.stored += stored;
        self.decoded += decoded;
    }

    /// What stored bytes will take when they are decoded, going by what was decoded so far.
    pub(crate) fn decoded_size(&self, stored: u64) -> u64 {
        let decoded = u128::from(self.decoded + GROWTH_GUESS * GROWTH_GUESS_WEIGHT);
        let share = decoded * u128::from(stored) / u128::from(self.stored + GROWTH_GUESS_WEIGHT);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use tarn_model::TopicId;

    use crate::tail::tests::LOOKED_AT;

    const TOPIC: TopicId = TopicId([7; 16]);

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new(TOPIC, PartitionId(partition))
    }

    fn piece(start: u64, end: u64) -> Piece {
        let field = Field::new(tarn_schema::OFFSET, DataType::Int64, false);
        let offsets = (start..end).map(|n| i64::try_from(n).expect("small"));
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(offsets));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]);
        let range = OffsetRange::new(Offset(start), Offset(end));
        Piece::new(range, rows.expect("one column"))
    }

    fn missing(kept: &Kept, partition: i32, end: u64) -> Vec<String> {
        let range = OffsetRange::new(Offset(0), Offset(end));
        let stretches = kept.stretches(at(partition), range, None).into_iter();
        let told = stretches.map(|stretch| match stretch {
            Stretch::Kept(rows) => rows.num_rows().to_string(),
            Stretch::Missing(range) => range.to_string(),
        });
        told.collect()
    }

    #[test]
    fn the_longest_idle_gives_way_and_stays_followed() {
        let mut kept = Kept::default();
        let room = 2 * piece(0, 1000).bytes + 1000;
        for partition in 0..2 {
            kept.keep(at(partition), [piece(0, 1000)], Offset(1000), room);
        }
        kept.keep(at(0), [piece(1000, 1001)], Offset(1001), usize::MAX);
        assert_eq!(kept.rows, 2001);
        let evicted = kept.keep(at(2), [piece(0, 1000)], Offset(1000), room);
        assert_eq!(evicted, 1000, "partition 1 waits longest");
        assert_eq!(missing(&kept, 1, 1000), ["[0, 1000)"]);
        assert_eq!(kept.followed_to(at(1)), Some(Offset(1000)));
        assert_eq!(kept.followed_to(at(3)), None);
        let evicted = kept.keep(at(1), [piece(1000, 1002)], Offset(1002), usize::MAX);
        assert_eq!(evicted, 0);
        assert_eq!(missing(&kept, 1, 1002), ["[0, 1000)", "2"]);
    }

    #[test]
    fn sums_follow_whatever_happens() {
        let mut kept = Kept::default();
        for partition in 0..10 {
            kept.keep(
                at(partition),
                [piece(0, 10), piece(10, 500)],
                Offset(500),
                1 << 20,
            );
        }
        kept.keep(at(3), [piece(500, 900)], Offset(900), 20_000);
        kept.forget(at(9));
        kept.forget(at(9));
        let tails = || kept.followed.values().map(|followed| &followed.tail);
        assert_eq!(kept.bytes, tails().map(Tail::bytes).sum::<usize>());
        assert_eq!(kept.rows, tails().map(Tail::rows).sum::<usize>());
        assert!(kept.bytes <= 20_000);
        let full = tails().filter(|tail| !tail.is_empty()).count();
        assert_eq!(kept.turns.len(), full);
    }

    #[test]
    fn keeping_rows_looks_at_no_other_partition() {
        let mut kept = Kept::default();
        for partition in 0..1_000 {
            kept.keep(at(partition), [piece(0, 10)], Offset(10), usize::MAX);
        }
        LOOKED_AT.set(0);
        kept.keep(at(500), [piece(10, 20)], Offset(20), usize::MAX);
        // One gives way, which is not searched for.
        kept.keep(at(501), [piece(10, 20)], Offset(20), kept.bytes);
        assert!(LOOKED_AT.get() <= 8, "{}", LOOKED_AT.get());
    }

    #[test]
    fn what_stored_bytes_become_is_learned() {
        let mut kept = Kept::default();
        assert_eq!(kept.decoded_size(100), 800);
        kept.learn(1 << 30, 3 << 30);
        assert!((300..310).contains(&kept.decoded_size(100)));
    }
}
