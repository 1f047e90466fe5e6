//! Deletes a topic. Its segments lose their references, its committed offsets go, and its table is
//! detached: renamed to `<name>__<uuid8>` and kept.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{PartitionId, TopicId, TopicPartition};

use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteTopic {
    #[n(0)]
    pub id: TopicId,
}

impl DeleteTopic {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let topic = state
            .topics
            .remove(&self.id)
            .ok_or(Refusal::NoSuchTopic(self.id))?;
        state.topic_names.remove(&topic.name);
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(self.id, PartitionId(partition));
            let Some(partition) = state.partitions.remove(&at) else {
                continue;
            };
            for extent in partition.extents.values() {
                state.dereference_segment(extent.segment);
            }
        }
        state.forget_producers_of_topic(self.id);
        self.remove_committed_offsets(state);
        state.detach_table(self.id);
        Ok(Outcome::Done)
    }

    fn remove_committed_offsets(&self, state: &mut State) {
        let first = TopicPartition::new(self.id, PartitionId(i32::MIN));
        let last = TopicPartition::new(self.id, PartitionId(i32::MAX));
        let mut gone = Vec::new();
        for (name, group) in &state.groups {
            let of_topic: Vec<TopicPartition> = group
                .offsets
                .range(first..=last)
                .map(|(at, _)| *at)
                .collect();
            if !of_topic.is_empty() {
                gone.push((name.clone(), of_topic));
            }
        }
        for (name, offsets) in gone {
            let group = Arc::make_mut(state.groups.get_mut(&name).expect("it was just found"));
            for at in offsets {
                group.offsets.remove(&at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::{CommitGroupOffsets, CommitMode, GroupOffset};
    use crate::harness::{Cluster, at, batch, idempotent, topic};
    use tarn_model::{NodeId, Offset, caps};

    #[test]
    fn everything_of_the_topic_goes_and_its_table_is_kept() {
        let mut cluster = Cluster::with_topic("orders", 2);
        cluster.create_topic(8, "other", 1);
        let shared = cluster.segment(
            CommitMode::Each,
            vec![
                (at(7, 0), vec![idempotent(2, 1, 0, 0)]),
                (at(7, 1), vec![batch(1)]),
                (at(8, 0), vec![batch(1)]),
            ],
        );
        let alone = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(1)])]);
        cluster.run(Command::CommitSegment(shared.clone())).unwrap();
        cluster.run(Command::CommitSegment(alone.clone())).unwrap();
        let offset = |at| GroupOffset {
            at,
            offset: Offset(1),
            leader_epoch: -1,
            metadata: String::new(),
        };
        let commit = CommitGroupOffsets {
            group: "g".into(),
            node: NodeId(1),
            generation: -1,
            member: String::new(),
            instance: None,
            offsets: vec![offset(at(7, 0)), offset(at(8, 0))],
        };
        cluster.run(Command::CommitGroupOffsets(commit)).unwrap();

        cluster
            .run(Command::DeleteTopic(DeleteTopic { id: topic(7) }))
            .unwrap();
        let state = &cluster.state;
        assert!(
            state.topic_named("orders").is_none()
                && state.partition(topic(7), PartitionId(0)).is_none()
        );
        assert!(state.producers.is_empty() && state.producer_counts.is_empty());
        assert_eq!(
            state.groups["g"]
                .offsets
                .keys()
                .copied()
                .collect::<Vec<_>>(),
            [at(8, 0)]
        );
        assert!(state.table(topic(7)).is_none());
        let table = &state.tables[&topic(7)];
        assert_eq!(
            (table.name.as_str(), table.detached),
            ("orders__00000007", true)
        );
        assert_eq!(state.segments[&shared.segment].extents, 1);
        assert_eq!(state.segments[&alone.segment].extents, 0);
        state.check_invariants().unwrap();

        // While it could still be proposed again, the empty segment is remembered.
        cluster.live(
            &[1],
            u64::try_from(caps::SEGMENT_COMMIT_DEADLINE.as_millis()).unwrap(),
        );
        assert!(cluster.state.segments.contains_key(&alone.segment));
        cluster.live(&[1], 3_000);
        assert!(!cluster.state.segments.contains_key(&alone.segment));
        assert!(cluster.state.segments.contains_key(&shared.segment));
        let refused = cluster.run(Command::DeleteTopic(DeleteTopic { id: topic(7) }));
        assert_eq!(refused, Err(Refusal::NoSuchTopic(topic(7))));
    }
}
