//! Second stage of a round: batches to rows, and the count of what became of every offset.
//!
//! Holds: what is decoded in one go takes no more memory than was allowed and one run of rows; a
//! partition that a limit stopped is not gone on with in this round, so that its offsets stay dense.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_decode::{Chunk, DecodeError, Decoder, NO_RECORD, decode_batches};
use tarn_model::{OffsetRange, PartitionId};
use tarn_runtime::step;
use tarn_state::Counters;
use tokio::sync::mpsc;

use super::days::Days;
use super::plan::Waiting;
use super::read::{Load, Part, Progress};
use super::{MaterializeError, Materializer};

/// What a round decoded, and what became of every offset.
#[derive(Debug)]
pub(super) struct Decoded {
    partitions: BTreeMap<PartitionId, Progress>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    /// Records later than the header of their batch says, which offsets by time go by.
    pub(super) hidden_timestamps: u64,
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
        while self.left > 0
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
        if let Some(progress) = self.partitions.get_mut(&partition) {
            let counted = &mut progress.counted;
            counted.rows += chunk.row_count;
            counted.undecodable += chunk.reasons.values().sum::<u64>();
            counted.append_timed += chunk.odd.append_timed;
            counted.nulled += chunk.odd.nulled;
            progress.to = chunk.next;
        }
        self.hidden_timestamps += chunk.hidden_timestamps;
        for (reason, count) in chunk.reasons {
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
                if !is_wanted || decoded.left == 0 {
                    break 'loads;
                }
            }
        }
        step!(self.node.runtime, "materialize.read");
        Ok(decoded)
    }
}
