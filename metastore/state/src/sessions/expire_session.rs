//! Closes a session that fell silent. Any process proposes it; `apply` checks again.

use minicbor::{Decode, Encode};
use tarn_model::SessionId;

use super::refusal::SessionRefusal;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExpireSession {
    #[n(0)]
    pub session: SessionId,
}

impl ExpireSession {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let session = state
            .sessions
            .get(&self.session)
            .ok_or(SessionRefusal::NoSuchSession(self.session))?;
        if !session.is_silent(ctx.liveness_time) {
            return Err(SessionRefusal::SessionNotSilent(self.session).into());
        }
        state.close_session(self.session, ctx.lsn.n);
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::{Cluster, session};

    #[test]
    fn only_a_silent_session_expires_and_only_once() {
        let mut cluster = Cluster::one();
        cluster.open(2);
        let expire = |id| {
            Command::ExpireSession(ExpireSession {
                session: session(id),
            })
        };
        cluster.live(&[1], 12_000);
        assert_eq!(
            cluster.run(expire(2)),
            Err(Refusal::Session(SessionRefusal::SessionNotSilent(session(
                2
            ))))
        );
        cluster.live(&[1], 3_000);
        assert_eq!(
            cluster.state.silent_sessions().collect::<Vec<_>>(),
            [session(2)]
        );
        assert_eq!(cluster.run(expire(2)), Ok(Outcome::Done));
        assert!(cluster.state.tombstones.contains_key(&session(2)));
        assert_eq!(
            cluster.run(expire(2)),
            Err(Refusal::Session(SessionRefusal::NoSuchSession(session(2))))
        );
        assert_eq!(
            cluster.run(expire(1)),
            Err(Refusal::Session(SessionRefusal::SessionNotSilent(session(
                1
            ))))
        );
    }
}
