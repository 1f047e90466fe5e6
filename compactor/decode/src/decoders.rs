//! The decoders of the tables that a process works on, made once per shape of a table.
//!
//! Holds: asking for one costs a look while the table's columns and schemas stay as they are, whatever
//! else of the table moves, and nothing is parsed here: a schema is compiled when a record first names
//! it, where records are decoded. A new version leaves what was compiled before as it is, unless it
//! changed the columns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use imbl::OrdMap;
use tarn_model::{SchemaId, TableUuid};
use tarn_state::{Schema, Table, TopicTable};

use crate::{Decoder, TableShape};

/// Tables whose decoders are kept. Another costs making one again.
const DECODERS_MAX: usize = 4_096;

/// Decoders by table.
#[derive(Debug, Default)]
pub struct Decoders {
    known: Mutex<BTreeMap<TableUuid, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    /// As it was when it was last asked for.
    table: Arc<Table>,
    decoder: Arc<Decoder>,
}

impl Decoders {
    /// The decoder of a topic's table as a state has it, whose schemas these are.
    pub fn of(
        &self,
        schemas: &OrdMap<SchemaId, Arc<Schema>>,
        table: &Arc<Table>,
        of: &TopicTable,
    ) -> Arc<Decoder> {
        let known = self.known().get(&table.uuid).cloned();
        let decoder = match &known {
            Some(known) if Arc::ptr_eq(&known.table, table) => return Arc::clone(&known.decoder),
            Some(known) if is_same_shape(&known.table, table) => Arc::clone(&known.decoder),
            _ => {
                let before = known.as_ref().map(|known| known.decoder.as_ref());
                Arc::new(Decoder::grown(&TableShape::of(schemas, table, of), before))
            }
        };
        // A query at an older cut must not take the place of the newest shape.
        if known.is_none_or(|known| known.schemas() <= of.schemas.len()) {
            let mut all = self.known();
            let made = Known {
                table: Arc::clone(table),
                decoder: Arc::clone(&decoder),
            };
            all.insert(table.uuid, made);
            if all.len() > DECODERS_MAX
                && let Some(other) = all.keys().find(|uuid| **uuid != table.uuid).copied()
            {
                all.remove(&other);
            }
        }
        decoder
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<TableUuid, Known>> {
        self.known.lock().expect("nobody panics while holding it")
    }
}

impl Known {
    fn schemas(&self) -> usize {
        self.table.of_topic().map_or(0, |of| of.schemas.len())
    }
}

fn is_same_shape(one: &Table, other: &Table) -> bool {
    let (Some(of_one), Some(of_other)) = (one.of_topic(), other.of_topic()) else {
        return false;
    };
    of_one.with_value == of_other.with_value
        && of_one.schemas == of_other.schemas
        && one.columns == other.columns
        && of_one.event_times == of_other.event_times
        && of_one.unfit == of_other.unfit
}
