//! Raises the cluster's feature level, if every open session can apply it.

use minicbor::{Decode, Encode};

use super::refusal::SessionRefusal;
use crate::{Context, FeatureLevel, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RaiseLevel {
    #[n(0)]
    pub level: FeatureLevel,
}

impl RaiseLevel {
    /// SUBTLE: the level that this binary can apply is not asked for, or an older replica would
    /// refuse what a newer one accepts. `State::apply` stops a replica that is left behind.
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let all_can = state
            .sessions
            .values()
            .all(|session| session.level_max >= self.level);
        if self.level <= state.level || !all_can {
            return Err(SessionRefusal::LevelRefused(self.level.0).into());
        }
        state.level = self.level;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Cluster, session};
    use crate::{ApplyError, Command};

    /// The first level that this binary cannot apply.
    const NEXT: FeatureLevel = FeatureLevel(FeatureLevel::NEWEST.0 + 1);

    #[test]
    fn a_level_that_a_session_cannot_apply_is_refused() {
        let mut cluster = Cluster::one();
        for level in [FeatureLevel::NEWEST, NEXT] {
            let refused = cluster.run(Command::RaiseLevel(RaiseLevel { level }));
            assert_eq!(
                refused,
                Err(Refusal::Session(SessionRefusal::LevelRefused(level.0)))
            );
        }
    }

    #[test]
    fn a_replica_that_lacks_the_level_stops() {
        let mut cluster = Cluster::one();
        cluster
            .state
            .sessions
            .get_mut(&session(1))
            .unwrap()
            .level_max = NEXT;
        let before = cluster.state.clone();
        let raise = Command::RaiseLevel(RaiseLevel { level: NEXT });
        let entry = cluster.entry(1, vec![vec![raise]]);
        assert!(matches!(
            cluster.append(&entry),
            Err(ApplyError::Level { needs, .. }) if needs == NEXT.0
        ));
        assert_eq!(cluster.state, before);
    }
}
