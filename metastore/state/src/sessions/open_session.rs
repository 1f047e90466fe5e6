//! Opens a node session. Stands alone in the session's first entry, together with the closing of
//! every session this process ever tried to open.
//!
//! Leaves to others: when a session is over that its process has not closed (`expire_session`).

use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, Hash, LivenessTime, NodeId, SessionId, defect};

use super::refusal::SessionRefusal;
use crate::{
    Advertised, ClockTrust, Context, Entry, FeatureLevel, Outcome, Refusal, Session, State,
    Tombstone,
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
    #[n(1)]
    pub agent: Option<Advertised>,
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

    /// Opens the session of an entry that `State::apply` has found to be a session's first. Cluster
    /// time is not known before this, since the new session votes: the caller fills it in.
    pub(crate) fn open(
        &self,
        state: &mut State,
        entry: &Entry,
        entry_hash: Hash,
    ) -> Result<NodeId, Refusal> {
        if self.level_max < state.level {
            return Err(SessionRefusal::LevelRefused(state.level.0).into());
        }
        let mut predecessor: Option<Session> = None;
        for id in self.closing(state) {
            if id == entry.session {
                continue;
            }
            let Some(closed) = state.close_session(id, state.n) else {
                continue;
            };
            let age = |session: &Session| (session.opened_at, session.seen, session.node);
            if predecessor
                .as_ref()
                .is_none_or(|newest| age(newest) < age(&closed))
            {
                predecessor = Some(closed);
            }
        }
        let liveness = state.liveness_time;
        // The same process goes on: its advice does not start from nothing. If its session is closed
        // already, it closed it itself, or others did.
        let before = predecessor
            .map(|predecessor| (predecessor.node, predecessor.opened))
            .or_else(|| self.buried(state));
        let (node, opened) = match before {
            Some(before) => before,
            None => {
                let node = state.next_node;
                let next = node.0.checked_add(1);
                let full = || Refusal::Full {
                    what: "node ids".into(),
                    max: i32::MAX.unsigned_abs().into(),
                };
                state.next_node = NodeId(next.ok_or_else(full)?);
                (node, liveness)
            }
        };
        let session = Session {
            node,
            agent: self.agent.clone(),
            level_max: self.level_max,
            sequence: entry.sequence,
            entry_hash,
            wall: entry.wall,
            monotonic: entry.monotonic,
            votes: entry.votes,
            clock: self.clock,
            seen: liveness,
            opened,
            opened_at: ClusterTime::default(),
            observed: entry.observed,
        };
        state.sessions.insert(entry.session, session);
        Ok(node)
    }

    /// The node of the newest session before that is closed already: of this process, or of
    /// whoever had the folder before.
    fn buried(&self, state: &State) -> Option<(NodeId, LivenessTime)> {
        let newest =
            |tombstone: &&Tombstone| (tombstone.closed_at, tombstone.opened, tombstone.node);
        let before = match &self.closes {
            Closes::Own(ids) => ids
                .iter()
                .filter_map(|id| state.tombstones.get(id))
                .filter(|tombstone| tombstone.node.is_some())
                .max_by_key(newest),
            Closes::All(_) => state
                .tombstones
                .values()
                .filter(|tombstone| tombstone.node.is_some())
                .max_by_key(newest),
        }?;
        let node = before.node?;
        let is_taken = state.sessions.values().any(|session| session.node == node);
        (!is_taken).then_some((node, before.opened))
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
mod tests {
    use super::*;
    use crate::harness::{Cluster, open_command, session};
    use crate::{Command, Ignored, ProposalOutcome};

    #[test]
    fn who_closes_its_predecessor_inherits_its_node_id() {
        let mut cluster = Cluster::one();
        assert_eq!(cluster.open(2), NodeId(2));
        cluster.live(&[1, 2], 6_000);
        let opened = cluster.state.sessions[&session(1)].opened;
        assert_eq!(
            cluster.open_closing(3, Closes::Own(vec![session(1), session(9)])),
            NodeId(1)
        );
        assert_eq!(cluster.state.sessions[&session(3)].opened, opened);
        assert_eq!(cluster.open(4), NodeId(3));
        assert_eq!(cluster.state.tombstones[&session(9)].sequence, 0);
        // A late copy of the first entry of an id that was closed before it came.
        let late = cluster.entry(9, vec![vec![open_command(Closes::Own(Vec::new()))]]);
        assert_eq!(
            cluster.append(&late).unwrap().outcomes,
            Err(Ignored::SessionKnown)
        );
    }

    #[test]
    fn who_closes_all_inherits_the_newest_node_id() {
        let mut cluster = Cluster::one();
        cluster.pass(1_000);
        cluster.open(2);
        let closes = Closes::All(vec![session(1), session(9)]);
        assert_eq!(cluster.open_closing(3, closes), NodeId(2));
        assert_eq!(cluster.state.sessions.len(), 1);
        assert_eq!(cluster.state.tombstones.len(), 3);
        // Nor does a late copy of the first entry of what it had tried before open anything.
        let late = cluster.entry(9, vec![vec![open_command(Closes::All(vec![]))]]);
        assert_eq!(
            cluster.append(&late).unwrap().outcomes,
            Err(Ignored::SessionKnown)
        );
    }

    #[test]
    fn a_node_id_outlives_a_session_that_closed_itself() {
        let close = || Command::CloseSession(crate::commands::CloseSession {});
        let mut cluster = Cluster::one();
        cluster.live(&[1], 60_000);
        let opened = cluster.state.sessions[&session(1)].opened;
        cluster.run(close()).unwrap();
        // On a folder whoever opens it next goes on, however often.
        for id in 2..5 {
            assert_eq!(
                cluster.open_closing(id, Closes::All(vec![])),
                NodeId(1),
                "session {id}"
            );
            assert_eq!(cluster.state.sessions[&session(id)].opened, opened);
            let entry = cluster.entry(id, vec![vec![close()]]);
            cluster.append(&entry).unwrap().outcomes.unwrap();
        }
    }

    #[test]
    fn who_was_expired_by_others_goes_on_as_the_same_node() {
        let mut cluster = Cluster::one();
        assert_eq!(cluster.open(2), NodeId(2));
        cluster.live(&[1], 16_000);
        let expire = Command::ExpireSession(crate::commands::ExpireSession {
            session: session(2),
        });
        cluster.run(expire).unwrap();
        assert_eq!(
            cluster.open_closing(3, Closes::Own(vec![session(2)])),
            NodeId(2)
        );
        // A late copy of that finds the node taken.
        assert_eq!(
            cluster.open_closing(4, Closes::Own(vec![session(2)])),
            NodeId(3)
        );
    }

    #[test]
    fn a_session_opens_once() {
        let mut cluster = Cluster::empty();
        let entry = cluster.entry(1, vec![vec![open_command(Closes::All(vec![]))]]);
        cluster.append(&entry).unwrap().outcomes.unwrap();
        assert_eq!(
            cluster.append(&entry).unwrap().outcomes,
            Err(Ignored::SessionKnown)
        );
        let refused = cluster.run(open_command(Closes::All(vec![])));
        assert_eq!(refused, Err(Refusal::Session(SessionRefusal::SessionKnown)));
        assert_eq!(cluster.state.sessions.len(), 1);
    }

    #[test]
    fn the_opening_stands_alone() {
        let mut cluster = Cluster::one();
        let open = || open_command(Closes::All(vec![]));
        let other = || Command::CloseSession(crate::commands::CloseSession {});
        for proposals in [
            vec![vec![open(), other()]],
            vec![vec![open()], vec![other()]],
            vec![vec![other()]],
            vec![],
        ] {
            let entry = cluster.entry(2, proposals);
            assert_eq!(
                cluster.append(&entry).unwrap().outcomes,
                Err(Ignored::NoSession)
            );
        }
        assert!(cluster.state.sessions.contains_key(&session(1)));
    }

    #[test]
    fn a_process_that_cannot_apply_the_level_opens_no_session() {
        let mut cluster = Cluster::empty();
        let open = OpenSession {
            closes: Closes::All(vec![]),
            agent: None,
            level_max: FeatureLevel(0),
            clock: ClockTrust::Trusted,
        };
        let entry = cluster.entry(1, vec![vec![Command::OpenSession(open)]]);
        let outcomes = cluster.append(&entry).unwrap().outcomes.unwrap();
        let refusal = Refusal::Session(SessionRefusal::LevelRefused(FeatureLevel::NEWEST.0));
        assert_eq!(
            outcomes,
            [ProposalOutcome::Refused {
                command: 0,
                refusal
            }]
        );
        assert!(cluster.state.sessions.is_empty());
    }
}
