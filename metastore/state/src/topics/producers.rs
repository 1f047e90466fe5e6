//! Idempotent producers, per partition, as in Kafka.
//!
//! Holds: what is remembered of a producer is bounded, in batches and in producers.
//! Leaves to others: batches that came before their predecessor, which wait in an agent.

use std::ops::Bound;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{
    ClusterTime, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition, caps, defect,
};

use super::outcome::BatchOutcome;
use super::window::Window;
use crate::State;

/// Sequence numbers are 31 bits and wrap from `i32::MAX` to 0.
const SEQUENCE_MASK: u32 = i32::MAX as u32;
/// Two sequences less than this apart are before and after each other; else nobody can say.
const SEQUENCE_HALF: u32 = 1 << 30;
/// Producers that each entry looks at in its search for idle ones.
const SWEEP_PER_ENTRY: usize = 16;
/// Of a partition that has too many producers, this share goes at once, so that the search for the
/// idlest is paid for once in a thousand new producers.
const EVICTED_SHARE: usize = 10;

/// What a partition remembers of a producer. Kept per (partition, producer id).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Producer {
    #[n(0)]
    pub epoch: ProducerEpoch,
    /// The newest [`tarn_model::caps::PRODUCER_WINDOW`] batches of this epoch, oldest first.
    #[n(1)]
    pub batches: Window,
    #[n(2)]
    pub used: ClusterTime,
    /// Sequence numbers taken in this epoch since the producer became known: how far back a
    /// sequence may lie and have certainly been taken.
    #[n(3)]
    pub taken: u64,
}

/// A batch that was taken, so that the same batch again gets the same offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RememberedBatch {
    #[n(0)]
    pub first_sequence: i32,
    #[n(1)]
    pub last_sequence: i32,
    #[n(2)]
    pub base: Offset,
    #[n(3)]
    pub max_timestamp: Timestamp,
}

/// Who sent an idempotent batch, and its place in the producer's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ProducerStamp {
    #[n(0)]
    pub id: ProducerId,
    #[n(1)]
    pub epoch: ProducerEpoch,
    #[n(2)]
    pub first_sequence: i32,
}

impl Producer {
    /// Sequence of the last record taken.
    pub fn last_sequence(&self) -> Option<i32> {
        self.batches.last().map(|batch| batch.last_sequence)
    }
}

/// The sequence that is `records` after `sequence`.
pub(crate) fn sequence_after(sequence: i32, records: u32) -> i32 {
    (sequence.cast_unsigned().wrapping_add(records) & SEQUENCE_MASK).cast_signed()
}

/// How far `from` lies before `to`, around the wrap.
fn distance(from: i32, to: i32) -> u32 {
    to.cast_unsigned().wrapping_sub(from.cast_unsigned()) & SEQUENCE_MASK
}

/// What the producer's order says about a batch, before it is given a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Take,
    Answer(BatchOutcome),
}

impl Producer {
    pub(crate) fn is_idle(&self, now: ClusterTime) -> bool {
        now.since(self.used) > caps::PRODUCER_IDLE_MAX
    }

    /// Judges a batch that takes the sequences from `stamp.first_sequence` to `last`.
    pub(crate) fn judge(&self, stamp: ProducerStamp, last: i32) -> Verdict {
        if stamp.epoch < self.epoch {
            return Verdict::Answer(BatchOutcome::FencedEpoch {
                current: self.epoch,
            });
        }
        if stamp.epoch > self.epoch {
            return match stamp.first_sequence {
                0 => Verdict::Take,
                _ => Verdict::Answer(BatchOutcome::OutOfOrder { expected: 0 }),
            };
        }
        let Some(newest) = self.last_sequence() else {
            return Verdict::Take;
        };
        let same = |batch: &&RememberedBatch| {
            batch.first_sequence == stamp.first_sequence && batch.last_sequence == last
        };
        if let Some(batch) = self.batches.iter().find(same) {
            if defect("skip-duplicate-check") {
                return Verdict::Take;
            }
            return Verdict::Answer(BatchOutcome::Duplicate(batch.base));
        }
        let expected = sequence_after(newest, 1);
        if stamp.first_sequence == expected {
            return Verdict::Take;
        }
        // SUBTLE: "forgotten" says that the records are here. A producer that became known in the
        // middle of its order may be before that: only what was certainly taken counts.
        let back = distance(stamp.first_sequence, expected);
        let before_window = self.batches.first().is_some_and(|oldest| {
            let ahead = distance(last, oldest.first_sequence);
            0 < ahead && ahead < SEQUENCE_HALF
        });
        if back < SEQUENCE_HALF && u64::from(back) <= self.taken && before_window {
            return Verdict::Answer(BatchOutcome::DuplicateForgotten);
        }
        Verdict::Answer(BatchOutcome::OutOfOrder { expected })
    }
}

impl State {
    /// Judges a batch by what the partition remembers of its producer. Of an unknown one, or one that
    /// was idle for too long, see [`State::begins_at_zero`].
    pub(crate) fn judge_batch(
        &self,
        at: TopicPartition,
        stamp: ProducerStamp,
        last: i32,
        now: ClusterTime,
    ) -> Verdict {
        match self
            .producers
            .get(&(at, stamp.id))
            .filter(|producer| !producer.is_idle(now))
        {
            Some(producer) => producer.judge(stamp, last),
            None if stamp.first_sequence != 0 && self.begins_at_zero(at, stamp.id) => {
                Verdict::Answer(BatchOutcome::OutOfOrder { expected: 0 })
            }
            None => Verdict::Take,
        }
    }

    /// Has a producer that the partition does not know certainly never written to it? Then its first
    /// batch there has sequence 0.
    ///
    /// In Kafka an unknown producer may start anywhere (KIP-360), since the partition may have
    /// forgotten it. Taking any batch for the first one would let a later batch overtake: the first
    /// hangs with one agent while the second comes to another one, and is then out of order for ever.
    /// So the partition says whom it can have forgotten: ids older than the topic, ids not above one
    /// that it once forgot, and ids that this cluster never gave out.
    pub fn begins_at_zero(&self, at: TopicPartition, producer: ProducerId) -> bool {
        let Some(topic) = self.topics.get(&at.topic) else {
            return false;
        };
        let first = topic.first_producer;
        let forgotten_before = self
            .partitions
            .get(&at)
            .and_then(|partition| partition.forgotten_before);
        first.max(forgotten_before.unwrap_or(first)) <= producer
            && producer < self.next_producer
            && !self.producers.contains_key(&(at, producer))
    }

    /// Remembers a batch that was taken.
    pub(crate) fn remember_batch(
        &mut self,
        at: TopicPartition,
        stamp: ProducerStamp,
        batch: RememberedBatch,
        now: ClusterTime,
    ) {
        let taken = u64::from(distance(batch.first_sequence, batch.last_sequence)) + 1;
        let key = (at, stamp.id);
        match self.producers.get_mut(&key) {
            Some(producer) => {
                let producer = Arc::make_mut(producer);
                if producer.epoch != stamp.epoch || producer.is_idle(now) {
                    producer.epoch = stamp.epoch;
                    producer.batches = Window::of(batch);
                    producer.taken = 0;
                } else {
                    producer.batches.push(batch);
                }
                producer.taken = producer.taken.saturating_add(taken);
                producer.used = now;
            }
            None => {
                self.make_room_for_producer(at);
                let producer = Producer {
                    epoch: stamp.epoch,
                    batches: Window::of(batch),
                    used: now,
                    taken,
                };
                self.producers.insert(key, Arc::new(producer));
                *self.producer_counts.entry(at).or_insert(0) += 1;
            }
        }
    }

    fn make_room_for_producer(&mut self, at: TopicPartition) {
        if self.producer_counts.get(&at).copied().unwrap_or(0) < caps::PRODUCERS_PER_PARTITION_MAX {
            return;
        }
        let mut by_use: Vec<(ClusterTime, ProducerId)> = self
            .producers_of(at)
            .map(|(id, producer)| (producer.used, id))
            .collect();
        by_use.sort_unstable();
        for (_, id) in by_use
            .into_iter()
            .take(caps::PRODUCERS_PER_PARTITION_MAX / EVICTED_SHARE)
        {
            self.forget_producer(at, id);
        }
    }

    /// The producers that a partition remembers, by id.
    pub fn producers_of(
        &self,
        at: TopicPartition,
    ) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers
            .range((at, ProducerId(i64::MIN))..=(at, ProducerId(i64::MAX)))
            .map(|((_, id), producer)| (*id, producer.as_ref()))
    }

    pub(crate) fn forget_producer(&mut self, at: TopicPartition, id: ProducerId) {
        if self.producers.remove(&(at, id)).is_none() {
            return;
        }
        if let Some(partition) = self.partitions.get_mut(&at) {
            let behind = ProducerId(id.0.saturating_add(1));
            if partition.forgotten_before < Some(behind) {
                Arc::make_mut(partition).forgotten_before = Some(behind);
            }
        }
        let count = self
            .producer_counts
            .get_mut(&at)
            .expect("every producer is counted");
        *count = count.checked_sub(1).expect("every producer is counted");
        if *count == 0 {
            self.producer_counts.remove(&at);
        }
    }

    /// Looks at the next few producers and forgets the idle ones, and those of partitions that are
    /// gone, so that they go without anybody
    /// ever walking over all of them.
    pub(crate) fn sweep_idle_producers(&mut self) {
        if self.producers.is_empty() {
            self.producer_cursor = None;
            return;
        }
        let start = self
            .producer_cursor
            .map_or(Bound::Unbounded, Bound::Excluded);
        let by_age = self.deletes_by_age();
        let mut seen = 0;
        let mut last = None;
        let mut idle = Vec::new();
        for (key, producer) in self
            .producers
            .range((start, Bound::Unbounded))
            .take(SWEEP_PER_ENTRY)
        {
            seen += 1;
            last = Some(*key);
            if (by_age && producer.is_idle(self.cluster_time))
                || !self.partitions.contains_key(&key.0)
            {
                idle.push(*key);
            }
        }
        self.producer_cursor = if seen == SWEEP_PER_ENTRY { last } else { None };
        for (at, id) in idle {
            self.forget_producer(at, id);
        }
    }
}
