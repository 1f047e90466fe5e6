//! Loads a table as Iceberg sees it.
//!
//! Holds: what [`Catalog::load`] gives has the columns of the state that was asked for. A table
//! without a pointer gives fresh metadata that no file holds yet; one whose columns have grown since
//! its last commit gives the file's metadata with the new schema added, in memory. The next commit
//! writes either down.
//!
//! One per process: whoever commits, scans or shows tables shares what was read of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataRef};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableIdent};
use serde::Deserialize;
use serde_json::Value;
use tarn_model::{ByteSize, Kind};
use tarn_replica::Node;
use tarn_state::{PlainTable, TableKind};
use tarn_store::{Path, Store, StoreError, paths};

use crate::columns::table_schema;
use crate::evolve::{evolved, fresh, to_json};
use crate::known::{Grown, Known, Refs};
use crate::manifests::Manifests;
use crate::storage;

/// Memory that decoded metadata takes for each byte of its file, estimated.
const METADATA_WEIGHT: u64 = 4;

/// The tables of a store, by what the state says of them. Clones share the cache.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    file_io: FileIO,
    manifests: Arc<Manifests>,
}

/// The part of a metadata file that has them.
#[derive(Deserialize)]
struct WithRefs {
    #[serde(default)]
    refs: BTreeMap<String, Ref>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ref {
    snapshot_id: i64,
}

/// A table, ready to be scanned or added to.
#[derive(Debug, Clone)]
pub struct Loaded {
    table: Table,
    pointer: Option<String>,
    folder: Path,
    refs: Refs,
    manifests: Arc<Manifests>,
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
    /// As the `iceberg` crate has it. Our own scans ask [`Loaded::plan`].
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

    pub(crate) fn manifests(&self) -> &Arc<Manifests> {
        &self.manifests
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

    /// Table snapshots that a branch or a tag names.
    pub(crate) fn referenced(&self) -> impl Iterator<Item = (&str, i64)> {
        self.refs
            .iter()
            .map(|(name, snapshot)| (name.as_str(), *snapshot))
    }

    /// The metadata as Iceberg's REST catalog sends it: with every table snapshot, or with those
    /// alone that a branch or a tag names.
    pub fn metadata_json(&self, every_snapshot: bool) -> Value {
        let mut json = to_json(self.metadata()).expect("table metadata is JSON");
        if !every_snapshot {
            let is_named = |item: &Value| {
                let id = item["snapshot-id"].as_i64();
                self.refs.values().any(|named| id == Some(*named))
            };
            for list in ["snapshots", "snapshot-log"] {
                if let Some(list) = json.get_mut(list).and_then(Value::as_array_mut) {
                    list.retain(is_named);
                }
            }
        }
        json
    }
}

impl Catalog {
    /// `manifests` bounds what is kept of the tables' metadata.
    pub fn new(node: &Node, manifests: ByteSize) -> Catalog {
        let manifests = Manifests::new(manifests, Some(node.runtime.metrics()));
        Catalog::with(&node.store, manifests)
    }

    pub fn over(store: &Store, manifests: ByteSize) -> Catalog {
        Catalog::with(store, Manifests::new(manifests, None))
    }

    fn with(store: &Store, manifests: Manifests) -> Catalog {
        Catalog {
            inner: Arc::new(Inner {
                store: store.clone(),
                file_io: storage::file_io(store),
                manifests: Arc::new(manifests),
            }),
        }
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub fn file_io(&self) -> &FileIO {
        &self.inner.file_io
    }

    pub(crate) fn manifests(&self) -> &Arc<Manifests> {
        &self.inner.manifests
    }

    /// The table as the state has it, for readers and for a commit.
    pub async fn load(&self, table: &tarn_state::Table) -> Result<Loaded, LoadError> {
        let Some(pointer) = &table.pointer else {
            return self.load_fresh(table);
        };
        let known = self.read(table, pointer).await?;
        let shown = match known.grown(table) {
            Some(shown) => shown,
            None => {
                let shown = self.grow(table, &known)?;
                let grown = Grown {
                    columns: table.columns.clone(),
                    schema_id: table.schema_id,
                    table: shown.clone(),
                };
                *known.grown.lock().expect("nobody panics while holding it") = Some(grown);
                shown
            }
        };
        self.loaded(table, shown, Some(pointer.clone()), Arc::clone(&known.refs))
    }

    fn load_fresh(&self, table: &tarn_state::Table) -> Result<Loaded, LoadError> {
        let name = || format!("{}.{}", table.namespace, table.name);
        let wanted = table_schema(table).map_err(|source| metadata_error(name(), source))?;
        let location = match &table.kind {
            TableKind::Plain(PlainTable {
                location: Some(location),
                ..
            }) => location.clone(),
            _ => {
                let folder = paths::table(&table.namespace, &table.name, table.uuid);
                storage::url(&self.inner.store, &folder)
            }
        };
        let metadata = fresh(table, &wanted, &location).map_err(|source| LoadError::Json {
            table: name(),
            source,
        })?;
        let built = self.build(table, metadata, None)?;
        self.loaded(table, built, None, Refs::default())
    }

    /// A metadata file with the columns of the state.
    fn grow(&self, table: &tarn_state::Table, known: &Known) -> Result<Table, LoadError> {
        let name = || format!("{}.{}", table.namespace, table.name);
        let wanted = table_schema(table).map_err(|source| metadata_error(name(), source))?;
        let evolved = evolved(table, known.table.metadata(), &wanted);
        match evolved.map_err(|source| LoadError::Json {
            table: name(),
            source,
        })? {
            Some(metadata) => self.build(table, metadata, Some(&known.pointer)),
            None => Ok(known.table.clone()),
        }
    }

    /// The table exactly as its metadata file has it.
    pub(crate) async fn read(
        &self,
        table: &tarn_state::Table,
        pointer: &str,
    ) -> Result<Arc<Known>, LoadError> {
        if let Some(known) = self.inner.manifests.table(table.uuid)
            && known.pointer == pointer
        {
            return Ok(known);
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
        let json = |source| LoadError::Json {
            table: name(),
            source,
        };
        let metadata: TableMetadata = serde_json::from_slice(&bytes).map_err(json)?;
        let WithRefs { refs } = serde_json::from_slice(&bytes).map_err(json)?;
        let refs = refs
            .into_iter()
            .map(|(name, to)| (name, to.snapshot_id))
            .collect();
        self.remember(table, pointer, metadata, refs, bytes.len() as u64)
    }

    /// Keeps metadata that was just read or written, if it is the newest of its table.
    pub(crate) fn remember(
        &self,
        table: &tarn_state::Table,
        pointer: &str,
        metadata: TableMetadata,
        refs: BTreeMap<String, i64>,
        file_bytes: u64,
    ) -> Result<Arc<Known>, LoadError> {
        let known = Arc::new(Known {
            pointer: pointer.to_owned(),
            table: self.build(table, metadata, Some(pointer))?,
            refs: Arc::new(refs),
            bytes: file_bytes * METADATA_WEIGHT,
            grown: Mutex::default(),
        });
        // A query may still hold a cut whose pointer has moved on.
        let kept = self.inner.manifests.table(table.uuid);
        if kept.is_none_or(|kept| known.is_newer_than(&kept)) {
            self.inner.manifests.keep_table(table.uuid, &known);
        }
        Ok(known)
    }

    fn loaded(
        &self,
        table: &tarn_state::Table,
        built: Table,
        pointer: Option<String>,
        refs: Refs,
    ) -> Result<Loaded, LoadError> {
        let folder = storage::path(&self.inner.store, built.metadata().location())
            .map_err(|source| metadata_error(table.name.clone(), source))?;
        Ok(Loaded {
            table: built,
            pointer,
            folder,
            refs,
            manifests: Arc::clone(&self.inner.manifests),
        })
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
                .runtime(iceberg::Runtime::try_current()?)
                // Its own knows neither how much an entry takes nor that a path never changes.
                .disable_cache();
            if let Some(pointer) = pointer {
                builder = builder.metadata_location(pointer);
            }
            builder.build()
        };
        build().map_err(|source| metadata_error(table.name.clone(), source))
    }
}
