//! An append: new data files, and the metadata of the table that has them.
//!
//! ```text
//! metadata.json ──▶ snapshot ──▶ manifest list ──▶ new manifest      ──▶ the new files
//!                                              ├─▶ folded manifest   ──▶ files of many small manifests
//!                                              └─▶ older manifests, as they are
//! ```
//!
//! Each commit adds one manifest; once there are [`FOLD_COUNT`] small ones they become one, in which
//! every file keeps its snapshot and its sequence numbers. The same commit drops table snapshots
//! that are older than [`SNAPSHOT_AGE`] and beyond the last [`SNAPSHOTS_KEPT`]. Without both,
//! a commit every ten seconds would write megabytes of metadata each after a day.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter,
    ManifestWriter, ManifestWriterBuilder, Operation, Snapshot, Summary, TableMetadata,
};
use iceberg::{Error, ErrorKind};
use tarn_model::ClusterTime;
use tarn_runtime::Random;
use tarn_state::Table;
use tarn_state::commands::MaterializedStep;
use tarn_store::paths;
use uuid::Uuid;

use super::{CommitError, Garbage};
use crate::catalog::{Catalog, Loaded};
use crate::{storage, summary};

/// Small manifests become one when there are this many …
pub(crate) const FOLD_COUNT: usize = 32;
/// … small being less than this …
const FOLD_MANIFEST_BYTES: i64 = 1 << 20;
/// … and no more of them at a time than this, which bounds the memory it takes.
const FOLD_BYTES: i64 = 8 << 20;
/// Table snapshots that are always kept.
pub(crate) const SNAPSHOTS_KEPT: usize = 100;
/// Younger ones are kept too.
pub(crate) const SNAPSHOT_AGE: Duration = Duration::from_secs(3600);

/// What one commit adds.
#[derive(Debug, Clone)]
pub struct Append {
    /// The table in the view that the rows were planned on.
    pub table: Arc<Table>,
    /// The same table, as [`Catalog::load_to_commit`] gave it.
    pub loaded: Loaded,
    /// Cluster time of that view.
    pub time: ClusterTime,
    /// May be empty: then only M moves.
    pub files: Vec<DataFile>,
    pub steps: Vec<MaterializedStep>,
}

/// A commit whose files are written and that only waits to be proposed.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) pointer: String,
    pub(crate) table_snapshot: i64,
    pub(crate) metadata: TableMetadata,
    pub(crate) garbage: Garbage,
}

/// Names of one commit's files.
struct Names<'a> {
    catalog: &'a Catalog,
    loaded: &'a Loaded,
    uuid: Uuid,
    manifests: usize,
}

impl Names<'_> {
    fn manifest(&mut self) -> String {
        let path = paths::table_manifest(self.loaded.folder(), self.uuid, self.manifests);
        self.manifests += 1;
        storage::url(self.catalog.store(), &path)
    }
}

/// Writes manifests, manifest list and metadata file.
pub(crate) async fn produce(
    catalog: &Catalog,
    random: &Random,
    append: &Append,
) -> Result<Produced, CommitError> {
    let loaded = &append.loaded;
    let metadata = loaded.metadata();
    let parent = metadata.current_snapshot();
    let table_snapshot = fresh_snapshot_id(metadata, random);
    let mut names = Names {
        catalog,
        loaded,
        uuid: random.uuid(),
        manifests: 0,
    };
    let mut garbage = Garbage::default();

    let mut manifests = Vec::new();
    if !append.files.is_empty() {
        let mut writer = manifest_writer(loaded, names.manifest(), table_snapshot)?;
        for file in &append.files {
            // A negative number: the file inherits this commit's.
            writer.add_file(file.clone(), -1)?;
        }
        manifests.push(writer.write_manifest_file().await?);
    }
    if let Some(parent) = parent {
        let list = loaded.table().manifest_list_reader(parent).load().await?;
        let older: Vec<ManifestFile> = list.consume_entries().into_iter().collect();
        let (fold, keep) = choose_to_fold(older, metadata.default_partition_spec_id());
        if !fold.is_empty() {
            garbage.manifests += fold.len() as u64;
            manifests.push(folded(loaded, names.manifest(), table_snapshot, &fold).await?);
        }
        manifests.extend(keep);
    }

    let sequence_number = metadata.next_sequence_number();
    let parent_id = parent.map(|parent| parent.snapshot_id());
    let list_path = paths::table_manifest_list(loaded.folder(), table_snapshot, names.uuid);
    let list_url = storage::url(catalog.store(), &list_path);
    let output = loaded.file_io().new_output(&list_url)?.writer().await?;
    let mut list = ManifestListWriter::v2(output, table_snapshot, parent_id, sequence_number);
    list.add_manifests(manifests.into_iter())?;
    list.close().await?;

    // `iceberg` refuses a snapshot that is much older than the last update, and the clock of the
    // cluster may have been recovered from an older state.
    let timestamp_ms = append.time.0.max(metadata.last_updated_ms() + 1);
    let properties = summary::of_append(
        &append.table,
        &append.steps,
        parent.map(|parent| &**parent),
        &append.files,
    );
    let snapshot = Snapshot::builder()
        .with_snapshot_id(table_snapshot)
        .with_parent_snapshot_id(parent_id)
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(timestamp_ms)
        .with_manifest_list(list_url)
        .with_summary(Summary {
            operation: Operation::Append,
            additional_properties: properties,
        })
        .with_schema_id(metadata.current_schema_id())
        .build();
    let expired = expired(metadata, timestamp_ms)?;
    garbage.manifest_lists += expired.len() as u64;
    let built = metadata
        .clone()
        .into_builder(loaded.pointer().map(str::to_owned))
        .set_branch_snapshot(snapshot, MAIN_BRANCH)?
        .remove_snapshots(&expired)
        .build()?;
    garbage.metadata_files += built.expired_metadata_logs.len() as u64;

    let version = u64::try_from(sequence_number).unwrap_or(0);
    let path = paths::table_metadata(loaded.folder(), version, names.uuid);
    let json = serde_json::to_vec(&built.metadata)?;
    catalog.store().put_if_absent(&path, json.into()).await?;
    Ok(Produced {
        pointer: storage::url(catalog.store(), &path),
        table_snapshot,
        metadata: built.metadata,
        garbage,
    })
}

/// A positive id that the table does not have.
fn fresh_snapshot_id(metadata: &TableMetadata, random: &Random) -> i64 {
    loop {
        let id = i64::try_from(random.u64() >> 1).expect("63 bits fit");
        if id > 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

fn manifest_writer(
    loaded: &Loaded,
    url: String,
    table_snapshot: i64,
) -> Result<ManifestWriter, Error> {
    let metadata = loaded.metadata();
    if metadata.format_version() != FormatVersion::V2 {
        return Err(Error::new(
            ErrorKind::FeatureUnsupported,
            "only tables of format version 2 are written",
        ));
    }
    let schema = Arc::clone(metadata.current_schema());
    let spec = metadata.default_partition_spec().as_ref().clone();
    let output = loaded.file_io().new_output(url)?;
    Ok(ManifestWriterBuilder::new(output, Some(table_snapshot), schema, spec).build_v2_data())
}

/// Which manifests become one: none until there are enough small ones of the present spec.
fn choose_to_fold(
    manifests: Vec<ManifestFile>,
    spec_id: i32,
) -> (Vec<ManifestFile>, Vec<ManifestFile>) {
    let mut bytes = 0;
    let mut chosen = BTreeSet::new();
    for (at, manifest) in manifests.iter().enumerate() {
        let is_small = manifest.manifest_length < FOLD_MANIFEST_BYTES;
        let is_ours =
            manifest.content == ManifestContentType::Data && manifest.partition_spec_id == spec_id;
        if is_small && is_ours && bytes + manifest.manifest_length <= FOLD_BYTES {
            bytes += manifest.manifest_length;
            chosen.insert(at);
        }
    }
    if chosen.len() < FOLD_COUNT {
        chosen.clear();
    }
    let (mut fold, mut keep) = (Vec::new(), Vec::new());
    for (at, manifest) in manifests.into_iter().enumerate() {
        if chosen.contains(&at) {
            fold.push(manifest)
        } else {
            keep.push(manifest)
        }
    }
    (fold, keep)
}

/// One manifest with the live files of several.
async fn folded(
    loaded: &Loaded,
    url: String,
    table_snapshot: i64,
    fold: &[ManifestFile],
) -> Result<ManifestFile, Error> {
    let mut writer = manifest_writer(loaded, url, table_snapshot)?;
    for manifest in fold {
        let manifest = manifest.load_manifest(loaded.file_io()).await?;
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            let (Some(snapshot), Some(sequence_number)) =
                (entry.snapshot_id(), entry.sequence_number())
            else {
                return Err(Error::new(
                    ErrorKind::DataInvalid,
                    "a manifest entry has no snapshot or sequence number",
                ));
            };
            writer.add_existing_file(
                entry.data_file().clone(),
                snapshot,
                sequence_number,
                entry.file_sequence_number,
            )?;
        }
    }
    writer.write_manifest_file().await
}

/// Snapshots of branch `main` that the next one makes superfluous. What another branch or a tag
/// refers to stays.
fn expired(metadata: &TableMetadata, now_ms: i64) -> Result<Vec<i64>, serde_json::Error> {
    let age = i64::try_from(SNAPSHOT_AGE.as_millis()).expect("an hour fits");
    let mut expired = Vec::new();
    let mut at = metadata.current_snapshot();
    // The new snapshot is the first of those that are kept.
    let mut kept = 1;
    while let Some(snapshot) = at {
        if kept >= SNAPSHOTS_KEPT && snapshot.timestamp_ms() < now_ms - age {
            expired.push(snapshot.snapshot_id());
        } else {
            kept += 1;
        }
        at = snapshot
            .parent_snapshot_id()
            .and_then(|parent| metadata.snapshot_by_id(parent));
    }
    if !expired.is_empty() {
        let referenced = referenced_snapshots(metadata)?;
        expired.retain(|snapshot| !referenced.contains(snapshot));
    }
    Ok(expired)
}

/// Heads of branches other than `main`, and tags. The crate keeps the map of them to itself; the
/// JSON of the metadata has it.
fn referenced_snapshots(metadata: &TableMetadata) -> Result<BTreeSet<i64>, serde_json::Error> {
    let json = serde_json::to_value(metadata)?;
    let refs = json["refs"].as_object().into_iter().flatten();
    Ok(refs
        .filter(|(name, _)| *name != MAIN_BRANCH)
        .filter_map(|(_, reference)| reference["snapshot-id"].as_i64())
        .collect())
}
