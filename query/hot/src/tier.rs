//! Follows the log, decodes what is new, and answers the hot part of a cut.
//!
//! Holds: rows are kept in the order of their offsets and within the bytes of the settings.
//! Leaves to others: what is not kept, which is read again for one query (`rows`).

use std::sync::{Arc, Mutex, MutexGuard};

use imbl::OrdMap;
use tarn_decode::{DecodeError, Decoder, Decoders, decode_batches};
use tarn_model::{ByteSize, Kind, Lsn, Offset, OffsetRange, SchemaId, TopicPartition};
use tarn_replica::{Metastore, Node, View};
use tarn_runtime::{Budget, Scope, TaskError, gauge};
use tarn_state::{Extent, Partition, Schema, Table, extents_from};
use tarn_topics::{ReadError, Reader};

use crate::TableCut;
use crate::kept::Kept;
use crate::metrics::HotMetrics;
use crate::tail::{Extremes, Piece, Stretch, Times};

/// Bytes of batches that are read and decoded at a time.
const READ_BYTES: u64 = 4 << 20;
/// Memory to decode with, of the node's budget: for each stored byte …
const MEMORY_PER_BYTE: u64 = 8;
/// … but no less …
const MEMORY_MIN: u64 = 2 << 20;
/// … and no more. A quarter of it may become rows; a single batch may still open to more.
const MEMORY_MAX: u64 = MEMORY_PER_BYTE * READ_BYTES;
/// The share of its room that the tier gives one partition that was away.
const ROOM_SHARE: u64 = 4;

/// Settings of the hot tier.
#[derive(Debug, Clone)]
pub struct HotSettings {
    /// Bytes of decoded rows that are kept. Beyond it the oldest go, and are read again when asked for.
    pub bytes: ByteSize,
}

/// The rows could not be read or decoded.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl HotError {
    pub fn kind(&self) -> Kind {
        match self {
            HotError::Read(error) => error.kind(),
            HotError::Decode(error) => error.kind(),
            HotError::Task(_) => Kind::Internal,
        }
    }
}

/// The hot tier of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HotTier {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    settings: HotSettings,
    reader: Reader,
    budget: Budget,
    pub(crate) metastore: Metastore,
    pub(crate) scope: Scope,
    kept: Mutex<Kept>,
    decoders: Decoders,
    metrics: HotMetrics,
}

/// Rows of the beginning of a range.
pub(crate) struct ReadRows {
    pub(crate) pieces: Vec<Piece>,
    /// Where to go on.
    pub(crate) to: Offset,
    /// Stored bytes that they came from.
    stored: u64,
}

impl HotTier {
    /// Starts following in a task of the node's scope.
    pub fn start(node: &Node, settings: HotSettings) -> HotTier {
        let tier = HotTier {
            inner: Arc::new(Inner {
                settings,
                reader: Reader::new(node),
                budget: node.budget.clone(),
                metastore: node.metastore.clone(),
                scope: node.scope.child("hot"),
                kept: Mutex::default(),
                decoders: Decoders::default(),
                metrics: node.runtime.metrics().register(HotMetrics::register),
            }),
        };
        let following = tier.clone();
        drop(
            tier.inner
                .scope
                .spawn("hot.follow", async move { following.follow().await }),
        );
        tier
    }

    /// What is known of the hot rows of a cut, exactly; `None` if some of them are not in memory.
    pub fn measure(&self, cut: &TableCut) -> Option<Extremes> {
        let mut all = Extremes::none();
        for (at, range) in cut.hot() {
            // Not under one lock for all: nobody waits for ten thousand partitions.
            if !self.kept().measure(at, range, &mut all) {
                return None;
            }
        }
        Some(all)
    }

    pub(crate) fn stretches(
        &self,
        at: TopicPartition,
        range: OffsetRange,
        times: Option<&Times>,
    ) -> Vec<Stretch> {
        self.kept().stretches(at, range, times)
    }

    /// Reads rows that are not kept, at a cut.
    pub(crate) async fn read_again(
        &self,
        cut: &TableCut,
        decoder: &Arc<Decoder>,
        at: TopicPartition,
        range: OffsetRange,
    ) -> Result<ReadRows, HotError> {
        let Some(partition) = cut.partitions.get(&at.partition) else {
            return Err(ReadError::NoSuchPartition { at }.into());
        };
        let read = self
            .read(cut.lsn, &partition.extents, at, range, decoder)
            .await?;
        let rows = read.pieces.iter().map(|piece| piece.rows.num_rows() as u64);
        self.inner.metrics.reread_rows.inc_by(rows.sum());
        Ok(read)
    }

    /// Decodes some of what came to a partition since it was followed last. Is there more?
    pub(crate) async fn catch_up(
        &self,
        view: &View,
        at: TopicPartition,
        partition: &Partition,
    ) -> Result<bool, HotError> {
        let Some(table) = view.table_of(at.topic) else {
            return Ok(false);
        };
        let m = table.materialized(at.partition).max(partition.log_start);
        let end = partition.last_stable();
        let start = self.start_of(at, m, partition);
        if start >= end {
            return Ok(false);
        }
        let Some(decoder) = self.decoder(&view.schemas, table) else {
            return Ok(false);
        };
        let range = OffsetRange::new(start, end);
        let read = self
            .read(view.lsn(), &partition.extents, at, range, &decoder)
            .await?;
        let bytes_max = self.inner.settings.bytes.as_usize();
        let mut kept = self.kept();
        let decoded = read.pieces.iter().map(|piece| piece.bytes as u64).sum();
        let rows = read.pieces.iter().map(|piece| piece.rows.num_rows() as u64);
        self.inner.metrics.followed_rows.inc_by(rows.sum());
        kept.learn(read.stored, decoded);
        let evicted = kept.keep(at, read.pieces, read.to, bytes_max);
        self.inner.metrics.evicted_rows.inc_by(evicted as u64);
        self.report(&kept);
        Ok(read.to < end)
    }

    /// Where to go on following a partition that is in its table below `m`. After a long absence only
    /// the newest rows are worth reading, and at first only as long as there is room.
    fn start_of(&self, at: TopicPartition, m: Offset, partition: &Partition) -> Offset {
        let total = self.inner.settings.bytes.0;
        let mut kept = self.kept();
        let share = total / ROOM_SHARE;
        let (from, room) = match kept.followed_to(at) {
            Some(to) => (to.max(m), share),
            None => (m, share.min(total.saturating_sub(kept.bytes as u64))),
        };
        let mut stored = 0;
        let mut start = from;
        for extent in partition.extents.values().rev() {
            if extent.offsets.end <= from {
                break;
            }
            stored += extent.position.length;
            if kept.decoded_size(stored) > room {
                start = from.max(extent.offsets.end);
                break;
            }
        }
        kept.follow_to(at, start);
        start
    }

    /// Nothing more of it is kept until something new comes: it cannot be read.
    pub(crate) fn skip(&self, at: TopicPartition, partition: &Partition) {
        self.kept().follow_to(at, partition.last_stable());
    }

    /// Reads and decodes the beginning of a range.
    async fn read(
        &self,
        lsn: Lsn,
        extents: &OrdMap<Offset, Extent>,
        at: TopicPartition,
        range: OffsetRange,
        decoder: &Arc<Decoder>,
    ) -> Result<ReadRows, HotError> {
        let wanted = MEMORY_PER_BYTE * stored_bytes(extents, range);
        let wanted = wanted.clamp(MEMORY_MIN, MEMORY_MAX);
        let permit = self.inner.budget.acquire_some(MEMORY_MIN, wanted).await;
        let read_bytes = permit.bytes() / MEMORY_PER_BYTE;
        let read = self
            .inner
            .reader
            .read_extents(lsn, at, extents, range, read_bytes.min(READ_BYTES))
            .await?;
        if read.next_offset <= range.start {
            // Nothing of what is left is there any more: it fell below the log start.
            return Ok(ReadRows {
                pieces: Vec::new(),
                to: range.end,
                stored: 0,
            });
        }
        let covered = OffsetRange::new(range.start, read.next_offset);
        let decoder = Arc::clone(decoder);
        let decode = move || {
            let rows_max = permit.bytes() / 4;
            let stored = read.batches.iter().map(|batch| batch.batch.bytes().len());
            let stored: usize = stored.sum();
            let chunk = decode_batches(&decoder, at.partition, &read.batches, covered, rows_max)?;
            // Of a chunk that ends early, the part of the stored bytes that its offsets are.
            let part = OffsetRange::new(covered.start, chunk.next).len();
            let stored = stored as u64 * part / covered.len().max(1);
            Ok::<_, DecodeError>(ReadRows {
                pieces: chunk.runs.into_iter().map(Piece::from).collect(),
                to: chunk.next,
                stored,
            })
        };
        Ok(self.inner.scope.blocking("hot.decode", decode).await??)
    }

    /// `None` for a table that no topic has.
    pub(crate) fn decoder(
        &self,
        schemas: &OrdMap<SchemaId, Arc<Schema>>,
        table: &Arc<Table>,
    ) -> Option<Arc<Decoder>> {
        let of = table.of_topic()?;
        Some(self.inner.decoders.of(schemas, table, of))
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner
            .kept
            .lock()
            .expect("nobody panics while holding it")
    }

    #[cfg(test)]
    pub(crate) fn metrics(&self) -> HotMetrics {
        self.inner.metrics.clone()
    }

    pub(crate) fn report(&self, kept: &Kept) {
        self.inner.metrics.bytes.set(gauge(kept.bytes));
        self.inner.metrics.rows.set(gauge(kept.rows));
    }
}

/// Bytes of the extents of a range, as far as one read goes.
fn stored_bytes(extents: &OrdMap<Offset, Extent>, range: OffsetRange) -> u64 {
    let mut bytes: u64 = 0;
    for extent in extents_from(extents, range.start) {
        if extent.offsets.start >= range.end || bytes >= READ_BYTES {
            break;
        }
        bytes = bytes.saturating_add(extent.position.length);
    }
    bytes
}
