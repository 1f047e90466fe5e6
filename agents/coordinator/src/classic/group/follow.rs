//! What a group takes from the log: all of it where its coordinator is new or another one was at
//! work, and the generations that it proposed itself.

use std::sync::Arc;

use tarn_state::GroupMember;
use tokio::time::Instant;

use crate::error::GroupError;

use super::member::Member;
use super::{Group, Phase, brought, millis};

impl Group {
    /// Takes over what the log has. Everybody gets a full session timeout.
    pub(in crate::classic) fn load(&mut self, logged: &tarn_state::Group, now: Instant) {
        self.refuse_all(GroupError::RebalanceInProgress);
        self.generation = self.generation.max(logged.generation);
        self.logged_generation = logged.generation;
        self.logged_members = Some(Arc::clone(&logged.members));
        self.protocol_type.clone_from(&logged.protocol_type);
        self.protocol.clone_from(&logged.protocol);
        self.leader.clone_from(&logged.leader);
        self.instances.clear();
        self.complete = None;
        let mut brought = brought::read(&logged.brought);
        self.members = logged
            .members
            .iter()
            .map(|member| {
                if let Some(instance) = &member.instance {
                    self.instances.insert(instance.clone(), member.id.clone());
                }
                let session_timeout = millis(member.session_timeout_ms);
                let (protocols, assignment) = brought.remove(&member.id).unwrap_or_default();
                let loaded = Member {
                    instance: member.instance.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    session_timeout,
                    rebalance_timeout: millis(member.rebalance_timeout_ms),
                    protocols,
                    assignment,
                    expires: now + session_timeout,
                    join: None,
                    sync: None,
                    logged: Some(member.id.clone()),
                };
                (member.id.clone(), loaded)
            })
            .collect();
        self.assigned = self
            .members
            .values()
            .map(|member| member.assignment.len())
            .sum();
        self.phase = if self.members.is_empty() {
            Phase::Empty
        } else {
            Phase::Stable
        };
        if self.generation > logged.generation && !self.members.is_empty() {
            // Some were told of a generation that the log never took.
            self.rebalance(now);
        }
    }

    /// Compares with what the log has, and takes it over if another coordinator was at work. Says
    /// whether it was.
    pub(in crate::classic) fn follow(
        &mut self,
        logged: Option<&tarn_state::Group>,
        now: Instant,
    ) -> bool {
        let generation = logged.map_or(0, |logged| logged.generation);
        if generation == self.logged_generation {
            return self.follow_members(logged, now);
        }
        match logged {
            // It was deleted.
            None => {
                self.logged_generation = 0;
                self.logged_members = None;
            }
            // The own proposal, whether its answer is still to come or was never heard.
            Some(logged) if self.proposed == Some(generation) => {
                self.adopt(generation, &logged.members)
            }
            Some(logged) => {
                self.load(logged, now);
                return true;
            }
        }
        false
    }

    /// Of the same generation, members may be gone from the log. This coordinator removes them when
    /// its group is empty; else it was another one, while this task slept.
    fn follow_members(&mut self, logged: Option<&tarn_state::Group>, now: Instant) -> bool {
        let Some(logged) = logged else {
            return false;
        };
        let Some(before) = self.logged_members.replace(Arc::clone(&logged.members)) else {
            return false;
        };
        if Arc::ptr_eq(&before, &logged.members) {
            return false;
        }
        let is_gone = |id: &String| {
            logged.member(id).is_none() && before.iter().any(|member| member.id == *id)
        };
        if !self
            .members
            .values()
            .any(|member| member.logged.as_ref().is_some_and(is_gone))
        {
            return false;
        }
        self.load(logged, now);
        true
    }

    /// The log has the own generation.
    pub(super) fn adopt(&mut self, generation: i32, members: &[GroupMember]) {
        self.logged_generation = generation;
        self.logged_members = None;
        for logged in members {
            if let Some(member) = self.members.get_mut(&logged.id) {
                member.logged = Some(logged.id.clone());
            }
        }
    }
}
