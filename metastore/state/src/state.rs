//! Everything the log has decided, as one value.
//!
//! Holds: a clone costs a few pointers, whatever there is of topics, groups and schemas.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use tarn_model::{
    ClusterId, ClusterTime, Generation, Hash, LivenessTime, Lsn, NodeId, PartitionId, ProducerId,
    SchemaId, SegmentId, SessionId, TableUuid, TopicId, TopicPartition,
};

use crate::schemas::SubjectVersion;
use crate::{
    Claim, ClaimEpoch, Compatibility, FeatureLevel, Group, GroupCursor, KnownNode, Partition,
    Producer, Schema, Segment, Session, Subject, Table, TableName, Tombstone, Topic,
};

/// The state at an Lsn. A clone costs a few pointers; a view is an `Arc<State>`.
///
/// Bounds: sessions by the processes that run, tombstones and log hashes by a window of entries,
/// node names, topics, partitions, groups, schemas, producers and claims by `tarn_model::caps`, segments and extents by
/// what retention keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub cluster: ClusterId,
    pub generation: Generation,
    /// The last entry applied.
    pub n: u64,
    pub level: FeatureLevel,

    /// Rolls over the bytes of every entry.
    pub log_hash: Hash,
    /// Rolls over every outcome.
    pub outcome_hash: Hash,
    /// Log and outcome hash after each of the newest entries, oldest first; the last is at `n`.
    pub recent_hashes: Vector<(Hash, Hash)>,

    pub cluster_time: ClusterTime,
    pub liveness_time: LivenessTime,

    pub sessions: OrdMap<SessionId, Session>,
    pub tombstones: OrdMap<SessionId, Tombstone>,
    pub next_node: NodeId,
    /// The last entry at which clients began to be sent elsewhere: an agent came, went, or was heard again
    /// after it had been silent. Since then nobody may speak for what it looked at before.
    pub agents_changed: u64,
    /// By the names of processes.
    pub nodes: OrdMap<String, KnownNode>,

    pub topics: OrdMap<TopicId, Arc<Topic>>,
    pub topic_names: OrdMap<String, TopicId>,
    pub partitions: OrdMap<TopicPartition, Arc<Partition>>,
    /// Those with extents below their log start, which go a few with each entry; follows from
    /// `partitions`.
    pub trimmed: OrdSet<TopicPartition>,
    /// Partitions of deleted topics whose records their tables have not taken yet.
    pub leftovers: OrdMap<TopicPartition, Arc<Partition>>,
    /// The last of `detached_tables` that was looked at.
    pub detached_cursor: Option<(ClusterTime, TopicId)>,
    /// Partitions that nobody reads any more: each entry gives back some of their extents.
    pub leaving: OrdMap<TopicPartition, Arc<Partition>>,
    pub segments: OrdMap<SegmentId, Segment>,
    /// Segments below were looked at when their commit deadline had passed.
    pub segments_swept: SegmentId,

    pub next_producer: ProducerId,
    pub producers: OrdMap<(TopicPartition, ProducerId), Arc<Producer>>,
    /// How many of them each partition has; follows from `producers`.
    pub producer_counts: OrdMap<TopicPartition, usize>,
    /// The last one that the search for idle producers looked at.
    pub producer_cursor: Option<(TopicPartition, ProducerId)>,

    pub groups: OrdMap<String, Arc<Group>>,
    pub group_cursor: Option<GroupCursor>,
    /// Bytes of all groups; follows from `groups`.
    pub group_bytes: u64,

    pub next_schema: SchemaId,
    pub schemas: OrdMap<SchemaId, Arc<Schema>>,
    pub schema_guids: OrdMap<[u8; 16], SchemaId>,
    /// How many versions, tables and schemas name each; follows from `subjects`, `tables` and `schemas`.
    pub schema_uses: OrdMap<SchemaId, u64>,
    /// How many living versions refer to each version of a subject; follows from `subjects` and `schemas`.
    pub schema_references: OrdMap<SubjectVersion, u64>,
    /// Bytes of all texts and references; follows from `schemas`.
    pub schema_bytes: u64,
    pub subjects: OrdMap<String, Arc<Subject>>,
    pub compatibility: Compatibility,

    /// Also of topics that were deleted.
    pub tables: OrdMap<TableUuid, Arc<Table>>,
    /// Follows from `tables`, as do the next two.
    pub table_names: OrdMap<TableName, TableUuid>,
    pub topic_tables: OrdMap<TopicId, TableUuid>,
    /// Those of deleted topics, by the time of that.
    pub detached_tables: OrdSet<(ClusterTime, TopicId)>,

    pub next_claim: ClaimEpoch,
    /// By task.
    pub claims: OrdMap<String, Claim>,
}

impl State {
    /// Before the first entry of a new cluster of this version.
    pub fn new(cluster: ClusterId) -> State {
        State::at_level(cluster, FeatureLevel::NEWEST)
    }

    /// Before the first entry of a cluster that began at this level.
    pub fn at_level(cluster: ClusterId, level: FeatureLevel) -> State {
        State {
            cluster,
            generation: Generation::FIRST,
            n: 0,
            level,
            log_hash: Hash::ZERO,
            outcome_hash: Hash::ZERO,
            recent_hashes: Vector::new(),
            cluster_time: ClusterTime::default(),
            liveness_time: LivenessTime::default(),
            sessions: OrdMap::new(),
            tombstones: OrdMap::new(),
            next_node: NodeId(1),
            agents_changed: 0,
            nodes: OrdMap::new(),
            topics: OrdMap::new(),
            topic_names: OrdMap::new(),
            partitions: OrdMap::new(),
            trimmed: OrdSet::new(),
            leftovers: OrdMap::new(),
            detached_cursor: None,
            leaving: OrdMap::new(),
            segments: OrdMap::new(),
            segments_swept: SegmentId::new(ClusterTime::default(), 0),
            next_producer: ProducerId(1),
            producers: OrdMap::new(),
            producer_counts: OrdMap::new(),
            producer_cursor: None,
            groups: OrdMap::new(),
            group_cursor: None,
            group_bytes: 0,
            next_schema: SchemaId(1),
            schemas: OrdMap::new(),
            schema_guids: OrdMap::new(),
            schema_uses: OrdMap::new(),
            schema_references: OrdMap::new(),
            schema_bytes: 0,
            subjects: OrdMap::new(),
            compatibility: Compatibility::Backward,
            tables: OrdMap::new(),
            table_names: OrdMap::new(),
            topic_tables: OrdMap::new(),
            detached_tables: OrdSet::new(),
            next_claim: ClaimEpoch(1),
            claims: OrdMap::new(),
        }
    }

    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.generation, self.n)
    }

    /// Log and outcome hash after entry `n`, while they are kept.
    pub fn hashes_at(&self, n: u64) -> Option<(Hash, Hash)> {
        if n == self.n {
            return Some((self.log_hash, self.outcome_hash));
        }
        if n == 0 && self.generation == Generation::FIRST {
            return Some((Hash::ZERO, Hash::ZERO));
        }
        let back = usize::try_from(self.n.checked_sub(n)?).ok()?;
        let index = self.recent_hashes.len().checked_sub(back)?.checked_sub(1)?;
        self.recent_hashes.get(index).copied()
    }

    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn topic_named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_names.get(name)?)
    }

    pub fn partition(&self, topic: TopicId, partition: PartitionId) -> Option<&Arc<Partition>> {
        self.partitions.get(&TopicPartition { topic, partition })
    }

    /// A partition whose records can be read, be it one of a deleted topic.
    pub fn readable(&self, at: TopicPartition) -> Option<&Arc<Partition>> {
        self.partitions.get(&at).or_else(|| self.leftovers.get(&at))
    }

    pub fn producer(&self, at: TopicPartition, producer: ProducerId) -> Option<&Producer> {
        self.producers.get(&(at, producer)).map(Arc::as_ref)
    }

    pub fn schema(&self, id: SchemaId) -> Option<&Arc<Schema>> {
        self.schemas.get(&id)
    }

    pub fn subject(&self, name: &str) -> Option<&Arc<Subject>> {
        self.subjects.get(name)
    }
}
