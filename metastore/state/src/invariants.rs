//! Named predicates over a state, checked after each apply in tests and simulation. Each area has its own;
//! this puts them together.
//!
//! [`State::check_invariants`] walks over everything. [`State::check_step`] looks at what changed
//! between two states, which costs what the change cost since they share the rest: `apply` runs it
//! in builds with debug assertions, and the proposer on its own trial in every build.

use tarn_model::caps;

use crate::State;

/// A predicate that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {detail}")]
pub struct BrokenInvariant {
    pub name: &'static str,
    pub detail: String,
}

pub(crate) type Check = Result<(), BrokenInvariant>;

pub(crate) fn broken(name: &'static str, detail: String) -> BrokenInvariant {
    BrokenInvariant { name, detail }
}

pub(crate) fn ensure(name: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Check {
    if holds {
        Ok(())
    } else {
        Err(broken(name, detail()))
    }
}

impl State {
    /// Checks every predicate over the whole state.
    pub fn check_invariants(&self) -> Check {
        self.check_hashes()?;
        self.check_sessions()?;
        self.check_topics()?;
        self.check_groups()?;
        self.check_schemas()?;
        self.check_tables()?;
        self.check_claims()
    }

    /// Checks what changed from `before` to `after`, one entry or one proposal later.
    pub fn check_step(before: &State, after: &State) -> Check {
        ensure(
            "clocks-never-go-back",
            before.cluster_time <= after.cluster_time,
            || {
                format!(
                    "cluster time from {} to {}",
                    before.cluster_time, after.cluster_time
                )
            },
        )?;
        ensure(
            "clocks-never-go-back",
            before.liveness_time <= after.liveness_time,
            || {
                format!(
                    "liveness time from {} to {}",
                    before.liveness_time.0, after.liveness_time.0
                )
            },
        )?;
        after.check_sessions()?;
        State::check_topics_step(before, after)?;
        State::check_tables_step(before, after)?;
        State::check_claims_step(before, after)
    }

    fn check_hashes(&self) -> Check {
        let newest = self.recent_hashes.last();
        let agree = newest.is_none_or(|newest| *newest == (self.log_hash, self.outcome_hash));
        ensure("hashes", agree, || {
            "the newest kept ones are not those of the state".into()
        })?;
        let kept = self.recent_hashes.len() as u64;
        ensure(
            "hashes",
            kept <= caps::LOG_HASHES_KEPT && kept <= self.n,
            || format!("{kept} are kept"),
        )
    }
}

#[cfg(test)]
mod tests;
