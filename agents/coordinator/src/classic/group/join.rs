//! Who comes into a group, and under which id: new members, known ones, and static members that take
//! their predecessor's place.
//!
//! Leaves to others: when everybody has joined (`rebalance`).

use bytes::Bytes;
use tarn_model::caps;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::info;

use crate::classic::message::{Join, JoinAnswer, JoinRefused, Joined, MemberRef};
use crate::error::GroupError;

use super::member::{Member, incarnation};
use super::{Group, Phase};

/// How much of a client id goes into a member id.
const CLIENT_ID_SHOWN: usize = 200;

/// What becomes of a join that is not refused.
enum Admitted {
    Answer(Joined),
    Wait { member: String, rebalance: bool },
}

impl Group {
    pub(in crate::classic) fn join(
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
                if let Some(before) = self.members.await_join(&member, answer) {
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
        if let Err(bytes) = self.has_room(join) {
            let (member, client_id) = (&join.member, &join.client_id);
            let max = caps::GROUP_BYTES_MAX;
            info!(%member, %client_id, bytes, max, "a member brings more than its group may hold");
            return Err(refuse(GroupError::Full));
        }
        if join.member.is_empty() {
            return self.admit_new(now, join);
        }
        if self.promised.remove(&join.member) {
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
        let protocols = std::mem::take(&mut join.protocols);
        self.members.set_protocols(&id, protocols);
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
        self.promised.set(&id, now + join.session_timeout);
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

    fn fits_protocols(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let own = self.members.contains_key(&join.member);
        if self.members.len() == usize::from(own) {
            return true;
        }
        let mut offered = join.protocols.iter();
        self.protocol_type == join.protocol_type
            && offered.any(|(name, _)| self.members.all_offer(name, Some(&join.member)))
    }

    /// What a join takes the place of: the same member's, or its predecessor's.
    pub(in crate::classic) fn bytes_replaced(&self, join: &Join) -> usize {
        let instance = join.instance.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance));
        let holder = holder.filter(|holder| **holder != join.member);
        let own = self.members.bytes_of(&join.member);
        own + holder.map_or(0, |holder| self.members.bytes_of(holder))
    }

    /// Is there room for all that the members bring? Else how much it would be.
    fn has_room(&self, join: &Join) -> Result<(), usize> {
        let others = self.members.bytes() - self.bytes_replaced(join);
        let bytes = others.saturating_add(join.client_id.len() + join.offered());
        if bytes > caps::GROUP_BYTES_MAX {
            return Err(bytes);
        }
        Ok(())
    }
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
