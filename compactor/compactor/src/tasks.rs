//! The list of this wing's tasks. A new one is its file and its line here; tasks that need more than this
//! wing has are handed to [`crate::start`] beside them.

mod materialize;

use std::sync::Arc;

use tarn_replica::Node;
use tarn_tables::Catalog;

use crate::settings::CompactorSettings;
use crate::task::Task;

pub use materialize::{MaterializeError, MaterializerHandle, start_materializer};

/// Every task of this wing. `catalog` is the process's one.
pub fn all(node: &Node, catalog: &Catalog, settings: &CompactorSettings) -> Vec<Arc<dyn Task>> {
    vec![Arc::new(materialize::Materialize::new(
        node, catalog, settings,
    ))]
}
