//! What the state says about a table, in the form that the decoder takes.

use std::sync::Arc;

use imbl::OrdMap;
use tarn_model::{ClusterTime, Lsn, SchemaFormat, SchemaId};
use tarn_state::{Schema, Table, TopicTable, referenced_schemas};

use crate::{TableShape, WriterSchema};

impl TableShape {
    /// The shape of a topic's table as a state has it, whose schemas these are. Equal for all states between two
    /// changes of its schemas or of its event time.
    pub fn of(all: &OrdMap<SchemaId, Arc<Schema>>, table: &Table, of: &TopicTable) -> TableShape {
        let schemas = of.schemas.iter().filter_map(|(id, registered)| {
            let schema = all.get(id)?;
            Some(WriterSchema {
                schema: Arc::clone(schema),
                needed: referenced_schemas(all, schema),
                registered: *registered,
                unfit: of.unfit.get(id).cloned(),
            })
        });
        let event_times = of.event_times.iter();
        TableShape {
            columns: table.columns.clone(),
            with_value: of.with_value,
            typed_since: of.typed_since(),
            event_times: event_times
                .map(|named| (named.since, named.column.clone()))
                .collect(),
            schemas: schemas.collect(),
        }
    }
}

impl WriterSchema {
    /// A schema that no state has.
    pub fn of_text(
        id: SchemaId,
        guid: [u8; 16],
        format: SchemaFormat,
        text: &str,
        registered: Lsn,
    ) -> WriterSchema {
        let schema = Schema {
            id,
            guid,
            format,
            text: text.to_owned(),
            columns: Vec::new(),
            registered_at: registered,
            registered_time: ClusterTime::default(),
            references: Vec::new(),
        };
        WriterSchema {
            schema: Arc::new(schema),
            needed: Vec::new(),
            registered,
            unfit: None,
        }
    }
}
