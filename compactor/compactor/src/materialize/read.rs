//! Reads records and decodes them to rows, within a bound of memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_decode::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, DecodeError, DecodeRecord, Decoder, split};
use tarn_model::{Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_replica::View;
use tarn_state::Counters;
use tarn_topics::reader::Limits;
use tarn_topics::{RecordItem, StoredBatch, TopicRecord};

use super::plan::Waiting;
use super::{MaterializeError, Materializer};

/// Bytes of batches that are read before they are decoded.
const READ_BYTES: u64 = 16 << 20;
/// A batch that cannot be decompressed, or whose records are malformed.
const UNREADABLE_BATCH: &str = "unreadable_batch";
/// An offset that no record of its batch has.
const NO_RECORD: &str = "no_record";

/// Rows of a round, and what became of every offset.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) partitions: Vec<Progress>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    pub(super) is_partial: bool,
}

/// How far a partition came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) partition: PartitionId,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) counted: Counters,
}

/// What some batches gave.
#[derive(Debug)]
struct Chunk {
    rows: Vec<RecordBatch>,
    row_count: u64,
    /// Arrow's bytes.
    bytes: u64,
    /// Offsets below it are accounted for.
    next: Offset,
    reasons: BTreeMap<&'static str, u64>,
}

impl Materializer {
    /// Reads `waiting` in its order until all is read or `memory` is used up. Half of the memory is
    /// for rows; the other half for the batches they come from and the files they become.
    pub(super) async fn read(
        &self,
        view: &View,
        topic: TopicId,
        decoder: &Arc<Decoder>,
        waiting: Vec<Waiting>,
        memory: u64,
    ) -> Result<Rows, MaterializeError> {
        let mut rows = Rows::default();
        let mut left = memory / 2;
        for waiting in waiting {
            if left == 0 {
                rows.is_partial = true;
                break;
            }
            let at = TopicPartition::new(topic, waiting.partition);
            let end = waiting.readable.end;
            let mut next = waiting.readable.start;
            let mut counted = Counters {
                deleted: waiting.deleted(),
                ..Counters::default()
            };
            while next < end && left > 0 {
                let range = OffsetRange::new(next, end);
                let read = self
                    .reader
                    .read_range(view, at, range, READ_BYTES.min(memory / 4))
                    .await?;
                if read.batches.is_empty() {
                    // The index has a hole. There is none that we know how to make.
                    let hole = OffsetRange::new(next, hole_end(view, at, range));
                    *rows.reasons.entry(NO_RECORD).or_default() += hole.len();
                    counted.undecodable += hole.len();
                    next = hole.end;
                    continue;
                }
                let within = OffsetRange::new(next, read.next_offset);
                let (decoder, batches) = (Arc::clone(decoder), read.batches);
                let decode = move || decode_chunk(&decoder, at.partition, &batches, within, left);
                let chunk = self.scope.blocking("decode", decode).await??;
                counted.rows += chunk.row_count;
                counted.undecodable += chunk.reasons.values().sum::<u64>();
                for (reason, count) in chunk.reasons {
                    *rows.reasons.entry(reason).or_default() += count;
                }
                rows.batches.extend(chunk.rows);
                left = left.saturating_sub(chunk.bytes);
                next = chunk.next;
            }
            rows.is_partial |= next < end;
            rows.partitions.push(Progress {
                partition: waiting.partition,
                from: waiting.from,
                to: next,
                counted,
            });
        }
        Ok(rows)
    }
}

/// Where the next extent begins in a range that begins outside of one.
fn hole_end(view: &View, at: TopicPartition, range: OffsetRange) -> Offset {
    let partition = view.partitions.get(&at);
    let next = partition.and_then(|partition| partition.extents_from(range.start).next());
    next.map_or(range.end, |extent| {
        extent
            .offsets
            .start
            .clamp(range.start.advance(1), range.end)
    })
}

/// Decodes the records with offsets in `within`, until the rows take `memory`. Every offset below
/// the chunk's `next` is a row or has a reason.
fn decode_chunk(
    decoder: &Decoder,
    partition: PartitionId,
    batches: &[StoredBatch],
    within: OffsetRange,
    memory: u64,
) -> Result<Chunk, DecodeError> {
    let mut chunk = Chunk {
        rows: Vec::new(),
        row_count: 0,
        bytes: 0,
        next: within.start,
        reasons: BTreeMap::new(),
    };
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut end = within.start;
    'batches: for batch in batches {
        for item in batch.records(within, &Limits::default()) {
            match item {
                RecordItem::Record(record) => {
                    end = record.offset.advance(1);
                    bytes += size(&record);
                    records.push(decode_record(partition, record));
                }
                RecordItem::Undecodable(undecodable) => {
                    end = undecodable.offsets.end;
                    *chunk.reasons.entry(UNREADABLE_BATCH).or_default() +=
                        undecodable.offsets.len();
                }
            }
            if records.len() >= BATCH_ROWS_MAX || bytes >= BATCH_BYTES_MAX {
                chunk.decode(decoder, &records)?;
                records.clear();
                bytes = 0;
                chunk.next = end;
                if chunk.bytes >= memory {
                    break 'batches;
                }
            }
        }
        end = batch.offsets().end.min(within.end);
    }
    if chunk.bytes < memory || !records.is_empty() {
        chunk.decode(decoder, &records)?;
        chunk.next = end;
    }
    let accounted = chunk.row_count + chunk.reasons.values().sum::<u64>();
    let missing = OffsetRange::new(within.start, chunk.next).len() - accounted;
    if missing > 0 {
        chunk.reasons.insert(NO_RECORD, missing);
    }
    Ok(chunk)
}

impl Chunk {
    fn decode(&mut self, decoder: &Decoder, records: &[DecodeRecord]) -> Result<(), DecodeError> {
        for run in split(records) {
            let decoded = decoder.decode(run)?;
            for undecodable in &decoded.undecodable {
                *self.reasons.entry(undecodable.reason.label()).or_default() += 1;
            }
            if decoded.batch.num_rows() > 0 {
                self.row_count += decoded.batch.num_rows() as u64;
                self.bytes += decoded.batch.get_array_memory_size() as u64;
                self.rows.push(decoded.batch);
            }
        }
        Ok(())
    }
}

fn size(record: &TopicRecord) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|header| header.name.len() + length(&header.value))
        .sum();
    length(&record.key) + length(&record.value) + headers
}

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
