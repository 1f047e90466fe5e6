//! Follows the log, decodes what is new, and answers the hot part of a cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use imbl::ordmap::DiffItem;
use tarn_decode::{DecodeError, DecodeRecord, Decoded, Decoder, TableShape, split};
use tarn_kafka::records::Limits;
use tarn_model::{ByteSize, Kind, Offset, OffsetRange, TopicId, TopicPartition, defect};
use tarn_replica::{Metastore, Node, View};
use tarn_runtime::{Scope, TaskError};
use tarn_state::{Partition, Table};
use tarn_topics::{ReadError, Reader, RecordItem, StoredBatch};
use tracing::warn;

use crate::TableCut;
use crate::metrics::HotMetrics;
use crate::tail::{Piece, Stretch, Tail, within};

/// Bytes of batches that are read and decoded at a time.
const READ_BYTES: u64 = 4 << 20;

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
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: HotSettings,
    reader: Reader,
    metastore: Metastore,
    scope: Scope,
    kept: Mutex<Kept>,
    decoders: Mutex<BTreeMap<TopicId, Shaped>>,
    metrics: HotMetrics,
}

/// A decoder and the table whose shape it has.
type Shaped = (Arc<Table>, Arc<Decoder>);

/// All tails, and the order in which they were last added to: eviction takes from the longest idle.
#[derive(Debug, Default)]
struct Kept {
    tails: BTreeMap<TopicPartition, Tail>,
    added: VecDeque<TopicPartition>,
    bytes: usize,
    rows: usize,
}

impl HotTier {
    /// Starts following in a task of the node's scope.
    pub fn start(node: &Node, settings: HotSettings) -> HotTier {
        let tier = HotTier {
            inner: Arc::new(Inner {
                settings,
                reader: Reader::new(node),
                metastore: node.metastore.clone(),
                scope: node.scope.child("hot"),
                kept: Mutex::default(),
                decoders: Mutex::default(),
                metrics: HotMetrics::register(node.runtime.metrics()),
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

    /// The hot rows of a cut, in the order of partitions and offsets.
    pub fn rows(&self, cut: &TableCut) -> HotRows {
        let mut ranges: VecDeque<(TopicPartition, OffsetRange)> = cut.hot().collect();
        if defect("hot-from-newest-m") {
            let newest = self.inner.metastore.view();
            for (at, range) in &mut ranges {
                let m = newest
                    .table(at.topic)
                    .map(|table| table.materialized(at.partition));
                range.start = m.unwrap_or(range.start).clamp(range.start, range.end);
            }
        }
        HotRows {
            tier: self.clone(),
            ranges,
            stretches: VecDeque::new(),
            cut: cut.clone(),
        }
    }

    /// Schema of the rows that [`HotTier::rows`] gives for this cut.
    pub fn schema(&self, cut: &TableCut) -> arrow::datatypes::SchemaRef {
        Arc::clone(self.decoder(&cut.view, &cut.table).schema())
    }

    async fn follow(&self) {
        let mut views = self.inner.metastore.watch();
        let stopped = self.inner.scope.stopped();
        tokio::pin!(stopped);
        let mut seen: Option<View> = None;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            for (at, partition) in changed(seen.as_ref(), &view) {
                tokio::select! {
                    biased;
                    () = &mut stopped => return,
                    caught_up = self.catch_up(&view, at, &partition) => {
                        if let Err(error) = caught_up {
                            // Queries read these rows from segments; the next record tries again.
                            warn!(%at, %error, "the hot tier could not take new rows");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
            self.drop_materialized(seen.as_ref(), &view);
            seen = Some(view);
            tokio::select! {
                biased;
                () = &mut stopped => return,
                changed = views.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Decodes what came since the newest piece.
    async fn catch_up(
        &self,
        view: &View,
        at: TopicPartition,
        partition: &Partition,
    ) -> Result<(), HotError> {
        let Some(table) = view.table(at.topic) else {
            return Ok(());
        };
        let m = table.materialized(at.partition).max(partition.log_start);
        let end = partition.last_stable();
        let kept_end = self.kept().tails.get(&at).and_then(Tail::end);
        let start = kept_end
            .unwrap_or(m)
            .max(m)
            .max(self.worth_keeping(partition));
        let decoder = self.decoder(view, table);
        let mut next = start;
        while next < end {
            let (pieces, read_to) = self
                .read(view, at, OffsetRange::new(next, end), &decoder)
                .await?;
            self.keep(at, pieces);
            next = read_to;
        }
        Ok(())
    }

    /// The first offset of the newest extents that the tier has room for: after a long absence only
    /// the tail is worth reading.
    fn worth_keeping(&self, partition: &Partition) -> Offset {
        let room = self.inner.settings.bytes.0 / 4;
        let mut bytes = 0;
        for extent in partition.extents.values().rev() {
            bytes += extent.position.length;
            if bytes > room {
                return extent.offsets.end;
            }
        }
        Offset::ZERO
    }

    /// Reads and decodes the beginning of a range: the pieces, and how far they go.
    async fn read(
        &self,
        view: &View,
        at: TopicPartition,
        range: OffsetRange,
        decoder: &Arc<Decoder>,
    ) -> Result<(Vec<Piece>, Offset), HotError> {
        let read = self
            .inner
            .reader
            .read_range(view, at, range, READ_BYTES)
            .await?;
        let read_to = read.next_offset;
        if read_to <= range.start {
            // Nothing of what is left is there any more: it fell below the log start.
            return Ok((Vec::new(), range.end));
        }
        let covered = OffsetRange::new(range.start, read_to);
        let decoder = Arc::clone(decoder);
        let decode = move || decode(&decoder, at, covered, &read.batches);
        let pieces = self.inner.scope.blocking("hot.decode", decode).await??;
        Ok((pieces, read_to))
    }

    fn decoder(&self, view: &View, table: &Arc<Table>) -> Arc<Decoder> {
        let mut decoders = self
            .inner
            .decoders
            .lock()
            .expect("making a decoder does not panic");
        if let Some((for_table, decoder)) = decoders.get(&table.topic)
            && for_table.columns == table.columns
            && for_table.schemas == table.schemas
            && for_table.with_value == table.with_value
        {
            return Arc::clone(decoder);
        }
        let decoder = Arc::new(Decoder::new(&TableShape::of(view, table)));
        // A query at an older cut must not take the place of the newest shape.
        if decoders
            .get(&table.topic)
            .is_none_or(|(newest, _)| newest.schemas.len() <= table.schemas.len())
        {
            decoders.insert(table.topic, (Arc::clone(table), Arc::clone(&decoder)));
        }
        decoder
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.inner
            .kept
            .lock()
            .expect("nobody panics while holding it")
    }

    fn keep(&self, at: TopicPartition, pieces: Vec<Piece>) {
        let mut kept = self.kept();
        let tail = kept.tails.entry(at).or_default();
        let (bytes, rows) = (tail.bytes(), tail.rows());
        for piece in pieces {
            tail.insert(piece);
        }
        let (bytes_now, rows_now) = (tail.bytes(), tail.rows());
        kept.bytes = kept.bytes - bytes + bytes_now;
        kept.rows = kept.rows - rows + rows_now;
        kept.added.retain(|other| *other != at);
        kept.added.push_back(at);
        let evicted = kept.shrink(self.inner.settings.bytes.as_usize());
        self.inner.metrics.evicted_rows.inc_by(evicted as u64);
        self.report(&kept);
    }

    /// Lets go of what the tables have by now, and of topics that are gone.
    fn drop_materialized(&self, seen: Option<&View>, view: &View) {
        let mut kept = self.kept();
        if let Some(seen) = seen {
            for change in seen.tables.diff(&view.tables) {
                let DiffItem::Update {
                    new: (topic, table),
                    ..
                } = change
                else {
                    continue;
                };
                kept.drop_below(*topic, table);
            }
        } else {
            for (topic, table) in &view.tables {
                kept.drop_below(*topic, table);
            }
        }
        self.report(&kept);
    }

    fn report(&self, kept: &Kept) {
        self.inner
            .metrics
            .bytes
            .set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
        self.inner
            .metrics
            .rows
            .set(i64::try_from(kept.rows).unwrap_or(i64::MAX));
    }
}

impl Kept {
    /// Drops the oldest pieces until `bytes_max` is kept. Gives the rows dropped.
    fn shrink(&mut self, bytes_max: usize) -> usize {
        let mut evicted = 0;
        while self.bytes > bytes_max {
            let Some(at) = self.added.pop_front() else {
                break;
            };
            let Some(tail) = self.tails.get_mut(&at) else {
                continue;
            };
            if let Some((rows, bytes)) = tail.drop_oldest() {
                evicted += rows;
                self.rows -= rows;
                self.bytes -= bytes;
            }
            if tail.is_empty() {
                self.tails.remove(&at);
            } else {
                // The next to give way is another one.
                self.added.push_back(at);
            }
        }
        evicted
    }

    fn drop_below(&mut self, topic: TopicId, table: &Table) {
        let first = TopicPartition::new(topic, tarn_model::PartitionId(0));
        let last = TopicPartition::new(topic, tarn_model::PartitionId(i32::MAX));
        for (at, tail) in self.tails.range_mut(first..=last) {
            let (bytes, rows) = (tail.bytes(), tail.rows());
            let below = if table.detached {
                Offset(u64::MAX)
            } else {
                table.materialized(at.partition)
            };
            if tail.start().is_some_and(|start| start < below) {
                tail.drop_below(below);
                self.bytes -= bytes - tail.bytes();
                self.rows -= rows - tail.rows();
            }
        }
        self.tails.retain(|_, tail| !tail.is_empty());
    }
}

/// Partitions that are other than they were, in order.
fn changed(seen: Option<&View>, view: &View) -> Vec<(TopicPartition, Arc<Partition>)> {
    let Some(seen) = seen else {
        return view
            .partitions
            .iter()
            .map(|(at, partition)| (*at, Arc::clone(partition)))
            .collect();
    };
    let changes = seen
        .partitions
        .diff(&view.partitions)
        .filter_map(|change| match change {
            DiffItem::Add(at, partition)
            | DiffItem::Update {
                new: (at, partition),
                ..
            } => Some((*at, Arc::clone(partition))),
            DiffItem::Remove(..) => None,
        });
    changes.collect()
}

/// Batches of one partition as pieces that together cover `range`.
fn decode(
    decoder: &Decoder,
    at: TopicPartition,
    range: OffsetRange,
    batches: &[StoredBatch],
) -> Result<Vec<Piece>, DecodeError> {
    let limits = Limits::default();
    let items = batches
        .iter()
        .flat_map(|batch| batch.records(range, &limits));
    let records: Vec<DecodeRecord> = items
        .filter_map(|item| match item {
            RecordItem::Record(record) => Some(DecodeRecord {
                partition: at.partition,
                offset: record.offset,
                timestamp_ms: record.timestamp.0,
                key: record.key,
                value: record.value,
                headers: record
                    .headers
                    .into_iter()
                    .map(|header| (header.name, header.value))
                    .collect(),
                lsn: record.lsn,
                committed: record.committed_time,
            }),
            // The materializer counts them.
            RecordItem::Undecodable(_) => None,
        })
        .collect();
    let mut pieces = Vec::new();
    let mut start = range.start;
    let mut left = records.len();
    for run in split(&records) {
        left -= run.len();
        let last = run.last().expect("a run holds at least one record");
        let end = if left == 0 {
            range.end
        } else {
            last.offset.advance(1)
        };
        let Decoded { batch, .. } = decoder.decode(run)?;
        pieces.push(Piece::new(OffsetRange::new(start, end), batch));
        start = end;
    }
    if start < range.end {
        let nothing = RecordBatch::new_empty(Arc::clone(decoder.schema()));
        pieces.push(Piece::new(OffsetRange::new(start, range.end), nothing));
    }
    Ok(pieces)
}

/// The hot rows of one cut, batch by batch.
#[derive(Debug)]
pub struct HotRows {
    tier: HotTier,
    cut: TableCut,
    ranges: VecDeque<(TopicPartition, OffsetRange)>,
    stretches: VecDeque<(TopicPartition, Stretch)>,
}

impl HotRows {
    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, HotError>> {
        loop {
            match self.stretches.pop_front() {
                Some((_, Stretch::Kept(rows))) if rows.num_rows() == 0 => {}
                Some((_, Stretch::Kept(rows))) => return Some(Ok(rows)),
                Some((at, Stretch::Missing(range))) => {
                    if let Err(error) = self.read(at, range).await {
                        self.ranges.clear();
                        self.stretches.clear();
                        return Some(Err(error));
                    }
                }
                None => {
                    let (at, range) = self.ranges.pop_front()?;
                    let decoder = self.tier.decoder(&self.cut.view, &self.cut.table);
                    let kept = self.tier.kept();
                    let stretches = match kept.tails.get(&at) {
                        Some(tail) => tail.stretches(range, decoder.schema()),
                        None => vec![Stretch::Missing(range)],
                    };
                    self.stretches
                        .extend(stretches.into_iter().map(|stretch| (at, stretch)));
                }
            }
        }
    }

    /// Reads the beginning of a missing range and puts what is left of it back in front.
    async fn read(&mut self, at: TopicPartition, range: OffsetRange) -> Result<(), HotError> {
        let decoder = self.tier.decoder(&self.cut.view, &self.cut.table);
        let (pieces, read_to) = self.tier.read(&self.cut.view, at, range, &decoder).await?;
        if read_to < range.end {
            self.stretches
                .push_front((at, Stretch::Missing(OffsetRange::new(read_to, range.end))));
        }
        for piece in pieces.into_iter().rev() {
            let rows = within(&piece.rows, range);
            self.tier
                .inner
                .metrics
                .reread_rows
                .inc_by(rows.num_rows() as u64);
            self.stretches.push_front((at, Stretch::Kept(rows)));
        }
        Ok(())
    }
}
