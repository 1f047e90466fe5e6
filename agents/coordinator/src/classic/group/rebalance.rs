//! From the call to join again to the next generation.
//!
//! Leaves to others: who may come in (`join`), and the log, in which the generation must stand first.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tarn_state::{BroughtByMember, GroupMember};
use tokio::time::Instant;

use crate::error::GroupError;

use super::member::Member;
use super::{Complete, Group, Phase, wire_millis};

/// Static members that are all away are waited for in steps of at least this.
const REJOIN_WAIT_MIN: Duration = Duration::from_secs(1);

impl Group {
    /// How long members may take to join again: the slowest of them decides.
    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    /// Calls everybody to join again.
    pub(super) fn rebalance(&mut self, now: Instant) {
        self.complete = None;
        for member in self.members.values_mut() {
            if let Some(waiting) = member.sync.take() {
                let _ = waiting.send(Err(GroupError::RebalanceInProgress));
            }
        }
        let longest = self.rebalance_timeout();
        self.phase = match self.phase {
            Phase::Empty => Phase::Joining {
                deadline: now + self.initial_delay.min(longest),
                first_until: Some(now + longest),
                grew: false,
            },
            Phase::Joining { .. } | Phase::Syncing { .. } | Phase::Stable => Phase::Joining {
                deadline: now + longest,
                first_until: None,
                grew: false,
            },
        };
    }

    /// Ends the join if everybody is here, or nobody is waited for any longer.
    pub(super) fn complete_join(&mut self, now: Instant) {
        let Phase::Joining {
            deadline,
            first_until,
            grew,
        } = self.phase
        else {
            return;
        };
        let over = deadline <= now;
        if let Some(until) = first_until {
            if !over {
                return;
            }
            let next = (now + self.initial_delay).min(until);
            if grew && next > now {
                self.phase = Phase::Joining {
                    deadline: next,
                    first_until,
                    grew: false,
                };
                return;
            }
        } else if !over {
            let all_here = self.promised.is_empty() && self.members.have_all_joined();
            if !all_here && !self.members.is_empty() {
                return;
            }
        }
        // Static members that are silent for a moment keep their place until their session ends.
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| !member.has_joined() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.members.remove(&id);
        }
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.leader.clear();
            self.protocol.clear();
            return;
        }
        if !self.members.has_any_joined() {
            let longest = self.rebalance_timeout();
            let wait = longest.max(REJOIN_WAIT_MIN);
            self.phase = Phase::Joining {
                deadline: now + wait,
                first_until: None,
                grew: false,
            };
            return;
        }
        self.begin_generation(now);
    }

    fn begin_generation(&mut self, now: Instant) {
        self.generation = self
            .generation
            .max(self.logged_generation)
            .saturating_add(1);
        self.protocol = self.vote();
        let leader_is_here = self
            .members
            .get(&self.leader)
            .is_some_and(Member::has_joined);
        if !leader_is_here {
            let first = self.members.iter().find(|(_, member)| member.has_joined());
            self.leader = first.map(|(id, _)| id.clone()).unwrap_or_default();
        }
        let longest = self.rebalance_timeout();
        self.phase = Phase::Syncing {
            deadline: now + longest,
            committing: false,
        };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id, false);
            if let Some(member) = self.members.get_mut(&id) {
                member.expires = now + member.session_timeout;
            }
            if let Some(waiting) = self.members.take_join(&id) {
                let _ = waiting.send(Ok(joined));
            }
        }
    }

    /// The protocol that most members like best, of those that all of them offer.
    fn vote(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favorite = member
                .protocols
                .iter()
                .find(|(name, _)| self.members.all_offer(name, None));
            if let Some((name, _)) = favorite {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().max().copied().unwrap_or_default();
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.to_owned())
            .unwrap_or_default()
    }

    /// The leader has spoken: what it does not name gets nothing.
    pub(super) fn assign(&mut self, assignments: Vec<(String, Bytes)>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in self.members.iter_mut() {
            // SUBTLE: a copy, since a slice would hold the whole request for as long as the group lives.
            member.assignment = assignments
                .remove(id)
                .map(|bytes| Bytes::copy_from_slice(&bytes))
                .unwrap_or_default();
        }
        self.assigned = self
            .members
            .values()
            .map(|member| member.assignment.len())
            .sum();
        let members = self
            .members
            .iter()
            .map(|(id, member)| GroupMember {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout_ms: wire_millis(member.session_timeout),
                rebalance_timeout_ms: wire_millis(member.rebalance_timeout),
            })
            .collect();
        let brought = self
            .members
            .iter()
            .map(|(id, member)| BroughtByMember {
                id: id.clone(),
                protocols: member
                    .protocols
                    .iter()
                    .map(|(name, metadata)| (name.clone(), metadata.to_vec().into()))
                    .collect(),
                assignment: member.assignment.to_vec().into(),
            })
            .collect();
        self.complete = Some(Complete {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members,
            brought,
        });
    }
}
