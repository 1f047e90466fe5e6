//! What a process is told: views, and what became of its proposals and its read barriers.
//!
//! Holds: every failure says whether the proposal may have happened ([`ProposeError::fate`]).

use std::sync::Arc;

use tarn_model::{Fate, Kind, Lsn};
use tarn_state::{Outcome, Refusal, State};

/// An immutable state at an Lsn. Anyone may hold it for as long as they like.
pub type View = Arc<State>;

/// A proposal that was applied.
#[derive(Debug, Clone)]
pub struct Committed {
    pub lsn: Lsn,
    /// One per command.
    pub outcomes: Vec<Outcome>,
    /// A view that contains it, published before this is returned.
    pub view: View,
}

/// A proposal that did not become real, or of which that is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Every replica refused it, or this process before it was written, as what not all of them can read
    /// ([`Refusal::AboveLevel`]): it did not happen.
    #[error("command {command} was refused: {refusal}")]
    Refused { command: u32, refusal: Refusal },
    /// It did not go out, or provably never took effect.
    #[error("the proposal was not made: {why}")]
    NotDone { why: &'static str },
    /// It may have happened, or may still. Look before acting on either.
    #[error("the commit log did not say what became of the proposal: {why}")]
    Unknown { why: &'static str },
    /// The process is stopping or its log has gone back.
    #[error("this process has stopped: {why}")]
    Stopped { why: String },
}

impl ProposeError {
    pub fn kind(&self) -> Kind {
        match self {
            ProposeError::Refused { refusal, .. } if refusal.is_above_level() => Kind::Invalid,
            ProposeError::Refused { .. } => Kind::Conflict,
            ProposeError::NotDone { .. }
            | ProposeError::Unknown { .. }
            | ProposeError::Stopped { .. } => Kind::Unavailable,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            ProposeError::Refused { .. } | ProposeError::NotDone { .. } => Fate::NotDone,
            ProposeError::Unknown { .. } | ProposeError::Stopped { .. } => Fate::Unknown,
        }
    }
}

/// The view could not be shown to be as new as the log's end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BarrierError {
    #[error("the commit log did not answer in time")]
    Deadline,
    #[error("this process has not been heard by the log for too long")]
    Fenced,
    #[error("this process has stopped: {why}")]
    Stopped { why: String },
}
