//! The chunk cache of a node: what was read or written lately of immutable objects.
//!
//! Reads go by aligned chunks of 1 MiB; an object that this process wrote is kept whole, so that in
//! `tarn dev` the hot tier reads from memory what the agent just uploaded. Bounded in bytes, the least
//! recently used goes first. A chunk that is being fetched is fetched once, whoever waits, and a run of
//! missing chunks is one request. What is being fetched at the same time is bounded in bytes too: who
//! misses waits for its turn. Only for objects that never change under their name.
//!
//! Segments and table files share the room: a file's chunks take at most half of it, so that a scan of a
//! large table pushes out what other scans read, and not the records that consumers are about to fetch.
//!
//! Holds in simulation too: nothing here depends on hash order or on a clock.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use object_store::path::Path;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tarn_model::ByteSize;
use tarn_runtime::{Budget, Metrics, gauge};
use tokio::time::timeout;

use crate::{Store, StoreError};

/// Size and alignment of a chunk.
const CHUNK: u64 = 1024 * 1024;
/// The longest run of missing chunks that one request fetches.
const RUN_MAX: u64 = 8;
/// This part of the capacity may be chunks of table files.
const FILES_PART: u64 = 2;
/// This part of the capacity may be on its way at the same time …
const MISSES_PART: u64 = 4;
/// … but always some runs, each with the copies that it becomes.
const MISSES_MIN: u64 = 4 * RUN_MAX * CHUNK;
/// SUBTLE: a fetch goes on without its turn after this long: nobody need poll what holds the others'
/// turns, and a bound on memory must not become a standstill.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Fetches that may be listed before those that nobody waits for any more are looked for.
const FETCHING_SWEPT: usize = 64;

/// A cache in front of a store. Clones share it.
#[derive(Debug, Clone)]
pub struct ChunkCache {
    inner: Arc<Inner>,
    of: Class,
}

/// What is read through a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Segment,
    File,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    capacity: u64,
    /// Bytes of chunks that are being fetched.
    misses: Budget,
    state: Mutex<State>,
    counters: Counters,
}

tarn_runtime::metrics! {
    struct Counters {
        /// Reads of a chunk that was in memory
        hits: Counter = "chunk_cache_hits";
        /// Reads of a chunk that was fetched
        misses: Counter = "chunk_cache_misses";
        /// Bytes that the chunk cache keeps
        bytes: Gauge = "chunk_cache_bytes";
    }
}

/// `None` is the whole object, else the chunk's index.
type Part = Option<u64>;
type Fetch = Shared<BoxFuture<'static, Result<Run, StoreError>>>;
type WeakFetch = WeakShared<BoxFuture<'static, Result<Run, StoreError>>>;

#[derive(Debug, Default)]
struct State {
    /// SUBTLE: found by hash, so that a hit costs the same however much is kept; never walked over.
    kept: HashMap<Path, BTreeMap<Part, Kept>>,
    segments: Ages,
    files: Ages,
    tick: u64,
    fetching: BTreeMap<Path, BTreeMap<u64, WeakFetch>>,
    /// Objects in `fetching` at which it is swept next.
    fetching_max: usize,
}

/// Of one class: the smallest tick was used longest ago.
#[derive(Debug, Default)]
struct Ages {
    by_tick: BTreeMap<u64, (Path, Part)>,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    of: Class,
    tick: u64,
}

/// What one request brought: bytes from the start of a chunk on.
#[derive(Debug, Clone)]
struct Run {
    first: u64,
    bytes: Bytes,
}

impl Run {
    fn chunk(&self, index: u64) -> Bytes {
        let length = self.bytes.len();
        let at = |chunk: u64| {
            usize::try_from((chunk - self.first) * CHUNK).map_or(length, |at| at.min(length))
        };
        self.bytes.slice(at(index)..at(index + 1))
    }
}

/// Where a chunk comes from.
enum Source {
    Memory(Bytes),
    Fetch(Fetch),
}

impl State {
    fn ages(&mut self, of: Class) -> &mut Ages {
        match of {
            Class::Segment => &mut self.segments,
            Class::File => &mut self.files,
        }
    }

    fn bytes(&self) -> u64 {
        self.segments.bytes + self.files.bytes
    }

    fn get(&mut self, path: &Path, part: Part) -> Option<Bytes> {
        let kept = self.kept.get_mut(path)?.get_mut(&part)?;
        let ages = match kept.of {
            Class::Segment => &mut self.segments,
            Class::File => &mut self.files,
        };
        // What was used a moment ago is young enough: a hit costs two lookups and nothing else.
        let is_young = self.tick - kept.tick <= ages.by_tick.len() as u64 / 8;
        if !is_young && let Some(key) = ages.by_tick.remove(&kept.tick) {
            self.tick += 1;
            kept.tick = self.tick;
            ages.by_tick.insert(self.tick, key);
        }
        Some(kept.bytes.clone())
    }

    fn insert(&mut self, key: (Path, Part), of: Class, bytes: Bytes, capacity: u64) {
        let size = bytes.len() as u64;
        self.remove(&key);
        let room = match of {
            Class::Segment => capacity,
            Class::File => capacity / FILES_PART,
        };
        if size > room {
            return;
        }
        while self.ages(of).bytes + size > room
            && let Some((_, oldest)) = self.ages(of).by_tick.first_key_value()
        {
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
        while self.bytes() + size > capacity
            && let Some(oldest) = self.oldest().cloned()
        {
            self.remove(&oldest);
        }
        self.tick += 1;
        let tick = self.tick;
        let ages = self.ages(of);
        ages.by_tick.insert(tick, key.clone());
        ages.bytes += size;
        let (path, part) = key;
        let kept = Kept { bytes, of, tick };
        self.kept.entry(path).or_default().insert(part, kept);
    }

    fn oldest(&self) -> Option<&(Path, Part)> {
        let ages = [&self.segments, &self.files].into_iter();
        let oldest = ages.filter_map(|ages| ages.by_tick.first_key_value());
        oldest.min_by_key(|(tick, _)| **tick).map(|(_, key)| key)
    }

    fn remove(&mut self, (path, part): &(Path, Part)) {
        let Some(parts) = self.kept.get_mut(path) else {
            return;
        };
        let removed = parts.remove(part);
        if parts.is_empty() {
            self.kept.remove(path);
        }
        if let Some(kept) = removed {
            self.removed(&kept);
        }
    }

    fn removed(&mut self, kept: &Kept) {
        let ages = self.ages(kept.of);
        ages.by_tick.remove(&kept.tick);
        ages.bytes -= kept.bytes.len() as u64;
    }

    fn forget(&mut self, path: &Path) {
        for kept in self.kept.remove(path).unwrap_or_default().into_values() {
            self.removed(&kept);
        }
    }

    /// Takes those off the list that were dropped before they ended.
    fn sweep_fetching(&mut self) {
        if self.fetching.len() <= self.fetching_max.max(FETCHING_SWEPT) {
            return;
        }
        self.fetching.retain(|_, chunks| {
            chunks.retain(|_, fetch| fetch.upgrade().is_some());
            !chunks.is_empty()
        });
        self.fetching_max = 2 * self.fetching.len();
    }

    fn fetched(&mut self, path: &Path, chunk: u64) {
        if let Some(chunks) = self.fetching.get_mut(path) {
            chunks.remove(&chunk);
            if chunks.is_empty() {
                self.fetching.remove(path);
            }
        }
    }
}

impl ChunkCache {
    pub fn new(store: Store, capacity: ByteSize, metrics: &Metrics) -> ChunkCache {
        let inner = Inner {
            store,
            capacity: capacity.0,
            misses: Budget::new(ByteSize((capacity.0 / MISSES_PART).max(MISSES_MIN))),
            state: Mutex::default(),
            counters: metrics.register(Counters::register),
        };
        ChunkCache {
            inner: Arc::new(inner),
            of: Class::Segment,
        }
    }

    /// The same cache for who reads table files.
    pub fn for_files(&self) -> ChunkCache {
        ChunkCache {
            inner: Arc::clone(&self.inner),
            of: Class::File,
        }
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Keeps an object that was just written. The bytes should not be a slice of something larger,
    /// which would stay in memory uncounted.
    pub fn insert(&self, path: &Path, bytes: Bytes) {
        let (key, capacity) = ((path.clone(), None), self.inner.capacity);
        self.inner
            .with(|state| state.insert(key, self.of, bytes, capacity));
    }

    /// Drops what is kept of an object that was deleted.
    pub fn forget(&self, path: &Path) {
        self.inner.with(|state| state.forget(path));
    }

    /// How many bytes are kept.
    pub fn size(&self) -> ByteSize {
        ByteSize(self.inner.with(|state| state.bytes()))
    }

    /// Exactly these bytes of the object; `Corrupt` if it is shorter. Without a copy if they lie in one
    /// chunk or the object is kept whole.
    pub async fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let whole = self.inner.with(|state| state.get(path, None));
        if let Some(whole) = whole {
            self.inner.counters.hits.inc();
            return cut(path, &whole, 0, &range);
        }
        let chunks = range.start / CHUNK..range.end.div_ceil(CHUNK);
        let sources = self
            .inner
            .with(|state| self.inner.plan(state, path, self.of, &chunks));
        let pending = sources.into_iter().map(|(index, source)| async move {
            match source {
                Source::Memory(bytes) => Ok((index, bytes)),
                Source::Fetch(fetch) => fetch.await.map(|run| (index, run.chunk(index))),
            }
        });
        let mut parts = Vec::new();
        for part in futures::future::join_all(pending).await {
            let (index, bytes) = part?;
            let start = index * CHUNK;
            let wanted = range.start.max(start)..range.end.min(start + CHUNK);
            parts.push(cut(path, &bytes, start, &wanted)?);
        }
        if parts.len() == 1 {
            return Ok(parts.swap_remove(0));
        }
        let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in parts {
            joined.extend_from_slice(&part);
        }
        Ok(joined.freeze())
    }
}

/// `range` of the object out of bytes that begin at `start`.
fn cut(path: &Path, bytes: &Bytes, start: u64, range: &Range<u64>) -> Result<Bytes, StoreError> {
    let at = |position: u64| {
        usize::try_from(position - start)
            .ok()
            .filter(|at| *at <= bytes.len())
    };
    match (at(range.start), at(range.end)) {
        (Some(from), Some(to)) => Ok(bytes.slice(from..to)),
        _ => Err(StoreError::Corrupt {
            path: path.clone(),
            reason: format!(
                "it ends at byte {}, but bytes {range:?} were asked for",
                start + bytes.len() as u64
            ),
        }),
    }
}

impl Inner {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let result = f(&mut state);
        self.counters.bytes.set(gauge(state.bytes()));
        result
    }

    /// Where each chunk comes from; begins the fetches that are missing.
    fn plan(
        self: &Arc<Self>,
        state: &mut State,
        path: &Path,
        of: Class,
        chunks: &Range<u64>,
    ) -> Vec<(u64, Source)> {
        state.sweep_fetching();
        let mut sources = Vec::new();
        let mut next = chunks.start;
        while next < chunks.end {
            if let Some(source) = self.at_hand(state, path, next) {
                sources.push((next, source));
                next += 1;
                continue;
            }
            let first = next;
            let mut end = first + 1;
            while end < chunks.end
                && end - first < RUN_MAX
                && self.at_hand(state, path, end).is_none()
            {
                end += 1;
            }
            self.counters.misses.inc_by(end - first);
            let fetch = Arc::clone(self)
                .fetch(path.clone(), of, first..end)
                .boxed()
                .shared();
            let weak = fetch.downgrade().expect("it was not polled yet");
            for index in first..end {
                let chunks = state.fetching.entry(path.clone()).or_default();
                chunks.insert(index, weak.clone());
                sources.push((index, Source::Fetch(fetch.clone())));
            }
            next = end;
        }
        sources
    }

    fn at_hand(&self, state: &mut State, path: &Path, chunk: u64) -> Option<Source> {
        if let Some(bytes) = state.get(path, Some(chunk)) {
            self.counters.hits.inc();
            return Some(Source::Memory(bytes));
        }
        let fetch = state.fetching.get(path)?.get(&chunk)?.upgrade()?;
        // One that failed is asked again.
        if fetch.peek().is_some() {
            return None;
        }
        self.counters.hits.inc();
        Some(Source::Fetch(fetch))
    }

    async fn fetch(
        self: Arc<Self>,
        path: Path,
        of: Class,
        chunks: Range<u64>,
    ) -> Result<Run, StoreError> {
        let range = chunks.start * CHUNK..chunks.end * CHUNK;
        let single = chunks.end - chunks.start == 1;
        let length = range.end - range.start;
        // The chunks of a run are copied out of it.
        let taken = if single { length } else { 2 * length };
        let _turn = timeout(TURN_WITHIN, self.misses.acquire(taken)).await;
        let (bytes, object) = self.store.get_up_to(&path, range.clone()).await?;
        let expected = object.min(range.end).saturating_sub(range.start);
        if bytes.len() as u64 != expected {
            let reason = format!("{} of {expected} bytes came", bytes.len());
            return Err(StoreError::Corrupt { path, reason });
        }
        let run = Run {
            first: chunks.start,
            bytes,
        };
        self.with(|state| {
            for index in chunks {
                let chunk = run.chunk(index);
                // A slice would keep the whole run in memory when only one chunk is left of it.
                let chunk = if single {
                    chunk
                } else {
                    Bytes::copy_from_slice(&chunk)
                };
                state.insert((path.clone(), Some(index)), of, chunk, self.capacity);
                state.fetched(&path, index);
            }
        });
        Ok(run)
    }
}

#[cfg(test)]
mod tests;
