//! What always holds of claims.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;
use tarn_model::caps;

use super::types::Claim;
use crate::State;
use crate::invariants::{Check, ensure};

impl State {
    pub(crate) fn check_claims(&self) -> Check {
        ensure(
            "claims-are-few",
            self.claims.len() <= caps::CLAIMS_MAX,
            || format!("{} are held", self.claims.len()),
        )?;
        let mut epochs = BTreeSet::new();
        for (task, claim) in &self.claims {
            self.check_claim(task, claim)?;
            ensure("an-epoch-is-one-hold", epochs.insert(claim.epoch), || {
                format!("{} of {task} is another's too", claim.epoch)
            })?;
        }
        Ok(())
    }

    /// What changed from `before` to `after`.
    pub(crate) fn check_claims_step(before: &State, after: &State) -> Check {
        let numbers = before.next_claim <= after.next_claim;
        ensure("claim-epochs-rise", numbers, || "the next one fell".into())?;
        for change in before.claims.diff(&after.claims) {
            let (task, old, new) = match change {
                DiffItem::Add(task, new) => (task, None, new),
                DiffItem::Update {
                    old: (_, old),
                    new: (task, new),
                } => (task, Some(old), new),
                DiffItem::Remove(..) => continue,
            };
            after.check_claim(task, new)?;
            let goes_on = old.filter(|old| old.epoch == new.epoch);
            let holds = match goes_on {
                Some(old) => old.node == new.node && old.progress < new.progress,
                None => new.epoch >= before.next_claim,
            };
            ensure("an-epoch-is-one-hold", holds, || {
                format!("{task}: from {old:?} to {new:?}")
            })?;
            let is_taken = old.is_some_and(|old| {
                old.epoch != new.epoch
                    && old.node != new.node
                    && !before.is_lost(old, after.liveness_time)
            });
            ensure("claims-are-lost-first", !is_taken, || {
                format!("{task}: from {old:?} to {new:?}")
            })?;
        }
        Ok(())
    }

    fn check_claim(&self, task: &str, claim: &Claim) -> Check {
        let fits = !task.is_empty() && task.len() <= caps::CLAIM_TASK_BYTES_MAX;
        ensure("claims-have-a-task", fits, || task.to_owned())?;
        let is_known = claim.epoch < self.next_claim && claim.node < self.next_node;
        ensure("claims-are-of-a-node", is_known, || {
            format!("{task}: {claim:?}")
        })?;
        let latest = self.liveness_time.plus(claim.patience());
        ensure("claims-end", claim.deadline <= latest, || {
            format!("{task}: {claim:?}")
        })
    }
}
