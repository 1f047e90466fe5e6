//! Second stage of a round: batches to rows, and the count of what became of every offset.
//!
//! Holds: what is decoded in one go takes no more memory than was allowed and one run of rows; a
//! partition that a limit stopped is not gone on with in this round, so that its offsets stay dense.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_decode::{Chunk, DecodeError, Decoder, NO_RECORD, decode_batches};
use tarn_model::{Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_replica::View;
use tarn_runtime::step;
use tarn_state::Counters;
use tarn_state::commands::{HIDDEN_TIMESTAMPS_MAX, HiddenTimestamp};
use tokio::sync::mpsc;

use super::days::Days;
use super::plan::Waiting;
use super::read::{Load, Part, Progress};
use super::{MaterializeError, Materializer};

/// Batches whose headers hide timestamps, of one commit: each is remembered.
const HIDDEN_MAX: usize = 64 << 10;

/// What a round decoded, and what became of every offset.
#[derive(Debug)]
pub(super) struct Decoded {
    partitions: BTreeMap<PartitionId, Progress>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    /// Records later than the header of their batch says, which offsets by time go by.
    pub(super) hidden_timestamps: u64,
    /// The latest of each batch.
    hidden: Vec<HiddenTimestamp>,
    /// Their days of event time.
    pub(super) days: Days,
    /// Bytes of rows that the round may still take.
    left: u64,
}

impl Decoded {
    pub(super) fn new(days_max: usize, rows_bytes: u64) -> Decoded {
        Decoded {
            partitions: BTreeMap::new(),
            reasons: BTreeMap::new(),
            hidden_timestamps: 0,
            hidden: Vec::new(),
            days: Days::new(days_max),
            left: rows_bytes,
        }
    }

    /// Is anything left of what waited?
    pub(super) fn is_partial(&self, waiting: &[Waiting]) -> bool {
        waiting.iter().any(|waiting| {
            let progress = self.partitions.get(&waiting.partition);
            progress.is_none_or(|progress| progress.to < waiting.readable.end)
        })
    }

    /// Of each extent the latest record that the header of its batch hides; of each partition, if
    /// those are too many for one commit.
    pub(super) fn hidden(&self, view: &View, topic: TopicId) -> Vec<HiddenTimestamp> {
        let extents = self.hidden_by(|hidden| {
            let partition = view.readable(TopicPartition::new(topic, hidden.partition))?;
            let extent = partition.extents_from(hidden.offsets.start).next()?;
            Some(extent.offsets.start)
        });
        match extents.len() <= HIDDEN_TIMESTAMPS_MAX {
            true => extents,
            false => self.hidden_by(|_| Some(Offset::ZERO)),
        }
    }

    fn hidden_by(
        &self,
        place: impl Fn(&HiddenTimestamp) -> Option<Offset>,
    ) -> Vec<HiddenTimestamp> {
        let mut latest: BTreeMap<(PartitionId, Offset), HiddenTimestamp> = BTreeMap::new();
        for hidden in &self.hidden {
            let Some(place) = place(hidden) else { continue };
            let latest = latest.entry((hidden.partition, place)).or_insert(*hidden);
            latest.offsets.start = latest.offsets.start.min(hidden.offsets.start);
            latest.offsets.end = latest.offsets.end.max(hidden.offsets.end);
            latest.timestamp = latest.timestamp.max(hidden.timestamp);
        }
        latest.into_values().collect()
    }

    pub(super) fn partitions(&self) -> Vec<Progress> {
        self.partitions.values().copied().collect()
    }

    /// Decodes the beginning of a load, to about so many bytes of rows, and takes it off.
    fn take(
        &mut self,
        decoder: &Decoder,
        parts: &mut VecDeque<Part>,
        bytes_max: u64,
    ) -> Result<Vec<RecordBatch>, DecodeError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while !self.is_full()
            && bytes < bytes_max
            && let Some(mut part) = parts.pop_front()
        {
            let progress = Progress::start(&part.waiting);
            let partition = part.waiting.partition;
            let to = self.partitions.entry(partition).or_insert(progress).to;
            if to != part.within.start {
                // A limit stopped this partition before.
                continue;
            }
            if part.batches.is_empty() {
                self.account_for_nothing(partition, part.within);
                continue;
            }
            let bytes_max = (bytes_max - bytes).min(self.left);
            let (chunk, is_cut) = self.decode(decoder, &part, bytes_max)?;
            bytes += chunk.bytes;
            self.left = self.left.saturating_sub(chunk.bytes);
            let next = chunk.next;
            rows.extend(self.account(partition, chunk));
            if next < part.within.end && !is_cut {
                part.within.start = next;
                part.batches.retain(|batch| batch.offsets().end > next);
                parts.push_front(part);
            }
        }
        Ok(rows)
    }

    /// Has the round had as much as one commit takes?
    fn is_full(&self) -> bool {
        self.left == 0 || self.hidden.len() >= HIDDEN_MAX
    }

    /// Decodes a part up to the first row whose day is one too many.
    fn decode(
        &mut self,
        decoder: &Decoder,
        part: &Part,
        bytes_max: u64,
    ) -> Result<(Chunk, bool), DecodeError> {
        let until = |within| {
            let partition = part.waiting.partition;
            decode_batches(decoder, partition, &part.batches, within, bytes_max)
        };
        let chunk = until(part.within)?;
        let runs = chunk.runs.iter().map(|run| &run.rows);
        match self.days.add(runs) {
            None => Ok((chunk, false)),
            Some(cut) => Ok((until(OffsetRange::new(part.within.start, cut))?, true)),
        }
    }

    fn account_for_nothing(&mut self, partition: PartitionId, hole: OffsetRange) {
        if !hole.is_empty() {
            *self.reasons.entry(NO_RECORD).or_default() += hole.len();
        }
        if let Some(progress) = self.partitions.get_mut(&partition) {
            progress.counted.undecodable += hole.len();
            progress.to = hole.end;
        }
    }

    fn account(
        &mut self,
        partition: PartitionId,
        chunk: Chunk,
    ) -> impl Iterator<Item = RecordBatch> + use<> {
        let reasons = chunk.reasons();
        if let Some(progress) = self.partitions.get_mut(&partition) {
            let counted = &mut progress.counted;
            counted.rows += chunk.row_count;
            counted.undecodable += reasons.values().sum::<u64>();
            counted.append_timed += chunk.odd.append_timed;
            counted.nulled += chunk.odd.nulled;
            progress.to = chunk.next;
        }
        self.hidden_timestamps += chunk.hidden_timestamps;
        let hidden = chunk.hidden.into_iter();
        self.hidden
            .extend(hidden.map(|(offset, timestamp)| HiddenTimestamp {
                partition,
                offsets: OffsetRange::new(offset, offset.advance(1)),
                timestamp,
            }));
        for (reason, count) in reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        let batches = chunk.runs.into_iter().map(|run| run.rows);
        batches.filter(|rows| rows.num_rows() > 0)
    }
}

impl Progress {
    fn start(waiting: &Waiting) -> Progress {
        Progress {
            partition: waiting.partition,
            from: waiting.from,
            to: waiting.readable.start,
            counted: Counters {
                deleted: waiting.deleted(),
                ..Counters::default()
            },
        }
    }
}

impl Materializer {
    /// Decodes loads until there are no more, the rows are as many as a commit takes, or the next one
    /// has a day too many; `hop_bytes` of rows at a time.
    pub(super) async fn decode(
        &self,
        mut decoded: Decoded,
        decoder: Arc<Decoder>,
        hop_bytes: u64,
        mut loads: mpsc::Receiver<Load>,
        rows: mpsc::Sender<Vec<RecordBatch>>,
    ) -> Result<Decoded, MaterializeError> {
        'loads: while let Some(load) = loads.recv().await {
            let mut parts = VecDeque::from(load.parts);
            while !parts.is_empty() {
                let decoder = Arc::clone(&decoder);
                let take = move || {
                    let (mut decoded, mut parts) = (decoded, parts);
                    let batches = decoded.take(&decoder, &mut parts, hop_bytes)?;
                    Ok::<_, DecodeError>((decoded, parts, batches))
                };
                let batches;
                (decoded, parts, batches) = self.compute("decode", take).await??;
                let is_wanted = batches.is_empty() || rows.send(batches).await.is_ok();
                if !is_wanted || decoded.is_full() {
                    break 'loads;
                }
            }
        }
        step!(self.node.runtime, "materialize.read");
        Ok(decoded)
    }
}
