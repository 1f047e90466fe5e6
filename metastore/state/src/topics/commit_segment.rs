//! Commits a segment: gives every batch its place in its partition.
//!
//! Holds after apply: each partition's offsets are dense, the high watermark never moves back, and
//! a producer's batch appears once however often it was proposed.
//! Leaves to others: whether the object exists (the agent uploaded it before proposing) and when it
//! may be deleted.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{Offset, OffsetRange, PartitionId, SegmentId, Timestamp, TopicId, TopicPartition};

use super::outcome::BatchOutcome;
use super::producers::{ProducerStamp, RememberedBatch, Verdict, sequence_after};
use super::refusal::TopicRefusal;
use super::types::{Extent, Position, Segment, past_commit_deadline};
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommitSegment {
    #[n(0)]
    pub segment: SegmentId,
    #[n(1)]
    pub mode: CommitMode,
    /// Bytes of the whole object.
    #[n(2)]
    pub bytes: u64,
    /// Sorted by topic and partition; a partition appears once.
    #[n(3)]
    pub extents: Vec<NewExtent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum CommitMode {
    /// Each batch stands for itself and has its own outcome (Kafka produce).
    #[n(0)]
    Each,
    /// One refused batch refuses the proposal.
    #[n(1)]
    All,
}

/// One partition's batches in the segment, adjacent, in order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewExtent {
    #[n(0)]
    pub topic: TopicId,
    #[n(1)]
    pub partition: PartitionId,
    #[n(2)]
    pub position: Position,
    #[n(3)]
    pub batches: Vec<NewBatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct NewBatch {
    #[n(0)]
    pub bytes: u32,
    /// Offsets it takes: last offset delta + 1.
    #[n(1)]
    pub offsets: u32,
    #[n(2)]
    pub max_timestamp: Timestamp,
    #[n(3)]
    pub producer: Option<ProducerStamp>,
}

impl CommitSegment {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        self.admit(state, ctx)?;
        self.place(state, ctx)
    }

    /// May it be committed at all?
    pub(crate) fn admit(&self, state: &State, ctx: &Context) -> Result<(), Refusal> {
        // Known before too old: the refusal for age says that nothing was ever done.
        if state.segments.contains_key(&self.segment) {
            return Err(TopicRefusal::SegmentKnown(self.segment).into());
        }
        if past_commit_deadline(self.segment, ctx.cluster_time) {
            return Err(TopicRefusal::SegmentTooOld(self.segment).into());
        }
        self.check()
            .map_err(|why| Refusal::Topic(TopicRefusal::SegmentInvalid(why.into())))
    }

    /// Gives the batches their places. Of a segment that was admitted with `mode = each` it fails only
    /// where a partition has no offsets left, and then in the middle.
    pub(crate) fn place(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let mut outcomes = Vec::with_capacity(self.extents.len());
        let mut extents = 0u64;
        for (index, extent) in (0u32..).zip(&self.extents) {
            let (of_batches, runs) = self.commit_extent(extent, state, ctx)?;
            extents += runs;
            if self.mode == CommitMode::All {
                let refused =
                    |outcome: &BatchOutcome| !matches!(outcome, BatchOutcome::Appended(_));
                if let Some((batch, outcome)) = (0u32..)
                    .zip(&of_batches)
                    .find(|(_, outcome)| refused(outcome))
                {
                    return Err(TopicRefusal::BatchRefused {
                        extent: index,
                        batch,
                        outcome: *outcome,
                    }
                    .into());
                }
            }
            outcomes.push(of_batches);
        }
        // Also with no extent: until its deadline the id must not commit again.
        state.segments.insert(
            self.segment,
            Segment {
                extents,
                bytes: self.bytes,
                committed_at: ctx.lsn.n,
            },
        );
        Ok(Outcome::SegmentCommitted(outcomes))
    }

    /// Does the description hold together?
    fn check(&self) -> Result<(), &'static str> {
        if self.extents.is_empty() {
            return Err("it has no extents");
        }
        let mut end = 0;
        let mut previous = None;
        for extent in &self.extents {
            let at = (extent.topic, extent.partition);
            if previous.is_some_and(|previous| previous >= at) {
                return Err("its extents are not sorted by topic and partition");
            }
            previous = Some(at);
            if extent.position.start < end {
                return Err("its extents overlap");
            }
            end = extent
                .position
                .start
                .checked_add(extent.position.length)
                .ok_or("a position is too large")?;
            if end > self.bytes {
                return Err("an extent ends behind the end of the object");
            }
            if extent.batches.is_empty() {
                return Err("an extent has no batches");
            }
            let mut length = 0u64;
            for batch in &extent.batches {
                batch.check()?;
                length += u64::from(batch.bytes);
            }
            if length != extent.position.length {
                return Err("an extent is not as long as its batches");
            }
        }
        Ok(())
    }

    /// Gives the batches of one partition their offsets; also says how many extents that made: what
    /// was not taken in the middle splits the run.
    fn commit_extent(
        &self,
        new: &NewExtent,
        state: &mut State,
        ctx: &Context,
    ) -> Result<(Vec<BatchOutcome>, u64), Refusal> {
        let at = TopicPartition::new(new.topic, new.partition);
        let Some(partition) = state.partitions.get(&at) else {
            return Ok((vec![BatchOutcome::NoSuchPartition; new.batches.len()], 0));
        };
        let mut next = partition.high_watermark;
        let mut runs: Vec<Extent> = Vec::new();
        let mut open_run = false;
        let mut start = new.position.start;
        let mut outcomes = Vec::with_capacity(new.batches.len());
        for batch in &new.batches {
            let position = Position {
                start,
                length: u64::from(batch.bytes),
            };
            start = position.end();
            let verdict = match batch.producer {
                Some(stamp) => {
                    state.judge_batch(at, stamp, batch.last_sequence(stamp), ctx.cluster_time)
                }
                None => Verdict::Take,
            };
            if let Verdict::Answer(outcome) = verdict {
                outcomes.push(outcome);
                open_run = false;
                continue;
            }
            let base = next;
            next = next_offset(base, batch.offsets)?;
            if let Some(stamp) = batch.producer {
                let remembered = RememberedBatch {
                    first_sequence: stamp.first_sequence,
                    last_sequence: batch.last_sequence(stamp),
                    base,
                    max_timestamp: batch.max_timestamp,
                };
                state.remember_batch(at, stamp, remembered, ctx.cluster_time);
            }
            match runs.last_mut().filter(|_| open_run) {
                Some(run) => {
                    run.offsets.end = next;
                    run.position.length += position.length;
                    run.max_timestamp = run.max_timestamp.max(batch.max_timestamp);
                }
                None => runs.push(Extent {
                    offsets: OffsetRange::new(base, next),
                    segment: self.segment,
                    position,
                    max_timestamp: batch.max_timestamp,
                    committed_at: ctx.lsn.n,
                    committed_time: ctx.cluster_time,
                    leader_epoch: ctx.lsn.generation.0,
                    hides_timestamps: false,
                }),
            }
            open_run = true;
            outcomes.push(BatchOutcome::Appended(base));
        }
        let made = runs.len() as u64;
        if made > 0 {
            let partition =
                Arc::make_mut(state.partitions.get_mut(&at).expect("it was just found"));
            partition.high_watermark = next;
            for run in runs {
                partition.bytes = partition.bytes.saturating_add(run.position.length);
                partition.extents.insert(run.offsets.start, run);
            }
        }
        Ok((outcomes, made))
    }
}

impl NewBatch {
    fn check(&self) -> Result<(), &'static str> {
        if self.bytes == 0 || self.offsets == 0 {
            return Err("a batch is empty");
        }
        if self.offsets > i32::MAX.unsigned_abs() {
            return Err("a batch takes more offsets than Kafka can count");
        }
        if self
            .producer
            .is_some_and(|stamp| stamp.id.0 < 0 || stamp.epoch.0 < 0 || stamp.first_sequence < 0)
        {
            return Err("a producer id, epoch or sequence is negative");
        }
        Ok(())
    }

    /// Sequences take the place of offsets, one each, and wrap.
    pub fn last_sequence(&self, stamp: ProducerStamp) -> i32 {
        sequence_after(stamp.first_sequence, self.offsets.saturating_sub(1))
    }
}

/// Kafka's offsets end at `i64::MAX`.
fn next_offset(base: Offset, records: u32) -> Result<Offset, Refusal> {
    match base.0.checked_add(u64::from(records)) {
        Some(next) if i64::try_from(next).is_ok() => Ok(Offset(next)),
        _ => Err(Refusal::Topic(TopicRefusal::SegmentInvalid(
            "a partition has no offsets left".into(),
        ))),
    }
}

#[cfg(test)]
mod tests;
