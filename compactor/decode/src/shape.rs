//! What the state says about a table, in the form that the decoder takes.

use tarn_state::{State, Table};

use crate::{TableShape, WriterSchema};

impl TableShape {
    /// The shape of a table at a state. Equal for all states between two registrations.
    pub fn of(state: &State, table: &Table) -> TableShape {
        let schemas = table.schemas.iter().filter_map(|(id, registered)| {
            let schema = state.schema(*id)?;
            Some(WriterSchema {
                id: *id,
                guid: schema.guid,
                text: schema.text.clone(),
                references: Vec::new(),
                registered: *registered,
            })
        });
        TableShape {
            columns: table.columns.clone(),
            with_value: table.with_value,
            typed_since: table.typed_since(),
            schemas: schemas.collect(),
        }
    }
}
