//! Stored batches to rows: opens them one after the other and decodes their records in runs, for the
//! materializer and for the hot tier.
//!
//! Holds: the runs lie side by side from the start of the range to [`Chunk::next`], and every offset
//! in them is a row or is counted with a reason. At any moment no more is open than
//! [`OPENED_BYTES_MAX`] and one batch, however well the batches were compressed, and the rows are at
//! most what was allowed and one run.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tarn_model::{Offset, OffsetRange, PartitionId, Timestamp};
use tarn_topics::reader::Limits;
use tarn_topics::{RecordItem, StoredBatch, TopicRecord};

use crate::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, DecodeError, DecodeRecord, Decoder, Odd};

/// Opened batches whose records wait to be decoded. A record keeps all of its batch in memory, so
/// the sum of their own bytes would not do.
pub const OPENED_BYTES_MAX: usize = 16 << 20;

/// A batch that cannot be decompressed, or whose records are malformed.
pub const UNREADABLE_BATCH: &str = "unreadable_batch";
/// An offset that no record of its batch has.
pub const NO_RECORD: &str = "no_record";

/// The rows of some offsets; fewer than those where records did not decode.
#[derive(Debug, Clone)]
pub struct Run {
    pub offsets: OffsetRange,
    pub rows: RecordBatch,
}

/// What some batches gave.
#[derive(Debug)]
pub struct Chunk {
    pub runs: Vec<Run>,
    pub row_count: u64,
    /// Arrow's bytes.
    pub bytes: u64,
    /// Offsets below it are accounted for.
    pub next: Offset,
    /// Of offsets without a row, why.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Records later than the header of their batch says, …
    pub hidden_timestamps: u64,
    /// … and of each such batch the latest one.
    pub hidden: Vec<(Offset, Timestamp)>,
    pub odd: Odd,
}

/// Decodes the records of one partition with offsets in `within`, until their rows take `bytes_max`:
/// then `next` says where to go on.
pub fn decode_batches(
    decoder: &Decoder,
    partition: PartitionId,
    batches: &[StoredBatch],
    within: OffsetRange,
    bytes_max: u64,
) -> Result<Chunk, DecodeError> {
    let mut open = Open {
        decoder,
        chunk: Chunk {
            runs: Vec::new(),
            row_count: 0,
            bytes: 0,
            next: within.start,
            reasons: BTreeMap::new(),
            hidden_timestamps: 0,
            hidden: Vec::new(),
            odd: Odd::default(),
        },
        records: Vec::new(),
        bytes: 0,
        bytes_max,
        unreadable: Vec::new(),
        hidden: Vec::new(),
    };
    let mut opened_bytes = 0;
    let mut end = within.start;
    for batch in batches {
        let opened = batch.records(within, &Limits::default());
        let batch_bytes = opened.bytes();
        opened_bytes += batch_bytes;
        let latest = batch.batch.header().max_timestamp;
        for item in opened {
            match item {
                RecordItem::Record(record) => {
                    end = record.offset.advance(1);
                    if record.timestamp.0 > latest {
                        open.hidden.push(Hidden {
                            batch: batch.base,
                            offset: record.offset,
                            timestamp: record.timestamp,
                        });
                    }
                    open.bytes += size(&record);
                    open.records.push(decode_record(partition, record));
                }
                RecordItem::Undecodable(undecodable) => {
                    end = undecodable.offsets.end;
                    open.unreadable.push(undecodable.offsets);
                }
            }
            if open.records.len() >= BATCH_ROWS_MAX || open.bytes >= BATCH_BYTES_MAX {
                opened_bytes = batch_bytes;
                if open.decode(end)? {
                    return Ok(open.finish(within));
                }
            }
        }
        end = batch.offsets().end.min(within.end);
        if opened_bytes >= OPENED_BYTES_MAX {
            opened_bytes = 0;
            if open.decode(end)? {
                return Ok(open.finish(within));
            }
        }
    }
    open.decode(end)?;
    Ok(open.finish(within))
}

/// A chunk in the making.
struct Open<'a> {
    decoder: &'a Decoder,
    chunk: Chunk,
    /// Read and not decoded yet, and the bytes of their keys, values and headers.
    records: Vec<DecodeRecord>,
    bytes: usize,
    bytes_max: u64,
    /// Offsets of batches that could not be read, and of records that their headers hide, wherever the
    /// chunk ends.
    unreadable: Vec<OffsetRange>,
    hidden: Vec<Hidden>,
}

/// A record that is later than the header of its batch says.
struct Hidden {
    /// Where the batch begins.
    batch: Offset,
    offset: Offset,
    timestamp: Timestamp,
}

impl Open<'_> {
    /// Decodes what was read, which accounts for the offsets below `end`, as far as rows are allowed:
    /// have there been as many as are?
    fn decode(&mut self, end: Offset) -> Result<bool, DecodeError> {
        let records = std::mem::take(&mut self.records);
        self.bytes = 0;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let decoded = self.decoder.decode(rest)?;
            rest = rest.get(decoded.taken..).unwrap_or_default();
            for undecodable in &decoded.undecodable {
                let reason = undecodable.reason.label();
                *self.chunk.reasons.entry(reason).or_default() += 1;
            }
            let run_end = rest.first().map_or(end, |record| record.offset);
            self.chunk.odd += decoded.odd;
            self.chunk.row_count += decoded.batch.num_rows() as u64;
            self.chunk.bytes += decoded.batch.get_array_memory_size() as u64;
            self.chunk.push(run_end, decoded.batch);
            if self.chunk.bytes >= self.bytes_max {
                return Ok(true);
            }
        }
        if self.chunk.next < end {
            let nothing = RecordBatch::new_empty(self.decoder.schema().clone());
            self.chunk.push(end, nothing);
        }
        Ok(self.chunk.bytes >= self.bytes_max)
    }

    fn finish(mut self, within: OffsetRange) -> Chunk {
        let all = OffsetRange::new(within.start, self.chunk.next);
        let unreadable = self.unreadable.iter();
        let lost: u64 = unreadable.map(|lost| lost.intersect(all).len()).sum();
        if lost > 0 {
            self.chunk.reasons.insert(UNREADABLE_BATCH, lost);
        }
        let mut latest: BTreeMap<Offset, (Offset, Timestamp)> = BTreeMap::new();
        for hidden in self
            .hidden
            .iter()
            .filter(|hidden| all.contains(hidden.offset))
        {
            self.chunk.hidden_timestamps += 1;
            let at = (hidden.offset, hidden.timestamp);
            let latest = latest.entry(hidden.batch).or_insert(at);
            if latest.1 < hidden.timestamp {
                *latest = at;
            }
        }
        self.chunk.hidden = latest.into_values().collect();
        let accounted = self.chunk.row_count + self.chunk.reasons.values().sum::<u64>();
        let missing = all.len() - accounted;
        if missing > 0 {
            self.chunk.reasons.insert(NO_RECORD, missing);
        }
        self.chunk
    }
}

impl Chunk {
    fn push(&mut self, end: Offset, rows: RecordBatch) {
        match self.runs.last_mut() {
            // Offsets without rows need no run of their own.
            Some(last) if rows.num_rows() == 0 => last.offsets.end = end,
            _ => self.runs.push(Run {
                offsets: OffsetRange::new(self.next, end),
                rows,
            }),
        }
        self.next = end;
    }
}

fn size(record: &TopicRecord) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|header| header.name.len() + length(&header.value))
        .sum();
    length(&record.key) + length(&record.value) + headers
}

/// A stored record as the decoder takes it.
pub fn decode_record(partition: PartitionId, record: TopicRecord) -> DecodeRecord {
    DecodeRecord {
        partition,
        offset: record.offset,
        timestamp_ms: record.timestamp.0,
        key: record.key,
        value: record.value,
        headers: record
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect(),
        lsn: record.lsn,
        committed: record.committed_time,
    }
}

#[cfg(test)]
mod tests;
