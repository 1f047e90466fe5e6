//! A state as bytes: canonical, verified, refused when torn, truncated or foreign.
//!
//! ```text
//! magic "tarnstat" | format 2 | level 2 | cluster 16 | generation 4 | n 8      big endian
//! frame: the numbers of the state
//! for each map, in a fixed order: frame: how many | a frame per (key, value), by key
//! SHA-256 of everything before
//! frame = length 4, big endian | canonical CBOR
//! ```
//!
//! A partition is a frame of its numbers and of how many extents follow, then a frame per extent;
//! a group likewise with its offsets. What follows from something else is not written. Equal states
//! have equal bytes, so the hash of a state is the SHA-256 at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use tarn_model::{
    ClusterId, ClusterTime, DecodeError, Generation, Hash, LivenessTime, NodeId, Offset,
    ProducerId, SchemaId, SegmentId, TopicId, TopicPartition,
};

use crate::nesting::decode_bounded;
use crate::{
    CommittedOffset, Compatibility, Extent, FeatureLevel, Group, GroupCursor, GroupMember,
    Partition, State,
};

const MAGIC: [u8; 8] = *b"tarnstat";
const FORMAT: u16 = 1;
const HASH_BYTES: usize = 32;

/// Why a state snapshot was refused.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot is torn: {0}")]
    Torn(&'static str),
    #[error("the snapshot belongs to cluster {found}")]
    Foreign { found: ClusterId },
    #[error("the snapshot has format {found}, this version reads format {FORMAT}")]
    Format { found: u16 },
    #[error("the snapshot needs level {needs}, this version applies up to {newest}")]
    Level { needs: u16, newest: u16 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The fields of a state that are no maps.
#[derive(Debug, Encode, Decode)]
struct Numbers {
    #[n(0)]
    log_hash: Hash,
    #[n(1)]
    outcome_hash: Hash,
    #[n(2)]
    cluster_time: ClusterTime,
    #[n(3)]
    liveness_time: LivenessTime,
    #[n(4)]
    next_node: NodeId,
    #[n(5)]
    next_producer: ProducerId,
    #[n(6)]
    next_schema: SchemaId,
    #[n(7)]
    compatibility: Compatibility,
    #[n(8)]
    producer_cursor: Option<(TopicPartition, ProducerId)>,
    #[n(9)]
    detached_cursor: Option<(ClusterTime, TopicId)>,
    #[n(10)]
    segments_swept: SegmentId,
    #[n(11)]
    group_cursor: Option<GroupCursor>,
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

/// A group without its offsets.
#[derive(Debug, Encode, Decode)]
struct GroupHead {
    #[n(0)]
    name: String,
    #[n(1)]
    generation: i32,
    #[n(2)]
    protocol_type: String,
    #[n(3)]
    protocol: String,
    #[n(4)]
    leader: String,
    #[n(5)]
    members: Vec<GroupMember>,
    #[n(6)]
    changed: ClusterTime,
    #[n(7)]
    offsets: u64,
    #[n(8)]
    brought: ByteVec,
}

impl State {
    /// The canonical bytes, in frames that can be written one after the other.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut |part| bytes.extend_from_slice(part));
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// Reads a snapshot of this cluster; refuses anything that [`State::to_snapshot`] would not have
    /// written.
    pub fn from_snapshot(bytes: &[u8], cluster: ClusterId) -> Result<State, SnapshotError> {
        let (content, hash) = bytes
            .len()
            .checked_sub(HASH_BYTES)
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or(SnapshotError::Torn("it is shorter than its hash"))?;
        if Sha256::digest(content).as_slice() != hash {
            return Err(SnapshotError::Torn("it does not have the hash it names"));
        }
        let mut reader = Reader { rest: content };
        if reader.array()? != MAGIC {
            return Err(SnapshotError::Torn("it does not begin as a snapshot"));
        }
        let format = u16::from_be_bytes(reader.array()?);
        let level = u16::from_be_bytes(reader.array()?);
        let newest = FeatureLevel::NEWEST.0;
        if format != FORMAT {
            return Err(SnapshotError::Format { found: format });
        }
        if level > newest {
            return Err(SnapshotError::Level {
                needs: level,
                newest,
            });
        }
        let found = ClusterId(reader.array()?);
        if found != cluster {
            return Err(SnapshotError::Foreign { found });
        }
        let mut state = State::new(cluster);
        state.level = FeatureLevel(level);
        state.generation = Generation(u32::from_be_bytes(reader.array()?));
        state.n = u64::from_be_bytes(reader.array()?);
        state.read(&mut reader)?;
        if !reader.rest.is_empty() {
            return Err(SnapshotError::Torn("something follows its end"));
        }
        Ok(state)
    }

    /// The hash of the state is the hash of its snapshot.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        self.write(&mut |part| hasher.update(part));
        Hash(hasher.finalize().into())
    }

    fn write(&self, out: &mut dyn FnMut(&[u8])) {
        out(&MAGIC);
        out(&FORMAT.to_be_bytes());
        out(&self.level.0.to_be_bytes());
        out(&self.cluster.0);
        out(&self.generation.0.to_be_bytes());
        out(&self.n.to_be_bytes());
        let mut frames = Frames {
            out,
            scratch: Vec::new(),
        };
        frames.put(&Numbers {
            log_hash: self.log_hash,
            outcome_hash: self.outcome_hash,
            cluster_time: self.cluster_time,
            liveness_time: self.liveness_time,
            next_node: self.next_node,
            next_producer: self.next_producer,
            next_schema: self.next_schema,
            compatibility: self.compatibility,
            producer_cursor: self.producer_cursor,
            detached_cursor: self.detached_cursor,
            segments_swept: self.segments_swept,
            group_cursor: self.group_cursor.clone(),
        });
        frames.put(&(self.recent_hashes.len() as u64));
        for hashes in &self.recent_hashes {
            frames.put(hashes);
        }
        frames.map(&self.sessions);
        frames.map(&self.tombstones);
        frames.shared_map(&self.topics);
        for partitions in [&self.partitions, &self.leftovers, &self.leaving] {
            frames.partitions(partitions);
        }
        frames.map(&self.segments);
        frames.shared_map(&self.producers);
        frames.put(&(self.groups.len() as u64));
        for (name, group) in &self.groups {
            frames.put(&GroupHead {
                name: name.clone(),
                generation: group.generation,
                protocol_type: group.protocol_type.clone(),
                protocol: group.protocol.clone(),
                leader: group.leader.clone(),
                members: group.members.to_vec(),
                changed: group.changed,
                offsets: group.offsets.len() as u64,
                brought: group.brought.to_vec().into(),
            });
            for offset in &group.offsets {
                frames.put(&offset);
            }
        }
        frames.shared_map(&self.schemas);
        frames.shared_map(&self.subjects);
        frames.shared_map(&self.tables);
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let numbers: Numbers = reader.frame()?;
        self.log_hash = numbers.log_hash;
        self.outcome_hash = numbers.outcome_hash;
        self.cluster_time = numbers.cluster_time;
        self.liveness_time = numbers.liveness_time;
        self.next_node = numbers.next_node;
        self.next_producer = numbers.next_producer;
        self.next_schema = numbers.next_schema;
        self.compatibility = numbers.compatibility;
        self.producer_cursor = numbers.producer_cursor;
        self.detached_cursor = numbers.detached_cursor;
        self.segments_swept = numbers.segments_swept;
        self.group_cursor = numbers.group_cursor;
        self.recent_hashes = Vector::new();
        for _ in 0..reader.frame::<u64>()? {
            self.recent_hashes.push_back(reader.frame()?);
        }
        self.sessions = reader.map()?;
        self.tombstones = reader.map()?;
        self.topics = reader.shared_map()?;
        self.partitions = reader.partitions()?;
        self.leftovers = reader.partitions()?;
        self.leaving = reader.partitions()?;
        self.segments = reader.map()?;
        self.producers = reader.shared_map()?;
        let mut groups = Ascending::new();
        for _ in 0..reader.frame::<u64>()? {
            let head: GroupHead = reader.frame()?;
            let mut offsets: Ascending<TopicPartition, CommittedOffset> = Ascending::new();
            let mut offset_bytes = 0;
            for _ in 0..head.offsets {
                let (at, offset): (_, CommittedOffset) = reader.frame()?;
                offset_bytes += offset.bytes();
                offsets.push(at, offset)?;
            }
            let mut group = Group {
                generation: head.generation,
                protocol_type: head.protocol_type,
                protocol: head.protocol,
                leader: head.leader,
                offsets: offsets.map,
                offset_bytes,
                ..Group::empty(head.changed)
            };
            group.set_members(head.members.into(), Vec::from(head.brought).into());
            groups.push(head.name, Arc::new(group))?;
        }
        self.groups = groups.map;
        self.schemas = reader.shared_map()?;
        self.subjects = reader.shared_map()?;
        self.tables = reader.shared_map()?;
        self.derive()
    }

    /// Fills in what is not written because it follows from the rest.
    fn derive(&mut self) -> Result<(), SnapshotError> {
        self.topic_names = self
            .topics
            .iter()
            .map(|(id, topic)| (topic.name.clone(), *id))
            .collect();
        if self.topic_names.len() != self.topics.len() {
            return Err(SnapshotError::Torn("two topics have one name"));
        }
        self.schema_guids = self
            .schemas
            .iter()
            .map(|(id, schema)| (schema.guid, *id))
            .collect();
        if self.schema_guids.len() != self.schemas.len() {
            return Err(SnapshotError::Torn("two schemas have one guid"));
        }
        let trimmed = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.has_trimmed_extents());
        self.trimmed = trimmed.map(|(at, _)| *at).collect();
        let texts = self.schemas.values().map(|schema| schema.text.len() as u64);
        self.schema_bytes = texts.sum();
        self.schema_uses = self.counted_schema_uses();
        let groups = self.groups.iter().map(|(name, group)| group.bytes(name));
        self.group_bytes = groups.sum();
        let mut counts: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for (at, _) in self.producers.keys() {
            *counts.entry(*at).or_insert(0) += 1;
        }
        self.producer_counts = counts.into_iter().collect();
        self.detached_tables = self
            .tables
            .iter()
            .filter(|(_, table)| table.detached)
            .map(|(topic, table)| (table.detached_at, *topic))
            .collect();
        Ok(())
    }
}

/// Writes frames; keeps one buffer for all of them.
struct Frames<'o> {
    out: &'o mut dyn FnMut(&[u8]),
    scratch: Vec<u8>,
}

impl Frames<'_> {
    fn put<T: Encode<()>>(&mut self, value: &T) {
        self.scratch.clear();
        minicbor::encode(value, &mut self.scratch).expect("writing to a Vec cannot fail");
        let length = u32::try_from(self.scratch.len()).expect("one value is far below 4 GiB");
        (self.out)(&length.to_be_bytes());
        (self.out)(&self.scratch);
    }

    fn partitions(&mut self, partitions: &OrdMap<TopicPartition, Arc<Partition>>) {
        self.put(&(partitions.len() as u64));
        for (at, partition) in partitions {
            self.put(&PartitionHead {
                at: *at,
                log_start: partition.log_start,
                high_watermark: partition.high_watermark,
                bytes: partition.bytes,
                extents: partition.extents.len() as u64,
                forgotten_before: partition.forgotten_before,
            });
            for extent in partition.extents.values() {
                self.put(extent);
            }
        }
    }

    fn map<K: Encode<()> + Ord + Clone, V: Encode<()> + Clone>(&mut self, map: &OrdMap<K, V>) {
        self.put(&(map.len() as u64));
        for entry in map {
            self.put(&entry);
        }
    }

    fn shared_map<K: Encode<()> + Ord + Clone, V: Encode<()>>(&mut self, map: &OrdMap<K, Arc<V>>) {
        self.put(&(map.len() as u64));
        for (key, value) in map {
            self.put(&(key, value.as_ref()));
        }
    }
}

/// Reads frames. A count is only believed as far as there are frames.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(SnapshotError::Torn("it ends in the middle"))?;
        self.rest = rest;
        Ok(*array)
    }

    fn frame<T>(&mut self) -> Result<T, SnapshotError>
    where
        T: for<'d> Decode<'d, ()> + Encode<()>,
    {
        let length = u32::from_be_bytes(self.array()?);
        let (frame, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(SnapshotError::Torn("it ends in the middle"))?;
        self.rest = rest;
        Ok(decode_bounded(frame)?)
    }

    fn partitions(&mut self) -> Result<OrdMap<TopicPartition, Arc<Partition>>, SnapshotError> {
        let mut partitions = Ascending::new();
        for _ in 0..self.frame::<u64>()? {
            let head: PartitionHead = self.frame()?;
            let mut extents = Ascending::new();
            for _ in 0..head.extents {
                let extent: Extent = self.frame()?;
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

    fn map<K, V>(&mut self) -> Result<OrdMap<K, V>, SnapshotError>
    where
        K: for<'d> Decode<'d, ()> + Encode<()> + Ord + Clone,
        V: for<'d> Decode<'d, ()> + Encode<()> + Clone,
    {
        let mut map = Ascending::new();
        for _ in 0..self.frame::<u64>()? {
            let (key, value) = self.frame()?;
            map.push(key, value)?;
        }
        Ok(map.map)
    }

    fn shared_map<K, V>(&mut self) -> Result<OrdMap<K, Arc<V>>, SnapshotError>
    where
        K: for<'d> Decode<'d, ()> + Encode<()> + Ord + Clone,
        V: for<'d> Decode<'d, ()> + Encode<()>,
    {
        let mut map = Ascending::new();
        for _ in 0..self.frame::<u64>()? {
            let (key, value) = self.frame()?;
            map.push(key, Arc::new(value))?;
        }
        Ok(map.map)
    }
}

/// A map that takes its keys in order only: another order would be other bytes for the same state.
struct Ascending<K, V> {
    map: OrdMap<K, V>,
}

impl<K: Ord + Clone, V: Clone> Ascending<K, V> {
    fn new() -> Ascending<K, V> {
        Ascending { map: OrdMap::new() }
    }

    fn push(&mut self, key: K, value: V) -> Result<(), SnapshotError> {
        if self.map.get_max().is_some_and(|(last, _)| *last >= key) {
            return Err(SnapshotError::Torn("its keys are not in order"));
        }
        self.map.insert(key, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
