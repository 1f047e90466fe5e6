//! Do replicas agree? Each publishes what it computed, and each compares.

use super::ApplyError;
use crate::State;

/// Sessions that are not silent and whose published outcome hash can be compared with this state's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    pub agree: usize,
    pub differ: usize,
}

impl State {
    /// Compares what sessions that are not silent published with what this state computed there.
    ///
    /// A process whose own session has published nothing yet counts itself besides. When `differ`
    /// is the larger, `apply` stops by itself; when both are equal the process must stop writing.
    pub fn agreement(&self) -> Agreement {
        let mut agreement = Agreement::default();
        for session in self
            .sessions
            .values()
            .filter(|session| !session.is_silent(self.liveness_time))
        {
            let Some(observed) = session.observed else {
                continue;
            };
            match self.hashes_at(observed.n) {
                Some((_, ours)) if ours == observed.outcome_hash => agreement.agree += 1,
                Some(_) => agreement.differ += 1,
                None => {}
            }
        }
        agreement
    }

    /// SUBTLE: `apply` does not know which session is its own process's. It counts itself as one
    /// that agrees if no session does; its own, once it has published, is among those that do.
    pub(super) fn check_divergence(&self) -> Result<(), ApplyError> {
        let Agreement { agree, differ } = self.agreement();
        let agree = agree.max(1);
        if differ > agree {
            return Err(ApplyError::Diverged { differ, agree });
        }
        Ok(())
    }
}
