//! Node sessions: who may propose, and the node ids that outlive them.

use minicbor::{Decode, Encode};
use tarn_model::{
    ClusterTime, Hash, LivenessTime, Monotonic, NodeId, SessionId, Timestamp, caps, defect,
};

use crate::{FeatureLevel, Observed, State};

/// Where clients reach an agent, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Advertised {
    #[n(0)]
    pub host: String,
    #[n(1)]
    pub port: u16,
    /// Kafka calls it a rack.
    #[n(2)]
    pub zone: Option<String>,
}

/// An agent that clients are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Agent {
    #[n(0)]
    pub at: Advertised,
    /// It takes partitions over from then on, one after the other.
    #[n(1)]
    pub since: LivenessTime,
}

/// Another process that would be called the same, and waits until this session is silent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rival {
    /// The last that it tried to open, …
    #[n(0)]
    pub tried: SessionId,
    /// … by its clocks, …
    #[n(1)]
    pub wall: Timestamp,
    #[n(2)]
    pub monotonic: Monotonic,
    /// … and in liveness time.
    #[n(3)]
    pub seen: LivenessTime,
}

/// An open node session.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Session {
    #[n(0)]
    pub node: NodeId,
    /// `None` for a process that serves no Kafka clients: it has no agent, or not yet, or not any more.
    #[n(1)]
    pub agent: Option<Agent>,
    /// The newest level this process can apply.
    #[n(2)]
    pub level_max: FeatureLevel,
    /// Of its last accepted entry.
    #[n(3)]
    pub sequence: u64,
    #[n(4)]
    pub entry_hash: Hash,
    #[n(5)]
    pub wall: Timestamp,
    #[n(6)]
    pub monotonic: Monotonic,
    #[n(7)]
    pub votes: bool,
    /// Liveness time at its last accepted entry.
    #[n(8)]
    pub seen: LivenessTime,
    /// Of the process; no two open sessions have the same.
    #[n(9)]
    pub name: String,
    #[n(10)]
    pub opened_at: ClusterTime,
    #[n(11)]
    pub observed: Option<Observed>,
    #[n(12)]
    pub clock: ClockTrust,
    #[n(13)]
    pub rival: Option<Rival>,
}

/// What a process that is alone thinks of its wall clock, by the newest cluster time that it found when
/// it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ClockTrust {
    #[n(0)]
    Trusted,
    /// More than a day ahead, and less than some months: a machine that was off, or a wrong date. Time
    /// goes on, and nothing is deleted by age while the session is open.
    #[n(1)]
    Ahead,
    /// Behind, or further ahead. It has no vote, also not while nobody else has one: cluster time stands
    /// still then.
    #[n(2)]
    Doubtful,
}

/// What stays of a closed session, for [`tarn_model::caps::TOMBSTONE_ENTRIES`] entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Tombstone {
    /// Its last accepted sequence; 0 if it was never open.
    #[n(0)]
    pub sequence: u64,
    /// The entry that closed it.
    #[n(1)]
    pub closed_at: u64,
}

impl Session {
    /// Has it gone without an entry for so long that it no longer votes and may be expired?
    pub fn is_silent(&self, now: LivenessTime) -> bool {
        now.since(self.seen) >= caps::SESSION_SILENT_AFTER
    }

    /// Has it gone without an entry for so long that clients should rather be sent to others?
    pub fn is_unheard(&self, now: LivenessTime) -> bool {
        now.since(self.seen) >= caps::AGENT_UNHEARD_AFTER
    }
}

impl State {
    /// May cluster time be what makes things go? Not while a process is unsure about its clock.
    pub fn deletes_by_age(&self) -> bool {
        self.sessions
            .values()
            .all(|session| session.clock == ClockTrust::Trusted)
    }

    /// Sessions that anybody may propose to expire.
    pub fn silent_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions
            .iter()
            .filter(|(_, session)| session.is_silent(self.liveness_time))
            .map(|(id, _)| *id)
    }

    /// Before a session counts as seen: has clients' way been through another agent while nobody heard it?
    pub(crate) fn note_agent_heard_again(&mut self, id: SessionId) {
        let silent =
            |session: &Session| session.agent.is_some() && session.is_unheard(self.liveness_time);
        let others = || self.sessions.iter().filter(|(other, _)| **other != id);
        if self.sessions.get(&id).is_some_and(silent)
            && others().any(|(_, other)| other.agent.is_some())
        {
            self.agents_changed = self.n;
        }
    }

    /// Ends a session and leaves a tombstone. An id that was never open gets one too.
    pub(crate) fn close_session(&mut self, id: SessionId, at: u64) -> Option<Session> {
        let closed = self.sessions.remove(&id);
        if closed.as_ref().is_some_and(|it| it.agent.is_some()) {
            self.agents_changed = at;
        }
        let known = closed.as_ref().and_then(|it| self.nodes.get_mut(&it.name));
        if let Some(known) = known {
            known.used = at;
        }
        if defect("no-tombstones") || (closed.is_none() && self.tombstones.contains_key(&id)) {
            return closed;
        }
        let tombstone = Tombstone {
            sequence: closed.as_ref().map_or(0, |session| session.sequence),
            closed_at: at,
        };
        self.tombstones.insert(id, tombstone);
        closed
    }

    /// Drops the tombstones that no entry which could still be accepted is older than.
    pub(crate) fn sweep_tombstones(&mut self) {
        let over: Vec<SessionId> = self
            .tombstones
            .iter()
            .filter(|(_, tombstone)| {
                self.n.saturating_sub(tombstone.closed_at) > caps::TOMBSTONE_ENTRIES
            })
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.tombstones.remove(&id);
        }
    }
}
