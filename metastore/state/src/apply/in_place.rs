//! Applies entries without a clone for each, for whoever can go back to an older state.
//!
//! Holds: what it gives is what [`State::apply`] gives; where the two could differ, since something
//! failed in the middle, it gives up and leaves the rest to that.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tarn_model::Lsn;

use super::{Applied, Proposal};
use crate::commands::{CommitMode, CommitSegment};
use crate::{Command, Context, FeatureLevel, ProposalOutcome, Refusal, State};

/// Something failed in the middle: the state is not to be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry was applied in part")]
pub struct Spoiled;

impl State {
    /// Applies one entry in place. After an error the caller throws the state away, goes back to an
    /// older one and takes [`State::apply`] from there on.
    pub fn apply_in_place(
        &mut self,
        level_max: FeatureLevel,
        lsn: Lsn,
        bytes: &[u8],
    ) -> Result<Applied, Spoiled> {
        let entry = self.read_next(level_max, lsn, bytes).map_err(|_| Spoiled)?;
        let admission = self.admit(lsn, &entry).map_err(|_| Spoiled)?;
        let mut spoiled = false;
        let applied = self.go_on(
            level_max,
            lsn,
            bytes,
            &entry,
            admission,
            |state, proposal, ctx| {
                match alone(proposal).filter(|_| state.sessions.contains_key(&ctx.session)) {
                    Some(commit) => state.commit_in_place(commit, ctx, &mut spoiled),
                    // Who can fail in the middle works on a clone.
                    None => state.decide(proposal, ctx),
                }
            },
        );
        match applied {
            Ok(applied) if !spoiled => Ok(applied),
            Ok(_) | Err(_) => Err(Spoiled),
        }
    }

    fn commit_in_place(
        &mut self,
        commit: &CommitSegment,
        ctx: &Context,
        spoiled: &mut bool,
    ) -> ProposalOutcome {
        let refused = |refusal| ProposalOutcome::Refused {
            command: 0,
            refusal,
        };
        if let Err(refusal) = commit.admit(self, ctx) {
            return refused(refusal);
        }
        match catch_unwind(AssertUnwindSafe(|| commit.place(self, ctx))) {
            Ok(Ok(outcome)) => ProposalOutcome::Applied(vec![outcome]),
            Ok(Err(_)) | Err(_) => {
                *spoiled = true;
                refused(Refusal::Panicked(super::PANICKED.into()))
            }
        }
    }
}

/// The segment of a proposal that commits one, batch by batch, and nothing else.
fn alone(proposal: &Proposal) -> Option<&CommitSegment> {
    match proposal.commands.as_slice() {
        [Command::CommitSegment(commit)] if commit.mode == CommitMode::Each => Some(commit),
        _ => None,
    }
}
