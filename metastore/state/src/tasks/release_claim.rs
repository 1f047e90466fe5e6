//! A task's holder gives it back: it drains, or there is nothing more to do.

use minicbor::{Decode, Encode};

use super::types::ClaimEpoch;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReleaseClaim {
    #[n(0)]
    pub task: String,
    #[n(1)]
    pub epoch: ClaimEpoch,
}

impl ReleaseClaim {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        state.held_claim(&self.task, self.epoch, ctx)?;
        state.claims.remove(&self.task);
        Ok(Outcome::Done)
    }
}
