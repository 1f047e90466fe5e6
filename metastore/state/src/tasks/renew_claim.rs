//! A step of progress of a task's holder: moves the deadline, and fences what stands beside it in its
//! proposal. A holder that lost the task changes nothing.

use minicbor::{Decode, Encode};

use super::refusal::TaskRefusal;
use super::types::ClaimEpoch;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RenewClaim {
    #[n(0)]
    pub task: String,
    #[n(1)]
    pub epoch: ClaimEpoch,
    /// Above what the holder said before, so that a second copy is refused.
    #[n(2)]
    pub progress: u64,
}

impl RenewClaim {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let claim = state.held_claim(&self.task, self.epoch, ctx)?;
        if self.progress <= claim.progress {
            let have = claim.progress;
            return Err(TaskRefusal::NoProgress { have }.into());
        }
        claim.progress = self.progress;
        claim.deadline = ctx.liveness_time.plus(claim.patience());
        Ok(Outcome::Done)
    }
}
