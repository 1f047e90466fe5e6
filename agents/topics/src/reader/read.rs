//! Reads a plan's extents through the chunk cache and walks their batches by header.
//!
//! Holds: whole batches only, each within its extent and its extent's offsets. The state knows where
//! an extent lies, not its batches, so a read that begins within an extent walks the headers before
//! it; where a read stopped is remembered, so that the next one begins there.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use imbl::OrdMap;
use tarn_kafka::{BATCH_HEADER_BYTES, BatchHeader, ValidBatch};
use tarn_model::{Lsn, Offset, OffsetRange, SegmentId, TopicPartition};
use tarn_replica::View;
use tarn_state::Extent;
use tarn_store::{StoreError, paths};

use super::raw::{RawBatch, offset_count};
use super::stamp::RecordItem;
use super::{Limits, Plan, ReadError, Reader, StoredBatch, stamp};

/// Extents read at the same time for one plan.
const EXTENTS_AT_ONCE: usize = 8;
/// What one look into an extent reads at least: a chunk of the cache holds it.
const WINDOW_BYTES: u64 = 256 << 10;
/// Batches of smaller extents are copied: a slice would keep the whole chunk in memory, which may be a
/// thousand times what was asked for and paid for.
const COPIED_BELOW: u64 = 512 << 10;

/// What a fetch answers.
#[derive(Debug, Clone)]
pub struct FetchedBatches {
    /// Whole batches in the order of their offsets, stamped, in one buffer: as the wire wants them.
    pub bytes: Bytes,
    pub batches: usize,
    /// The offset behind the last batch; the plan's own offset if there is none.
    pub next_offset: Offset,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// Part of a range, batch by batch.
#[derive(Debug, Clone)]
pub struct RangeRead {
    pub batches: Vec<StoredBatch>,
    /// Where to go on; the range's end when all of it was read.
    pub next_offset: Offset,
}

impl RangeRead {
    /// The records of all batches with offsets in `within`; see [`StoredBatch::records`].
    pub fn records(
        &self,
        within: OffsetRange,
        limits: &Limits,
    ) -> impl Iterator<Item = RecordItem> + Send + '_ {
        let limits = *limits;
        self.batches
            .iter()
            .flat_map(move |batch| batch.records(within, &limits))
    }

    /// Offsets within `within` that hold no record but a transaction's marker.
    pub fn control_offsets(&self, within: OffsetRange) -> u64 {
        let control = self.batches.iter().filter(|batch| batch.is_control());
        control
            .map(|batch| batch.offsets().intersect(within).len())
            .sum()
    }
}

/// How much of an extent to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// From the batch that holds the start; batches that begin at or behind the end are not read.
    pub(super) offsets: OffsetRange,
    pub(super) max_bytes: u64,
    /// The first batch is read even if it is larger than that.
    pub(super) at_least_one: bool,
}

impl Reader {
    /// Plans a fetch from `offset` up to the high watermark of the view.
    pub fn plan(
        &self,
        view: &View,
        at: TopicPartition,
        offset: Offset,
        max_bytes: u64,
    ) -> Result<Plan, ReadError> {
        Plan::new(view, at, offset, None, max_bytes)
    }

    /// Plans a fetch up to a given end, as for `read_committed`.
    pub fn plan_until(
        &self,
        view: &View,
        at: TopicPartition,
        offset: Offset,
        end: Offset,
        max_bytes: u64,
    ) -> Result<Plan, ReadError> {
        Plan::new(view, at, offset, Some(end), max_bytes)
    }

    /// Reads what was planned. If a segment is gone, the offset is planned once more at a newer view.
    pub async fn fetch(&self, plan: Plan) -> Result<FetchedBatches, ReadError> {
        let (plan, batches) = self.run(plan).await?;
        Ok(FetchedBatches {
            bytes: stamp::join(&batches),
            batches: batches.len(),
            next_offset: batches.last().map_or(plan.offset, RawBatch::end),
            high_watermark: plan.high_watermark,
            log_start: plan.log_start,
        })
    }

    /// Reads batches of a range, at most about `max_bytes` of them, at least one: for those who read
    /// records, so checksums are compared too. The first and the last batch may reach beyond the
    /// range. Call again from `next_offset` until that is the range's end.
    pub async fn read_range(
        &self,
        view: &View,
        at: TopicPartition,
        range: OffsetRange,
        max_bytes: u64,
    ) -> Result<RangeRead, ReadError> {
        let plan = Plan::new(view, at, range.start, Some(range.end), max_bytes)?;
        self.read_planned(plan, range).await
    }

    /// The same of a range of which these are the extents, as the state at `lsn` had them: no view of that
    /// state is needed. If a segment is gone since, a newer view has to say where its batches are now.
    pub async fn read_extents(
        &self,
        lsn: Lsn,
        at: TopicPartition,
        extents: &OrdMap<Offset, Extent>,
        range: OffsetRange,
        max_bytes: u64,
    ) -> Result<RangeRead, ReadError> {
        let plan = Plan::of_extents(lsn, at, extents, range, max_bytes);
        self.read_planned(plan, range).await
    }

    async fn read_planned(&self, plan: Plan, range: OffsetRange) -> Result<RangeRead, ReadError> {
        let at = plan.at;
        let (_, batches) = self.run(plan).await?;
        let joined = stamp::join(&batches);
        let mut start = 0;
        let mut stored = Vec::with_capacity(batches.len());
        for raw in &batches {
            let end = start + raw.bytes.len();
            stored.push(self.stored(at, raw, joined.slice(start..end))?);
            start = end;
        }
        Ok(RangeRead {
            next_offset: batches
                .last()
                .map_or(range.start, RawBatch::end)
                .min(range.end),
            batches: stored,
        })
    }

    pub(super) fn stored(
        &self,
        at: TopicPartition,
        raw: &RawBatch,
        stamped: Bytes,
    ) -> Result<StoredBatch, ReadError> {
        let batch = ValidBatch::from_stored(stamped).map_err(|error| ReadError::Corrupt {
            at,
            segment: raw.segment,
            reason: format!("the batch at {}: {error}", raw.base),
        })?;
        Ok(StoredBatch {
            base: raw.base,
            lsn: raw.lsn,
            committed_time: raw.committed_time,
            batch,
        })
    }

    /// Reads a plan, or its successor at a newer view if a segment is gone.
    async fn run(&self, plan: Plan) -> Result<(Plan, Vec<RawBatch>), ReadError> {
        match self.read_plan(&plan).await {
            Err(ReadError::Gone { .. }) => {
                let view = self.newer_view(plan.lsn).await?;
                let again = Plan::new(&view, plan.at, plan.offset, Some(plan.end), plan.max_bytes)?;
                let batches = self.read_plan(&again).await?;
                Ok((again, batches))
            }
            Err(error) => Err(error),
            Ok(batches) => Ok((plan, batches)),
        }
    }

    async fn read_plan(&self, plan: &Plan) -> Result<Vec<RawBatch>, ReadError> {
        let mut batches = Vec::new();
        let mut left = plan.max_bytes;
        let mut extents = plan.extents.iter();
        // The first batch decides what is left for the others.
        while batches.is_empty()
            && let Some(extent) = extents.next()
        {
            let wanted = Wanted {
                offsets: plan.offsets(),
                max_bytes: left,
                at_least_one: true,
            };
            batches = self.read_extent(plan.at, extent, wanted).await?;
        }
        let read: u64 = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
        left = left.saturating_sub(read);
        // A first extent that was cut short is where the answer ends.
        let cut = batches.last().is_some_and(|last| {
            plan.extents
                .iter()
                .any(|extent| holds_behind(extent, last.end()))
        });
        let mut reads = Vec::new();
        if !cut {
            for extent in extents {
                if left == 0 {
                    break;
                }
                let wanted = Wanted {
                    offsets: plan.offsets(),
                    max_bytes: left,
                    at_least_one: false,
                };
                reads.push(self.read_extent(plan.at, extent, wanted));
                // The next one gets what this one leaves if it is read whole; if it is not, nothing
                // is left.
                left = left.saturating_sub(extent.position.length);
            }
        }
        let more: Vec<_> = futures::stream::iter(reads)
            .buffered(EXTENTS_AT_ONCE)
            .try_collect()
            .await?;
        batches.extend(more.into_iter().flatten());
        self.metrics.batches.inc_by(batches.len() as u64);
        self.metrics
            .bytes
            .inc_by(batches.iter().map(|batch| batch.bytes.len() as u64).sum());
        Ok(batches)
    }

    /// Batches of one extent.
    pub(super) async fn read_extent(
        &self,
        at: TopicPartition,
        extent: &Extent,
        wanted: Wanted,
    ) -> Result<Vec<RawBatch>, ReadError> {
        let corrupt = |reason: String| ReadError::Corrupt {
            at,
            segment: extent.segment,
            reason,
        };
        let extent_end = extent.position.end();
        let start = wanted.offsets.start.max(extent.offsets.start);
        let (mut position, mut base) = match self.hints.get(extent.segment, at, start) {
            Some(position) => (position, start),
            None => (extent.position.start, extent.offsets.start),
        };
        let mut left = wanted.max_bytes;
        let mut window_bytes = left.max(WINDOW_BYTES);
        let mut batches: Vec<RawBatch> = Vec::new();
        'windows: while position < extent_end && base < wanted.offsets.end {
            let window_end = extent_end.min(position.saturating_add(window_bytes));
            window_bytes = left.max(WINDOW_BYTES);
            let mut window = self
                .window(at, extent.segment, position..window_end)
                .await?;
            while !window.is_empty() && base < wanted.offsets.end {
                if window.len() < BATCH_HEADER_BYTES {
                    if window_end == extent_end {
                        return Err(corrupt(format!("{} bytes are no batch", window.len())));
                    }
                    continue 'windows;
                }
                let header =
                    BatchHeader::parse(&window).map_err(|error| corrupt(error.to_string()))?;
                let size = header.size_bytes() as u64;
                let end = base.advance(offset_count(&header));
                if size < BATCH_HEADER_BYTES as u64 || size > extent_end - position {
                    return Err(corrupt(format!(
                        "a batch of {size} bytes reaches beyond its extent"
                    )));
                }
                if end > extent.offsets.end {
                    return Err(corrupt(format!(
                        "a batch ends at {end}, its extent {}",
                        extent.offsets
                    )));
                }
                let skipped = end <= wanted.offsets.start;
                if !skipped && size > left && !(batches.is_empty() && wanted.at_least_one) {
                    break 'windows;
                }
                let present = window.len() as u64;
                if size > present {
                    if skipped {
                        position += size;
                        base = end;
                    } else {
                        window_bytes = size.max(WINDOW_BYTES);
                    }
                    continue 'windows;
                }
                let mut bytes = window.split_to(header.size_bytes());
                if extent.position.length < COPIED_BELOW && !skipped {
                    bytes = Bytes::copy_from_slice(&bytes);
                }
                position += size;
                if !skipped {
                    left = left.saturating_sub(size);
                    batches.push(RawBatch {
                        segment: extent.segment,
                        base,
                        header,
                        leader_epoch: extent.leader_epoch,
                        lsn: extent.lsn(),
                        committed_time: extent.committed_time,
                        bytes,
                    });
                }
                base = end;
            }
        }
        if position == extent_end && base != extent.offsets.end {
            return Err(corrupt(format!(
                "its batches end at {base}, its extent {}",
                extent.offsets
            )));
        }
        if position < extent_end {
            self.hints.put(extent.segment, at, base, position);
        }
        Ok(batches)
    }

    async fn window(
        &self,
        at: TopicPartition,
        segment: SegmentId,
        range: Range<u64>,
    ) -> Result<Bytes, ReadError> {
        let window = self.cache.read_range(&paths::segment(segment), range).await;
        window.map_err(|error| match error {
            StoreError::NotFound { .. } => ReadError::Gone { at, segment },
            error => error.into(),
        })
    }
}

/// Does this extent hold offsets at and behind `offset`, which is not its first?
fn holds_behind(extent: &Extent, offset: Offset) -> bool {
    extent.offsets.start < offset && offset < extent.offsets.end
}
