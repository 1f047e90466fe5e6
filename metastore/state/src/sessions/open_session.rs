//! Opens a node session. Stands alone in the session's first entry, together with the closing of
//! every session this process ever tried to open.
//!
//! Holds: the same name has the same node id (`nodes`), and one open session: whoever comes second is refused
//! until the first is closed or silent. Who closes a session of its own goes on as the agent that it was;
//! else clients are sent to nobody who has not said that it answers (`advertise`).
//! Leaves to others: when a session is over that its process has not closed (`expire_session`).

use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, ClusterTime, Hash, NodeId, SessionId, caps, defect};

use super::refusal::SessionRefusal;
use super::types::Rival;
use crate::{
    ClockTrust, Context, Entry, FeatureLevel, Outcome, ProposalOutcome, Refusal, Session, State,
};

/// Sessions that end here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Closes {
    /// Those this process tried to open and has not seen closed. An id that was never open gets a
    /// tombstone, so that a late copy of its first entry opens nothing.
    #[n(0)]
    Own(#[n(0)] Vec<SessionId>),
    /// All that are open, for the process holds the lock of the only folder there is, so nobody else
    /// lives; and those, as above.
    #[n(1)]
    All(#[n(0)] Vec<SessionId>),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpenSession {
    #[n(0)]
    pub closes: Closes,
    /// Of the process: the same name has the same node id.
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub level_max: FeatureLevel,
    #[n(3)]
    pub clock: ClockTrust,
}

impl OpenSession {
    /// In any entry but a session's first the session is open already.
    pub(crate) fn apply(&self, _state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        Err(Refusal::Session(SessionRefusal::SessionKnown))
    }

    /// Opens the session of an entry that `State::apply` has found to be a session's first.
    pub(crate) fn decide(
        &self,
        state: &mut State,
        entry: &Entry,
        entry_hash: Hash,
    ) -> ProposalOutcome {
        match self.open(state, entry, entry_hash) {
            Ok(node) => {
                // The new session votes.
                state.advance_cluster_time();
                let opened_at = state.cluster_time;
                let session = state.sessions.get_mut(&entry.session);
                session.expect("it was just opened").opened_at = opened_at;
                ProposalOutcome::Applied(vec![Outcome::SessionOpened(node)])
            }
            Err(refusal) => ProposalOutcome::Refused {
                command: 0,
                refusal,
            },
        }
    }

    /// A refused opening changes nothing, but that it may move liveness time.
    fn open(&self, state: &mut State, entry: &Entry, entry_hash: Hash) -> Result<NodeId, Refusal> {
        if self.level_max < state.level {
            return Err(SessionRefusal::LevelRefused(state.level.0).into());
        }
        if self.name.len() > caps::NODE_NAME_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::NODE_NAME_BYTES_MAX as u64),
            });
        }
        let mut closing = self.closing(state);
        closing.retain(|id| *id != entry.session);
        closing.extend(self.silent_namesake(state, &closing, entry)?);
        let node = state.node_named(&self.name)?;
        let mut agent = None;
        for id in closing {
            let closed = state.close_session(id, state.n);
            // The same process goes on, and its agent has answered all the time.
            let own = closed.filter(|closed| closed.node == node && self.tried().contains(&id));
            agent = own.and_then(|own| own.agent).or(agent);
        }
        let session = Session {
            node,
            agent,
            level_max: self.level_max,
            sequence: entry.sequence,
            entry_hash,
            wall: entry.wall,
            monotonic: entry.monotonic,
            votes: entry.votes,
            clock: self.clock,
            seen: state.liveness_time,
            name: self.name.clone(),
            opened_at: ClusterTime::default(),
            observed: entry.observed,
            rival: None,
        };
        state.sessions.insert(entry.session, session);
        Ok(node)
    }

    /// Another session of this name, which may be closed because it is silent. One that is not refuses this.
    ///
    /// SUBTLE: whoever is refused lives, too, and its attempts move liveness time: when all processes were
    /// killed, and all wait for the sessions they had, nobody else does. Two that wait for one name forget each
    /// other's attempts, and get on only when one of them tries twice in a row, by chance.
    fn silent_namesake(
        &self,
        state: &mut State,
        closing: &[SessionId],
        entry: &Entry,
    ) -> Result<Option<SessionId>, Refusal> {
        let mut open = state.sessions.iter();
        let namesake = open.find(|(id, it)| it.name == self.name && !closing.contains(id));
        let Some((id, rival)) = namesake.map(|(id, it)| (*id, it.rival.clone())) else {
            return Ok(None);
        };
        if let Some(last) = rival.filter(|last| self.tried().contains(&last.tried)) {
            state.live_on(last.seen, last.wall, last.monotonic, entry);
        }
        let seen = state.liveness_time;
        let namesake = state.sessions.get_mut(&id).expect("it was just found");
        if namesake.is_silent(seen) {
            return Ok(Some(id));
        }
        namesake.rival = Some(Rival {
            tried: entry.session,
            wall: entry.wall,
            monotonic: entry.monotonic,
            seen,
        });
        Err(SessionRefusal::NodeNameTaken {
            name: self.name.clone(),
            node: namesake.node,
            session: id,
        }
        .into())
    }

    /// Sessions that this very process tried before.
    fn tried(&self) -> &[SessionId] {
        let (Closes::Own(tried) | Closes::All(tried)) = &self.closes;
        tried
    }

    fn closing(&self, state: &State) -> Vec<SessionId> {
        let mut ids = match &self.closes {
            Closes::Own(ids) => ids.clone(),
            Closes::All(tried) => {
                let mut open: Vec<_> = state
                    .sessions
                    .iter()
                    .map(|(id, session)| (session.opened_at, session.seen, *id))
                    .collect();
                open.sort_unstable();
                let open = open.into_iter().map(|(_, _, id)| id);
                tried.iter().copied().chain(open).collect()
            }
        };
        if defect("close-only-last-session") {
            ids.drain(..ids.len().saturating_sub(1));
        }
        ids
    }
}

#[cfg(test)]
mod tests;
