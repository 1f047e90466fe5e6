//! A command of a level that no release has, in builds with debug assertions only: what tests rehearse an
//! upgrade with. It does nothing.

use minicbor::{Decode, Encode};

use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rehearse {}

impl Rehearse {
    pub(crate) fn apply(&self, _state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        Ok(Outcome::Done)
    }
}

pub(crate) mod commands {
    pub(crate) use super::Rehearse;
}
