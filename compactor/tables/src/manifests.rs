//! What a process keeps of its tables' metadata: for each table the newest metadata it has seen, and
//! manifests and manifest lists as they were decoded, by their path, under which they never change.
//!
//! Bounded in bytes, by an estimate of what the decoded form takes, not by what the file takes; the
//! least recently used goes first. What is known of a manifest's files together is kept beside its entries:
//! a plan asks it first, so that a table of more files than fit does not read all of them for a needle. A commit puts in what it writes, so that neither the next commit
//! nor a query of the same process reads it again. Nothing here depends on hash order or on a clock.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard};

use iceberg::Result;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, Datum, FormatVersion, ManifestEntry, ManifestEntryRef, ManifestFile, ManifestList,
    PrimitiveLiteral,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tarn_model::{ByteSize, TableUuid};
use tarn_runtime::{Metrics, gauge};

use crate::entries::{Entries, Whole};
use crate::known::Known;

/// This part of the capacity is for what is known of manifests together.
const WHOLES_PART: u64 = 8;

#[derive(Debug)]
pub(crate) struct Manifests {
    capacity: u64,
    state: Mutex<State>,
    /// What is known of manifests together: of an age of its own, since a scan of all entries would push
    /// it out with them. One part in [`WHOLES_PART`] of the capacity.
    wholes: Mutex<State>,
    metrics: ManifestMetrics,
}

tarn_runtime::metrics! {
    #[derive(Default)]
    struct ManifestMetrics {
        /// Memory that decoded manifests and metadata of tables take, estimated
        bytes: Gauge = "table_metadata_cache_bytes";
        /// Manifests, manifest lists and metadata files that were in memory
        hits: Counter = "table_metadata_cache_hits";
        /// Manifests, manifest lists and metadata files that were read
        misses: Counter = "table_metadata_cache_misses";
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Table(TableUuid),
    List(String),
    Manifest(String),
    Whole(String),
}

#[derive(Debug, Clone)]
enum Item {
    Table(Arc<Known>),
    List(Arc<Vec<ManifestFile>>),
    Manifest(Arc<Entries>),
    Whole(Arc<Whole>),
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<Key, Kept>,
    /// By age: the smallest tick was used longest ago.
    ages: BTreeMap<u64, Key>,
    tick: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    item: Item,
    bytes: u64,
    tick: u64,
}

impl Manifests {
    pub(crate) fn new(capacity: ByteSize, metrics: Option<&Metrics>) -> Manifests {
        let metrics = match metrics {
            None => ManifestMetrics::default(),
            Some(metrics) => metrics.register(ManifestMetrics::register),
        };
        Manifests {
            capacity: capacity.0,
            state: Mutex::default(),
            wholes: Mutex::default(),
            metrics,
        }
    }

    /// The newest metadata of the table that was seen.
    pub(crate) fn table(&self, table: TableUuid) -> Option<Arc<Known>> {
        match self.get(&Key::Table(table)) {
            Some(Item::Table(known)) => Some(known),
            _ => None,
        }
    }

    pub(crate) fn keep_table(&self, table: TableUuid, known: &Arc<Known>) {
        self.keep(
            Key::Table(table),
            Item::Table(Arc::clone(known)),
            known.bytes(),
        );
    }

    /// The manifests of a table snapshot, from the list at `path`.
    pub(crate) async fn list(
        &self,
        file_io: &FileIO,
        path: &str,
        version: FormatVersion,
    ) -> Result<Arc<Vec<ManifestFile>>> {
        if let Some(Item::List(list)) = self.get(&Key::List(path.to_owned())) {
            return Ok(list);
        }
        let bytes = file_io.new_input(path)?.read().await?;
        let list = ManifestList::parse_with_version(&bytes, version)?;
        Ok(self.keep_list(path, list.consume_entries().into_iter().collect()))
    }

    pub(crate) fn keep_list(&self, path: &str, list: Vec<ManifestFile>) -> Arc<Vec<ManifestFile>> {
        let list = Arc::new(list);
        let bytes = list.iter().map(weight_of_file).sum();
        let item = Item::List(Arc::clone(&list));
        self.keep(Key::List(path.to_owned()), item, bytes);
        list
    }

    /// The entries of a manifest, with the numbers that they inherit.
    pub(crate) async fn manifest(
        &self,
        file_io: &FileIO,
        manifest: &ManifestFile,
    ) -> Result<Arc<Entries>> {
        let path = &manifest.manifest_path;
        if let Some(Item::Manifest(entries)) = self.get(&Key::Manifest(path.clone())) {
            return Ok(entries);
        }
        let (entries, _) = manifest.load_manifest(file_io).await?.into_parts();
        Ok(self.keep_manifest(path, entries))
    }

    pub(crate) fn keep_manifest(&self, path: &str, entries: Vec<ManifestEntryRef>) -> Arc<Entries> {
        let entries = Arc::new(Entries::new(entries));
        let each: u64 = entries.iter().map(|entry| weight_of_entry(entry)).sum();
        let bytes = each + entries.bytes();
        let item = Item::Manifest(Arc::clone(&entries));
        self.keep(Key::Manifest(path.to_owned()), item, bytes);
        let whole = Arc::clone(entries.whole());
        let bytes = whole.bytes() + path.len() as u64;
        self.keep(Key::Whole(path.to_owned()), Item::Whole(whole), bytes);
        entries
    }

    /// What is known of all files of a manifest, if it is at hand.
    pub(crate) fn whole(&self, manifest: &ManifestFile) -> Option<Arc<Whole>> {
        let key = Key::Whole(manifest.manifest_path.clone());
        match lock(&self.wholes).get(&key) {
            Some(Item::Whole(whole)) => Some(whole),
            _ => None,
        }
    }

    fn get(&self, key: &Key) -> Option<Item> {
        let item = lock(&self.state).get(key);
        match &item {
            Some(_) => self.metrics.hits.inc(),
            None => self.metrics.misses.inc(),
        };
        item
    }

    fn keep(&self, key: Key, item: Item, bytes: u64) {
        let wholes = self.capacity / WHOLES_PART;
        let (state, capacity) = match item {
            Item::Whole(_) => (&self.wholes, wholes),
            Item::Table(_) | Item::List(_) | Item::Manifest(_) => {
                (&self.state, self.capacity - wholes)
            }
        };
        let mut state = lock(state);
        state.keep(key, item, bytes);
        state.shrink(capacity);
        drop(state);
        self.metrics.bytes.set(gauge(self.bytes()));
    }

    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.state).bytes + lock(&self.wholes).bytes
    }

    #[cfg(test)]
    pub(crate) fn misses(&self) -> u64 {
        self.metrics.misses.get()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics while holding it")
}

impl State {
    fn get(&mut self, key: &Key) -> Option<Item> {
        let kept = self.kept.get_mut(key)?;
        self.tick += 1;
        self.ages.remove(&kept.tick);
        self.ages.insert(self.tick, key.clone());
        kept.tick = self.tick;
        Some(kept.item.clone())
    }

    fn keep(&mut self, key: Key, item: Item, bytes: u64) {
        self.forget(&key);
        self.tick += 1;
        let tick = self.tick;
        self.ages.insert(tick, key.clone());
        self.bytes += bytes;
        self.kept.insert(key, Kept { item, bytes, tick });
    }

    fn forget(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.ages.remove(&kept.tick);
            self.bytes -= kept.bytes;
        }
    }

    fn shrink(&mut self, capacity: u64) {
        while self.bytes > capacity
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.forget(&oldest);
        }
    }
}

fn weight_of_file(file: &ManifestFile) -> u64 {
    let summaries = file.partitions.as_ref().map_or(0, Vec::len) * 128;
    (size_of::<ManifestFile>() + file.manifest_path.len() + summaries) as u64
}

fn weight_of_entry(entry: &ManifestEntry) -> u64 {
    let file: &DataFile = entry.data_file();
    let counts = file.column_sizes().len()
        + file.value_counts().len()
        + file.null_value_counts().len()
        + file.nan_value_counts().len();
    let bounds = || {
        file.lower_bounds()
            .values()
            .chain(file.upper_bounds().values())
    };
    let heap: usize = bounds().map(weight_of_bound).sum();
    let starts = file.split_offsets().map_or(0, <[i64]>::len) * size_of::<i64>();
    // A table of hashes has room for up to twice what is in it.
    let tables =
        2 * (counts * size_of::<(i32, u64)>() + bounds().count() * size_of::<(i32, Datum)>());
    (size_of::<ManifestEntry>() + file.file_path().len() + tables + heap + starts) as u64
}

fn weight_of_bound(bound: &Datum) -> usize {
    match bound.literal() {
        PrimitiveLiteral::String(text) => text.len(),
        PrimitiveLiteral::Binary(bytes) => bytes.len(),
        _ => 0,
    }
}
