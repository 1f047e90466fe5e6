//! Claims: which process works on a task that only one should work on, and until when.

mod claim_task;
mod invariants;
mod refusal;
mod release_claim;
mod renew_claim;
mod section;
mod types;

pub use refusal::TaskRefusal;
pub(crate) use section::SECTIONS;
pub use types::{Claim, ClaimEpoch};

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::claim_task::ClaimTask;
    pub use super::release_claim::ReleaseClaim;
    pub use super::renew_claim::RenewClaim;
}
