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

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tarn_model::caps;
use tarn_state::GroupMember;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    Answer, GroupError, Join, JoinAnswer, JoinRefused, Joined, JoinedMember, MemberRef, Sync,
    Synced,
};

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

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    client_id: String,
    client_host: String,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    expires: Instant,
    join: Option<oneshot::Sender<JoinAnswer>>,
    sync: Option<Answer<Synced>>,
    /// The id under which the log knows it, if it does.
    logged: Option<String>,
}

impl Member {
    fn has_joined(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_closed())
    }

    /// Somebody who waits for our answer cannot send heartbeats, and need not.
    fn waits(&self) -> bool {
        self.has_joined() || self.sync.as_ref().is_some_and(|sync| !sync.is_closed())
    }
}

/// A generation to be written to the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Complete {
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: Vec<GroupMember>,
}

/// A group as DescribeGroups and ListGroups show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// In Kafka's words.
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<DescribedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

/// One group in its coordinator's memory.
#[derive(Debug)]
pub(super) struct Group {
    phase: Phase,
    /// The newest that anybody was told of.
    generation: i32,
    /// The newest in the log, as far as this coordinator knows.
    logged_generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Static members' ids by instance.
    instances: BTreeMap<String, String>,
    /// Ids that were handed out and whose members have not joined yet, with their ends.
    promised: BTreeMap<String, Instant>,
    initial_delay: Duration,
    /// Set when the leader has assigned; taken by the task, which writes it to the log.
    complete: Option<Complete>,
    /// The newest generation that was proposed.
    proposed: Option<i32>,
    rebalances: u64,
}

impl Group {
    pub(super) fn new(initial_delay: Duration) -> Group {
        Group {
            phase: Phase::Empty,
            generation: 0,
            logged_generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            promised: BTreeMap::new(),
            initial_delay,
            complete: None,
            proposed: None,
            rebalances: 0,
        }
    }

    /// Takes over what the log has. Everybody gets a full session timeout.
    pub(super) fn load(&mut self, logged: &tarn_state::Group, now: Instant) {
        self.refuse_all(GroupError::RebalanceInProgress);
        self.generation = self.generation.max(logged.generation);
        self.logged_generation = logged.generation;
        self.protocol_type.clone_from(&logged.protocol_type);
        self.protocol.clone_from(&logged.protocol);
        self.leader.clone_from(&logged.leader);
        self.instances.clear();
        self.complete = None;
        self.members = logged
            .members
            .iter()
            .map(|member| {
                if let Some(instance) = &member.instance {
                    self.instances.insert(instance.clone(), member.id.clone());
                }
                let session_timeout = millis(member.session_timeout_ms);
                let protocols = member
                    .protocols
                    .iter()
                    .map(|(name, metadata)| (name.clone(), Bytes::copy_from_slice(metadata)))
                    .collect();
                let loaded = Member {
                    instance: member.instance.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    session_timeout,
                    rebalance_timeout: millis(member.rebalance_timeout_ms),
                    protocols,
                    assignment: Bytes::copy_from_slice(&member.assignment),
                    expires: now + session_timeout,
                    join: None,
                    sync: None,
                    logged: Some(member.id.clone()),
                };
                (member.id.clone(), loaded)
            })
            .collect();
        self.phase = if self.members.is_empty() {
            Phase::Empty
        } else {
            Phase::Stable
        };
    }

    /// Compares with what the log has, and takes it over if another coordinator was at work. Says
    /// whether it was.
    pub(super) fn follow(&mut self, logged: Option<&tarn_state::Group>, now: Instant) -> bool {
        let generation = logged.map_or(0, |logged| logged.generation);
        if generation == self.logged_generation {
            return false;
        }
        match logged {
            // It was deleted.
            None => self.logged_generation = 0,
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

    /// The log has the own generation.
    fn adopt(&mut self, generation: i32, members: &[GroupMember]) {
        self.logged_generation = generation;
        for logged in members {
            if let Some(member) = self.members.get_mut(&logged.id) {
                member.logged = Some(logged.id.clone());
            }
        }
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
        for end in self.promised.values_mut() {
            *end = (*end).max(now + PROMISE_MIN);
        }
    }

    pub(super) fn join(
        &mut self,
        now: Instant,
        mut join: Join,
        answer: oneshot::Sender<JoinAnswer>,
    ) {
        match self.admit(now, &mut join) {
            Ok(Admitted::Answer(joined)) => {
                let _ = answer.send(Ok(joined));
            }
            Ok(Admitted::Wait { member, rebalance }) => {
                if let Some(known) = self.members.get_mut(&member)
                    && let Some(before) = known.join.replace(answer)
                {
                    // The same member asked again, on another connection.
                    let _ = before.send(Err(JoinRefused {
                        error: GroupError::RebalanceInProgress,
                        member,
                    }));
                }
                if rebalance {
                    self.rebalance(now);
                }
                self.complete_join(now);
            }
            Err(refused) => {
                let _ = answer.send(Err(refused));
            }
        }
    }

    /// Finds or makes the member, and says what becomes of its join.
    fn admit(&mut self, now: Instant, join: &mut Join) -> Result<Admitted, JoinRefused> {
        let refuse = |error: GroupError| JoinRefused {
            error,
            member: join.member.clone(),
        };
        if !self.fits_protocols(join) {
            return Err(refuse(GroupError::InconsistentProtocol));
        }
        if join.member.is_empty() {
            return self.admit_new(now, join);
        }
        if self.promised.remove(&join.member).is_some() {
            let id = join.member.clone();
            return self.add(now, id, join);
        }
        let reference = MemberRef {
            id: join.member.clone(),
            instance: join.instance.clone(),
            generation: self.generation,
        };
        let id = self.find(&reference).map_err(refuse)?;
        let is_leader = self.leader == id;
        let member = self.members.get_mut(&id).expect("it was just found");
        let changed = member.protocols != join.protocols;
        member.expires = now + join.session_timeout;
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.protocols = std::mem::take(&mut join.protocols);
        match self.phase {
            Phase::Joining { .. } => Ok(Admitted::Wait {
                member: id,
                rebalance: false,
            }),
            // The answer of its join was lost.
            Phase::Syncing { .. } if !changed => Ok(Admitted::Answer(self.joined(&id, false))),
            Phase::Stable if !changed && !is_leader => {
                Ok(Admitted::Answer(self.joined(&id, false)))
            }
            Phase::Syncing { .. } | Phase::Stable => Ok(Admitted::Wait {
                member: id,
                rebalance: true,
            }),
            Phase::Empty => Err(refuse(GroupError::UnknownMember)),
        }
    }

    fn admit_new(&mut self, now: Instant, join: &mut Join) -> Result<Admitted, JoinRefused> {
        if let Some(instance) = join.instance.clone() {
            return match self.instances.get(&instance).cloned() {
                Some(before) => self.replace(now, &before, join),
                None => {
                    let id = static_id(&instance, 1, join);
                    self.add(now, id, join)
                }
            };
        }
        let id = format!("{}-{}", short(&join.client_id), join.fresh);
        if !join.id_required {
            return self.add(now, id, join);
        }
        if self.promised.len() + self.members.len() >= caps::GROUP_MEMBERS_MAX {
            return Err(GroupError::Full.into());
        }
        self.promised.insert(id.clone(), now + join.session_timeout);
        Err(JoinRefused {
            error: GroupError::MemberIdRequired,
            member: id,
        })
    }

    fn add(&mut self, now: Instant, id: String, join: &mut Join) -> Result<Admitted, JoinRefused> {
        if self.members.len() >= caps::GROUP_MEMBERS_MAX {
            return Err(JoinRefused {
                error: GroupError::Full,
                member: join.member.clone(),
            });
        }
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let member = Member {
            instance: join.instance.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: std::mem::take(&mut join.protocols),
            assignment: Bytes::new(),
            expires: now + join.session_timeout,
            join: None,
            sync: None,
            logged: None,
        };
        self.members.insert(id.clone(), member);
        if let Phase::Joining { grew, .. } = &mut self.phase {
            *grew = true;
            return Ok(Admitted::Wait {
                member: id,
                rebalance: false,
            });
        }
        Ok(Admitted::Wait {
            member: id,
            rebalance: true,
        })
    }

    /// A static member's process came back: it takes its predecessor's place.
    fn replace(
        &mut self,
        now: Instant,
        before: &str,
        join: &mut Join,
    ) -> Result<Admitted, JoinRefused> {
        let instance = join.instance.clone().unwrap_or_default();
        let id = static_id(
            &instance,
            incarnation(before, &instance).saturating_add(1),
            join,
        );
        let mut member = self.members.remove(before).expect("instances name members");
        if let Some(waiting) = member.join.take() {
            let _ = waiting.send(Err(JoinRefused {
                error: GroupError::FencedInstance,
                member: before.to_owned(),
            }));
        }
        if let Some(waiting) = member.sync.take() {
            let _ = waiting.send(Err(GroupError::FencedInstance));
        }
        let changed = member.protocols != join.protocols;
        member.client_id.clone_from(&join.client_id);
        member.client_host.clone_from(&join.client_host);
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.protocols = std::mem::take(&mut join.protocols);
        member.expires = now + join.session_timeout;
        self.members.insert(id.clone(), member);
        self.instances.insert(instance, id.clone());
        let was_leader = self.leader == before;
        if was_leader {
            self.leader.clone_from(&id);
        }
        match self.phase {
            Phase::Stable if !changed => {
                let mut joined = self.joined(&id, was_leader);
                if was_leader && !join.knows_skip {
                    // An older client would assign anew: let it think that another one leads.
                    before.clone_into(&mut joined.leader);
                    joined.skip_assignment = false;
                    joined.members.clear();
                }
                Ok(Admitted::Answer(joined))
            }
            Phase::Joining { .. } => Ok(Admitted::Wait {
                member: id,
                rebalance: false,
            }),
            Phase::Stable | Phase::Syncing { .. } | Phase::Empty => Ok(Admitted::Wait {
                member: id,
                rebalance: true,
            }),
        }
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
        if sync
            .assignments
            .iter()
            .any(|(_, assignment)| assignment.len() > caps::MEMBER_BYTES_MAX)
        {
            return Err(GroupError::InvalidRequest);
        }
        match self.phase {
            Phase::Joining { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Syncing { .. } | Phase::Stable => Ok(id),
        }
    }

    /// The leader has spoken: what it does not name gets nothing.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            // SUBTLE: a copy, since a slice would hold the whole request for as long as the group lives.
            member.assignment = assignments
                .remove(id)
                .map(|bytes| Bytes::copy_from_slice(&bytes))
                .unwrap_or_default();
        }
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
        });
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
        if self.promised.remove(&member.id).is_some() {
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
            Phase::Joining { .. } | Phase::Stable => {
                known.logged.clone().ok_or(GroupError::RebalanceInProgress)
            }
        }
    }

    /// What has come to its end by now: members, promised ids, joins, syncs.
    pub(super) fn tick(&mut self, now: Instant) {
        self.promised.retain(|_, end| *end > now);
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.expires <= now && !member.waits())
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            self.remove(now, &id);
        }
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
            for id in gone {
                self.remove(now, &id);
            }
            if matches!(self.phase, Phase::Syncing { .. }) {
                self.rebalance(now);
            }
        }
        self.complete_join(now);
    }

    /// When [`Group::tick`] has something to do next.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let members = self
            .members
            .values()
            .filter(|member| !member.waits())
            .map(|member| member.expires);
        let phase = match self.phase {
            Phase::Joining { deadline, .. }
            | Phase::Syncing {
                deadline,
                committing: false,
            } => Some(deadline),
            Phase::Syncing { .. } | Phase::Empty | Phase::Stable => None,
        };
        members
            .chain(self.promised.values().copied())
            .chain(phase)
            .min()
    }

    pub(super) fn describe(&self) -> Described {
        let state = match self.phase {
            Phase::Empty => "Empty",
            Phase::Joining { .. } => "PreparingRebalance",
            Phase::Syncing { .. } => "CompletingRebalance",
            Phase::Stable => "Stable",
        };
        let stable = self.phase == Phase::Stable;
        let members = self
            .members
            .iter()
            .map(|(id, member)| DescribedMember {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: if stable {
                    metadata(member, &self.protocol)
                } else {
                    Bytes::new()
                },
                assignment: if stable {
                    member.assignment.clone()
                } else {
                    Bytes::new()
                },
            })
            .collect();
        let protocol = if stable {
            self.protocol.clone()
        } else {
            String::new()
        };
        Described {
            state,
            protocol_type: self.protocol_type.clone(),
            protocol,
            members,
        }
    }

    /// Answers everybody who waits; the task ends or begins anew.
    pub(super) fn refuse_all(&mut self, error: GroupError) {
        for (id, member) in &mut self.members {
            if let Some(waiting) = member.join.take() {
                let _ = waiting.send(Err(JoinRefused {
                    error,
                    member: id.clone(),
                }));
            }
            if let Some(waiting) = member.sync.take() {
                let _ = waiting.send(Err(error));
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

    fn fits_protocols(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let others: Vec<&Member> = self
            .members
            .iter()
            .filter(|(id, _)| **id != join.member)
            .map(|(_, member)| member)
            .collect();
        if others.is_empty() {
            return true;
        }
        self.protocol_type == join.protocol_type
            && join
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|other| offers(other, name)))
    }

    fn remove(&mut self, now: Instant, id: &str) {
        let Some(mut member) = self.members.remove(id) else {
            return;
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
        match self.phase {
            Phase::Stable | Phase::Syncing { .. } => self.rebalance(now),
            Phase::Joining { .. } | Phase::Empty => {}
        }
        self.complete_join(now);
    }

    /// Calls everybody to join again.
    fn rebalance(&mut self, now: Instant) {
        self.complete = None;
        for member in self.members.values_mut() {
            if let Some(waiting) = member.sync.take() {
                let _ = waiting.send(Err(GroupError::RebalanceInProgress));
            }
        }
        let longest = self
            .members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default();
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
    fn complete_join(&mut self, now: Instant) {
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
            let all_here =
                self.promised.is_empty() && self.members.values().all(Member::has_joined);
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
        if !self.members.values().any(Member::has_joined) {
            let longest = self
                .members
                .values()
                .map(|member| member.rebalance_timeout)
                .max()
                .unwrap_or_default();
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
        let longest = self
            .members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default();
        self.phase = Phase::Syncing {
            deadline: now + longest,
            committing: false,
        };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id, false);
            if let Some(member) = self.members.get_mut(&id) {
                member.expires = now + member.session_timeout;
                if let Some(waiting) = member.join.take() {
                    let _ = waiting.send(Ok(joined));
                }
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
                .find(|(name, _)| self.members.values().all(|other| offers(other, name)));
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

/// What becomes of a join that is not refused.
enum Admitted {
    Answer(Joined),
    Wait { member: String, rebalance: bool },
}

/// A promised id lives at least this long after the process was fenced.
const PROMISE_MIN: Duration = Duration::from_secs(10);
/// Static members that are all away are waited for in steps of at least this.
const REJOIN_WAIT_MIN: Duration = Duration::from_secs(1);
/// How much of a client id goes into a member id.
const CLIENT_ID_SHOWN: usize = 200;

fn offers(member: &Member, protocol: &str) -> bool {
    member.protocols.iter().any(|(name, _)| name == protocol)
}

fn metadata(member: &Member, protocol: &str) -> Bytes {
    let offered = member.protocols.iter().find(|(name, _)| name == protocol);
    offered
        .map(|(_, metadata)| metadata.clone())
        .unwrap_or_default()
}

fn short(client_id: &str) -> &str {
    let end = (0..=CLIENT_ID_SHOWN.min(client_id.len()))
        .rev()
        .find(|end| client_id.is_char_boundary(*end));
    client_id.split_at(end.unwrap_or(0)).0
}

fn static_id(instance: &str, incarnation: u32, join: &Join) -> String {
    format!("{instance}-{incarnation}-{}", join.fresh)
}

/// The incarnation in a static member's id; 0 if there is none.
fn incarnation(id: &str, instance: &str) -> u32 {
    id.strip_prefix(instance)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

fn millis(wire: i32) -> Duration {
    Duration::from_millis(u64::try_from(wire).unwrap_or(0))
}

fn wire_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
