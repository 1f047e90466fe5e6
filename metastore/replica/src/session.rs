//! The node session of this process, as its own view and its own memory know it.
//!
//! Holds: a session id is drawn fresh and never used again; the first entry of a session opens it and
//! closes every session this process ever tried to open and has not seen closed, for a late copy of a
//! first entry would open one that nobody looks after; a process whose session was closed proposes
//! under a new one only. What a view tells about an entry whose outcome was not seen in the log is
//! read in one place, [`look`].

use std::collections::BTreeSet;

use tarn_model::{NodeId, SessionId, defect};
use tarn_state::State;
use tarn_state::commands::Closes;

/// Who this process is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) session: SessionId,
    pub(crate) node: NodeId,
}

/// What a view tells about the entry (session, sequence), which it may contain without anybody having
/// seen it pass: it came in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It was applied; its outcome is not known any more.
    Applied,
    /// Not applied in this view, and its session is open: a copy of it may still be.
    Open,
    /// Its session was closed before it was applied: no copy of it ever will be.
    Never,
    /// The view does not know the session: not yet, or not any more.
    NoSession,
}

pub(crate) fn look(view: &State, session: SessionId, sequence: u64) -> Look {
    if let Some(open) = view.sessions.get(&session) {
        return if open.sequence >= sequence {
            Look::Applied
        } else {
            Look::Open
        };
    }
    match view.tombstones.get(&session) {
        Some(closed) if closed.sequence >= sequence => Look::Applied,
        Some(_) => Look::Never,
        None => Look::NoSession,
    }
}

/// The sessions of this process.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) current: SessionId,
    /// Tried before, and not seen closed.
    earlier: BTreeSet<SessionId>,
    /// The one before the current one.
    last: Option<SessionId>,
    /// Nobody else lives: every session is closed when this one opens.
    alone: bool,
}

impl Sessions {
    pub(crate) fn new(first: SessionId, alone: bool) -> Sessions {
        Sessions {
            current: first,
            earlier: BTreeSet::new(),
            last: None,
            alone,
        }
    }

    /// The current session is over or its fate cannot be told: takes a new one.
    pub(crate) fn take_new(&mut self, new: SessionId) {
        self.earlier.insert(self.current);
        self.last = Some(self.current);
        self.current = new;
    }

    /// What the first entry of the current session closes.
    pub(crate) fn closes(&self) -> Closes {
        if self.alone {
            return Closes::All(self.earlier.iter().copied().collect());
        }
        if defect("close-only-last-session") {
            return Closes::Own(self.last.into_iter().collect());
        }
        Closes::Own(self.earlier.iter().copied().collect())
    }

    /// How many were tried and not seen closed, the current one aside.
    pub(crate) fn tried(&self) -> usize {
        self.earlier.len()
    }

    /// The current session was opened, so all earlier ones are closed.
    pub(crate) fn opened(&mut self) {
        self.earlier.clear();
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::ClusterId;
    use tarn_state::Tombstone;

    use super::*;

    fn id(n: u128) -> SessionId {
        SessionId::from_u128(n)
    }

    #[test]
    fn a_new_session_closes_all_that_were_tried_and_not_seen_closed() {
        let mut sessions = Sessions::new(id(1), false);
        assert_eq!(sessions.closes(), Closes::Own(vec![]));
        sessions.take_new(id(2));
        sessions.take_new(id(3));
        assert_eq!(sessions.closes(), Closes::Own(vec![id(1), id(2)]));
        sessions.opened();
        sessions.take_new(id(4));
        assert_eq!(sessions.closes(), Closes::Own(vec![id(3)]));
    }

    #[test]
    fn under_the_lock_of_a_folder_it_closes_all_there_are() {
        let mut sessions = Sessions::new(id(1), true);
        assert_eq!(sessions.closes(), Closes::All(vec![]));
        // No replica may have seen that one, so it is not among those there are.
        sessions.take_new(id(2));
        assert_eq!(sessions.closes(), Closes::All(vec![id(1)]));
    }

    #[test]
    fn a_tombstone_tells_the_fate_and_a_forgotten_session_does_not() {
        let mut state = State::new(ClusterId::from_u128(1));
        state.tombstones.insert(
            id(1),
            Tombstone {
                sequence: 4,
                closed_at: 9,
            },
        );
        assert_eq!(look(&state, id(1), 4), Look::Applied);
        assert_eq!(look(&state, id(1), 5), Look::Never);
        assert_eq!(look(&state, id(2), 1), Look::NoSession);
    }
}
