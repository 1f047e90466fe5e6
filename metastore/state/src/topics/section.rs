//! What a state snapshot holds of topics.
//!
//! A partition is a value with its numbers and how many extents follow, then a value per extent.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, Offset, ProducerId, SegmentId, TopicId, TopicPartition};

use super::types::{Extent, Partition};
use crate::State;
use crate::level::FeatureLevel;
use crate::snapshot::section::{Ascending, Frames, Reader, Section, SnapshotError};

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        number: 20,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            frames.put(&Numbers {
                next_producer: state.next_producer,
                producer_cursor: state.producer_cursor,
                detached_cursor: state.detached_cursor,
                segments_swept: state.segments_swept,
            })
        },
        read: |state, reader| {
            let numbers: Numbers = reader.frame()?;
            state.next_producer = numbers.next_producer;
            state.producer_cursor = numbers.producer_cursor;
            state.detached_cursor = numbers.detached_cursor;
            state.segments_swept = numbers.segments_swept;
            Ok(())
        },
    },
    Section {
        number: 21,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.shared_map(&state.topics),
        read: |state, reader| {
            state.topics = reader.shared_map()?;
            Ok(())
        },
    },
    Section {
        number: 22,
        since: FeatureLevel::ONE,
        write: |state, frames| put_partitions(&state.partitions, frames),
        read: |state, reader| {
            state.partitions = partitions(reader)?;
            Ok(())
        },
    },
    Section {
        number: 23,
        since: FeatureLevel::ONE,
        write: |state, frames| put_partitions(&state.leftovers, frames),
        read: |state, reader| {
            state.leftovers = partitions(reader)?;
            Ok(())
        },
    },
    Section {
        number: 24,
        since: FeatureLevel::ONE,
        write: |state, frames| put_partitions(&state.leaving, frames),
        read: |state, reader| {
            state.leaving = partitions(reader)?;
            Ok(())
        },
    },
    Section {
        number: 25,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.map(&state.segments),
        read: |state, reader| {
            state.segments = reader.map()?;
            Ok(())
        },
    },
    Section {
        number: 26,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.shared_map(&state.producers),
        read: |state, reader| {
            state.producers = reader.shared_map()?;
            Ok(())
        },
    },
];

#[derive(Debug, Encode, Decode)]
struct Numbers {
    #[n(0)]
    next_producer: ProducerId,
    #[n(1)]
    producer_cursor: Option<(TopicPartition, ProducerId)>,
    #[n(2)]
    detached_cursor: Option<(ClusterTime, TopicId)>,
    #[n(3)]
    segments_swept: SegmentId,
}

/// A partition without its extents.
#[derive(Debug, Encode, Decode)]
struct PartitionHead {
    #[n(0)]
    at: TopicPartition,
    #[n(1)]
    log_start: Offset,
    #[n(2)]
    high_watermark: Offset,
    #[n(3)]
    bytes: u64,
    #[n(4)]
    extents: u64,
    #[n(5)]
    forgotten_before: Option<ProducerId>,
}

fn put_partitions(partitions: &OrdMap<TopicPartition, Arc<Partition>>, frames: &mut Frames<'_>) {
    for (at, partition) in partitions {
        frames.put(&PartitionHead {
            at: *at,
            log_start: partition.log_start,
            high_watermark: partition.high_watermark,
            bytes: partition.bytes,
            extents: partition.extents.len() as u64,
            forgotten_before: partition.forgotten_before,
        });
        for extent in partition.extents.values() {
            frames.put(extent);
        }
    }
}

fn partitions(
    reader: &mut Reader<'_>,
) -> Result<OrdMap<TopicPartition, Arc<Partition>>, SnapshotError> {
    let mut partitions = Ascending::empty();
    while let Some(head) = reader.value::<PartitionHead>()? {
        let mut extents = Ascending::empty();
        for _ in 0..head.extents {
            let extent: Extent = reader.frame()?;
            extents.push(extent.offsets.start, extent)?;
        }
        let partition = Partition {
            log_start: head.log_start,
            high_watermark: head.high_watermark,
            extents: extents.map,
            bytes: head.bytes,
            forgotten_before: head.forgotten_before,
        };
        partitions.push(head.at, Arc::new(partition))?;
    }
    Ok(partitions.map)
}

impl State {
    pub(crate) fn derive_topics(&mut self) -> Result<(), SnapshotError> {
        self.topic_names = self
            .topics
            .iter()
            .map(|(id, topic)| (topic.name.clone(), *id))
            .collect();
        if self.topic_names.len() != self.topics.len() {
            return Err(SnapshotError::Torn("two topics have one name"));
        }
        let trimmed = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.has_trimmed_extents());
        self.trimmed = trimmed.map(|(at, _)| *at).collect();
        let mut counts: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for (at, _) in self.producers.keys() {
            *counts.entry(*at).or_insert(0) += 1;
        }
        self.producer_counts = counts.into_iter().collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::PartitionId;

    use super::*;

    #[test]
    fn a_count_is_believed_as_far_as_there_are_frames() {
        let mut bytes = [22_u16.to_be_bytes(), 1_u16.to_be_bytes()].concat();
        let mut out = |part: &[u8]| bytes.extend_from_slice(part);
        Frames::new(&mut out).put(&PartitionHead {
            at: TopicPartition::new(TopicId::from_u128(7), PartitionId(0)),
            log_start: Offset(0),
            high_watermark: Offset(0),
            bytes: 0,
            extents: u64::MAX,
            forgotten_before: None,
        });
        bytes.extend_from_slice(&[0; 4]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.section().unwrap(), (22, 1));
        assert!(matches!(
            partitions(&mut reader),
            Err(SnapshotError::Torn("a section ends in the middle"))
        ));
    }
}
