//! Batches in, segment out.

use std::collections::BTreeMap;

use bytes::Bytes;
use tarn_kafka::{BatchHeader, ValidBatch};
use tarn_model::{
    ClusterId, Generation, PageBuffer, PartitionId, ProducerEpoch, ProducerId, SegmentId,
    Timestamp, TopicId, TopicPartition, encode,
};
use tarn_state::Position;
use tarn_state::commands::{CommitMode, CommitSegment, NewBatch, NewExtent, ProducerStamp};

use super::{Footer, MAGIC, SegmentError, TRAILER_BYTES};

/// An upper bound of an encoded commit without its extents.
pub const COMMIT_OVERHEAD_BYTES: u64 = 64;
/// An upper bound of an encoded extent without its batches: a topic id of 17 bytes, five numbers of
/// at most 9, array heads.
const EXTENT_BYTES: u64 = 17 + 5 * 9 + 8;
/// An upper bound of an encoded batch: six numbers of at most 9 bytes, two array heads.
const BATCH_BYTES: u64 = 6 * 9 + 2;

/// What a batch adds at most to the encoded commit of its segment.
pub fn commit_bytes_of(first_of_its_partition: bool) -> u64 {
    if first_of_its_partition {
        EXTENT_BYTES + BATCH_BYTES
    } else {
        BATCH_BYTES
    }
}

/// Collects batches of many partitions. They are slices until [`Builder::finish`] copies them once.
#[derive(Debug, Clone)]
pub struct Builder {
    cluster: ClusterId,
    generation: Generation,
    partitions: BTreeMap<TopicPartition, Vec<ValidBatch>>,
    bytes: u64,
}

/// A segment that is ready to be uploaded.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The whole object; it begins on a page bound.
    pub object: Bytes,
    /// What commits it. Its extents are in the order of topic and partition, batches in that of
    /// their pushes.
    pub commit: CommitSegment,
}

impl Builder {
    pub fn new(cluster: ClusterId, generation: Generation) -> Builder {
        Builder {
            cluster,
            generation,
            partitions: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Adds a batch behind the others of its partition.
    pub fn push(&mut self, topic: TopicId, partition: PartitionId, batch: ValidBatch) {
        self.bytes += batch.bytes().len() as u64;
        self.partitions
            .entry(TopicPartition { topic, partition })
            .or_default()
            .push(batch);
    }

    /// Bytes of the batches so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Makes the object. Its one copy of the batches is made here.
    pub fn finish(self, segment: SegmentId, mode: CommitMode) -> Finished {
        let mut extents = Vec::with_capacity(self.partitions.len());
        let mut next = MAGIC.len() as u64;
        for (at, batches) in &self.partitions {
            let batches_of: Vec<NewBatch> = batches.iter().map(describe).collect();
            let length = batches_of.iter().map(|batch| u64::from(batch.bytes)).sum();
            extents.push(NewExtent {
                topic: at.topic,
                partition: at.partition,
                position: Position {
                    start: next,
                    length,
                },
                batches: batches_of,
            });
            next += length;
        }
        let footer = Footer {
            cluster: self.cluster,
            generation: self.generation,
            commit: CommitSegment {
                segment,
                mode,
                bytes: 0,
                extents,
            },
        };
        let footer = with_size(footer, next);
        let mut head = room_for(&footer);
        head.extend_from_slice(MAGIC);
        for batch in self.partitions.into_values().flatten() {
            head.extend_from_slice(batch.bytes());
        }
        let object = footer.seal(head);
        Finished {
            object,
            commit: footer.commit,
        }
    }
}

/// The same batches as an object of another name.
pub fn rename(object: &Bytes, segment: SegmentId) -> Result<Finished, SegmentError> {
    let mut footer = Footer::parse(object)?;
    footer.commit.segment = segment;
    let body_end = footer
        .commit
        .extents
        .last()
        .map_or(MAGIC.len() as u64, |extent| extent.position.end());
    let body = usize::try_from(body_end)
        .ok()
        .and_then(|end| object.get(..end));
    let body = body.ok_or(SegmentError::Contradiction(
        "extents reach beyond the object",
    ))?;
    let footer = with_size(footer, body_end);
    let mut head = room_for(&footer);
    head.extend_from_slice(body);
    let object = footer.seal(head);
    Ok(Finished {
        object,
        commit: footer.commit,
    })
}

/// Writes the object's size into its footer. The size depends on how long its own encoding is, which
/// only grows with it, so a few rounds settle it.
fn with_size(mut footer: Footer, body_end: u64) -> Footer {
    loop {
        let size = body_end + (encode(&footer).len() + TRAILER_BYTES) as u64;
        if size == footer.commit.bytes {
            return footer;
        }
        footer.commit.bytes = size;
    }
}

fn room_for(footer: &Footer) -> PageBuffer {
    PageBuffer::with_capacity(usize::try_from(footer.commit.bytes).unwrap_or(usize::MAX))
}

fn describe(batch: &ValidBatch) -> NewBatch {
    let header = batch.header();
    NewBatch {
        bytes: u32::try_from(batch.bytes().len()).expect("a batch's length is a positive i32"),
        offsets: u32::try_from(header.offset_count())
            .expect("a batch has between 1 and 2^31 offsets"),
        max_timestamp: Timestamp(header.max_timestamp),
        producer: producer_of(header),
    }
}

fn producer_of(header: &BatchHeader) -> Option<ProducerStamp> {
    header.has_producer().then_some(ProducerStamp {
        id: ProducerId(header.producer_id),
        epoch: ProducerEpoch(header.producer_epoch),
        first_sequence: header.base_sequence,
    })
}
