//! Clients are sent to the agent of the process that proposes it, until it is withdrawn.

use minicbor::{Decode, Encode};

use super::types::{Advertised, Agent};
use crate::{Context, Outcome, Refusal, SessionRefusal, State};

/// Goes out when the agent answers, and not before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Advertise {
    #[n(0)]
    pub at: Advertised,
}

impl Advertise {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let session = state.sessions.get_mut(&ctx.session);
        let session = session.ok_or(SessionRefusal::NoSuchSession(ctx.session))?;
        // An agent that moves does not begin anew.
        let since = session.agent.as_ref().map(|agent| agent.since);
        session.agent = Some(Agent {
            at: self.at.clone(),
            since: since.unwrap_or(ctx.liveness_time),
        });
        state.agents_changed = ctx.lsn.n;
        Ok(Outcome::Done)
    }
}
