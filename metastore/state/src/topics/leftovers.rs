//! What a command leaves to the entries after it, so that no command is unbounded.
//!
//! ```text
//! DeleteTopic ─▶ leftovers ── its table has taken the records, or a week has passed ─┐
//!      └─────────────────────── no table, or nothing to take ──────────────────────▶ leaving ─▶ gone
//! ```
//!
//! Likewise the extents below a log start that was moved.
//!
//! Holds: an entry works off a bounded part, whatever there is, and all replicas the same; what waits
//! here is seen by nobody but the materializer (`State::leftovers`).
//! The same entries look, a few at a time, for groups and offsets that expired, producers that went
//! idle and segments past their deadline.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, PartitionId, ProducerId, SegmentId, TopicId, TopicPartition, caps};

use super::types::{Partition, commit_deadline};
use crate::{Group, State};

/// Extents that one entry gives back; half a millisecond of work or so.
const EXTENTS_PER_ENTRY: usize = 1_024;
/// Producers of partitions that are gone which one entry forgets.
const PRODUCERS_PER_ENTRY: usize = 256;
/// Segments that one entry looks at.
const SEGMENTS_PER_ENTRY: usize = 256;
/// Groups that one entry looks at …
const GROUPS_PER_ENTRY: usize = 16;
/// … and their offsets.
const OFFSETS_PER_ENTRY: usize = 128;

/// Where the search for expired groups and offsets stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupCursor {
    /// The last group that was looked at, or the one that is looked at …
    #[n(0)]
    pub group: String,
    /// … up to this offset.
    #[n(1)]
    pub at: Option<TopicPartition>,
}

impl State {
    /// Works off a bounded part of what earlier entries left.
    pub(crate) fn work_off(&mut self) {
        self.sweep_idle_producers();
        self.sweep_segments();
        self.look_at_detached_table();
        self.sweep_leaving();
        self.sweep_trimmed();
        self.sweep_groups();
    }

    /// The topic of these partitions is deleted: they wait for its table, or leave.
    pub(crate) fn detach_partitions(&mut self, topic: TopicId, partitions: i32) {
        let table = self.table_of(topic).map(Arc::clone);
        for partition in 0..partitions {
            let partition = PartitionId(partition);
            let at = TopicPartition::new(topic, partition);
            let Some(removed) = self.partitions.remove(&at) else {
                continue;
            };
            self.trimmed.remove(&at);
            let waits = table
                .as_ref()
                .is_some_and(|table| table.materialized(partition) < removed.last_stable());
            if waits {
                self.leftovers.insert(at, removed);
            } else {
                self.leave(at, removed);
            }
        }
    }

    /// Nobody reads the partition any more.
    fn leave(&mut self, at: TopicPartition, partition: Arc<Partition>) {
        if !partition.extents.is_empty() || self.producer_counts.contains_key(&at) {
            self.leaving.insert(at, partition);
        }
    }

    /// Its table has taken everything of a partition of a deleted topic.
    pub(crate) fn table_has_taken(&mut self, at: TopicPartition) {
        let Some(partition) = self.leftovers.remove(&at) else {
            return;
        };
        self.leave(at, partition);
        if !self.has_leftovers(at.topic) {
            self.release_schemas_of_table(at.topic);
        }
    }

    /// The table of a deleted topic takes no more.
    pub(crate) fn leave_all(&mut self, topic: TopicId) {
        let all: Vec<TopicPartition> = self.detached_of(topic).map(|(at, _)| at).collect();
        for at in all {
            self.table_has_taken(at);
        }
    }

    /// Has the id been a topic's, as far as that is still known?
    pub(crate) fn is_topic_known(&self, topic: TopicId) -> bool {
        let first = TopicPartition::new(topic, PartitionId(i32::MIN));
        let last = TopicPartition::new(topic, PartitionId(i32::MAX));
        self.topics.contains_key(&topic)
            || self.topic_tables.contains_key(&topic)
            || self.leaving.range(first..=last).next().is_some()
    }

    /// Has the deleted topic left rows that its table does not have yet?
    pub fn has_leftovers(&self, topic: TopicId) -> bool {
        self.detached_of(topic).next().is_some()
    }

    /// Partitions of a deleted topic whose records its table has not taken yet.
    pub fn detached_of(
        &self,
        topic: TopicId,
    ) -> impl Iterator<Item = (TopicPartition, &Arc<Partition>)> {
        let first = TopicPartition::new(topic, PartitionId(i32::MIN));
        let last = TopicPartition::new(topic, PartitionId(i32::MAX));
        self.leftovers
            .range(first..=last)
            .map(|(at, partition)| (*at, partition))
    }

    /// A table that does not take the records of its deleted topic must not hold them for ever, and one
    /// that never had a row is of no use. One table per entry.
    fn look_at_detached_table(&mut self) {
        let after = self
            .detached_cursor
            .map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.detached_tables.range((after, Bound::Unbounded)).next();
        self.detached_cursor = next.copied();
        let Some((since, topic)) = self.detached_cursor else {
            return;
        };
        if !self.deletes_by_age() {
            return;
        }
        let age = self.cluster_time.since(since);
        if age > caps::DETACHED_PARTITIONS_KEPT {
            self.leave_all(topic);
        }
        let is_empty = self
            .table_of(topic)
            .is_none_or(|table| table.pointer.is_none());
        if age > caps::EMPTY_TABLE_KEPT && is_empty && !self.has_leftovers(topic) {
            self.forget_table(topic);
        }
    }

    fn sweep_leaving(&mut self) {
        let mut extents = EXTENTS_PER_ENTRY;
        let mut producers = PRODUCERS_PER_ENTRY;
        while extents > 0 && producers > 0 {
            let Some((at, _)) = self.leaving.get_min() else {
                return;
            };
            let at = *at;
            let partition = Arc::make_mut(self.leaving.get_mut(&at).expect("it was just found"));
            let mut given_back = Vec::new();
            while extents > 0
                && let Some((start, extent)) = partition.extents.get_min()
            {
                let (start, segment) = (*start, extent.segment);
                partition.extents.remove(&start);
                given_back.push(segment);
                extents -= 1;
            }
            let is_empty = partition.extents.is_empty();
            for segment in given_back {
                self.dereference_segment(segment);
            }
            let ids: Vec<ProducerId> = self
                .producers_of(at)
                .map(|(id, _)| id)
                .take(producers)
                .collect();
            producers -= ids.len();
            for id in ids {
                self.forget_producer(at, id);
            }
            if is_empty && !self.producer_counts.contains_key(&at) {
                self.leaving.remove(&at);
                // A partition without anything costs as much as one with an extent.
                extents = extents.saturating_sub(1);
            }
        }
    }

    /// Gives back extents below the log start of partitions whose records were deleted.
    fn sweep_trimmed(&mut self) {
        let mut extents = EXTENTS_PER_ENTRY;
        while extents > 0 {
            let Some(at) = self.trimmed.get_min().copied() else {
                return;
            };
            let mut given_back = Vec::new();
            if let Some(partition) = self.partitions.get_mut(&at) {
                let partition = Arc::make_mut(partition);
                while extents > 0
                    && partition.has_trimmed_extents()
                    && let Some((start, extent)) = partition.extents.get_min()
                {
                    let (start, bytes) = (*start, extent.position.length);
                    given_back.push(extent.segment);
                    partition.bytes = partition.bytes.saturating_sub(bytes);
                    partition.extents.remove(&start);
                    extents -= 1;
                }
                if partition.has_trimmed_extents() {
                    extents = 0;
                } else {
                    self.trimmed.remove(&at);
                }
            } else {
                self.trimmed.remove(&at);
            }
            for segment in given_back {
                self.dereference_segment(segment);
            }
        }
    }

    /// Forgets the segments that hold nothing and whose commit deadline has passed. Each id is looked
    /// at once: one that loses its last extent later is dropped there and then.
    fn sweep_segments(&mut self) {
        let deadline = commit_deadline(self.cluster_time);
        if self.segments_swept >= deadline {
            return;
        }
        let looked: Vec<(SegmentId, bool)> = self
            .segments
            .range(self.segments_swept..deadline)
            .take(SEGMENTS_PER_ENTRY)
            .map(|(id, segment)| (*id, segment.extents == 0))
            .collect();
        self.segments_swept = match looked.last() {
            // The last one is looked at twice, which does no harm.
            Some((last, _)) if looked.len() == SEGMENTS_PER_ENTRY => *last,
            _ => deadline,
        };
        for (id, _) in looked.into_iter().filter(|(_, is_empty)| *is_empty) {
            self.segments.remove(&id);
        }
    }

    /// How long offsets of a group without members stay: not so long where groups hold too much.
    fn offsets_retention(&self) -> Duration {
        if self.group_bytes > caps::GROUPS_BYTES_HIGH {
            caps::OFFSETS_RETENTION_SHORT
        } else {
            caps::OFFSETS_RETENTION
        }
    }

    /// Looks at the next few groups: offsets that expired or whose partition is gone go, and so does a
    /// group that has neither members nor offsets.
    fn sweep_groups(&mut self) {
        let by_age = self.deletes_by_age();
        let retention = self.offsets_retention();
        let mut groups = GROUPS_PER_ENTRY;
        let mut offsets = OFFSETS_PER_ENTRY;
        while groups > 0 && offsets > 0 {
            groups -= 1;
            let Some((name, from)) = self.next_group() else {
                self.group_cursor = None;
                return;
            };
            let group = Arc::clone(self.groups.get(&name).expect("it was just found"));
            let after = from.map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            let mut seen = 0;
            let mut gone = Vec::new();
            for (at, committed) in group.offsets.range((after, Bound::Unbounded)).take(offsets) {
                seen += 1;
                last = Some(*at);
                let is_over = by_age
                    && group.expires_after(committed.committed, retention, self.cluster_time);
                if is_over || !self.partitions.contains_key(at) {
                    gone.push(*at);
                }
            }
            let is_through = seen < offsets;
            offsets -= seen;
            let is_left =
                by_age && gone.len() == group.offsets.len() && group.is_left(self.cluster_time);
            if is_left {
                self.remove_group(&name);
            } else if !gone.is_empty() {
                self.change_group(&name, |group| group.remove_offsets(&gone));
            }
            self.group_cursor = Some(GroupCursor {
                group: name,
                at: if is_through { None } else { last },
            });
        }
    }

    /// The group to be looked at next, and after which of its offsets.
    fn next_group(&self) -> Option<(String, Option<TopicPartition>)> {
        let after = match &self.group_cursor {
            Some(GroupCursor {
                group,
                at: Some(at),
            }) if self.groups.contains_key(group) => return Some((group.clone(), Some(*at))),
            Some(cursor) => Bound::Excluded(cursor.group.clone()),
            None => Bound::Unbounded,
        };
        let (name, _) = self.groups.range((after, Bound::Unbounded)).next()?;
        Some((name.clone(), None))
    }
}

impl Group {
    /// Has an offset that was committed then expired? As in Kafka (KIP-211): never while the group has
    /// members, and for a group that had some, not before it was without for as long.
    fn expires_after(&self, committed: ClusterTime, retention: Duration, now: ClusterTime) -> bool {
        self.members.is_empty() && now.since(committed.max(self.changed)) > retention
    }

    /// Is there nothing of it but its name, for some time?
    fn is_left(&self, now: ClusterTime) -> bool {
        self.members.is_empty() && now.since(self.changed) > caps::EMPTY_GROUP_KEPT
    }
}

#[cfg(test)]
mod tests;
