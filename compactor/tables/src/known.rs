//! The newest metadata of a table that this process read or wrote.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use tarn_model::Field;

/// A metadata file that was read or written.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) pointer: String,
    pub(crate) table: Table,
    pub(crate) refs: Refs,
    pub(crate) bytes: u64,
    /// The same with the columns that the state had when it was last loaded.
    pub(crate) grown: Mutex<Option<Grown>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Grown {
    pub(crate) columns: Vec<Field>,
    pub(crate) schema_id: i32,
    pub(crate) table: Table,
}

/// Branches and tags, by name. The crate keeps the map of them to itself.
pub(crate) type Refs = Arc<BTreeMap<String, i64>>;

impl Known {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn metadata(&self) -> &TableMetadata {
        self.table.metadata()
    }

    pub(crate) fn is_newer_than(&self, other: &Known) -> bool {
        let at = |known: &Known| {
            let metadata = known.table.metadata();
            (metadata.last_sequence_number(), metadata.last_updated_ms())
        };
        at(self) >= at(other)
    }

    pub(crate) fn grown(&self, table: &tarn_state::Table) -> Option<Table> {
        let grown = self.grown.lock().expect("nobody panics while holding it");
        let grown = grown.as_ref()?;
        let is_same = grown.schema_id == table.schema_id && grown.columns == table.columns;
        is_same.then(|| grown.table.clone())
    }
}
