//! Stored batches to rows: opens them one after the other and decodes their records in runs, for the
//! materializer and for the hot tier.
//!
//! Holds: the runs lie side by side from the start of the range to [`Chunk::next`], and every offset
//! in them is a row or a [`Loss`] with its reason. At any moment no more is open than
//! [`OPENED_BYTES_MAX`] and one batch, however well the batches were compressed, and rows and losses are at
//! most what was allowed and one run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use tarn_model::{Offset, OffsetRange, PartitionId, SchemaId, Timestamp};
use tarn_schema::{Framing, schema_reference};
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

/// Offsets without a row, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub offsets: OffsetRange,
    pub named: Named,
    /// A label: [`Reason::label`], [`UNREADABLE_BATCH`] or [`NO_RECORD`].
    pub reason: &'static str,
    pub detail: Cow<'static, str>,
}

/// The schema that a record names, known or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Nothing,
    Id(SchemaId),
    Guid([u8; 16]),
}

/// What some batches gave.
#[derive(Debug)]
pub struct Chunk {
    pub runs: Vec<Run>,
    pub row_count: u64,
    /// Arrow's bytes, and those of what is said of losses.
    pub bytes: u64,
    /// Offsets below it are accounted for.
    pub next: Offset,
    /// In the order of their offsets.
    pub losses: Vec<Loss>,
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
            losses: Vec::new(),
            hidden_timestamps: 0,
            hidden: Vec::new(),
            odd: Odd::default(),
        },
        records: Vec::new(),
        bytes: 0,
        bytes_max,
        unread: Vec::new(),
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
                    open.skip(OffsetRange::new(end, record.offset));
                    end = record.offset.advance(1);
                    if record.timestamp.0 > latest {
                        open.hidden.push(Hidden {
                            batch: batch.base,
                            offset: record.offset,
                            timestamp: record.timestamp,
                        });
                    }
                    let record = decode_record(partition, record);
                    open.bytes += record.size();
                    open.records.push(record);
                }
                RecordItem::Undecodable(unreadable) => {
                    open.skip(OffsetRange::new(end, unreadable.offsets.start));
                    end = unreadable.offsets.end;
                    let why = unreadable.reason.into();
                    open.leave(unreadable.offsets, UNREADABLE_BATCH, why);
                }
            }
            if open.records.len() >= BATCH_ROWS_MAX || open.bytes >= BATCH_BYTES_MAX {
                opened_bytes = batch_bytes;
                if open.decode(end)? {
                    return Ok(open.finish());
                }
            }
        }
        let batch_end = batch.offsets().end.min(within.end);
        open.skip(OffsetRange::new(end, batch_end));
        end = batch_end;
        if opened_bytes >= OPENED_BYTES_MAX {
            opened_bytes = 0;
            if open.decode(end)? {
                return Ok(open.finish());
            }
        }
    }
    open.decode(end)?;
    Ok(open.finish())
}

/// A chunk in the making.
struct Open<'a> {
    decoder: &'a Decoder,
    chunk: Chunk,
    /// Read and not decoded yet, and the bytes of their keys, values and headers.
    records: Vec<DecodeRecord>,
    bytes: usize,
    bytes_max: u64,
    /// Offsets that no record was read of, and records that the headers of their batches hide, wherever
    /// the chunk ends.
    unread: Vec<Loss>,
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
    /// No record has these offsets.
    fn skip(&mut self, offsets: OffsetRange) {
        if !offsets.is_empty() {
            let why = "no record of its batch has this offset";
            self.leave(offsets, NO_RECORD, why.into());
        }
    }

    /// No record was read of these offsets.
    fn leave(&mut self, offsets: OffsetRange, reason: &'static str, detail: Cow<'static, str>) {
        let loss = Loss {
            offsets,
            named: Named::Nothing,
            reason,
            detail,
        };
        self.chunk.bytes += lose(&mut self.unread, loss);
    }

    /// Decodes what was read, which accounts for the offsets below `end`, as far as rows are allowed:
    /// have there been as many as are?
    fn decode(&mut self, end: Offset) -> Result<bool, DecodeError> {
        let records = std::mem::take(&mut self.records);
        self.bytes = 0;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let decoded = self.decoder.decode(rest)?;
            for undecodable in &decoded.undecodable {
                let loss = Loss {
                    offsets: OffsetRange::new(undecodable.offset, undecodable.offset.advance(1)),
                    named: rest.get(undecodable.index).map_or(Named::Nothing, named),
                    reason: undecodable.reason.label(),
                    detail: undecodable.reason.explained().into(),
                };
                self.chunk.bytes += lose(&mut self.chunk.losses, loss);
            }
            rest = rest.get(decoded.taken..).unwrap_or_default();
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

    fn finish(mut self) -> Chunk {
        // Read ahead of the last run's end is what the next chunk finds again.
        let end = self.chunk.next;
        let unread = self.unread.into_iter();
        let unread = unread.filter(|loss| loss.offsets.start < end);
        self.chunk.losses.extend(unread.map(|mut loss| {
            loss.offsets.end = loss.offsets.end.min(end);
            loss
        }));
        self.chunk.losses.sort_by_key(|loss| loss.offsets.start);
        let mut latest: BTreeMap<Offset, (Offset, Timestamp)> = BTreeMap::new();
        for hidden in self.hidden.iter().filter(|hidden| hidden.offset < end) {
            self.chunk.hidden_timestamps += 1;
            let at = (hidden.offset, hidden.timestamp);
            let latest = latest.entry(hidden.batch).or_insert(at);
            if latest.1 < hidden.timestamp {
                *latest = at;
            }
        }
        self.chunk.hidden = latest.into_values().collect();
        self.chunk
    }
}

impl Chunk {
    /// Of offsets without a row, why, and how many each.
    pub fn reasons(&self) -> BTreeMap<&'static str, u64> {
        let mut reasons = BTreeMap::new();
        for loss in &self.losses {
            *reasons.entry(loss.reason).or_default() += loss.offsets.len();
        }
        reasons
    }

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

/// Adds a loss, to the last one if it goes on: the bytes that it takes.
fn lose(losses: &mut Vec<Loss>, loss: Loss) -> u64 {
    match losses.last_mut() {
        Some(last)
            if last.offsets.end == loss.offsets.start
                && (last.named, last.reason) == (loss.named, loss.reason)
                && last.detail == loss.detail =>
        {
            last.offsets.end = loss.offsets.end;
            0
        }
        _ => {
            let bytes = size_of::<Loss>() + loss.detail.len();
            losses.push(loss);
            bytes as u64
        }
    }
}

fn named(record: &DecodeRecord) -> Named {
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_ref(), value.as_deref()));
    let value = record.value.as_deref().unwrap_or_default();
    match schema_reference(value, headers) {
        Framing::ById(id, _) => Named::Id(id),
        Framing::ByGuid(guid, _) => Named::Guid(guid),
        Framing::None => Named::Nothing,
    }
}

/// A stored record as the decoder takes it.
fn decode_record(partition: PartitionId, record: TopicRecord) -> DecodeRecord {
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
