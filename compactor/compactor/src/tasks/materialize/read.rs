//! First stage of a round: reads what waits, ahead of those who decode it.
//!
//! Holds: partitions come in the order that was asked for, each in the order of its offsets; some are
//! begun while others are still read, so that ten thousand of them do not wait for one another.

use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use tarn_model::{Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_replica::View;
use tarn_topics::StoredBatch;
use tokio::sync::mpsc;

use super::plan::Waiting;
use super::{MaterializeError, Materializer};

/// Partitions that are begun at the same time.
const BEGUN_AT_ONCE: usize = 16;
/// What is read of a partition at first, at the least.
const FIRST_BYTES_MIN: u64 = 64 << 10;

/// Batches of several partitions, which are decoded in one go.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) parts: Vec<Part>,
    bytes: u64,
}

/// Batches of one partition.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) waiting: Waiting,
    /// Offsets that are accounted for with them. Without batches there is nothing at these offsets.
    pub(super) within: OffsetRange,
    pub(super) batches: Vec<StoredBatch>,
}

impl Load {
    fn push(&mut self, part: Part) {
        let bytes = part.batches.iter().map(|batch| batch.batch.bytes().len());
        self.bytes += bytes.sum::<usize>() as u64;
        self.parts.push(part);
    }
}

impl Materializer {
    /// Reads `waiting` in its order, in loads of about so many bytes, until all is read or nobody
    /// wants more.
    pub(super) async fn read(
        &self,
        view: &View,
        topic: TopicId,
        waiting: &[Waiting],
        load_bytes: u64,
        loads: mpsc::Sender<Load>,
    ) -> Result<(), MaterializeError> {
        let first_bytes = (load_bytes / BEGUN_AT_ONCE as u64).max(FIRST_BYTES_MIN);
        let mut left = waiting.iter();
        let mut begun = FuturesOrdered::new();
        let mut load = Load::default();
        loop {
            while begun.len() < BEGUN_AT_ONCE
                && let Some(waiting) = left.next()
            {
                let start = waiting.readable.start;
                let first = self.read_part(view, topic, *waiting, start, first_bytes);
                begun.push_back(first.boxed());
            }
            let Some(first) = begun.next().await else {
                break;
            };
            let mut part = first?;
            loop {
                let (waiting, next) = (part.waiting, part.within.end);
                load.push(part);
                if load.bytes >= load_bytes && loads.send(std::mem::take(&mut load)).await.is_err()
                {
                    return Ok(());
                }
                if next >= waiting.readable.end {
                    break;
                }
                let read = self.read_part(view, topic, waiting, next, load_bytes);
                part = read.await?;
            }
        }
        if !load.parts.is_empty() {
            // Whoever does not want it has had enough.
            drop(loads.send(load).await);
        }
        Ok(())
    }

    async fn read_part(
        &self,
        view: &View,
        topic: TopicId,
        waiting: Waiting,
        next: Offset,
        max_bytes: u64,
    ) -> Result<Part, MaterializeError> {
        let range = OffsetRange::new(next, waiting.readable.end);
        if range.is_empty() {
            return Ok(Part {
                waiting,
                within: range,
                batches: Vec::new(),
            });
        }
        let at = TopicPartition::new(topic, waiting.partition);
        let read = self.reader.read_range(view, at, range, max_bytes).await?;
        let end = match read.batches.is_empty() {
            // The index has a hole. There is none that we know how to make.
            true => hole_end(view, at, range),
            false => read.next_offset,
        };
        Ok(Part {
            waiting,
            within: OffsetRange::new(next, end),
            batches: read.batches,
        })
    }
}

/// How far a partition came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) partition: PartitionId,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) counted: tarn_state::Counters,
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
