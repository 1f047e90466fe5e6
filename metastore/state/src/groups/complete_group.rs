//! A rebalance is over: the leader has assigned, and the new generation stands.
//!
//! Holds: only the group's coordinator says so, and only of the generation that follows the last one.
//! Leaves to others: what members bring, which is bytes here.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, NodeId, caps};

use super::refusal::GroupRefusal;
use crate::{Context, GroupMember, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CompleteGroup {
    #[n(0)]
    pub group: String,
    /// The coordinator that proposes; refused unless it is the one (`crate::advice::coordinator`).
    #[n(1)]
    pub node: NodeId,
    /// Of the generation before; refused if the group has moved on. 0 creates the group.
    #[n(2)]
    pub previous: i32,
    /// Above the previous one. Rebalances that were begun and never completed leave gaps.
    #[n(3)]
    pub generation: i32,
    #[n(4)]
    pub protocol_type: String,
    #[n(5)]
    pub protocol: String,
    #[n(6)]
    pub leader: String,
    #[n(7)]
    pub members: Vec<GroupMember>,
    /// What they brought, see [`crate::BroughtByMember`].
    #[n(8)]
    pub brought: ByteVec,
}

impl CompleteGroup {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        state.check_coordinator(&self.group, self.node, ctx)?;
        let members = self.checked_members()?;
        let have = state
            .groups
            .get(&self.group)
            .map_or(0, |group| group.generation);
        if have != self.previous || self.generation <= have {
            return Err(GroupRefusal::WrongGeneration { have }.into());
        }
        state.change_or_add_group(&self.group, ctx, |group| {
            group.generation = self.generation;
            group.protocol_type.clone_from(&self.protocol_type);
            group.protocol.clone_from(&self.protocol);
            group.leader.clone_from(&self.leader);
            group.set_members(members.into(), self.brought.as_slice().into());
            group.changed = ctx.cluster_time;
        })?;
        Ok(Outcome::GroupGeneration(self.generation))
    }

    /// The members in the order of their ids.
    fn checked_members(&self) -> Result<Vec<GroupMember>, Refusal> {
        if self.members.len() > caps::GROUP_MEMBERS_MAX {
            return Err(Refusal::Full {
                what: "members of a group".into(),
                max: caps::GROUP_MEMBERS_MAX as u64,
            });
        }
        let names = [&self.protocol_type, &self.protocol, &self.leader];
        let too_long = |text: &String| text.len() > caps::NAME_BYTES_MAX;
        if names.into_iter().any(too_long) {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
            });
        }
        for member in &self.members {
            check_member(member)?;
        }
        let mut members = self.members.clone();
        members.sort_by(|one, other| one.id.cmp(&other.id));
        if members
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one.id == other.id))
        {
            return Err(GroupRefusal::GroupInvalid("a member is named twice".into()).into());
        }
        let mut instances: Vec<&str> = members
            .iter()
            .filter_map(|member| member.instance.as_deref())
            .collect();
        instances.sort_unstable();
        if instances
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one == other))
        {
            return Err(GroupRefusal::GroupInvalid("a static member is named twice".into()).into());
        }
        if !members.is_empty() && members.iter().all(|member| member.id != self.leader) {
            return Err(GroupRefusal::GroupInvalid("the leader is no member".into()).into());
        }
        Ok(members)
    }
}

fn check_member(member: &GroupMember) -> Result<(), Refusal> {
    let names = [
        Some(&member.id),
        member.instance.as_ref(),
        Some(&member.client_id),
        Some(&member.client_host),
    ];
    if names
        .into_iter()
        .flatten()
        .any(|name| name.len() > caps::NAME_BYTES_MAX)
    {
        return Err(Refusal::TooLong {
            max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::Cluster;

    fn member(id: &str, instance: Option<&str>) -> GroupMember {
        GroupMember {
            id: id.into(),
            instance: instance.map(str::to_owned),
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
        }
    }

    fn complete(
        previous: i32,
        generation: i32,
        leader: &str,
        members: Vec<GroupMember>,
    ) -> CompleteGroup {
        CompleteGroup {
            group: "g".into(),
            node: NodeId(1),
            previous,
            generation,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: leader.into(),
            members,
            brought: vec![7].into(),
        }
    }

    #[test]
    fn a_generation_follows_the_one_it_names() {
        let mut cluster = Cluster::one();
        let members = || vec![member("b", None), member("a", Some("static"))];
        let mut run = |command| cluster.run(Command::CompleteGroup(command));
        assert_eq!(
            run(complete(1, 2, "a", members())),
            Err(Refusal::Group(GroupRefusal::WrongGeneration { have: 0 }))
        );
        assert_eq!(
            run(complete(0, 3, "a", members())),
            Ok(Outcome::GroupGeneration(3))
        );
        assert_eq!(
            run(complete(0, 4, "a", members())),
            Err(Refusal::Group(GroupRefusal::WrongGeneration { have: 3 }))
        );
        assert_eq!(
            run(complete(3, 3, "a", members())),
            Err(Refusal::Group(GroupRefusal::WrongGeneration { have: 3 }))
        );
        assert_eq!(
            run(complete(3, 5, "b", members())),
            Ok(Outcome::GroupGeneration(5))
        );
        let ids: Vec<_> = cluster.state.groups["g"]
            .members
            .iter()
            .map(|member| member.id.as_str())
            .collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn what_contradicts_itself_or_is_too_long_is_refused() {
        let mut cluster = Cluster::one();
        let mut refused = |leader: &str, members| {
            cluster
                .run(Command::CompleteGroup(complete(0, 1, leader, members)))
                .unwrap_err()
        };
        let invalid = |refusal| matches!(refusal, Refusal::Group(GroupRefusal::GroupInvalid(_)));
        assert!(invalid(refused("c", vec![member("a", None)])));
        assert!(invalid(refused(
            "a",
            vec![member("a", None), member("a", None)]
        )));
        assert!(invalid(refused(
            "a",
            vec![member("a", Some("s")), member("b", Some("s"))]
        )));
        assert!(matches!(
            refused("a", vec![member(&"a".repeat(5_000), None)]),
            Refusal::TooLong { .. }
        ));
    }

    #[test]
    fn only_the_coordinator_completes() {
        let mut cluster = Cluster::one();
        cluster.open(2);
        let coordinator = crate::advice::coordinator(&cluster.state, "g")
            .unwrap()
            .node;
        let other = NodeId(3 - coordinator.0);
        let of = |node| {
            Command::CompleteGroup(CompleteGroup {
                node,
                ..complete(0, 1, "", Vec::new())
            })
        };
        // Neither as itself nor in the coordinator's name.
        for node in [coordinator, other] {
            let outcome = cluster.propose(u128::from(other.0.unsigned_abs()), vec![of(node)]);
            let refusal = Refusal::Group(GroupRefusal::NotCoordinator(node));
            assert_eq!(
                outcome,
                crate::ProposalOutcome::Refused {
                    command: 0,
                    refusal
                }
            );
        }
        let outcome = cluster.propose(
            u128::from(coordinator.0.unsigned_abs()),
            vec![of(coordinator)],
        );
        assert!(matches!(outcome, crate::ProposalOutcome::Applied(_)));
    }
}
