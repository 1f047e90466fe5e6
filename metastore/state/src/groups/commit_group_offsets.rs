//! Commits offsets of a group: by a member of the current generation, or by anybody while the group
//! has no members (generation −1, Kafka's "simple" consumers).
//!
//! Holds: all offsets of a request are committed, or none; none after another coordinator may have
//! committed later ones.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, NodeId, TopicPartition, caps};

use super::refusal::GroupRefusal;
use crate::{
    CommittedOffset, Context, Group, Outcome, Refusal, State, TopicRefusal, is_metadata_too_long,
};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommitGroupOffsets {
    #[n(0)]
    pub group: String,
    #[n(1)]
    pub node: NodeId,
    /// −1 without a membership.
    #[n(2)]
    pub generation: i32,
    #[n(3)]
    pub member: String,
    #[n(4)]
    pub instance: Option<String>,
    #[n(5)]
    pub offsets: Vec<GroupOffset>,
    /// The state at which the proposer was the coordinator and looked at the membership. SUBTLE: it may be
    /// the coordinator again when this comes, and another one have committed in between.
    #[n(6)]
    pub seen: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupOffset {
    #[n(0)]
    pub at: TopicPartition,
    /// Negative ones are kept as they are, see [`CommittedOffset::offset`].
    #[n(1)]
    pub offset: i64,
    #[n(2)]
    pub leader_epoch: i32,
    #[n(3)]
    pub metadata: String,
}

impl CommitGroupOffsets {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        state.check_coordinator(&self.group, self.node, ctx)?;
        if self.seen < state.agents_changed {
            return Err(GroupRefusal::NotCoordinator(self.node).into());
        }
        self.check_membership(state.groups.get(&self.group).map(Arc::as_ref))?;
        for offset in &self.offsets {
            if !state.partitions.contains_key(&offset.at) {
                return Err(
                    TopicRefusal::NoSuchPartition(offset.at.topic, offset.at.partition).into(),
                );
            }
            if is_metadata_too_long(&offset.metadata) {
                return Err(Refusal::TooLong {
                    max: ByteSize::bytes(caps::COMMIT_METADATA_CHARS_MAX as u64),
                });
            }
        }
        let mut offsets = 0;
        state.change_or_add_group(&self.group, ctx, |group| {
            for offset in &self.offsets {
                let committed = CommittedOffset {
                    offset: offset.offset,
                    leader_epoch: offset.leader_epoch,
                    metadata: offset.metadata.clone(),
                    committed: ctx.cluster_time,
                };
                group.put_offset(offset.at, committed);
            }
            offsets = group.offsets.len();
        })?;
        if offsets > caps::GROUP_OFFSETS_MAX {
            let what = "committed offsets of a group".into();
            return Err(Refusal::Full {
                what,
                max: caps::GROUP_OFFSETS_MAX as u64,
            });
        }
        Ok(Outcome::Done)
    }

    fn check_membership(&self, group: Option<&Group>) -> Result<(), Refusal> {
        if self.generation < 0 && self.member.is_empty() {
            return match group {
                Some(group) if !group.members.is_empty() => {
                    Err(Refusal::Group(GroupRefusal::GroupNotEmpty))
                }
                _ => Ok(()),
            };
        }
        let group = group.ok_or_else(|| GroupRefusal::NoSuchGroup(self.group.clone()))?;
        let member = group.member(&self.member);
        // A member that joined with an instance id must go on naming it, and the other way round.
        if member.is_none_or(|member| self.instance.is_some() && member.instance != self.instance) {
            // Only who is refused pays for the search through all members.
            let is_held = |instance: &&String| {
                let mut members = group.members.iter();
                members.any(|member| member.instance.as_ref() == Some(*instance))
            };
            return Err(match self.instance.as_ref().filter(is_held) {
                Some(instance) => Refusal::Group(GroupRefusal::FencedInstance(instance.clone())),
                None => Refusal::Group(GroupRefusal::UnknownMember(self.member.clone())),
            });
        }
        if self.generation != group.generation {
            return Err(GroupRefusal::WrongGeneration {
                have: group.generation,
            }
            .into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{CompleteGroup, Withdraw};
    use crate::harness::{Cluster, advertise, at, session};
    use crate::{Command, GroupMember, ProposalOutcome, advice};

    fn commit(
        generation: i32,
        member: &str,
        instance: Option<&str>,
        offset: i64,
    ) -> CommitGroupOffsets {
        CommitGroupOffsets {
            group: "g".into(),
            node: NodeId(1),
            generation,
            member: member.into(),
            instance: instance.map(str::to_owned),
            offsets: vec![GroupOffset {
                at: at(7, 0),
                offset,
                leader_epoch: 1,
                metadata: "m".into(),
            }],
            seen: u64::MAX,
        }
    }

    fn member(id: &str, instance: Option<&str>) -> GroupMember {
        GroupMember {
            id: id.into(),
            instance: instance.map(str::to_owned),
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
        }
    }

    fn committed(cluster: &Cluster) -> i64 {
        cluster.state.groups["g"].offsets[&at(7, 0)].offset
    }

    #[test]
    fn negative_offsets_are_kept_and_are_no_place_to_go_on() {
        let mut cluster = Cluster::with_topic("orders", 1);
        for offset in [-1, -2, i64::MIN, i64::MAX, 0] {
            let command = Command::CommitGroupOffsets(commit(-1, "", None, offset));
            assert_eq!(cluster.run(command), Ok(Outcome::Done));
            assert_eq!(committed(&cluster), offset);
            let next = cluster.state.groups["g"].offsets[&at(7, 0)].next();
            assert_eq!(next.is_some(), offset >= 0, "{offset}");
        }
    }

    #[test]
    fn metadata_is_counted_in_characters() {
        let mut cluster = Cluster::with_topic("orders", 1);
        // The verdicts of Apache Kafka 4.3.
        for (text, fits) in [
            ("x".repeat(4096), true),
            ("x".repeat(4097), false),
            ("ä".repeat(4096), true),
            ("ä".repeat(4097), false),
            ("😀".repeat(2048), true),
            ("😀".repeat(2049), false),
        ] {
            let mut command = commit(-1, "", None, 5);
            command.offsets[0].metadata = text;
            let taken = cluster.run(Command::CommitGroupOffsets(command)).is_ok();
            assert_eq!(taken, fits);
        }
    }

    #[test]
    fn anybody_commits_while_the_group_has_no_members() {
        let mut cluster = Cluster::with_topic("orders", 1);
        assert_eq!(
            cluster.run(Command::CommitGroupOffsets(commit(-1, "", None, 5))),
            Ok(Outcome::Done)
        );
        assert_eq!(committed(&cluster), 5);
        let group = &cluster.state.groups["g"];
        assert_eq!(
            (group.generation, group.offsets[&at(7, 0)].committed),
            (0, cluster.now())
        );
    }

    #[test]
    fn only_members_of_the_present_generation_commit() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let complete = CompleteGroup {
            group: "g".into(),
            node: NodeId(1),
            previous: 0,
            generation: 4,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "a".into(),
            members: vec![member("a", None), member("b", Some("s"))],
            brought: vec![1].into(),
        };
        let mut run = |command| cluster.run(Command::CommitGroupOffsets(command));
        assert_eq!(
            run(commit(4, "a", None, 1)),
            Err(Refusal::Group(GroupRefusal::NoSuchGroup("g".into())))
        );
        cluster.run(Command::CompleteGroup(complete)).unwrap();
        let mut run = |command| cluster.run(Command::CommitGroupOffsets(command));
        assert_eq!(
            run(commit(-1, "", None, 1)),
            Err(Refusal::Group(GroupRefusal::GroupNotEmpty))
        );
        assert_eq!(
            run(commit(3, "a", None, 1)),
            Err(Refusal::Group(GroupRefusal::WrongGeneration { have: 4 }))
        );
        assert_eq!(
            run(commit(4, "c", None, 1)),
            Err(Refusal::Group(GroupRefusal::UnknownMember("c".into())))
        );
        assert_eq!(
            run(commit(4, "old", Some("s"), 1)),
            Err(Refusal::Group(GroupRefusal::FencedInstance("s".into())))
        );
        assert_eq!(
            run(commit(4, "a", Some("t"), 1)),
            Err(Refusal::Group(GroupRefusal::UnknownMember("a".into())))
        );
        assert_eq!(run(commit(4, "a", None, 2)), Ok(Outcome::Done));
        assert_eq!(run(commit(4, "b", Some("s"), 3)), Ok(Outcome::Done));
        assert_eq!(committed(&cluster), 3);
    }

    /// A commit that is on its way while another coordinator takes a later one.
    #[test]
    fn a_commit_from_before_another_coordinator_comes_too_late() {
        let mut cluster = Cluster::with_topic("orders", 1);
        cluster.open(2);
        let node = |cluster: &Cluster, id| cluster.state.sessions[&session(id)].node;
        let coordinator = |cluster: &Cluster| {
            let coordinator = advice::coordinator(&cluster.state, "g");
            coordinator.expect("somebody is advertised").node
        };
        let run = |cluster: &mut Cluster, id, offset, seen| {
            let command = CommitGroupOffsets {
                node: node(cluster, id),
                seen,
                ..commit(-1, "", None, offset)
            };
            match cluster.propose(id, vec![Command::CommitGroupOffsets(command)]) {
                ProposalOutcome::Applied(_) => Ok(()),
                ProposalOutcome::Refused { refusal, .. } => Err(refusal),
            }
        };
        let is_first = coordinator(&cluster) == node(&cluster, 1);
        let (early, late) = if is_first { (1, 2) } else { (2, 1) };
        let early_node = node(&cluster, early);
        let too_late = Err(Refusal::Group(GroupRefusal::NotCoordinator(early_node)));
        let seen = cluster.state.n;
        // Nobody hears of the coordinator for a while, and clients go to the other one.
        cluster.live(&[late], 9_000);
        assert_eq!(coordinator(&cluster), node(&cluster, late));
        let now = cluster.state.n;
        assert_eq!(run(&mut cluster, late, 42, now), Ok(()));
        // What it was about to say before is the first that is heard of it again, and what it says next.
        for _ in 0..2 {
            assert_eq!(run(&mut cluster, early, 17, seen), too_late);
            assert_eq!(coordinator(&cluster), early_node);
            assert_eq!(committed(&cluster), 42);
        }
        let now = cluster.state.n;
        assert_eq!(run(&mut cluster, early, 43, now), Ok(()));
        // The other one goes, and comes again: its commits in between count.
        cluster.propose(early, vec![Command::Withdraw(Withdraw {})]);
        let between = cluster.state.n;
        assert_eq!(run(&mut cluster, late, 44, between), Ok(()));
        cluster.propose(early, vec![advertise(9092)]);
        assert_eq!(run(&mut cluster, early, 18, now), too_late);
        assert_eq!(committed(&cluster), 44);
    }

    #[test]
    fn a_commit_copies_no_member() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let complete = CompleteGroup {
            group: "g".into(),
            node: NodeId(1),
            previous: 0,
            generation: 1,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "a".into(),
            members: vec![member("a", None), member("b", None)],
            brought: vec![1; 1_000].into(),
        };
        cluster.run(Command::CompleteGroup(complete)).unwrap();
        // A view shares the group with the state.
        let view = cluster.state.clone();
        cluster
            .run(Command::CommitGroupOffsets(commit(1, "a", None, 5)))
            .unwrap();
        let (before, after) = (&view.groups["g"], &cluster.state.groups["g"]);
        assert!(!Arc::ptr_eq(before, after), "the view stays as it is");
        assert!(Arc::ptr_eq(&before.members, &after.members));
        assert!(Arc::ptr_eq(&before.brought, &after.brought));
    }

    #[test]
    fn one_impossible_offset_refuses_all() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let mut command = commit(-1, "", None, 5);
        command.offsets.push(GroupOffset {
            at: at(7, 1),
            ..command.offsets[0].clone()
        });
        let refused = cluster.run(Command::CommitGroupOffsets(command.clone()));
        assert_eq!(
            refused,
            Err(Refusal::Topic(TopicRefusal::NoSuchPartition(
                at(7, 1).topic,
                at(7, 1).partition
            )))
        );
        command.offsets.pop();
        command.offsets[0].metadata = "m".repeat(5_000);
        assert!(matches!(
            cluster.run(Command::CommitGroupOffsets(command)),
            Err(Refusal::TooLong { .. })
        ));
        assert!(cluster.state.groups.is_empty());
    }
}
