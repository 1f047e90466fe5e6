//! What became of a command, and of the proposal it stands in. The bytes of these go into the outcome hash
//! that replicas compare.

use minicbor::{Decode, Encode};
use tarn_model::{NodeId, ProducerId, SchemaId, TopicId};

use crate::refusal::Refusal;
use crate::tasks::ClaimEpoch;
use crate::topics::BatchOutcome;

/// What a command that was applied answers.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Outcome {
    #[n(0)]
    Done,
    #[n(1)]
    SessionOpened(#[n(0)] NodeId),
    #[n(2)]
    TopicCreated(#[n(0)] TopicId),
    /// Per extent of the command, per batch of the extent, in the command's order.
    #[n(3)]
    SegmentCommitted(#[n(0)] Vec<Vec<BatchOutcome>>),
    #[n(4)]
    ProducerId(#[n(0)] ProducerId),
    #[n(5)]
    GroupGeneration(#[n(0)] i32),
    #[n(6)]
    SchemaRegistered {
        #[n(0)]
        id: SchemaId,
        #[n(1)]
        version: u32,
    },
    #[n(7)]
    SchemaVersionsDeleted(#[n(0)] Vec<u32>),
    #[n(8)]
    TaskClaimed(#[n(0)] ClaimEpoch),
}

/// A proposal was applied whole, with an outcome per command, or refused whole.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum ProposalOutcome {
    #[n(0)]
    Applied(#[n(0)] Vec<Outcome>),
    #[n(1)]
    Refused {
        /// Index of the command that refused.
        #[n(0)]
        command: u32,
        #[n(1)]
        refusal: Refusal,
    },
}
