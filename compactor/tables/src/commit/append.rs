//! An append: new data files, and the metadata of the table that has them.
//!
//! ```text
//! metadata.json ──▶ snapshot ──▶ manifest list ──▶ new manifest      ──▶ the new files
//!                                              ├─▶ folded manifest   ──▶ files of many small manifests
//!                                              └─▶ older manifests, as they are
//! ```
//!
//! Each commit adds one manifest; once there are [`FOLD_COUNT`] small ones of like many files they become
//! one, in which every file keeps its snapshot and its sequence numbers. So a file is written again once
//! for each [`FOLD_COUNT`]-fold of files that its manifest grows by, not with every so many commits.
//! The same commit drops table snapshots beyond the last [`SNAPSHOTS_KEPT`] that are older than
//! [`SNAPSHOT_AGE`] or beyond the last [`SNAPSHOTS_MOST`], except those down to the next that names M of
//! every partition (see `summary`). Without both, a table that commits often would write megabytes of
//! metadata each time. What is written is also kept in memory, so that the next commit reads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntry, ManifestEntryRef,
    ManifestFile, ManifestListWriter, ManifestStatus, ManifestWriter, ManifestWriterBuilder,
    Operation, Snapshot, Summary, TableMetadata, UNASSIGNED_SEQUENCE_NUMBER,
};
use iceberg::{Error, ErrorKind};
use serde_json::Value;
use tarn_model::{ClusterTime, TopicId};
use tarn_runtime::Random;
use tarn_state::Table;
use tarn_state::commands::{HiddenTimestamp, MaterializedStep};
use tarn_store::paths;
use uuid::Uuid;

use super::{CommitError, Garbage};
use crate::catalog::{Catalog, Loaded};
use crate::evolve::to_json;
use crate::{storage, summary};

/// Small manifests of one tier become one when there are this many. A tier are those whose number of
/// files lies between two powers of it: together they belong to the next one. …
pub(crate) const FOLD_COUNT: usize = 16;
/// … Small is less than this in bytes and in files …
const FOLD_MANIFEST_BYTES: i64 = 1 << 20;
const FOLD_MANIFEST_FILES: u64 = 2_048;
/// … and no more become one at a time than this in either, which bounds the memory that it takes; two
/// small ones always may. Files count because their entries, all alike, can be a hundred times smaller in a
/// manifest than in memory: whoever plans holds a manifest whole.
const FOLD_BYTES: i64 = 8 << 20;
const FOLD_FILES: u64 = 2 * FOLD_MANIFEST_FILES;
/// Manifests that are read at the same time for it.
const FOLD_READS: usize = 8;
/// Table snapshots that are always kept.
pub(crate) const SNAPSHOTS_KEPT: usize = 20;
/// Younger ones are kept too …
pub(crate) const SNAPSHOT_AGE: Duration = Duration::from_secs(900);
/// … up to this many: a commit writes and reads all that is kept. With a commit every ten seconds the age
/// decides; a table that commits more often is remembered for a shorter time. Who reads an older one has
/// its metadata file, and no file that it names is deleted with it.
pub(crate) const SNAPSHOTS_MOST: usize = 100;

/// What one commit adds.
#[derive(Debug, Clone)]
pub struct Append {
    /// The table in the view that the rows were planned on.
    pub table: Arc<Table>,
    /// The same table, as [`Catalog::load`] gave it.
    pub loaded: Loaded,
    /// Cluster time of that view.
    pub time: ClusterTime,
    /// May be empty: then only M moves.
    pub files: Vec<DataFile>,
    /// How M moves, of a topic's table.
    pub steps: Vec<MaterializedStep>,
    /// Records that are later than the headers of their batches say, of each extent the latest.
    pub hidden: Vec<HiddenTimestamp>,
}

/// A commit whose files are written and that only waits to be proposed.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) pointer: String,
    pub(crate) table_snapshot: i64,
    pub(crate) metadata: TableMetadata,
    /// Branches and tags.
    pub(crate) refs: BTreeMap<String, i64>,
    /// Of the metadata file.
    pub(crate) bytes: u64,
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

    let sequence_number = metadata.next_sequence_number();
    let manifests = manifests(&mut names, append, table_snapshot, &mut garbage).await?;
    let parent_id = parent.map(|parent| parent.snapshot_id());
    let list_path = paths::table_manifest_list(loaded.folder(), table_snapshot, names.uuid);
    let list_url = storage::url(catalog.store(), &list_path);
    let output = loaded.file_io().new_output(&list_url)?.writer().await?;
    let mut list = ManifestListWriter::v2(output, table_snapshot, parent_id, sequence_number);
    list.add_manifests(manifests.iter().cloned())?;
    list.close().await?;
    catalog
        .manifests()
        .keep_list(&list_url, numbered(manifests, sequence_number));

    // `iceberg` refuses a snapshot that is much older than the last update, and the clock of the
    // cluster may have been recovered from an older state.
    let timestamp_ms = append.time.0.max(metadata.last_updated_ms() + 1);
    let properties = summary::of_append(&append.table, &append.steps, metadata, &append.files);
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
    let expired = expired(loaded, append.table.topic(), timestamp_ms);
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
    let json = to_json(&built.metadata)?;
    let refs = refs(&json);
    let json = serde_json::to_vec(&json)?;
    let bytes = json.len() as u64;
    catalog.store().put_if_absent(&path, json.into()).await?;
    Ok(Produced {
        pointer: storage::url(catalog.store(), &path),
        table_snapshot,
        metadata: built.metadata,
        refs,
        bytes,
        garbage,
    })
}

/// The manifests of the new table snapshot, those that are new written.
async fn manifests(
    names: &mut Names<'_>,
    append: &Append,
    table_snapshot: i64,
    garbage: &mut Garbage,
) -> Result<Vec<ManifestFile>, CommitError> {
    let (catalog, loaded) = (names.catalog, names.loaded);
    let metadata = loaded.metadata();
    let mut manifests = Vec::new();
    if !append.files.is_empty() {
        let sequence_number = metadata.next_sequence_number();
        let mut writer = manifest_writer(loaded, names.manifest(), table_snapshot)?;
        let mut entries: Vec<ManifestEntryRef> = Vec::new();
        for file in &append.files {
            // A negative number: the file inherits this commit's.
            writer.add_file(file.clone(), -1)?;
            let entry = ManifestEntry::builder()
                .status(ManifestStatus::Added)
                .snapshot_id(table_snapshot)
                .sequence_number(sequence_number)
                .file_sequence_number(sequence_number)
                .data_file(file.clone())
                .build();
            entries.push(Arc::new(entry));
        }
        let written = writer.write_manifest_file().await?;
        catalog
            .manifests()
            .keep_manifest(&written.manifest_path, entries);
        manifests.push(written);
    }
    if let Some(parent) = metadata.current_snapshot() {
        let version = metadata.format_version();
        let list = parent.manifest_list();
        let older = catalog
            .manifests()
            .list(loaded.file_io(), list, version)
            .await?;
        let (fold, keep) = choose_to_fold(&older, metadata.default_partition_spec_id());
        if !fold.is_empty() {
            garbage.manifests += fold.len() as u64;
            manifests.push(folded(names, table_snapshot, &fold).await?);
        }
        manifests.extend(keep);
    }
    Ok(manifests)
}

/// Manifests as the list that was just written has them: new ones with its sequence number.
fn numbered(mut manifests: Vec<ManifestFile>, sequence_number: i64) -> Vec<ManifestFile> {
    for manifest in &mut manifests {
        for number in [
            &mut manifest.sequence_number,
            &mut manifest.min_sequence_number,
        ] {
            if *number == UNASSIGNED_SEQUENCE_NUMBER {
                *number = sequence_number;
            }
        }
    }
    manifests
}

/// Branches and tags. The crate keeps the map of them to itself; the JSON of the metadata has it.
fn refs(json: &Value) -> BTreeMap<String, i64> {
    let refs = json["refs"].as_object().into_iter().flatten();
    refs.filter_map(|(name, to)| Some((name.clone(), to["snapshot-id"].as_i64()?)))
        .collect()
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

/// Which manifests become one, and which stay: small ones of the present spec and of the first tier that
/// has enough of them. One tier at a time; the next commit looks again.
fn choose_to_fold(
    manifests: &[ManifestFile],
    spec_id: i32,
) -> (Vec<ManifestFile>, Vec<ManifestFile>) {
    let mut tiers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, manifest) in manifests.iter().enumerate() {
        let is_small =
            manifest.manifest_length < FOLD_MANIFEST_BYTES && files(manifest) < FOLD_MANIFEST_FILES;
        let is_ours =
            manifest.content == ManifestContentType::Data && manifest.partition_spec_id == spec_id;
        if is_small && is_ours {
            tiers.entry(tier(manifest)).or_default().push(at);
        }
    }
    let full = tiers.into_values().find(|tier| tier.len() >= FOLD_COUNT);
    let (mut bytes, mut files_chosen) = (0, 0);
    let mut chosen = BTreeSet::new();
    for at in full.unwrap_or_default() {
        let Some(manifest) = manifests.get(at) else {
            continue;
        };
        let sum = (
            bytes + manifest.manifest_length,
            files_chosen + files(manifest),
        );
        if sum.0 <= FOLD_BYTES && sum.1 <= FOLD_FILES {
            (bytes, files_chosen) = sum;
            chosen.insert(at);
        }
    }
    let (mut fold, mut keep) = (Vec::new(), Vec::new());
    for (at, manifest) in manifests.iter().cloned().enumerate() {
        if chosen.contains(&at) {
            fold.push(manifest)
        } else {
            keep.push(manifest)
        }
    }
    (fold, keep)
}

/// By files that are there, how often [`FOLD_COUNT`] goes into them.
fn tier(manifest: &ManifestFile) -> u32 {
    files(manifest).max(1).ilog(FOLD_COUNT as u64)
}

/// Files of it that are there.
fn files(manifest: &ManifestFile) -> u64 {
    let count = |files: Option<u32>| u64::from(files.unwrap_or(0));
    count(manifest.added_files_count) + count(manifest.existing_files_count)
}

/// One manifest with the live files of several.
async fn folded(
    names: &mut Names<'_>,
    table_snapshot: i64,
    fold: &[ManifestFile],
) -> Result<ManifestFile, Error> {
    let (catalog, loaded) = (names.catalog, names.loaded);
    let mut writer = manifest_writer(loaded, names.manifest(), table_snapshot)?;
    let mut kept: Vec<ManifestEntryRef> = Vec::new();
    let mut reads = FuturesOrdered::new();
    let mut left = fold.iter();
    loop {
        while reads.len() < FOLD_READS
            && let Some(manifest) = left.next()
        {
            let read = catalog.manifests().manifest(loaded.file_io(), manifest);
            reads.push_back(read.boxed());
        }
        let Some(entries) = reads.next().await.transpose()? else {
            break;
        };
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
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
            let mut entry = ManifestEntry::clone(entry);
            entry.status = ManifestStatus::Existing;
            kept.push(Arc::new(entry));
        }
    }
    let written = writer.write_manifest_file().await?;
    catalog
        .manifests()
        .keep_manifest(&written.manifest_path, kept);
    Ok(written)
}

/// Snapshots of branch `main` that the next one makes superfluous. What another branch or a tag
/// refers to stays.
fn expired(loaded: &Loaded, topic: Option<TopicId>, now_ms: i64) -> Vec<i64> {
    let age = i64::try_from(SNAPSHOT_AGE.as_millis()).expect("a quarter of an hour fits");
    let metadata = loaded.metadata();
    let mut expired = Vec::new();
    // The new snapshot is the first of those that are kept.
    let mut kept = 1;
    let mut is_readable = true;
    for snapshot in summary::ancestry(metadata, metadata.current_snapshot()) {
        let is_young = snapshot.timestamp_ms() >= now_ms - age;
        let is_wanted = kept < SNAPSHOTS_KEPT || (is_young && kept < SNAPSHOTS_MOST);
        if is_wanted || !is_readable {
            kept += 1;
            // The M of those above is in them and in this one.
            is_readable = topic.is_none_or(|topic| summary::is_whole(snapshot, topic));
        } else {
            expired.push(snapshot.snapshot_id());
        }
    }
    if !expired.is_empty() {
        let referenced: BTreeSet<i64> = loaded
            .referenced()
            .filter(|(name, _)| *name != MAIN_BRANCH)
            .map(|(_, snapshot)| snapshot)
            .collect();
        expired.retain(|snapshot| !referenced.contains(snapshot));
    }
    expired
}
