//! The state that a replica builds, entry by entry, and the view that it can go back to.
//!
//! Holds: entries between two views are applied in place, so that what they touch is copied once for
//! all of them; where one fails in the middle, they are applied again from the view on with a copy
//! for each, so that it fails alone, alike on every replica.

use std::sync::Arc;

use bytes::Bytes;
use tarn_model::Lsn;
use tarn_state::{Applied, ApplyError, FeatureLevel, State};

use crate::outcome::View;

#[derive(Debug)]
pub(crate) struct Fold {
    /// What this process can apply.
    level_max: FeatureLevel,
    state: State,
    view: View,
    /// Applied since the view.
    since: Vec<(Lsn, Bytes)>,
    /// How often all since the view was applied again.
    #[cfg(test)]
    again: usize,
}

impl Fold {
    pub(crate) fn new(state: State, level_max: FeatureLevel) -> Fold {
        Fold {
            level_max,
            view: Arc::new(state.clone()),
            state,
            since: Vec::new(),
            #[cfg(test)]
            again: 0,
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The state as it is now, as a view.
    pub(crate) fn cut(&mut self) -> View {
        self.since.clear();
        self.view = Arc::new(self.state.clone());
        Arc::clone(&self.view)
    }

    /// Applies the next entry. On an error the state is as it was.
    pub(crate) fn apply(&mut self, lsn: Lsn, bytes: &Bytes) -> Result<Applied, ApplyError> {
        let checked = cfg!(debug_assertions).then(|| {
            // What `apply` checks of each step in these builds is checked here too.
            let mut careful = self.state.clone();
            let applied = careful.apply_up_to(self.level_max, lsn, bytes);
            (careful, applied)
        });
        let applied = match self.state.apply_in_place(self.level_max, lsn, bytes) {
            Ok(applied) => Ok(applied),
            Err(_) => self.apply_with_care(lsn, bytes),
        };
        if let Some((careful, expected)) = checked {
            match (&applied, expected) {
                (Ok(applied), Ok(expected)) => assert_eq!(*applied, expected, "at {lsn}"),
                (_, Err(error)) => {
                    self.state = careful;
                    return Err(error);
                }
                (Err(_), Ok(_)) => unreachable!("both are the same after a failure"),
            }
            assert_eq!(self.state.outcome_hash, careful.outcome_hash, "at {lsn}");
        }
        if applied.is_ok() {
            self.since.push((lsn, bytes.clone()));
        }
        applied
    }

    fn apply_with_care(&mut self, lsn: Lsn, bytes: &Bytes) -> Result<Applied, ApplyError> {
        #[cfg(test)]
        {
            self.again += 1;
        }
        self.state = State::clone(&self.view);
        for (lsn, bytes) in &self.since {
            self.state.apply_up_to(self.level_max, *lsn, bytes)?;
        }
        self.state.apply_up_to(self.level_max, lsn, bytes)
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, Generation, Hash, Monotonic, SessionId, Timestamp};
    use tarn_state::commands::{Closes, OpenSession};
    use tarn_state::{ClockTrust, Command, Entry, FeatureLevel, Proposal};

    use super::*;
    use crate::follower::sha256;

    /// The next entry of the only process: it opens its session, or does nothing.
    fn entry(state: &State, last: Option<&Bytes>) -> Bytes {
        let open = OpenSession {
            closes: Closes::Own(Vec::new()),
            name: "a".to_owned(),
            level_max: FeatureLevel::NEWEST,
            clock: ClockTrust::Trusted,
        };
        let entry = Entry {
            cluster: state.cluster,
            generation: Generation::FIRST,
            session: SessionId::from_u128(1),
            sequence: state.n + 1,
            previous: last.map_or(Hash::ZERO, |bytes| sha256(bytes)),
            applied: state.n,
            applied_hash: state.log_hash,
            wall: Timestamp(1_700_000_000_000),
            monotonic: Monotonic(1_000),
            votes: true,
            level: state.level,
            observed: None,
            proposals: match last {
                None => vec![Proposal::of(vec![Command::OpenSession(open)])],
                Some(_) => Vec::new(),
            },
        };
        tarn_model::encode(&entry).into()
    }

    #[test]
    fn nothing_is_applied_again_unless_something_fails() {
        let mut fold = Fold::new(State::new(ClusterId::from_u128(1)), FeatureLevel::NEWEST);
        let mut last = None;
        for _ in 0..10 {
            let next = entry(fold.state(), last.as_ref());
            let lsn = fold.state().lsn().next();
            fold.apply(lsn, &next).expect("it is the next entry");
            last = Some(next);
        }
        assert_eq!((fold.state().n, fold.again), (10, 0));
        let lsn = fold.state().lsn().next();
        let damaged = fold.apply(lsn, &Bytes::from_static(b"no entry"));
        assert!(damaged.is_err());
        assert_eq!((fold.state().n, fold.again), (10, 1));
    }

    #[test]
    fn what_cannot_be_applied_leaves_the_state_as_it_was() {
        let mut fold = Fold::new(State::new(ClusterId::from_u128(1)), FeatureLevel::NEWEST);
        let before = fold.state().clone();
        let lsn = Lsn::new(Generation::FIRST, 1);
        assert!(fold.apply(lsn, &Bytes::from_static(b"no entry")).is_err());
        assert_eq!(*fold.state(), before);
        assert_eq!(*fold.cut(), before);
    }
}
