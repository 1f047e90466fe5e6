//! Forgets what a group has committed of some partitions (KIP-496). Whether a member still reads them
//! is for the coordinator to say, which knows what the members subscribed to.

use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, NodeId, TopicPartition};

use super::refusal::GroupRefusal;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteGroupOffsets {
    #[n(0)]
    pub group: String,
    #[n(1)]
    pub node: NodeId,
    #[n(2)]
    pub partitions: Vec<TopicPartition>,
    /// Those that were committed later stay.
    #[n(3)]
    pub until: Option<ClusterTime>,
}

impl DeleteGroupOffsets {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        state.check_coordinator(&self.group, self.node, ctx)?;
        let group = state
            .groups
            .get(&self.group)
            .ok_or_else(|| GroupRefusal::NoSuchGroup(self.group.clone()))?;
        let is_meant = |at: &&TopicPartition| match (self.until, group.offsets.get(*at)) {
            (Some(until), Some(known)) => known.committed <= until,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let gone: Vec<TopicPartition> = self.partitions.iter().filter(is_meant).copied().collect();
        state.change_group(&self.group, |group| group.remove_offsets(&gone));
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::{CommitGroupOffsets, GroupOffset};
    use crate::harness::{Cluster, at};

    #[test]
    fn offsets_go_and_the_group_stays() {
        let mut cluster = Cluster::with_topic("orders", 2);
        let delete = |partitions| {
            Command::DeleteGroupOffsets(DeleteGroupOffsets {
                group: "g".into(),
                node: NodeId(1),
                partitions,
                until: None,
            })
        };
        assert_eq!(
            cluster.run(delete(vec![at(7, 0)])),
            Err(Refusal::Group(GroupRefusal::NoSuchGroup("g".into())))
        );
        let offset = |partition| GroupOffset {
            at: at(7, partition),
            offset: 5,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let commit = CommitGroupOffsets {
            group: "g".into(),
            node: NodeId(1),
            generation: -1,
            member: String::new(),
            instance: None,
            offsets: vec![offset(0), offset(1)],
            seen: cluster.state.n,
        };
        cluster.run(Command::CommitGroupOffsets(commit)).unwrap();
        let left = |cluster: &Cluster| cluster.state.groups["g"].offsets.len();
        assert_eq!(cluster.run(delete(vec![at(7, 1)])), Ok(Outcome::Done));
        assert_eq!(left(&cluster), 1);
        // Again, and what was never committed.
        assert_eq!(
            cluster.run(delete(vec![at(7, 1), at(7, 0), at(9, 9)])),
            Ok(Outcome::Done)
        );
        assert_eq!(left(&cluster), 0);
    }
}
