//! Loads a topic's table as Iceberg sees it.
//!
//! Holds: what [`Catalog::load`] gives has the columns of the state that was asked for. A table
//! without a pointer gives fresh metadata that no file holds yet; one whose columns have grown since
//! its last commit gives the file's metadata with the new schema added, in memory. The next commit
//! writes either down.
//!
//! Metadata is built and changed as its JSON: Iceberg's specification of it is stable, while the
//! crate's builder would give new tables other field ids and take times and uuids of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use iceberg::io::FileIO;
use iceberg::spec::{Schema, TableMetadata, TableMetadataRef};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableIdent};
use serde_json::{Value, json};
use tarn_model::Kind;
use tarn_replica::Node;
use tarn_store::{Path, Store, StoreError, paths};

use crate::columns::{
    FIRST_PARTITION_FIELD_ID, event_time_column, free_partition_name, table_schema,
};
use crate::storage;

/// Tables whose metadata is kept; the one that was not asked for longest goes.
const CACHED_TABLES_MAX: usize = 32;
/// Manifests kept in memory per cached table.
const CACHED_MANIFEST_BYTES: u64 = 4 << 20;

/// The tables of a store, by what the state says of them. Clones share the cache.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    file_io: FileIO,
    /// Does a cached table keep the manifests it has read?
    keeps_manifests: bool,
    /// As the files have them, newest use last.
    cached: Mutex<VecDeque<(String, Table)>>,
}

/// A table, ready to be scanned or added to.
#[derive(Debug, Clone)]
pub struct Loaded {
    table: Table,
    pointer: Option<String>,
    folder: Path,
}

/// The table cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the metadata of table {table}: {source}")]
    Metadata {
        table: String,
        source: Box<iceberg::Error>,
    },
    #[error("the metadata file of table {table}: {source}")]
    Store { table: String, source: StoreError },
    #[error("the metadata of table {table} is not Iceberg's: {source}")]
    Json {
        table: String,
        source: serde_json::Error,
    },
}

fn metadata_error(table: String, source: iceberg::Error) -> LoadError {
    LoadError::Metadata {
        table,
        source: Box::new(source),
    }
}

impl LoadError {
    pub fn kind(&self) -> Kind {
        match self {
            LoadError::Store { source, .. } => source.kind(),
            LoadError::Metadata { source, .. } if source.retryable() => Kind::Unavailable,
            LoadError::Metadata { .. } | LoadError::Json { .. } => Kind::Corrupt,
        }
    }
}

impl Loaded {
    /// For scans: `table().scan()`, `table().metadata()`.
    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn metadata(&self) -> &TableMetadata {
        self.table.metadata()
    }

    pub fn metadata_ref(&self) -> TableMetadataRef {
        self.table.metadata_ref()
    }

    pub fn file_io(&self) -> &FileIO {
        self.table.file_io()
    }

    /// URL of the metadata file that this was read from; `None` if there is none yet.
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// URL of the table's folder.
    pub fn location(&self) -> &str {
        self.table.metadata().location()
    }

    /// The table's folder in the store.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The metadata as Iceberg's REST catalog sends it.
    pub fn metadata_json(&self) -> Value {
        serde_json::to_value(self.metadata()).expect("table metadata is JSON")
    }
}

impl Catalog {
    pub fn new(node: &Node) -> Catalog {
        // SUBTLE: the cache that `iceberg` keeps tidies up by the real clock, which moves the turns
        // of other tasks: two simulations of one seed would part.
        Catalog::with(&node.store, !node.runtime.is_simulated())
    }

    pub fn over(store: &Store) -> Catalog {
        Catalog::with(store, true)
    }

    fn with(store: &Store, keeps_manifests: bool) -> Catalog {
        Catalog {
            inner: Arc::new(Inner {
                store: store.clone(),
                file_io: storage::file_io(store),
                keeps_manifests,
                cached: Mutex::default(),
            }),
        }
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub fn file_io(&self) -> &FileIO {
        &self.inner.file_io
    }

    /// The table as the state has it, for readers.
    pub async fn load(&self, table: &tarn_state::Table) -> Result<Loaded, LoadError> {
        self.load_to_commit(table, None).await
    }

    /// The same. A table without a pointer is partitioned by the day of `event_time`, the topic's
    /// config `tarn.event.time`, if that is a timestamp column, else of `_timestamp`.
    pub async fn load_to_commit(
        &self,
        table: &tarn_state::Table,
        event_time: Option<&str>,
    ) -> Result<Loaded, LoadError> {
        let name = || format!("{}.{}", table.namespace, table.name);
        let wanted = table_schema(table).map_err(|source| metadata_error(name(), source))?;
        let Some(pointer) = &table.pointer else {
            let folder = paths::table(&table.namespace, &table.name, table.uuid);
            let location = storage::url(&self.inner.store, &folder);
            let metadata =
                fresh(table, &wanted, &location, event_time).map_err(|source| LoadError::Json {
                    table: name(),
                    source,
                })?;
            return self.loaded(table, metadata, None);
        };
        let current = self.read(table, pointer).await?;
        match evolved(current.metadata(), &wanted).map_err(|source| LoadError::Json {
            table: name(),
            source,
        })? {
            Some(metadata) => self.loaded(table, metadata, Some(pointer.clone())),
            None => {
                let folder = self.folder(table, current.metadata())?;
                Ok(Loaded {
                    table: current,
                    pointer: Some(pointer.clone()),
                    folder,
                })
            }
        }
    }

    /// The table exactly as its metadata file has it.
    pub(crate) async fn read(
        &self,
        table: &tarn_state::Table,
        pointer: &str,
    ) -> Result<Table, LoadError> {
        if let Some(cached) = self.cached(pointer) {
            return Ok(cached);
        }
        let name = || format!("{}.{}", table.namespace, table.name);
        let path = storage::path(&self.inner.store, pointer)
            .map_err(|source| metadata_error(name(), source))?;
        let bytes = self
            .inner
            .store
            .get(&path)
            .await
            .map_err(|source| LoadError::Store {
                table: name(),
                source,
            })?;
        let metadata: TableMetadata =
            serde_json::from_slice(&bytes).map_err(|source| LoadError::Json {
                table: name(),
                source,
            })?;
        self.remember(table, pointer, metadata)
    }

    /// Keeps metadata that was just read or written.
    pub(crate) fn remember(
        &self,
        table: &tarn_state::Table,
        pointer: &str,
        metadata: TableMetadata,
    ) -> Result<Table, LoadError> {
        let built = self.build(table, metadata, Some(pointer))?;
        let mut cached = self
            .inner
            .cached
            .lock()
            .expect("nobody panics while holding it");
        cached.retain(|(known, _)| known != pointer);
        cached.push_back((pointer.to_owned(), built.clone()));
        if cached.len() > CACHED_TABLES_MAX {
            cached.pop_front();
        }
        Ok(built)
    }

    fn cached(&self, pointer: &str) -> Option<Table> {
        let mut cached = self
            .inner
            .cached
            .lock()
            .expect("nobody panics while holding it");
        let at = cached.iter().position(|(known, _)| known == pointer)?;
        let entry = cached.remove(at)?;
        let table = entry.1.clone();
        cached.push_back(entry);
        Some(table)
    }

    fn loaded(
        &self,
        table: &tarn_state::Table,
        metadata: TableMetadata,
        pointer: Option<String>,
    ) -> Result<Loaded, LoadError> {
        let folder = self.folder(table, &metadata)?;
        let built = self.build(table, metadata, pointer.as_deref())?;
        Ok(Loaded {
            table: built,
            pointer,
            folder,
        })
    }

    fn folder(
        &self,
        table: &tarn_state::Table,
        metadata: &TableMetadata,
    ) -> Result<Path, LoadError> {
        storage::path(&self.inner.store, metadata.location())
            .map_err(|source| metadata_error(table.name.clone(), source))
    }

    fn build(
        &self,
        table: &tarn_state::Table,
        metadata: TableMetadata,
        pointer: Option<&str>,
    ) -> Result<Table, LoadError> {
        let build = || {
            let mut builder = Table::builder()
                .file_io(self.inner.file_io.clone())
                .metadata(metadata)
                .identifier(TableIdent::new(
                    NamespaceIdent::new(table.namespace.clone()),
                    table.name.clone(),
                ))
                .runtime(iceberg::Runtime::try_current()?);
            builder = if self.inner.keeps_manifests {
                builder.cache_size_bytes(CACHED_MANIFEST_BYTES)
            } else {
                builder.disable_cache()
            };
            if let Some(pointer) = pointer {
                builder = builder.metadata_location(pointer);
            }
            builder.build()
        };
        build().map_err(|source| metadata_error(table.name.clone(), source))
    }
}

/// Metadata of a table that has no file yet.
fn fresh(
    table: &tarn_state::Table,
    schema: &Schema,
    location: &str,
    event_time: Option<&str>,
) -> Result<TableMetadata, serde_json::Error> {
    let source = event_time_column(schema, event_time);
    let name = free_partition_name(|name| schema.field_id_by_name(name).is_some());
    let metadata = json!({
        "format-version": 2,
        "table-uuid": table.uuid.uuid(),
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": schema.highest_field_id().max(table.last_field_id),
        "current-schema-id": 0,
        "schemas": [schema],
        "default-spec-id": 0,
        "partition-specs": [{
            "spec-id": 0,
            "fields": [{
                "source-id": source.id,
                "field-id": FIRST_PARTITION_FIELD_ID,
                "name": name,
                "transform": "day",
            }],
        }],
        "last-partition-id": FIRST_PARTITION_FIELD_ID,
        "default-sort-order-id": 0,
        "sort-orders": [{ "order-id": 0, "fields": [] }],
        "properties": {
            "tarn.topic": table.topic.to_string(),
            "write.format.default": "parquet",
            "write.parquet.compression-codec": "zstd",
        },
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "refs": {},
    });
    reread(&metadata)
}

/// The metadata with `wanted` as its current schema; `None` if it has it already.
fn evolved(
    metadata: &TableMetadata,
    wanted: &Schema,
) -> Result<Option<TableMetadata>, serde_json::Error> {
    if metadata.current_schema().as_struct() == wanted.as_struct() {
        return Ok(None);
    }
    let mut json = serde_json::to_value(metadata)?;
    let known = metadata
        .schemas_iter()
        .find(|schema| schema.as_struct() == wanted.as_struct());
    let id = match known {
        Some(schema) => schema.schema_id(),
        None => {
            let id = metadata
                .schemas_iter()
                .map(|schema| schema.schema_id())
                .max()
                .unwrap_or(-1)
                + 1;
            let mut schema = serde_json::to_value(wanted)?;
            schema["schema-id"] = json!(id);
            if let Some(schemas) = json["schemas"].as_array_mut() {
                schemas.push(schema);
            }
            id
        }
    };
    json["current-schema-id"] = json!(id);
    json["last-column-id"] = json!(metadata.last_column_id().max(wanted.highest_field_id()));
    make_way_for_columns(&mut json, metadata, wanted);
    reread(&json).map(Some)
}

/// Renames partition fields whose name a column now has. Iceberg knows a partition field by its id,
/// so files and manifests that were written under the old name stay as they are.
fn make_way_for_columns(json: &mut Value, metadata: &TableMetadata, wanted: &Schema) {
    let is_column = |name: &str| {
        wanted.field_id_by_name(name).is_some()
            || metadata
                .schemas_iter()
                .any(|schema| schema.field_id_by_name(name).is_some())
    };
    let specs = json["partition-specs"].as_array_mut().into_iter().flatten();
    for field in specs
        .filter_map(|spec| spec["fields"].as_array_mut())
        .flatten()
    {
        if field["name"].as_str().is_some_and(is_column) {
            field["name"] = json!(free_partition_name(is_column));
        }
    }
}

/// Through text, as a file would be read: the crate checks and normalizes what it reads.
fn reread(json: &Value) -> Result<TableMetadata, serde_json::Error> {
    serde_json::from_slice(&serde_json::to_vec(json)?)
}
