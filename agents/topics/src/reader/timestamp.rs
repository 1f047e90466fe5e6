//! Offsets by timestamp, as ListOffsets asks for them: by extent, then by batch, then by record.
//!
//! A batch whose header names less than its records have is believed until its topic's table has its
//! rows: then its extent says so, and every batch of that is opened. Of a topic without a table
//! (`tarn.table = off`) headers are believed for good.

use std::cmp::Reverse;

use tarn_kafka::records::Limits;
use tarn_model::{Offset, OffsetRange, Timestamp, TopicPartition};
use tarn_replica::View;
use tarn_state::Extent;

use super::raw::RawBatch;
use super::read::Wanted;
use super::stamp::{RecordItem, join};
use super::time_index::Block;
use super::{ReadError, Reader};

/// What one step of a search reads of an extent.
const STEP_BYTES: u64 = 1 << 20;

/// What the records of a batch may take that is opened for a search: anybody may ask for many searches
/// at once. Of a batch with more the first record stands for all, as if it could not be opened.
const SEARCH_LIMITS: Limits = Limits {
    bytes_max: 32 << 20,
    ratio_max: 1024,
    ratio_free_bytes: 16 << 20,
};

/// Memory that one search may take, to be paid for by who asks.
pub const SEARCH_BYTES: u64 = SEARCH_LIMITS.bytes_max as u64 + 2 * STEP_BYTES;

/// An offset and what was looked for there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: u32,
}

/// Which record of a batch is looked for.
#[derive(Debug, Clone, Copy)]
enum Search {
    /// The first whose timestamp is at least this.
    From(Timestamp),
    /// The first of those with the largest timestamp.
    Largest,
}

impl Reader {
    /// The first offset whose timestamp is `timestamp` or later; `None` if there is none.
    pub async fn offset_for_timestamp(
        &self,
        view: &View,
        at: TopicPartition,
        timestamp: Timestamp,
    ) -> Result<Option<TimedOffset>, ReadError> {
        match self.first_from(view, at, timestamp).await {
            Err(ReadError::Gone { .. }) => {
                let view = self.newer_view(view.lsn()).await?;
                self.first_from(&view, at, timestamp).await
            }
            result => result,
        }
    }

    /// The first offset that has the partition's largest timestamp (ListOffsets −3, KIP-734); `None`
    /// if the partition is empty.
    pub async fn offset_of_max_timestamp(
        &self,
        view: &View,
        at: TopicPartition,
    ) -> Result<Option<TimedOffset>, ReadError> {
        match self.largest(view, at).await {
            Err(ReadError::Gone { .. }) => {
                let view = self.newer_view(view.lsn()).await?;
                self.largest(&view, at).await
            }
            result => result,
        }
    }

    async fn first_from(
        &self,
        view: &View,
        at: TopicPartition,
        timestamp: Timestamp,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let partition = view
            .partitions
            .get(&at)
            .ok_or(ReadError::NoSuchPartition { at })?;
        let blocks = self.times.blocks(at, partition, settled(view, at)).await;
        for block in blocks.from(partition.log_start) {
            if block.max_timestamp < timestamp {
                continue;
            }
            let extents = partition.extents_from(block.start.max(partition.log_start));
            for extent in extents.take_while(|extent| extent.offsets.start < block.end) {
                if extent.max_timestamp < timestamp {
                    continue;
                }
                let search = Search::From(timestamp);
                let found = self.search_extent(at, extent, partition.offsets(), search);
                if let Some(found) = found.await? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    async fn largest(
        &self,
        view: &View,
        at: TopicPartition,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let partition = view
            .partitions
            .get(&at)
            .ok_or(ReadError::NoSuchPartition { at })?;
        let blocks = self.times.blocks(at, partition, settled(view, at)).await;
        let mut blocks: Vec<&Block> = blocks.from(partition.log_start).iter().collect();
        blocks.sort_by_key(|block| (Reverse(block.max_timestamp), block.start));
        let mut best: Option<TimedOffset> = None;
        for block in blocks {
            // A block promises its largest timestamp, but the log start may have passed that record.
            if best.is_some_and(|best| best.timestamp > block.max_timestamp) {
                break;
            }
            let extents = partition.extents_from(block.start.max(partition.log_start));
            let mut extents: Vec<&Extent> = extents
                .take_while(|extent| extent.offsets.start < block.end)
                .collect();
            extents.sort_by_key(|extent| (Reverse(extent.max_timestamp), extent.offsets.start));
            for extent in extents {
                if best.is_some_and(|best| best.timestamp > extent.max_timestamp) {
                    break;
                }
                let search = Search::Largest;
                let found = self.search_extent(at, extent, partition.offsets(), search);
                if let Some(found) = found.await? {
                    best = Some(best.map_or(found, |best| better(best, found)));
                }
            }
        }
        Ok(best)
    }

    async fn search_extent(
        &self,
        at: TopicPartition,
        extent: &Extent,
        within: OffsetRange,
        search: Search,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let mut best: Option<TimedOffset> = None;
        let mut next = extent.offsets.start.max(within.start);
        let end = extent.offsets.end.min(within.end);
        while next < end {
            let wanted = Wanted {
                offsets: OffsetRange::new(next, end),
                max_bytes: STEP_BYTES,
                at_least_one: true,
            };
            let batches = self.read_extent(at, extent, wanted).await?;
            let Some(last) = batches.last() else { break };
            next = last.end();
            for raw in &batches {
                let largest = Timestamp(raw.header.max_timestamp);
                let promises = match search {
                    Search::From(timestamp) => largest >= timestamp,
                    Search::Largest => best.is_none_or(|best| largest > best.timestamp),
                };
                if !(promises || extent.hides_timestamps) || raw.header.is_control() {
                    continue;
                }
                let Some(found) = self.search_batch(at, raw, within, search)? else {
                    continue;
                };
                match search {
                    Search::From(_) => return Ok(Some(found)),
                    Search::Largest => best = Some(best.map_or(found, |best| better(best, found))),
                }
            }
        }
        Ok(best)
    }

    fn search_batch(
        &self,
        at: TopicPartition,
        raw: &RawBatch,
        within: OffsetRange,
        search: Search,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let stored = self.stored(at, raw, join(std::slice::from_ref(raw)))?;
        let mut best: Option<TimedOffset> = None;
        for item in stored.records(within, &SEARCH_LIMITS) {
            let (offset, timestamp) = match item {
                RecordItem::Record(record) => (record.offset, record.timestamp),
                // Nobody can say which record it is: the batch's own word is the best there is.
                RecordItem::Undecodable(gap) => {
                    (gap.offsets.start, Timestamp(raw.header.max_timestamp))
                }
            };
            let found = TimedOffset {
                offset,
                timestamp,
                leader_epoch: raw.leader_epoch,
            };
            match search {
                Search::From(wanted) if timestamp >= wanted => return Ok(Some(found)),
                Search::From(_) => {}
                Search::Largest => best = Some(best.map_or(found, |best| better(best, found))),
            }
        }
        Ok(best)
    }
}

/// M: the largest timestamps of extents below it are final.
fn settled(view: &View, at: TopicPartition) -> Offset {
    let table = view.table_of(at.topic);
    table.map_or(Offset::ZERO, |table| table.materialized(at.partition))
}

/// The larger timestamp; of two equal ones the first offset.
fn better(one: TimedOffset, other: TimedOffset) -> TimedOffset {
    if (Reverse(one.timestamp), one.offset) <= (Reverse(other.timestamp), other.offset) {
        one
    } else {
        other
    }
}
