//! Why a command about groups refused its proposal; wire codes are chosen from these.

use minicbor::{Decode, Encode};
use tarn_model::NodeId;

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum GroupRefusal {
    #[error("there is no group {0:?}")]
    #[n(0)]
    NoSuchGroup(#[n(0)] String),
    #[error("node {0} does not coordinate this group")]
    #[n(1)]
    NotCoordinator(#[n(0)] NodeId),
    #[error("the group's generation is {have}")]
    #[n(2)]
    WrongGeneration {
        #[n(0)]
        have: i32,
    },
    #[error("{0:?} is not a member of the group")]
    #[n(3)]
    UnknownMember(#[n(0)] String),
    #[error("static member {0:?} was replaced by a newer one")]
    #[n(4)]
    FencedInstance(#[n(0)] String),
    #[error("the group has members")]
    #[n(5)]
    GroupNotEmpty,
    #[error("the group's description contradicts itself: {0}")]
    #[n(6)]
    GroupInvalid(#[n(0)] String),
}
