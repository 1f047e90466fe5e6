//! The reading half: from an offset in a view to stamped batches and records.
//!
//! Holds: what is returned was committed, in the order of its offsets, in whole batches; a batch is
//! never returned under two offsets; and bytes that are not what was written are an error, never
//! skipped.
//! Leaves to others: waiting for more, barriers before a negative answer, isolation levels.

mod plan;
mod raw;
mod read;
mod stamp;
mod time_index;
mod timestamp;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarn_model::{Kind, Lsn, Offset, SegmentId, TopicPartition};
use tarn_replica::{BarrierError, Metastore, Node, View};
use tarn_store::{ChunkCache, StoreError};
use tokio::time::Instant;

use crate::metrics::ReaderMetrics;
use time_index::TimeIndex;

pub use plan::Plan;
pub use read::{FetchedBatches, RangeRead};
pub use stamp::{Opened, RecordItem, StoredBatch, TopicRecord, Undecodable};
pub use tarn_kafka::records::Limits;
pub use timestamp::{SEARCH_BYTES, TimedOffset};

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("there is no partition {at} in this view")]
    NoSuchPartition { at: TopicPartition },
    /// Said of the plan's view, which may lag: take a barrier before a client hears of it.
    #[error("offset {offset} is not within [{log_start}, {high_watermark}]")]
    OutOfRange {
        offset: Offset,
        log_start: Offset,
        high_watermark: Offset,
    },
    /// What was committed is not what is there.
    #[error("segment {segment} of {at} is corrupt: {reason}")]
    Corrupt {
        at: TopicPartition,
        segment: SegmentId,
        reason: String,
    },
    /// The plan's view was too old: the segment was merged or deleted. Said only after a second look.
    #[error("segment {segment} of {at} does not exist")]
    Gone {
        at: TopicPartition,
        segment: SegmentId,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no newer view could be had: {0}")]
    Barrier(#[from] BarrierError),
}

impl ReadError {
    pub fn kind(&self) -> Kind {
        match self {
            ReadError::NoSuchPartition { .. } => Kind::NotFound,
            ReadError::OutOfRange { .. } => Kind::Invalid,
            ReadError::Corrupt { .. } | ReadError::Gone { .. } => Kind::Corrupt,
            ReadError::Store(error) => error.kind(),
            ReadError::Barrier(_) => Kind::Unavailable,
        }
    }
}

/// How long a read whose segment is gone waits for a newer view.
const NEWER_VIEW_WITHIN: Duration = Duration::from_secs(5);

/// Reads committed batches and records. Clones share their hints.
#[derive(Debug, Clone)]
pub struct Reader {
    cache: ChunkCache,
    metastore: Metastore,
    hints: Hints,
    times: TimeIndex,
    metrics: ReaderMetrics,
}

impl Reader {
    /// A reader over the node's chunk cache.
    pub fn new(node: &Node) -> Reader {
        Reader::with_metrics(node, ReaderMetrics::default())
    }

    /// The one reader of a process whose reads are counted as fetches in its metrics.
    pub fn metered(node: &Node) -> Reader {
        Reader::with_metrics(
            node,
            node.runtime.metrics().register(ReaderMetrics::register),
        )
    }

    fn with_metrics(node: &Node, metrics: ReaderMetrics) -> Reader {
        Reader {
            cache: node.cache.clone(),
            metastore: node.metastore.clone(),
            hints: Hints::default(),
            times: TimeIndex::default(),
            metrics,
        }
    }

    /// A view newer than the one whose segment is gone.
    async fn newer_view(&self, than: Lsn) -> Result<View, ReadError> {
        self.metrics.replans.inc();
        let view = self.metastore.view();
        if view.lsn() > than {
            return Ok(view);
        }
        Ok(self
            .metastore
            .barrier(Instant::now() + NEWER_VIEW_WITHIN)
            .await?)
    }
}

/// Where in its segment the batch at an offset begins, remembered where a read stopped within an
/// extent. Segments never change, so a hint is right for ever; without one a read walks the extent
/// from its start.
#[derive(Debug, Clone, Default)]
struct Hints {
    positions: Arc<Mutex<Positions>>,
}

/// In two ages: when the young ones are many, they take the place of the old ones.
#[derive(Debug, Default)]
struct Positions {
    young: BTreeMap<Place, u64>,
    old: BTreeMap<Place, u64>,
}

/// An offset of a partition, in one segment.
type Place = (SegmentId, TopicPartition, Offset);

/// Hints of each age. A consumer needs one and renews it with each read, so those who read stay;
/// a hint that is forgotten costs time and nothing else.
const HINTS_MAX: usize = 16 << 10;

impl Hints {
    fn get(&self, segment: SegmentId, at: TopicPartition, offset: Offset) -> Option<u64> {
        let positions = self
            .positions
            .lock()
            .expect("nobody panics while holding it");
        let place = (segment, at, offset);
        let young = positions.young.get(&place);
        young.or_else(|| positions.old.get(&place)).copied()
    }

    fn put(&self, segment: SegmentId, at: TopicPartition, offset: Offset, position: u64) {
        let mut positions = self
            .positions
            .lock()
            .expect("nobody panics while holding it");
        if positions.young.len() >= HINTS_MAX {
            positions.old = std::mem::take(&mut positions.young);
        }
        positions.young.insert((segment, at, offset), position);
    }
}

#[cfg(test)]
mod tests;
