//! The hot rows of one cut, batch by batch: what is kept from memory, the rest from segments.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_decode::Decoder;
use tarn_model::{OffsetRange, TopicPartition, defect};

use crate::tail::{Stretch, Times};
use crate::{HotError, HotTier, TableCut};

impl HotTier {
    /// The hot rows of a cut, in the order of partitions and offsets.
    pub fn rows(&self, cut: &TableCut) -> HotRows {
        let mut ranges: VecDeque<(TopicPartition, OffsetRange)> = cut.hot().collect();
        if defect("hot-from-newest-m") {
            let newest = self.inner.metastore.view();
            for (at, range) in &mut ranges {
                let m = newest
                    .table(at.topic)
                    .map(|table| table.materialized(at.partition));
                range.start = m.unwrap_or(range.start).clamp(range.start, range.end);
            }
        }
        HotRows::new(self, cut, ranges)
    }
}

/// The rows of a cut that are in no table file. Batches have the columns that their table had when
/// they were decoded: what came later is not in them, and means null.
#[derive(Debug)]
pub struct HotRows {
    tier: HotTier,
    cut: TableCut,
    /// For what is not kept; the cut's shape of the table, whatever it became since.
    decoder: Option<Arc<Decoder>>,
    times: Option<Times>,
    ranges: VecDeque<(TopicPartition, OffsetRange)>,
    stretches: VecDeque<Next>,
    read_bytes: usize,
}

/// What comes next.
#[derive(Debug)]
enum Next {
    Kept(RecordBatch),
    /// Read for this query alone, with the bytes that it takes.
    Read(RecordBatch, usize),
    Missing(TopicPartition, OffsetRange),
}

impl HotRows {
    pub(crate) fn new(
        tier: &HotTier,
        cut: &TableCut,
        ranges: VecDeque<(TopicPartition, OffsetRange)>,
    ) -> HotRows {
        HotRows {
            tier: tier.clone(),
            cut: cut.clone(),
            decoder: None,
            times: None,
            ranges,
            stretches: VecDeque::new(),
            read_bytes: 0,
        }
    }

    /// Rows of other times may be left out, where that saves something.
    #[must_use]
    pub fn of_times(mut self, times: Option<Times>) -> HotRows {
        self.times = times;
        self
    }

    /// Bytes of rows that were read from segments and not given yet.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, HotError>> {
        loop {
            match self.stretches.pop_front() {
                Some(Next::Kept(rows)) if rows.num_rows() == 0 => {}
                Some(Next::Kept(rows)) => return Some(Ok(rows)),
                Some(Next::Read(rows, bytes)) => {
                    self.read_bytes -= bytes;
                    if rows.num_rows() > 0 {
                        return Some(Ok(rows));
                    }
                }
                Some(Next::Missing(at, range)) => {
                    if let Err(error) = self.read(at, range).await {
                        self.ranges.clear();
                        self.stretches.clear();
                        self.read_bytes = 0;
                        return Some(Err(error));
                    }
                }
                None => {
                    let (at, range) = self.ranges.pop_front()?;
                    let stretches = self.tier.stretches(at, range, self.times.as_ref());
                    let next = stretches.into_iter().map(|stretch| match stretch {
                        Stretch::Kept(rows) => Next::Kept(rows),
                        Stretch::Missing(range) => Next::Missing(at, range),
                    });
                    self.stretches.extend(next);
                }
            }
        }
    }

    /// Reads the beginning of a missing range and puts what is left of it back in front.
    async fn read(&mut self, at: TopicPartition, range: OffsetRange) -> Result<(), HotError> {
        let decoder = match &self.decoder {
            Some(decoder) => decoder,
            None => {
                let decoder = self.tier.decoder(&self.cut.schemas, &self.cut.table);
                self.decoder
                    .insert(decoder.expect("only the table of a topic has hot rows"))
            }
        };
        let read = self.tier.read_again(&self.cut, decoder, at, range).await?;
        if read.to < range.end {
            let left = OffsetRange::new(read.to, range.end);
            self.stretches.push_front(Next::Missing(at, left));
        }
        for piece in read.pieces.into_iter().rev() {
            self.read_bytes += piece.bytes;
            self.stretches
                .push_front(Next::Read(piece.rows, piece.bytes));
        }
        Ok(())
    }
}
