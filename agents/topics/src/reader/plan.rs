//! Which extents a read needs: a pure function of a view.

use imbl::OrdMap;
use tarn_model::{Lsn, Offset, OffsetRange, TopicPartition};
use tarn_state::{Extent, State, extents_from};

use super::ReadError;

/// Extents to read, in the order of their offsets.
#[derive(Debug, Clone)]
pub struct Plan {
    pub at: TopicPartition,
    /// From the batch that holds this offset …
    pub offset: Offset,
    /// … to the batch that ends here.
    pub end: Offset,
    /// Whole batches up to so many bytes, but at least one batch.
    pub max_bytes: u64,
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// The view that this was planned from.
    pub lsn: Lsn,
    pub(super) extents: Vec<Extent>,
}

impl Plan {
    /// Plans a read from `offset` up to `end`, by default the high watermark.
    pub(super) fn new(
        view: &State,
        at: TopicPartition,
        offset: Offset,
        end: Option<Offset>,
        max_bytes: u64,
    ) -> Result<Plan, ReadError> {
        let partition = view.readable(at).ok_or(ReadError::NoSuchPartition { at })?;
        let (log_start, high_watermark) = (partition.log_start, partition.high_watermark);
        if offset < log_start || offset > high_watermark {
            return Err(ReadError::OutOfRange {
                offset,
                log_start,
                high_watermark,
            });
        }
        let end = end.unwrap_or(high_watermark).min(high_watermark);
        let extents = needed(&partition.extents, offset, end, max_bytes);
        Ok(Plan {
            at,
            offset,
            end,
            max_bytes,
            log_start,
            high_watermark,
            lsn: view.lsn(),
            extents,
        })
    }

    /// Plans a read of a range that these extents hold. Nothing else is known of the partition.
    pub(super) fn of_extents(
        lsn: Lsn,
        at: TopicPartition,
        extents: &OrdMap<Offset, Extent>,
        range: OffsetRange,
        max_bytes: u64,
    ) -> Plan {
        Plan {
            at,
            offset: range.start,
            end: range.end,
            max_bytes,
            log_start: range.start,
            high_watermark: range.end,
            lsn,
            extents: needed(extents, range.start, range.end, max_bytes),
        }
    }

    /// Nothing is there to be read: a long poll waits here.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    pub fn offsets(&self) -> OffsetRange {
        OffsetRange::new(self.offset, self.end)
    }
}

/// The extents from the one that holds `offset`, as far as `max_bytes` go.
fn needed(
    all: &OrdMap<Offset, Extent>,
    offset: Offset,
    end: Offset,
    max_bytes: u64,
) -> Vec<Extent> {
    let mut extents = Vec::new();
    if offset >= end {
        return extents;
    }
    // Bytes behind the first extent: how much of that one lies before the offset is only known when it
    // is read.
    let mut behind = 0;
    for extent in extents_from(all, offset) {
        if extent.offsets.start >= end || (!extents.is_empty() && behind >= max_bytes) {
            break;
        }
        if !extents.is_empty() {
            behind += extent.position.length;
        }
        extents.push(*extent);
    }
    extents
}
