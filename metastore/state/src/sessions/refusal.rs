//! Why a command about sessions refused its proposal; wire codes are chosen from these.

use minicbor::{Decode, Encode};
use tarn_model::{NodeId, SessionId};

#[derive(Debug, Clone, PartialEq, thiserror::Error, Encode, Decode)]
pub enum SessionRefusal {
    #[error("a session with this id is open or was closed")]
    #[n(0)]
    SessionKnown,
    #[error("no open session {0}")]
    #[n(1)]
    NoSuchSession(#[n(0)] SessionId),
    #[error("session {0} was heard of recently")]
    #[n(2)]
    SessionNotSilent(#[n(0)] SessionId),
    #[error("level {0} cannot be applied by every open session, or is not above the present one")]
    #[n(3)]
    LevelRefused(#[n(0)] u16),
    #[error("the name {name:?} is that of node {node}, whose session {session} is open")]
    #[n(4)]
    NodeNameTaken {
        #[n(0)]
        name: String,
        #[n(1)]
        node: NodeId,
        #[n(2)]
        session: SessionId,
    },
}
