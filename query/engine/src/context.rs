//! What the tables of one query share: its cut, and where rows are read from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use tarn_hot::{Cut, HotTier, TableCut};
use tarn_model::TableUuid;
use tarn_runtime::Budget;
use tarn_store::{ChunkCache, Store};
use tarn_tables::Catalog;
use tarn_topics::Reader;

/// The node's store under a name of its own, which no SQL can spell.
const STORE_URL: &str = "tarn://store";

/// What the tables of one query share.
pub(crate) struct QueryContext {
    pub(crate) cut: Cut,
    pub(crate) hot: HotTier,
    pub(crate) tables: Catalog,
    /// For those who read records again.
    pub(crate) reader: Reader,
    /// The node's cache, for table files.
    pub(crate) files: ChunkCache,
    pub(crate) footers: Arc<dyn FileMetadataCache>,
    /// For column chunks of table files.
    pub(crate) scan_memory: Budget,
    /// The tables that are scanned, for the cut that goes with the answer.
    read: Mutex<BTreeMap<TableUuid, TableCut>>,
}

impl fmt::Debug for QueryContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryContext({})", self.cut.lsn())
    }
}

impl QueryContext {
    pub(crate) fn new(
        cut: Cut,
        hot: HotTier,
        tables: Catalog,
        reader: Reader,
        files: ChunkCache,
        footers: Arc<dyn FileMetadataCache>,
        scan_memory: Budget,
    ) -> QueryContext {
        QueryContext {
            cut,
            hot,
            tables,
            reader,
            files,
            footers,
            scan_memory,
            read: Mutex::default(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.tables.store()
    }

    pub(crate) fn store_url() -> ObjectStoreUrl {
        ObjectStoreUrl::parse(STORE_URL).expect("a scheme and an authority are a URL")
    }

    /// Notes that the query reads this table.
    pub(crate) fn reads(&self, cut: &TableCut) {
        self.read
            .lock()
            .expect("nobody panics while holding it")
            .insert(cut.table.uuid, cut.clone());
    }

    pub(crate) fn tables_read(&self) -> Vec<TableCut> {
        self.read
            .lock()
            .expect("nobody panics while holding it")
            .values()
            .cloned()
            .collect()
    }
}
