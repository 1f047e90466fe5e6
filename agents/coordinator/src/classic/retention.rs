//! Offsets of topics that a living group no longer reads expire (KIP-211).
//!
//! Those of a group without members go by themselves (`tarn_state`, `leftovers.rs`): only the coordinator
//! can read what members subscribe to.

use std::collections::BTreeSet;
use std::time::Duration;

use tarn_model::{ClusterTime, NodeId, TopicPartition, caps};
use tarn_replica::Metastore;
use tarn_state::commands::DeleteGroupOffsets;
use tarn_state::{Command, State};
use tokio::time::Instant;
use tracing::{debug, info};

/// How often the offsets of a group are looked at, Kafka's `offsets.retention.check.interval.ms`.
pub(super) const LOOK_AT_OFFSETS: Duration = Duration::from_secs(600);
/// Most that go at one look; they fit into an entry.
const EXPIRED_MAX: usize = 8_192;
/// How long the proposal may take. The next look comes anyway.
const WITHIN: Duration = Duration::from_secs(15);

/// Offsets of topics that are not read, and were committed before the returned time at the latest.
pub(super) fn expired(
    state: &State,
    group: &str,
    read: &BTreeSet<String>,
) -> Option<(Vec<TopicPartition>, ClusterTime)> {
    if !state.deletes_by_age() {
        return None;
    }
    let until = state.cluster_time.minus(caps::OFFSETS_RETENTION);
    let is_left = |at: &TopicPartition| {
        let topic = state.topic(at.topic);
        topic.is_some_and(|topic| !read.contains(&topic.name))
    };
    let offsets = state.groups.get(group)?.offsets.iter();
    let expired: Vec<TopicPartition> = offsets
        .filter(|(at, committed)| committed.committed < until && is_left(at))
        .map(|(at, _)| *at)
        .take(EXPIRED_MAX)
        .collect();
    (!expired.is_empty()).then_some((expired, until))
}

pub(super) async fn delete(
    metastore: Metastore,
    node: NodeId,
    group: String,
    partitions: Vec<TopicPartition>,
    until: ClusterTime,
) {
    let count = partitions.len();
    let command = Command::DeleteGroupOffsets(DeleteGroupOffsets {
        group: group.clone(),
        node,
        partitions,
        until: Some(until),
    });
    match metastore
        .propose(vec![command], Instant::now() + WITHIN)
        .await
    {
        Ok(_) => info!(
            group,
            count, "offsets of topics that the group no longer reads have expired"
        ),
        Err(error) => debug!(group, %error, "expired offsets stay for now"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tarn_model::{ClusterId, PartitionId, TopicId};
    use tarn_state::{CommittedOffset, Group, Topic};

    use super::*;

    fn at(topic: u128, partition: i32) -> TopicPartition {
        TopicPartition::new(TopicId::from_u128(topic), PartitionId(partition))
    }

    #[test]
    fn only_old_offsets_of_topics_that_nobody_reads_expire() {
        let mut state = State::new(ClusterId::from_u128(1));
        let retention = i64::try_from(caps::OFFSETS_RETENTION.as_millis()).expect("it is a week");
        state.cluster_time = ClusterTime(retention + 1_000);
        for (id, name) in [(1, "read"), (2, "left")] {
            let topic = Topic {
                id: TopicId::from_u128(id),
                name: name.to_owned(),
                partitions: 3,
                configs: BTreeMap::new(),
                created_at: ClusterTime(0),
                first_producer: tarn_model::ProducerId(1),
            };
            state.topics.insert(topic.id, Arc::new(topic));
        }
        let mut group = Group::empty(ClusterTime(0));
        for (topic, partition, committed) in [
            (1, 0, 0),
            (2, 0, 0),
            (2, 1, 999),
            (2, 2, 1_000),
            // Of a topic that is gone: not ours to tell.
            (3, 0, 0),
        ] {
            let offset = CommittedOffset {
                offset: 5,
                leader_epoch: -1,
                metadata: String::new(),
                committed: ClusterTime(committed),
            };
            group.offsets.insert(at(topic, partition), offset);
        }
        state.groups.insert("g".to_owned(), Arc::new(group));
        let read = BTreeSet::from(["read".to_owned(), "other".to_owned()]);
        let found = expired(&state, "g", &read).expect("some are");
        assert_eq!(found, (vec![at(2, 0), at(2, 1)], ClusterTime(1_000)));
        assert_eq!(expired(&state, "h", &read), None);
        state.cluster_time = ClusterTime(retention);
        assert_eq!(expired(&state, "g", &read), None);
    }
}
