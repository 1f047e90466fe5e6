//! Deletes a topic. Nobody sees it or its partitions from here on, and its table is detached: renamed
//! to `<name>__<uuid8>` and kept.
//!
//! What may be much (its extents, producers and committed offsets) is left to the entries that follow,
//! see `leftovers.rs`. Records that the table has not taken yet wait for that.

use minicbor::{Decode, Encode};
use tarn_model::TopicId;

use super::refusal::TopicRefusal;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteTopic {
    #[n(0)]
    pub id: TopicId,
}

impl DeleteTopic {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let topic = state
            .topics
            .remove(&self.id)
            .ok_or(TopicRefusal::NoSuchTopic(self.id))?;
        state.topic_names.remove(&topic.name);
        state.detach_partitions(self.id, topic.partitions);
        state.detach_table(self.id, ctx.cluster_time);
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::Counters;
    use crate::commands::{CommitGroupOffsets, CommitMode, GroupOffset, MaterializedStep};
    use crate::harness::{Cluster, at, batch, commit, idempotent, table, topic};
    use tarn_model::{NodeId, Offset, PartitionId, caps};

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
            offset: 1,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let offsets = CommitGroupOffsets {
            group: "g".into(),
            node: NodeId(1),
            generation: -1,
            member: String::new(),
            instance: None,
            offsets: vec![offset(at(7, 0)), offset(at(8, 0))],
            seen: cluster.state.n,
        };
        cluster.run(Command::CommitGroupOffsets(offsets)).unwrap();
        // Its table has everything.
        let step = |partition, to| MaterializedStep {
            partition: PartitionId(partition),
            from: Offset(0),
            to: Offset(to),
            counted: Counters {
                rows: to,
                undecodable: 0,
                deleted: 0,
                ..Counters::default()
            },
        };
        let steps = vec![step(0, 3), step(1, 1)];
        cluster.run(commit(7, None, "file:/v1", steps)).unwrap();

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
        let table = &state.tables[&table(7)];
        assert_eq!(
            (table.name.as_str(), table.is_detached()),
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
        assert_eq!(
            refused,
            Err(Refusal::Topic(TopicRefusal::NoSuchTopic(topic(7))))
        );
    }
}
