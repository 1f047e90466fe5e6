//! What is kept of one partition: pieces of decoded rows by the offsets they cover.
//!
//! Holds: pieces never overlap, and a piece holds every row of its range that decodes. Neighboring
//! pieces join while they are small, the way a binary counter carries, so that a busy partition is a
//! few large Arrow batches and each row is copied a few times at most.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::compute::{concat_batches, max, min};
use tarn_decode::Run;
use tarn_model::{Offset, OffsetRange};
use tarn_schema::{OFFSET, TIMESTAMP};

/// A piece grows by joining no further than this many rows, …
const PIECE_ROWS_MAX: usize = 8192;
/// … and this many bytes. A row that is larger is a piece of its own.
const PIECE_BYTES_MAX: usize = 8 << 20;

/// Times of rows in microseconds since 1970.
pub type Times = RangeInclusive<i64>;

/// Rows of `range`; fewer than its offsets where records did not decode.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) range: OffsetRange,
    pub(crate) rows: RecordBatch,
    pub(crate) bytes: usize,
    /// The least and the greatest `_timestamp`; `None` without rows.
    pub(crate) times: Option<Times>,
}

impl Piece {
    pub(crate) fn new(range: OffsetRange, rows: RecordBatch) -> Piece {
        let bytes = rows.get_array_memory_size();
        let times = times(&rows);
        Piece {
            range,
            rows,
            bytes,
            times,
        }
    }

    /// May it hold a row of these times?
    fn has_any(&self, times: &Times) -> bool {
        self.times.as_ref().is_some_and(|have| overlap(have, times))
    }
}

impl From<Run> for Piece {
    /// In as little memory as the rows need: a run of one row has columns with room for a thousand.
    fn from(run: Run) -> Piece {
        let (schema, mut columns, rows) = run.rows.into_parts();
        for column in &mut columns {
            if let Some(column) = Arc::get_mut(column) {
                column.shrink_to_fit();
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options);
        Piece::new(run.offsets, rows.expect("it was a batch before"))
    }
}

fn overlap(a: &Times, b: &Times) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

fn times(rows: &RecordBatch) -> Option<Times> {
    let column = rows.column_by_name(TIMESTAMP)?.as_any();
    let column = column.downcast_ref::<TimestampMicrosecondArray>()?;
    Some(min(column)?..=max(column)?)
}

/// A stretch of offsets that a query wants: kept, or to be read.
#[derive(Debug)]
pub(crate) enum Stretch {
    Kept(RecordBatch),
    Missing(OffsetRange),
}

/// What is known of rows without looking at each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extremes {
    pub rows: usize,
    pub bytes: usize,
    /// The least and the greatest `_topic_partition` and `_offset`; `None` without rows.
    pub partitions: Option<RangeInclusive<i32>>,
    pub offsets: Option<RangeInclusive<i64>>,
    /// Of `_timestamp`: no row lies outside.
    pub times: Option<Times>,
    /// And there are rows at both ends.
    pub times_are_tight: bool,
}

impl Extremes {
    pub(crate) fn none() -> Extremes {
        Extremes {
            times_are_tight: true,
            ..Extremes::default()
        }
    }
}

pub(crate) fn widen<T: Copy + Ord>(all: &mut Option<RangeInclusive<T>>, more: RangeInclusive<T>) {
    *all = Some(match all {
        Some(all) => *all.start().min(more.start())..=*all.end().max(more.end()),
        None => more,
    });
}

/// The pieces of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pieces: BTreeMap<Offset, Piece>,
    bytes: usize,
    rows: usize,
}

impl Tail {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        #[cfg(test)]
        tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
        self.bytes
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Keeps a piece; what is there already wins, so that ranges never overlap.
    pub(crate) fn insert(&mut self, piece: Piece) {
        let overlaps = self
            .pieces
            .range(..piece.range.end)
            .next_back()
            .is_some_and(|(_, before)| before.range.end > piece.range.start);
        if overlaps || piece.range.is_empty() {
            return;
        }
        let start = piece.range.start;
        self.put(piece);
        self.join(start);
    }

    fn put(&mut self, piece: Piece) {
        self.bytes += piece.bytes;
        self.rows += piece.rows.num_rows();
        self.pieces.insert(piece.range.start, piece);
    }

    fn take(&mut self, start: Offset) -> Option<Piece> {
        let piece = self.pieces.remove(&start)?;
        self.bytes -= piece.bytes;
        self.rows -= piece.rows.num_rows();
        Some(piece)
    }

    /// Joins the piece at `start` with its predecessor while the two are of a size.
    fn join(&mut self, mut start: Offset) {
        while let Some((&before, left)) = self.pieces.range(..start).next_back() {
            let right = &self.pieces[&start];
            let rows = left.rows.num_rows() + right.rows.num_rows();
            let adjacent =
                left.range.end == right.range.start && left.rows.schema() == right.rows.schema();
            if !adjacent
                || rows > PIECE_ROWS_MAX
                || left.bytes + right.bytes > PIECE_BYTES_MAX
                || left.rows.num_rows() > 2 * right.rows.num_rows().max(1)
            {
                return;
            }
            // What cannot be one batch stays two.
            let Ok(joined) = concat_batches(&left.rows.schema(), [&left.rows, &right.rows]) else {
                return;
            };
            let range = OffsetRange::new(left.range.start, right.range.end);
            self.take(start);
            self.take(before);
            self.put(Piece::new(range, joined));
            start = before;
        }
    }

    /// Drops what lies wholly below `offset`.
    pub(crate) fn drop_below(&mut self, offset: Offset) {
        while let Some((&start, first)) = self.pieces.first_key_value()
            && first.range.end <= offset
        {
            self.take(start);
        }
    }

    /// Drops the oldest piece. Gives its rows.
    pub(crate) fn drop_oldest(&mut self) -> usize {
        let oldest = self.pieces.keys().next().copied();
        oldest
            .and_then(|start| self.take(start))
            .map_or(0, |piece| piece.rows.num_rows())
    }

    /// Pieces that hold offsets of `range`.
    fn pieces(&self, range: OffsetRange) -> impl Iterator<Item = &Piece> {
        let first = self
            .pieces
            .range(..=range.start)
            .next_back()
            .map_or(range.start, |(start, _)| *start);
        let pieces = self.pieces.range(first..range.end.max(first));
        pieces
            .map(|(_, piece)| piece)
            .filter(move |piece| !piece.range.intersect(range).is_empty())
    }

    /// `range` as stretches in offset order, without pieces that hold no row of `times`.
    pub(crate) fn stretches(&self, range: OffsetRange, times: Option<&Times>) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut at = range.start;
        for piece in self.pieces(range) {
            let wanted = piece.range.intersect(range);
            if at < wanted.start {
                stretches.push(Stretch::Missing(OffsetRange::new(at, wanted.start)));
            }
            if times.is_none_or(|times| piece.has_any(times)) {
                stretches.push(Stretch::Kept(within(&piece.rows, wanted)));
            }
            at = wanted.end;
        }
        if at < range.end {
            stretches.push(Stretch::Missing(OffsetRange::new(at, range.end)));
        }
        stretches
    }

    /// Adds what is known of the rows of `range`; `false` if some are not kept.
    pub(crate) fn measure(&self, range: OffsetRange, all: &mut Extremes) -> bool {
        let mut at = range.start;
        for piece in self.pieces(range) {
            let wanted = piece.range.intersect(range);
            if at < wanted.start {
                return false;
            }
            at = wanted.end;
            let rows = within(&piece.rows, wanted);
            let offsets = offsets(&rows).values();
            if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
                let share = piece.bytes / piece.rows.num_rows().max(1);
                all.rows += rows.num_rows();
                all.bytes += share * rows.num_rows();
                widen(&mut all.offsets, *first..=*last);
                if let Some(times) = &piece.times {
                    widen(&mut all.times, times.clone());
                }
                all.times_are_tight &= rows.num_rows() == piece.rows.num_rows();
            }
        }
        at >= range.end
    }
}

fn offsets(rows: &RecordBatch) -> &Int64Array {
    rows.column_by_name(OFFSET)
        .and_then(|column| column.as_any().downcast_ref::<Int64Array>())
        .expect("every decoded batch has its offsets")
}

/// The rows of one partition whose offsets lie in `range`, without copying.
pub(crate) fn within(rows: &RecordBatch, range: OffsetRange) -> RecordBatch {
    let offsets = offsets(rows);
    let below = |limit: Offset| {
        offsets
            .values()
            .partition_point(|offset| *offset < limit.to_wire())
    };
    let (start, end) = (below(range.start), below(range.end));
    rows.slice(start, end - start)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;

    thread_local! {
        /// Partitions whose bytes were asked for.
        pub(crate) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    fn rows(offsets: &[i64]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new(OFFSET, DataType::Int64, false)]);
        let column = Int64Array::from(offsets.to_vec());
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).expect("one column")
    }

    fn range(start: u64, end: u64) -> OffsetRange {
        OffsetRange::new(Offset(start), Offset(end))
    }

    fn piece(start: u64, end: u64) -> Piece {
        let offsets: Vec<i64> = (start..end)
            .map(|n| i64::try_from(n).expect("small"))
            .collect();
        Piece::new(range(start, end), rows(&offsets))
    }

    /// `3..5` for kept rows, `[5, 7)` for what is missing.
    fn story(tail: &Tail, wanted: OffsetRange) -> String {
        let told: Vec<String> = tail
            .stretches(wanted, None)
            .into_iter()
            .map(|stretch| match stretch {
                Stretch::Kept(rows) => format!("{}", rows.num_rows()),
                Stretch::Missing(range) => range.to_string(),
            })
            .collect();
        told.join(" ")
    }

    #[test]
    fn what_is_not_kept_is_named_in_order() {
        let mut tail = Tail::default();
        tail.insert(piece(10, 20));
        tail.insert(piece(30, 34));
        assert_eq!(story(&tail, range(5, 40)), "[5, 10) 10 [20, 30) 4 [34, 40)");
        assert_eq!(story(&tail, range(12, 32)), "8 [20, 30) 2");
        assert_eq!(story(&tail, range(20, 30)), "[20, 30)");
    }

    #[test]
    fn overlapping_pieces_are_not_taken_twice() {
        let mut tail = Tail::default();
        tail.insert(piece(10, 20));
        tail.insert(piece(15, 25));
        tail.insert(piece(5, 11));
        assert_eq!(story(&tail, range(0, 30)), "[0, 10) 10 [20, 30)");
    }

    #[test]
    fn a_record_that_did_not_decode_leaves_no_hole() {
        let mut tail = Tail::default();
        tail.insert(Piece::new(range(0, 4), rows(&[0, 1, 3])));
        assert_eq!(story(&tail, range(2, 4)), "1");
    }

    #[test]
    fn small_neighbours_join_and_no_row_is_lost() {
        let mut tail = Tail::default();
        for start in 0..1000 {
            tail.insert(piece(start, start + 1));
        }
        assert!(tail.pieces.len() < 12, "{} pieces", tail.pieces.len());
        assert_eq!(tail.rows(), 1000);
        tail.drop_below(Offset(0));
        assert_eq!(tail.rows(), 1000);
        tail.drop_below(Offset(1000));
        assert!(tail.is_empty());
        assert_eq!((tail.rows(), tail.bytes()), (0, 0));
    }

    /// A row of many bytes at each offset.
    fn wide(start: u64, count: u64, bytes: usize) -> Piece {
        let schema = Schema::new(vec![
            Field::new(OFFSET, DataType::Int64, false),
            Field::new("text", DataType::Utf8, false),
        ]);
        let numbers = start..start + count;
        let offsets: Vec<i64> = numbers.map(|n| i64::try_from(n).expect("small")).collect();
        let text = "x".repeat(bytes);
        let texts = StringArray::from_iter_values(offsets.iter().map(|_| &text));
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(offsets)), Arc::new(texts)];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).expect("two columns");
        Piece::new(range(start, start + count), rows)
    }

    #[test]
    fn wide_rows_join_no_further_than_bytes_allow() {
        let mut tail = Tail::default();
        for start in 0..64 {
            tail.insert(wide(start, 1, 300 << 10));
        }
        assert_eq!(tail.rows(), 64);
        let largest = tail.pieces.values().map(|piece| piece.bytes).max();
        assert!(largest.expect("pieces") <= PIECE_BYTES_MAX, "{largest:?}");
        let sum: usize = tail.pieces.values().map(|piece| piece.bytes).sum();
        assert_eq!(tail.bytes(), sum);
    }

    fn timed(start: u64, times: &[i64]) -> Piece {
        let schema = Schema::new(vec![
            Field::new(OFFSET, DataType::Int64, false),
            Field::new(
                TIMESTAMP,
                DataType::Timestamp(TimeUnit::Microsecond, None),
                false,
            ),
        ]);
        let end = start + times.len() as u64;
        let offsets: Vec<i64> = (start..end)
            .map(|n| i64::try_from(n).expect("small"))
            .collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(offsets)),
            Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
        ];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).expect("two columns");
        Piece::new(range(start, end), rows)
    }

    #[test]
    fn pieces_of_other_times_are_left_out_and_what_is_missing_never_is() {
        let mut tail = Tail::default();
        tail.insert(timed(0, &[10, 30, 20]));
        tail.insert(timed(4, &[50, 60]));
        tail.insert(timed(9, &[15]));
        let told = |times: Times| -> Vec<String> {
            let stretches = tail.stretches(range(0, 10), Some(&times));
            let told = stretches.into_iter().map(|stretch| match stretch {
                Stretch::Kept(rows) => format!("{}", rows.num_rows()),
                Stretch::Missing(range) => range.to_string(),
            });
            told.collect()
        };
        assert_eq!(told(30..=49), ["3", "[3, 4)", "[6, 9)"]);
        assert_eq!(told(0..=15), ["3", "[3, 4)", "[6, 9)", "1"]);
        assert_eq!(told(61..=99), ["[3, 4)", "[6, 9)"]);
    }

    #[test]
    fn what_is_kept_whole_is_measured() {
        let mut tail = Tail::default();
        tail.insert(timed(0, &[10, 30, 20]));
        tail.insert(timed(3, &[50, 60]));
        let measure = |wanted: OffsetRange| {
            let mut all = Extremes::none();
            let whole = tail.measure(wanted, &mut all);
            whole.then_some((all.rows, all.offsets, all.times, all.times_are_tight))
        };
        assert_eq!(
            measure(range(0, 5)),
            Some((5, Some(0..=4), Some(10..=60), true))
        );
        assert_eq!(
            measure(range(1, 4)),
            Some((3, Some(1..=3), Some(10..=60), false)),
            "the times are those of whole pieces"
        );
        assert_eq!(measure(range(0, 6)), None);
        assert_eq!(measure(range(2, 2)), Some((0, None, None, true)));
    }
}
