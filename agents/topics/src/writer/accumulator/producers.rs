//! What this agent knows of idempotent producers beside the view: where its own pending batches lead
//! them, and which of their batches failed and have to come again first.
//!
//! It only decides who waits. Whether a batch is a duplicate, out of order or fenced is always said by
//! `apply`.

use std::collections::BTreeMap;
use std::time::Duration;

use tarn_kafka::{BatchHeader, add_to_sequence};
use tarn_model::{ProducerEpoch, ProducerId, TopicPartition};
use tarn_state::State;
use tokio::time::Instant;

/// How long a failed producer's later batches are sent back, if the failed one does not come again.
const FAILED_FOR: Duration = Duration::from_secs(60);
/// Failures remembered. Beyond it all are forgotten, and `apply` alone decides.
const FAILED_MAX: usize = 100_000;

/// A producer in a partition.
pub(super) type Key = (TopicPartition, ProducerId);

/// A batch's place in its producer's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::writer) struct Stamp {
    pub(super) key: Key,
    pub(super) epoch: ProducerEpoch,
    pub(super) first_sequence: i32,
    /// The sequence behind its last record.
    pub(super) next_sequence: i32,
}

impl Stamp {
    /// `None` for a batch whose producer is not idempotent.
    pub(super) fn of(at: TopicPartition, header: &BatchHeader) -> Option<Stamp> {
        header.has_producer().then(|| Stamp {
            key: (at, ProducerId(header.producer_id)),
            epoch: ProducerEpoch(header.producer_epoch),
            first_sequence: header.base_sequence,
            next_sequence: add_to_sequence(header.last_sequence(), 1),
        })
    }
}

/// What is to be done with a batch that has a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It fits, or `apply` is to say what is wrong with it.
    Admit,
    /// Its predecessor is missing.
    Wait,
    /// Nobody here knows the producer: ask the log first.
    Ask,
    /// Its predecessor failed here and has not come again.
    Failed,
}

/// Producers with batches on their way or failed.
#[derive(Debug, Default)]
pub(super) struct Producers {
    pending: BTreeMap<Key, Pending>,
    failed: BTreeMap<Key, Failed>,
}

/// Where a producer's pending batches lead.
#[derive(Debug)]
struct Pending {
    epoch: ProducerEpoch,
    next_sequence: i32,
    batches: usize,
}

/// The first batch of a producer that failed and has not come again.
#[derive(Debug)]
struct Failed {
    epoch: ProducerEpoch,
    first_sequence: i32,
    until: Instant,
}

impl Producers {
    /// Compares a batch's place with what the view and the pending batches expect.
    pub(super) fn judge(&mut self, stamp: &Stamp, view: &State) -> Judgement {
        let (at, producer) = stamp.key;
        let in_view = view.producer(at, producer).and_then(|known| {
            let last = known.last_sequence()?;
            Some((known.epoch, add_to_sequence(last, 1)))
        });
        if let Some(failed) = self.failed.get(&stamp.key) {
            let applied_elsewhere = in_view.is_some_and(|(epoch, next)| {
                epoch == failed.epoch && is_ahead(next, failed.first_sequence)
            });
            let is_over =
                applied_elsewhere || failed.epoch != stamp.epoch || failed.until <= Instant::now();
            if !is_over && is_ahead(stamp.first_sequence, failed.first_sequence) {
                return Judgement::Failed;
            }
            self.failed.remove(&stamp.key);
        }
        let pending = self.pending.get(&stamp.key);
        let pending = pending.map(|pending| (pending.epoch, pending.next_sequence));
        let known = [in_view, pending];
        let Some(newest) = known.iter().flatten().map(|(epoch, _)| *epoch).max() else {
            return if stamp.first_sequence == 0 {
                Judgement::Admit
            } else if view.begins_at_zero(at, producer) {
                Judgement::Wait
            } else {
                Judgement::Ask
            };
        };
        let fits = if newest > stamp.epoch {
            // It is fenced, which `apply` says.
            true
        } else if newest < stamp.epoch {
            stamp.first_sequence == 0
        } else {
            known.iter().flatten().any(|(epoch, next)| {
                *epoch == stamp.epoch && !is_ahead(stamp.first_sequence, *next)
            })
        };
        if fits {
            Judgement::Admit
        } else {
            Judgement::Wait
        }
    }

    /// A batch is on its way.
    pub(super) fn admit(&mut self, stamp: &Stamp) {
        let pending = self.pending.entry(stamp.key).or_insert(Pending {
            epoch: stamp.epoch,
            next_sequence: stamp.next_sequence,
            batches: 0,
        });
        // A duplicate, or a batch of an old epoch, must not lead the producer back.
        let leads_on =
            stamp.epoch == pending.epoch && is_ahead(stamp.next_sequence, pending.next_sequence);
        if stamp.epoch > pending.epoch || leads_on {
            pending.epoch = stamp.epoch;
            pending.next_sequence = stamp.next_sequence;
        }
        pending.batches += 1;
    }

    /// A batch is no longer on its way.
    pub(super) fn release(&mut self, stamp: Option<&Stamp>) {
        let Some(stamp) = stamp else { return };
        let Some(pending) = self.pending.get_mut(&stamp.key) else {
            return;
        };
        pending.batches -= 1;
        if pending.batches == 0 {
            self.pending.remove(&stamp.key);
        }
    }

    /// A batch failed. Of several the first one counts: all others have to come behind it again.
    pub(super) fn remember_failure(&mut self, stamp: &Stamp) {
        let now = Instant::now();
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        let is_known = |failed: &Failed| failed.epoch == stamp.epoch && failed.until > now;
        if !self.failed.get(&stamp.key).is_some_and(is_known) {
            let failed = Failed {
                epoch: stamp.epoch,
                first_sequence: stamp.first_sequence,
                until: now + FAILED_FOR,
            };
            self.failed.insert(stamp.key, failed);
        }
    }
}

/// Does this sequence come after that one? Sequences wrap behind `i32::MAX`.
fn is_ahead(sequence: i32, of: i32) -> bool {
    let distance = (i64::from(sequence) - i64::from(of)).rem_euclid(1 << 31);
    0 < distance && distance < 1 << 30
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, PartitionId, TopicId};

    use super::*;

    fn stamp(epoch: i16, first_sequence: i32, records: i32) -> Stamp {
        let at = TopicPartition::new(TopicId::from_u128(1), PartitionId(0));
        Stamp {
            key: (at, ProducerId(7)),
            epoch: ProducerEpoch(epoch),
            first_sequence,
            next_sequence: add_to_sequence(first_sequence, records),
        }
    }

    #[test]
    fn sequences_wrap() {
        assert!(is_ahead(1, 0) && !is_ahead(0, 0) && !is_ahead(0, 1));
        assert!(is_ahead(0, i32::MAX) && !is_ahead(i32::MAX, 0));
    }

    #[test]
    fn pending_batches_lead_a_producer_on_and_duplicates_do_not_lead_it_back() {
        let view = State::new(ClusterId::from_u128(1));
        let mut producers = Producers::default();
        let judge = |producers: &mut Producers, epoch, sequence| {
            producers.judge(&stamp(epoch, sequence, 1), &view)
        };
        assert_eq!(judge(&mut producers, 3, 5), Judgement::Ask);
        assert_eq!(judge(&mut producers, 3, 0), Judgement::Admit);
        producers.admit(&stamp(3, i32::MAX, 2));
        for duplicate in [stamp(3, i32::MAX, 2), stamp(2, 90, 1)] {
            producers.admit(&duplicate);
            assert_eq!(judge(&mut producers, 3, 1), Judgement::Admit);
            assert_eq!(judge(&mut producers, 3, 2), Judgement::Wait);
        }
        // A newer epoch begins at 0, an older one is fenced by `apply`.
        assert_eq!(judge(&mut producers, 4, 0), Judgement::Admit);
        assert_eq!(judge(&mut producers, 4, 1), Judgement::Wait);
        assert_eq!(judge(&mut producers, 2, 77), Judgement::Admit);
        for _ in 0..3 {
            producers.release(Some(&stamp(3, 0, 1)));
        }
        assert_eq!(judge(&mut producers, 3, 2), Judgement::Ask);
    }

    #[test]
    fn behind_a_failed_batch_nothing_comes_until_it_comes_again() {
        let view = State::new(ClusterId::from_u128(1));
        let mut producers = Producers::default();
        producers.remember_failure(&stamp(0, 4, 1));
        producers.remember_failure(&stamp(0, 5, 1));
        assert_eq!(producers.judge(&stamp(0, 6, 1), &view), Judgement::Failed);
        assert_eq!(producers.judge(&stamp(0, 4, 1), &view), Judgement::Ask);
        assert_eq!(producers.judge(&stamp(0, 6, 1), &view), Judgement::Ask);
        producers.remember_failure(&stamp(0, 4, 1));
        assert_eq!(producers.judge(&stamp(1, 0, 1), &view), Judgement::Admit);
    }
}
