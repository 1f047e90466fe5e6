//! What a group decides: a state machine without I/O, clock or chance, as in Kafka's classic
//! protocol.
//!
//! ```text
//!          join            all here, or the deadline       leader's sync, generation in the log
//! Empty ─────────▶ Joining ─────────────────────▶ Syncing ─────────────────────────────▶ Stable
//!   ▲                ▲  └─ nobody left ─▶ Empty     │  a member comes, goes or is silent    │
//!   └── all gone ────┴───────────────────────────────┴──────────────────────────────────────┘
//! ```
//!
//! Static members (KIP-345): a process that comes back under the same `group.instance.id` takes its
//! predecessor's place without a rebalance and fences it. Its new member id is memory until the next
//! generation. SUBTLE: ids of static members carry an incarnation, so that a coordinator that takes
//! over, and knows the predecessor from the log only, recognizes the successor by its higher number
//! and does not fence it.

pub(super) mod brought;
mod describe;
mod ends;
mod follow;
mod join;
mod member;
mod members;
mod rebalance;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tarn_model::caps;
use tarn_state::{BroughtByMember, GroupMember};
use tokio::time::Instant;
use tracing::info;

use crate::error::GroupError;

use super::message::{Answer, JoinRefused, Joined, JoinedMember, MemberRef, Sync, Synced};
use ends::Ends;
use member::{incarnation, metadata};
use members::Members;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty,
    Joining {
        deadline: Instant,
        /// Of a group's first members: waits for more, until here at most.
        first_until: Option<Instant>,
        /// Somebody new came since the deadline was set.
        grew: bool,
    },
    Syncing {
        deadline: Instant,
        /// The leader has assigned, and the generation is on its way to the log.
        committing: bool,
    },
    Stable,
}

/// A generation to be written to the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Complete {
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: Vec<GroupMember>,
    /// What they brought, in the same order.
    pub(super) brought: Vec<BroughtByMember>,
}

/// One group in its coordinator's memory.
#[derive(Debug)]
pub(super) struct Group {
    phase: Phase,
    /// The newest that anybody was told of.
    generation: i32,
    /// The newest in the log, as far as this coordinator knows …
    logged_generation: i32,
    /// … and its members there, once a view has shown them.
    logged_members: Option<Arc<[GroupMember]>>,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: Members,
    /// Static members' ids by instance.
    instances: BTreeMap<String, String>,
    /// Ids that were handed out and whose members have not joined yet, with their ends.
    promised: Ends,
    initial_delay: Duration,
    /// Set when the leader has assigned; taken by the task, which writes it to the log.
    complete: Option<Complete>,
    /// The newest generation that was proposed.
    proposed: Option<i32>,
    rebalances: u64,
    /// Bytes of all assignments of the present generation.
    assigned: usize,
}

impl Group {
    pub(super) fn new(initial_delay: Duration) -> Group {
        Group {
            phase: Phase::Empty,
            generation: 0,
            logged_generation: 0,
            logged_members: None,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: Members::default(),
            instances: BTreeMap::new(),
            promised: Ends::default(),
            initial_delay,
            complete: None,
            proposed: None,
            rebalances: 0,
            assigned: 0,
        }
    }

    /// What its members brought and were assigned.
    pub(super) fn bytes(&self) -> usize {
        if self.members.is_empty() {
            return 0;
        }
        self.members.bytes() + self.assigned
    }

    pub(super) fn assigned(&self) -> usize {
        self.assigned
    }

    /// Nobody is in it or on the way into it.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.promised.is_empty()
    }

    pub(super) fn take_complete(&mut self) -> Option<Complete> {
        let complete = self.complete.take()?;
        self.proposed = Some(complete.generation);
        Some(complete)
    }

    /// Rebalances that were completed since this was asked last.
    pub(super) fn take_rebalances(&mut self) -> u64 {
        std::mem::take(&mut self.rebalances)
    }

    /// Everybody gets a full session timeout: they could not be heard.
    pub(super) fn renew_all(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.expires = now + member.session_timeout;
        }
        self.promised.not_before(now + PROMISE_MIN);
    }

    pub(super) fn sync(&mut self, now: Instant, sync: Sync, answer: Answer<Synced>) {
        let checked = self.check_sync(&sync);
        let id = match checked {
            Ok(id) => id,
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        let synced = self.synced(&id);
        let is_leader = self.leader == id;
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.expires = now + member.session_timeout;
        match self.phase {
            Phase::Stable => {
                let _ = answer.send(Ok(synced));
            }
            Phase::Syncing {
                deadline,
                committing,
            } => {
                if let Some(before) = member.sync.replace(answer) {
                    let _ = before.send(Err(GroupError::RebalanceInProgress));
                }
                if is_leader && !committing {
                    self.assign(sync.assignments);
                    self.phase = Phase::Syncing {
                        deadline,
                        committing: true,
                    };
                }
            }
            Phase::Empty | Phase::Joining { .. } => {
                let _ = answer.send(Err(GroupError::RebalanceInProgress));
            }
        }
    }

    fn check_sync(&mut self, sync: &Sync) -> Result<String, GroupError> {
        let id = self.find(&sync.member)?;
        if sync.member.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |theirs: &Option<String>, ours: &str| {
            theirs.as_ref().is_some_and(|theirs| theirs != ours)
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let assigned: usize = sync.assignments.iter().map(|(_, bytes)| bytes.len()).sum();
        let offered = self.members.bytes();
        if assigned.saturating_add(offered) > caps::GROUP_BYTES_MAX {
            info!(
                assigned,
                offered,
                max = caps::GROUP_BYTES_MAX,
                "the assignments of a group are too large"
            );
            return Err(GroupError::Full);
        }
        match self.phase {
            Phase::Joining { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Syncing { .. } | Phase::Stable => Ok(id),
        }
    }

    /// The log has taken the generation, or has not.
    pub(super) fn completed(
        &mut self,
        now: Instant,
        complete: &Complete,
        result: Result<(), GroupError>,
    ) {
        if result.is_ok() {
            self.rebalances += 1;
            self.adopt(complete.generation, &complete.members);
        }
        // Something may have happened meanwhile that began the next rebalance.
        let waited = matches!(
            self.phase,
            Phase::Syncing {
                committing: true,
                ..
            }
        );
        if !waited || self.generation != complete.generation {
            return;
        }
        match result {
            Ok(()) => {
                self.phase = Phase::Stable;
                let ids: Vec<String> = self.members.keys().cloned().collect();
                for id in ids {
                    let synced = self.synced(&id);
                    if let Some(member) = self.members.get_mut(&id) {
                        member.expires = now + member.session_timeout;
                        if let Some(waiting) = member.sync.take() {
                            let _ = waiting.send(Ok(synced));
                        }
                    }
                }
            }
            Err(error) => {
                for member in self.members.values_mut() {
                    if let Some(waiting) = member.sync.take() {
                        let _ = waiting.send(Err(error));
                    }
                }
                self.rebalance(now);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, now: Instant, member: &MemberRef) -> Result<(), GroupError> {
        let id = self.find(member)?;
        if member.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if let Some(known) = self.members.get_mut(&id) {
            known.expires = now + known.session_timeout;
        }
        match self.phase {
            Phase::Joining { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Syncing { .. } | Phase::Stable => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, now: Instant, member: &MemberRef) -> Result<(), GroupError> {
        if self.promised.remove(&member.id) {
            self.complete_join(now);
            return Ok(());
        }
        let id = match (&member.instance, member.id.as_str()) {
            // An operator removes a static member by its instance alone.
            (Some(instance), "") => self
                .instances
                .get(instance)
                .cloned()
                .ok_or(GroupError::UnknownMember)?,
            _ => self.find(member)?,
        };
        self.remove(now, &id);
        Ok(())
    }

    /// The id under which the log knows a member that may commit offsets.
    pub(super) fn check_commit(
        &mut self,
        now: Instant,
        member: &MemberRef,
    ) -> Result<String, GroupError> {
        let id = self.find(member)?;
        if member.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let known = self.members.get_mut(&id).expect("it was just found");
        known.expires = now + known.session_timeout;
        match self.phase {
            // Its generation is not in the log yet.
            Phase::Syncing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Empty => Err(GroupError::UnknownMember),
            // Nor is one that was given up before its leader had assigned.
            Phase::Joining { .. } | Phase::Stable if self.generation != self.logged_generation => {
                Err(GroupError::RebalanceInProgress)
            }
            Phase::Joining { .. } | Phase::Stable => {
                known.logged.clone().ok_or(GroupError::RebalanceInProgress)
            }
        }
    }

    /// What has come to its end by now: members, promised ids, joins, syncs.
    pub(super) fn tick(&mut self, now: Instant) {
        self.promised.take_due(now);
        let silent = self.members.silent(now);
        self.remove_all(now, &silent);
        if let Phase::Syncing {
            deadline,
            committing: false,
        } = self.phase
            && deadline <= now
        {
            // Who never asked for its assignment is gone; so is a leader that never assigned.
            let gone: Vec<String> = self
                .members
                .iter()
                .filter(|(_, member)| !member.waits())
                .map(|(id, _)| id.clone())
                .collect();
            self.remove_all(now, &gone);
            if matches!(self.phase, Phase::Syncing { .. }) {
                self.rebalance(now);
            }
        }
        self.complete_join(now);
    }

    /// When [`Group::tick`] may have something to do next.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Joining { deadline, .. }
            | Phase::Syncing {
                deadline,
                committing: false,
            } => Some(deadline),
            Phase::Syncing { .. } | Phase::Empty | Phase::Stable => None,
        };
        let ends = [self.members.next_end(), self.promised.first(), phase];
        ends.into_iter().flatten().min()
    }

    /// Answers everybody who waits; the task ends or begins anew.
    pub(super) fn refuse_all(&mut self, error: GroupError) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(waiting) = self
                .members
                .get_mut(&id)
                .and_then(|member| member.sync.take())
            {
                let _ = waiting.send(Err(error));
            }
            if let Some(waiting) = self.members.take_join(&id) {
                let _ = waiting.send(Err(JoinRefused { error, member: id }));
            }
        }
    }

    /// The present id of a member. A static one's successor, which only the coordinator before knew,
    /// takes its place here.
    fn find(&mut self, member: &MemberRef) -> Result<String, GroupError> {
        if let Some(instance) = &member.instance {
            let known = self
                .instances
                .get(instance)
                .ok_or(GroupError::UnknownMember)?;
            if *known == member.id {
                return Ok(member.id.clone());
            }
            if incarnation(&member.id, instance) <= incarnation(known, instance) {
                return Err(GroupError::FencedInstance);
            }
            let before = known.clone();
            let moved = self
                .members
                .remove(&before)
                .expect("instances name members");
            self.members.insert(member.id.clone(), moved);
            self.instances.insert(instance.clone(), member.id.clone());
            if self.leader == before {
                self.leader.clone_from(&member.id);
            }
            return Ok(member.id.clone());
        }
        if self.members.contains_key(&member.id) {
            Ok(member.id.clone())
        } else {
            Err(GroupError::UnknownMember)
        }
    }

    fn remove(&mut self, now: Instant, id: &str) {
        self.remove_all(now, std::slice::from_ref(&id));
    }

    /// Removes members, and then looks once at what that means for the others.
    fn remove_all<I: AsRef<str>>(&mut self, now: Instant, ids: &[I]) {
        let mut any = false;
        for id in ids {
            any |= self.take_out(id.as_ref());
        }
        if !any {
            return;
        }
        match self.phase {
            Phase::Stable | Phase::Syncing { .. } => self.rebalance(now),
            Phase::Joining { .. } | Phase::Empty => {}
        }
        self.complete_join(now);
    }

    /// Takes a member out and answers what it waits for. Says whether it was there.
    fn take_out(&mut self, id: &str) -> bool {
        let Some(mut member) = self.members.remove(id) else {
            return false;
        };
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if let Some(waiting) = member.join.take() {
            let _ = waiting.send(Err(JoinRefused {
                error: GroupError::UnknownMember,
                member: id.to_owned(),
            }));
        }
        if let Some(waiting) = member.sync.take() {
            let _ = waiting.send(Err(GroupError::UnknownMember));
        }
        true
    }

    /// What a member hears of its join; only the leader hears of the others.
    fn joined(&self, id: &str, skip_assignment: bool) -> Joined {
        let members = if self.leader == id {
            self.members
                .iter()
                .map(|(id, member)| JoinedMember {
                    id: id.clone(),
                    instance: member.instance.clone(),
                    metadata: metadata(member, &self.protocol),
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            member: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment,
            members,
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }
}

/// A promised id lives at least this long after the process was fenced.
const PROMISE_MIN: Duration = Duration::from_secs(10);
fn millis(wire: i32) -> Duration {
    Duration::from_millis(u64::try_from(wire).unwrap_or(0))
}

fn wire_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
