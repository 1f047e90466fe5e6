//! The state that a replica builds, entry by entry, and the view that it can go back to.
//!
//! Holds: entries between two views are applied in place, so that what they touch is copied once for
//! all of them; where one fails in the middle, they are applied again from the view on with a copy
//! for each, so that it fails alone, alike on every replica.

use std::sync::Arc;

use bytes::Bytes;
use tarn_model::Lsn;
use tarn_state::{Applied, ApplyError, State};

use crate::metastore::View;

#[derive(Debug)]
pub(crate) struct Fold {
    state: State,
    view: View,
    /// Applied since the view.
    since: Vec<(Lsn, Bytes)>,
}

impl Fold {
    pub(crate) fn new(state: State) -> Fold {
        Fold {
            view: Arc::new(state.clone()),
            state,
            since: Vec::new(),
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
            let applied = careful.apply(lsn, bytes);
            (careful, applied)
        });
        let applied = match self.state.apply_in_place(lsn, bytes) {
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
        self.state = State::clone(&self.view);
        for (lsn, bytes) in &self.since {
            self.state.apply(*lsn, bytes)?;
        }
        self.state.apply(lsn, bytes)
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, Generation};

    use super::*;

    #[test]
    fn what_cannot_be_applied_leaves_the_state_as_it_was() {
        let mut fold = Fold::new(State::new(ClusterId::from_u128(1)));
        let before = fold.state().clone();
        let lsn = Lsn::new(Generation::FIRST, 1);
        assert!(fold.apply(lsn, &Bytes::from_static(b"no entry")).is_err());
        assert_eq!(*fold.state(), before);
        assert_eq!(*fold.cut(), before);
    }
}
