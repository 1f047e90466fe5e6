//! A process's hold on a task.
//!
//! Holds: at most one node holds a task at a time, and each hold has an epoch that no other hold of any
//! task ever has. It is lost to the next that claims the task as soon as its node is gone or silent, or
//! its deadline has passed, which only progress moves: a process that lives and does nothing keeps nobody
//! from the work. Until somebody claims it, nothing is lost.

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};
use tarn_model::{LivenessTime, NodeId, defect};

use super::refusal::TaskRefusal;
use crate::{Context, Refusal, State};

/// Names one hold of one task, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ClaimEpoch(#[n(0)] pub u64);

impl fmt::Display for ClaimEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who works on a task.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The holder: a node, whose sessions follow one another, so a new session of it goes on.
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub epoch: ClaimEpoch,
    /// How far the holder says it is; only rises.
    #[n(2)]
    pub progress: u64,
    /// Without progress until then another may take it.
    #[n(3)]
    pub deadline: LivenessTime,
    /// How far each step of progress moves the deadline.
    #[n(4)]
    pub patience_ms: u32,
}

impl Claim {
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.into())
    }
}

impl State {
    /// Who holds this task, be it that another may take it.
    pub fn claim(&self, task: &str) -> Option<&Claim> {
        self.claims.get(task)
    }

    /// May `node` claim the task now?
    pub fn is_claimable(&self, task: &str, node: NodeId) -> bool {
        self.is_free_for(task, node, self.liveness_time)
    }

    pub(crate) fn is_free_for(&self, task: &str, node: NodeId, now: LivenessTime) -> bool {
        let claim = self.claims.get(task);
        claim.is_none_or(|claim| claim.node == node || self.is_lost(claim, now))
    }

    pub(crate) fn is_lost(&self, claim: &Claim, now: LivenessTime) -> bool {
        let is_heard = |node| {
            let mut sessions = self.sessions.values();
            sessions.any(|session| session.node == node && !session.is_silent(now))
        };
        if defect("claim-never-taken-over") {
            return false;
        }
        let is_stuck = claim.deadline <= now && !defect("claim-progress-not-asked");
        is_stuck || !is_heard(claim.node)
    }

    /// The claim of this epoch, if it is the task's current one and its holder proposes the command.
    pub(crate) fn held_claim(
        &mut self,
        task: &str,
        epoch: ClaimEpoch,
        ctx: &Context,
    ) -> Result<&mut Claim, Refusal> {
        let claim = self.claims.get_mut(task);
        let claim = claim.ok_or(TaskRefusal::ClaimOver { current: None })?;
        let is_over = claim.epoch != epoch || claim.node != ctx.node;
        if is_over && !defect("claim-without-fence") {
            let current = Some(claim.epoch);
            return Err(TaskRefusal::ClaimOver { current }.into());
        }
        Ok(claim)
    }
}
