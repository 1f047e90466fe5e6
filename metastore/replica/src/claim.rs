//! A step of progress on a claimed task, as a part of a joint proposal.
//!
//! Holds: what stands beside it in its proposal happens only while the claim is the task's current one,
//! and at most once. A holder that lost the task to another is refused with all that it brings.

use futures::future::{BoxFuture, ready};
use tarn_state::commands::RenewClaim;
use tarn_state::{ClaimEpoch, Command, State};

use crate::joint::{Found, Part};
use crate::outcome::View;

/// The holder of this epoch says that it got so far. It takes one step at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimStep {
    pub task: String,
    pub epoch: ClaimEpoch,
    /// Above that of its last step.
    pub progress: u64,
}

impl ClaimStep {
    fn look(&self, state: &State) -> Found {
        match state.claim(&self.task) {
            Some(claim) if claim.epoch != self.epoch => Found::Untold,
            Some(claim) if claim.progress == self.progress => Found::There,
            Some(claim) if claim.progress < self.progress => Found::NotYet,
            // It may have come before it was lost, released, or passed.
            Some(_) | None => Found::Untold,
        }
    }
}

impl Part for ClaimStep {
    fn commands(&self) -> Vec<Command> {
        vec![Command::RenewClaim(RenewClaim {
            task: self.task.clone(),
            epoch: self.epoch,
            progress: self.progress,
        })]
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        Box::pin(ready(self.look(view)))
    }
}
