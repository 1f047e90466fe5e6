//! What is kept of one partition: pieces of decoded rows by the offsets they cover.
//!
//! Holds: pieces never overlap, and a piece holds every row of its range that decodes. Neighbouring
//! pieces join while they are small, the way a binary counter carries, so that a busy partition is a
//! few large Arrow batches and each row is copied a few times at most.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tarn_model::{Offset, OffsetRange};
use tarn_schema::OFFSET;

/// A piece grows no further than this many rows.
const PIECE_ROWS_MAX: usize = 8192;

/// Rows of `range`; fewer than its offsets where records did not decode.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) range: OffsetRange,
    pub(crate) rows: RecordBatch,
    pub(crate) bytes: usize,
}

impl Piece {
    pub(crate) fn new(range: OffsetRange, rows: RecordBatch) -> Piece {
        let bytes = rows.get_array_memory_size();
        Piece { range, rows, bytes }
    }
}

/// A stretch of offsets that a query wants: kept, or to be read.
#[derive(Debug)]
pub(crate) enum Stretch {
    Kept(RecordBatch),
    Missing(OffsetRange),
}

/// The pieces of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pieces: BTreeMap<Offset, Piece>,
}

impl Tail {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pieces.values().map(|piece| piece.bytes).sum()
    }

    pub(crate) fn rows(&self) -> usize {
        self.pieces
            .values()
            .map(|piece| piece.rows.num_rows())
            .sum()
    }

    /// First offset that is kept.
    pub(crate) fn start(&self) -> Option<Offset> {
        self.pieces.keys().next().copied()
    }

    /// Where the newest piece ends.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.pieces
            .values()
            .next_back()
            .map(|piece| piece.range.end)
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
        self.pieces.insert(start, piece);
        self.join(start);
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
                || left.rows.num_rows() > 2 * right.rows.num_rows().max(1)
            {
                return;
            }
            let joined = concat_batches(&left.rows.schema(), [&left.rows, &right.rows])
                .expect("batches of one schema join");
            let range = OffsetRange::new(left.range.start, right.range.end);
            self.pieces.remove(&start);
            self.pieces.insert(before, Piece::new(range, joined));
            start = before;
        }
    }

    /// Drops what lies wholly below `offset`. Gives the rows dropped.
    pub(crate) fn drop_below(&mut self, offset: Offset) -> usize {
        let mut rows = 0;
        while let Some(first) = self
            .pieces
            .first_entry()
            .filter(|first| first.get().range.end <= offset)
        {
            rows += first.remove().rows.num_rows();
        }
        rows
    }

    /// Drops the oldest piece. Gives its rows and bytes.
    pub(crate) fn drop_oldest(&mut self) -> Option<(usize, usize)> {
        self.pieces
            .pop_first()
            .map(|(_, piece)| (piece.rows.num_rows(), piece.bytes))
    }

    /// `range` as stretches in offset order. Pieces of another schema count as missing.
    pub(crate) fn stretches(&self, range: OffsetRange, schema: &SchemaRef) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut at = range.start;
        let first = self
            .pieces
            .range(..=range.start)
            .next_back()
            .map_or(range.start, |(start, _)| *start);
        for piece in self.pieces.range(first..range.end).map(|(_, piece)| piece) {
            let wanted = piece.range.intersect(OffsetRange::new(at, range.end));
            if wanted.is_empty() || &piece.rows.schema() != schema {
                continue;
            }
            if at < wanted.start {
                stretches.push(Stretch::Missing(OffsetRange::new(at, wanted.start)));
            }
            stretches.push(Stretch::Kept(within(&piece.rows, wanted)));
            at = wanted.end;
        }
        if at < range.end {
            stretches.push(Stretch::Missing(OffsetRange::new(at, range.end)));
        }
        stretches
    }
}

/// The rows of one partition whose offsets lie in `range`, without copying.
pub(crate) fn within(rows: &RecordBatch, range: OffsetRange) -> RecordBatch {
    let offsets = rows
        .column_by_name(OFFSET)
        .and_then(|column| column.as_any().downcast_ref::<Int64Array>())
        .expect("every decoded batch has its offsets");
    let below = |limit: Offset| {
        offsets
            .values()
            .partition_point(|offset| *offset < limit.to_wire())
    };
    let (start, end) = (below(range.start), below(range.end));
    rows.slice(start, end - start)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

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
            .stretches(wanted, &rows(&[]).schema())
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
        assert_eq!(tail.drop_below(Offset(0)), 0);
        let dropped = tail.drop_below(Offset(1000));
        assert_eq!((dropped, tail.is_empty()), (1000, true));
    }
}
