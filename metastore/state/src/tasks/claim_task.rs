//! Takes a task that nobody works on, or whose holder is gone, silent, or makes no progress.

use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, caps};

use super::refusal::TaskRefusal;
use super::types::{Claim, ClaimEpoch};
use crate::{Context, Outcome, Refusal, State};

/// Of whoever proposes it. A holder that claims again begins anew: its claim before is over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClaimTask {
    /// The same for the same task in all processes.
    #[n(0)]
    pub task: String,
    /// Without progress for so long, in liveness time, another may take it.
    #[n(1)]
    pub patience_ms: u32,
}

impl ClaimTask {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        self.check()?;
        if !state.is_free_for(&self.task, ctx.node, ctx.liveness_time) {
            let holder = state.claims.get(&self.task).map(|claim| claim.node);
            let node = holder.unwrap_or(ctx.node);
            return Err(TaskRefusal::TaskHeld { node }.into());
        }
        if !state.claims.contains_key(&self.task) {
            state.make_room_for_claim(ctx)?;
        }
        let epoch = state.next_claim;
        state.next_claim = ClaimEpoch(epoch.0 + 1);
        let mut claim = Claim {
            node: ctx.node,
            epoch,
            progress: 0,
            deadline: ctx.liveness_time,
            patience_ms: self.patience_ms,
        };
        claim.deadline = ctx.liveness_time.plus(claim.patience());
        state.claims.insert(self.task.clone(), claim);
        Ok(Outcome::TaskClaimed(epoch))
    }

    fn check(&self) -> Result<(), Refusal> {
        let invalid = |why: &str| Err(TaskRefusal::ClaimInvalid(why.to_owned()).into());
        if self.task.len() > caps::CLAIM_TASK_BYTES_MAX {
            let max = ByteSize::bytes(caps::CLAIM_TASK_BYTES_MAX as u64);
            return Err(Refusal::TooLong { max });
        }
        if self.task.is_empty() {
            return invalid("it names no task");
        }
        if self.patience_ms == 0 || u64::from(self.patience_ms) > caps::CLAIM_PATIENCE_MS_MAX {
            return invalid("its patience is zero, or above an hour");
        }
        Ok(())
    }
}

impl State {
    /// A lost claim makes room for a new one when there is none left.
    fn make_room_for_claim(&mut self, ctx: &Context) -> Result<(), Refusal> {
        if self.claims.len() < caps::CLAIMS_MAX {
            return Ok(());
        }
        let mut claims = self.claims.iter();
        let lost = claims.find(|(_, claim)| self.is_lost(claim, ctx.liveness_time));
        let Some(task) = lost.map(|(task, _)| task.clone()) else {
            return Err(Refusal::Full {
                what: "claims".into(),
                max: caps::CLAIMS_MAX as u64,
            });
        };
        self.claims.remove(&task);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
