//! Deletes an empty group and its offsets.

use minicbor::{Decode, Encode};
use tarn_model::NodeId;

use super::refusal::GroupRefusal;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteGroup {
    #[n(0)]
    pub group: String,
    #[n(1)]
    pub node: NodeId,
}

impl DeleteGroup {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        state.check_coordinator(&self.group, self.node, ctx)?;
        let group = state
            .groups
            .get(&self.group)
            .ok_or_else(|| GroupRefusal::NoSuchGroup(self.group.clone()))?;
        if !group.members.is_empty() {
            return Err(GroupRefusal::GroupNotEmpty.into());
        }
        state.remove_group(&self.group);
        Ok(Outcome::Done)
    }
}
