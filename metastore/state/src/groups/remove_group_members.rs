//! Members left or expired. The last one leaves the group empty, with its offsets.
//! A member that is not there is no error: it may never have come into a completed generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::NodeId;

use super::refusal::GroupRefusal;
use crate::{Context, GroupMember, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RemoveGroupMembers {
    #[n(0)]
    pub group: String,
    #[n(1)]
    pub node: NodeId,
    #[n(2)]
    pub members: Vec<String>,
}

impl RemoveGroupMembers {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        state.check_coordinator(&self.group, self.node, ctx)?;
        let group = state
            .groups
            .get(&self.group)
            .ok_or_else(|| GroupRefusal::NoSuchGroup(self.group.clone()))?;
        let gone: BTreeSet<&str> = self.members.iter().map(String::as_str).collect();
        let left: Arc<[GroupMember]> = group
            .members
            .iter()
            .filter(|member| !gone.contains(member.id.as_str()))
            .cloned()
            .collect();
        if group.members.len() == left.len() {
            return Ok(Outcome::Done);
        }
        state.change_group(&self.group, |group| {
            let is_left = left.is_empty();
            let brought = if is_left {
                Arc::default()
            } else {
                Arc::clone(&group.brought)
            };
            group.set_members(left, brought);
            group.changed = ctx.cluster_time;
            if group.member(&group.leader).is_none() {
                group.leader.clear();
            }
            if is_left {
                group.protocol.clear();
            }
        });
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::{CompleteGroup, DeleteGroup};
    use crate::harness::Cluster;

    fn member(id: &str) -> GroupMember {
        GroupMember {
            id: id.into(),
            instance: None,
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
        }
    }

    #[test]
    fn the_last_member_leaves_an_empty_group_that_can_be_deleted() {
        let mut cluster = Cluster::one();
        let remove = |members: &[&str]| {
            let members = members.iter().map(|&id| id.to_owned()).collect();
            Command::RemoveGroupMembers(RemoveGroupMembers {
                group: "g".into(),
                node: NodeId(1),
                members,
            })
        };
        let delete = || {
            Command::DeleteGroup(DeleteGroup {
                group: "g".into(),
                node: NodeId(1),
            })
        };
        assert_eq!(
            cluster.run(remove(&["a"])),
            Err(Refusal::Group(GroupRefusal::NoSuchGroup("g".into())))
        );
        assert_eq!(
            cluster.run(delete()),
            Err(Refusal::Group(GroupRefusal::NoSuchGroup("g".into())))
        );
        let complete = CompleteGroup {
            group: "g".into(),
            node: NodeId(1),
            previous: 0,
            generation: 1,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "a".into(),
            members: vec![member("a"), member("b")],
            brought: vec![1].into(),
        };
        cluster.run(Command::CompleteGroup(complete)).unwrap();
        cluster.run(remove(&["a", "nobody"])).unwrap();
        let group = &cluster.state.groups["g"];
        assert_eq!(
            (group.members.len(), group.leader.as_str(), group.generation),
            (1, "", 1)
        );
        assert_eq!(
            cluster.run(delete()),
            Err(Refusal::Group(GroupRefusal::GroupNotEmpty))
        );
        cluster.run(remove(&["b"])).unwrap();
        assert!(cluster.state.groups["g"].members.is_empty());
        cluster.run(delete()).unwrap();
        assert!(cluster.state.groups.is_empty());
    }
}
