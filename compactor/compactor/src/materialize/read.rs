//! Reads records and decodes them to rows, within a bound of memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_decode::{DecodeError, Decoder, NO_RECORD, decode_batches};
use tarn_model::{Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_replica::View;
use tarn_state::Counters;

use super::days::Days;
use super::plan::Waiting;
use super::{MaterializeError, Materializer};

/// Bytes of batches that are read before they are decoded.
const READ_BYTES: u64 = 16 << 20;

/// Rows of a round, and what became of every offset.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) partitions: Vec<Progress>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    /// Records later than the header of their batch says, which offsets by time go by.
    pub(super) hidden_timestamps: u64,
    pub(super) is_partial: bool,
    /// Their days of event time.
    pub(super) days: Days,
}

/// How far a partition came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) partition: PartitionId,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) counted: Counters,
}

impl Materializer {
    /// Reads `waiting` in its order until all is read, `memory` is used up, or the rows have `days_max`
    /// days and the next one has another. Half of the memory is for rows; the other half for the
    /// batches they come from and the files they become.
    pub(super) async fn read(
        &self,
        view: &View,
        topic: TopicId,
        decoder: &Arc<Decoder>,
        waiting: Vec<Waiting>,
        memory: u64,
        days_max: usize,
    ) -> Result<Rows, MaterializeError> {
        let mut rows = Rows {
            days: Days::new(days_max),
            ..Rows::default()
        };
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
                let mut days = std::mem::take(&mut rows.days);
                let decode = move || {
                    let until =
                        |within| decode_batches(&decoder, at.partition, &batches, within, left);
                    let chunk = until(within)?;
                    let Some(cut) = days.add(chunk.runs.iter().map(|run| &run.rows)) else {
                        return Ok((chunk, days, false));
                    };
                    let chunk = until(OffsetRange::new(within.start, cut))?;
                    Ok::<_, DecodeError>((chunk, days, true))
                };
                let (chunk, days, is_cut) = self.scope.blocking("decode", decode).await??;
                rows.days = days;
                counted.rows += chunk.row_count;
                rows.hidden_timestamps += chunk.hidden_timestamps;
                counted.undecodable += chunk.reasons.values().sum::<u64>();
                counted.append_timed += chunk.odd.append_timed;
                counted.nulled += chunk.odd.nulled;
                for (reason, count) in chunk.reasons {
                    *rows.reasons.entry(reason).or_default() += count;
                }
                let batches = chunk.runs.into_iter().map(|run| run.rows);
                rows.batches
                    .extend(batches.filter(|rows| rows.num_rows() > 0));
                left = left.saturating_sub(chunk.bytes);
                next = chunk.next;
                if is_cut {
                    break;
                }
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
    let partition = view.readable(at);
    let next = partition.and_then(|partition| partition.extents_from(range.start).next());
    next.map_or(range.end, |extent| {
        extent
            .offsets
            .start
            .clamp(range.start.advance(1), range.end)
    })
}
