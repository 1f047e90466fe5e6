//! Why a command about claims refused its proposal.

use minicbor::{Decode, Encode};
use tarn_model::NodeId;

use super::types::ClaimEpoch;

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum TaskRefusal {
    #[error("node {node} works on the task")]
    #[n(0)]
    TaskHeld {
        #[n(0)]
        node: NodeId,
    },
    /// Fenced: another has the task, or nobody.
    #[error("the claim is over; the task's current one is {current:?}")]
    #[n(1)]
    ClaimOver {
        #[n(0)]
        current: Option<ClaimEpoch>,
    },
    /// A second copy of the command, or a holder that is stuck.
    #[error("the task is at {have} already")]
    #[n(2)]
    NoProgress {
        #[n(0)]
        have: u64,
    },
    #[error("the claim contradicts itself: {0}")]
    #[n(3)]
    ClaimInvalid(#[n(0)] String),
}
