//! A batch as it is stored.

use bytes::Bytes;
use tarn_kafka::BatchHeader;
use tarn_model::{ClusterTime, Lsn, Offset, SegmentId};

/// A batch as it is stored, with the place that its extent gives it.
#[derive(Debug, Clone)]
pub(super) struct RawBatch {
    pub(super) segment: SegmentId,
    pub(super) base: Offset,
    pub(super) header: BatchHeader,
    pub(super) leader_epoch: u32,
    pub(super) lsn: Lsn,
    pub(super) committed_time: ClusterTime,
    pub(super) bytes: Bytes,
}

impl RawBatch {
    pub(super) fn end(&self) -> Offset {
        self.base.advance(offset_count(&self.header))
    }
}

pub(super) fn offset_count(header: &BatchHeader) -> u64 {
    u64::try_from(header.offset_count()).unwrap_or(0)
}
