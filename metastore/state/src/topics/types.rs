//! Topics, their partitions, and the index that says where each run of batches lies.
//!
//! Holds: the runs of a partition are dense, and none overlaps another.
//! Leaves to others: the records, which lie in segments in object storage.

use imbl::OrdMap;
use minicbor::{Decode, Encode};
use tarn_model::{
    ClusterTime, Generation, Lsn, Offset, OffsetRange, ProducerId, SegmentId, Timestamp, caps,
};

pub use tarn_model::Topic;

use crate::{Refusal, State};

/// Bytes within an object: `[start, start + length)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Position {
    #[n(0)]
    pub start: u64,
    #[n(1)]
    pub length: u64,
}

impl Position {
    pub fn end(self) -> u64 {
        self.start + self.length
    }
}

/// A run of batches of one partition, adjacent in one segment and dense in offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Extent {
    #[n(0)]
    pub offsets: OffsetRange,
    #[n(1)]
    pub segment: SegmentId,
    #[n(2)]
    pub position: Position,
    #[n(3)]
    pub max_timestamp: Timestamp,
    /// `n` of the entry that committed it.
    #[n(4)]
    pub committed_at: u64,
    #[n(5)]
    pub committed_time: ClusterTime,
    /// Generation of that entry; the leader epoch that clients see.
    #[n(6)]
    pub leader_epoch: u32,
    /// Headers of its batches name less than the records have. `max_timestamp` is of the records, and
    /// who looks for a time has to open every batch.
    #[n(7)]
    pub hides_timestamps: bool,
}

impl Extent {
    /// The entry that committed it: its records are judged by the schemas registered before.
    pub fn lsn(&self) -> Lsn {
        Lsn::new(Generation(self.leader_epoch), self.committed_at)
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// By the first offset of each.
    pub extents: OrdMap<Offset, Extent>,
    /// Bytes of its batches that are still referenced.
    pub bytes: u64,
    /// Every producer that the partition ever forgot has a lower id. Absent while it has forgotten
    /// none.
    pub forgotten_before: Option<ProducerId>,
}

impl Partition {
    pub fn empty() -> Partition {
        Partition {
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            extents: OrdMap::new(),
            bytes: 0,
            forgotten_before: None,
        }
    }

    /// End of what is decided. Equal to the high watermark while there are no transactions.
    pub fn last_stable(&self) -> Offset {
        self.high_watermark
    }

    /// `[log start, high watermark)`.
    pub fn offsets(&self) -> OffsetRange {
        OffsetRange::new(self.log_start, self.high_watermark)
    }

    /// Does its first extent lie below the log start, so that nobody reads it?
    pub(crate) fn has_trimmed_extents(&self) -> bool {
        let first = self.extents.get_min();
        first.is_some_and(|(_, extent)| extent.offsets.end <= self.log_start)
    }

    /// The extents that hold `offset` and what follows, in order.
    pub fn extents_from(&self, offset: Offset) -> impl Iterator<Item = &Extent> {
        extents_from(&self.extents, offset)
    }
}

/// The extents of a partition that hold `offset` and what follows, in order.
pub fn extents_from(
    extents: &OrdMap<Offset, Extent>,
    offset: Offset,
) -> impl Iterator<Item = &Extent> {
    let first = extents
        .get_prev(&offset)
        .filter(|(_, extent)| extent.offsets.contains(offset))
        .map_or(offset, |(start, _)| *start);
    extents.range(first..).map(|(_, extent)| extent)
}

/// A segment that the state refers to, or that may still be proposed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Segment {
    /// Extents that lie in it. At 0 it may be collected once its commit deadline has passed.
    #[n(0)]
    pub extents: u64,
    #[n(1)]
    pub bytes: u64,
    #[n(2)]
    pub committed_at: u64,
}

impl State {
    /// A topic whose name differs from this one in '.' and '_' only: Kafka's metrics mix them up.
    pub(crate) fn colliding_topic(&self, name: &str) -> Option<&str> {
        let special = |byte: u8| matches!(byte, b'.' | b'_');
        let plain = name.bytes().position(special)?;
        let prefix = name.get(..plain)?;
        self.topic_names
            .range(prefix.to_owned()..)
            .map(|(other, _)| other.as_str())
            .take_while(|other| other.starts_with(prefix))
            .find(|other| {
                other.len() == name.len()
                    && *other != name
                    && other
                        .bytes()
                        .zip(name.bytes())
                        .all(|(a, b)| a == b || (special(a) && special(b)))
            })
    }

    pub(crate) fn check_partition_room(&self, more: i32) -> Result<(), Refusal> {
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        if self.partitions.len().saturating_add(more) > caps::PARTITIONS_MAX {
            return Err(Refusal::Full {
                what: "partitions".into(),
                max: caps::PARTITIONS_MAX as u64,
            });
        }
        Ok(())
    }

    /// One extent in `segment` is gone.
    pub(crate) fn dereference_segment(&mut self, id: SegmentId) {
        let now = self.cluster_time;
        // No command does this, so nobody catches a panic.
        let Some(segment) = self.segments.get_mut(&id) else {
            debug_assert!(false, "a segment stays while an extent lies in it");
            return;
        };
        segment.extents = segment.extents.saturating_sub(1);
        if segment.extents == 0 && past_commit_deadline(id, now) {
            self.segments.remove(&id);
        }
    }
}

/// Segments with lower ids are past their commit deadline.
pub(crate) fn commit_deadline(now: ClusterTime) -> SegmentId {
    // An id has room for 48 bits of time; a bad clock may be beyond.
    const TIME_MAX: i64 = (1 << 48) - 1;
    let deadline = now.minus(caps::SEGMENT_COMMIT_DEADLINE);
    SegmentId::new(ClusterTime(deadline.0.min(TIME_MAX)), 0)
}

/// Is the segment too old to be committed? The same comparison decides when garbage collection may
/// take an object that nothing refers to.
pub fn past_commit_deadline(id: SegmentId, now: ClusterTime) -> bool {
    now.since(id.time()) > caps::SEGMENT_COMMIT_DEADLINE
}
