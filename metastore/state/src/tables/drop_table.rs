//! Ends a table or a view, and its namespace with the last one in it. Its files stay: they are garbage
//! collection's. The table of a topic goes with its topic; what a deleted topic left may be dropped.

use minicbor::{Decode, Encode};
use tarn_model::TableUuid;

use super::refusal::TableRefusal;
use super::types::TableKind;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DropTable {
    #[n(0)]
    pub uuid: TableUuid,
}

impl DropTable {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let table = state.tables.get(&self.uuid);
        let table = table.ok_or(TableRefusal::NoSuchTable(self.uuid))?;
        match &table.kind {
            TableKind::Topic(of) if of.detached.is_none() => {
                Err(TableRefusal::BelongsToTopic(of.topic).into())
            }
            TableKind::Topic(of) => {
                state.forget_table(of.topic);
                Ok(Outcome::Done)
            }
            TableKind::Plain(_) | TableKind::View(_) => {
                state.remove_table(self.uuid);
                Ok(Outcome::Done)
            }
        }
    }
}
