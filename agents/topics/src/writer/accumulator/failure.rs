//! What fails drags along what must not come without it: batches of the same producer and partition
//! behind a failed one fail too, because `apply` would take them from a producer it does not know,
//! and the retry of the first would then look like a duplicate.

use std::collections::BTreeSet;

use tarn_model::TopicPartition;

use super::super::AppendError;
use super::flight::{Open, Sent, Stage};
use super::producers::{Key, Stamp};
use super::{Accumulator, Pending};

impl Accumulator {
    /// Answers the batches of a segment that failed, and with them the later ones of their producers.
    pub(super) fn fail_flight(&mut self, number: u64, error: AppendError) {
        let Some(flight) = self.flights.remove(&number) else {
            return;
        };
        let mut failed_keys = BTreeSet::new();
        for sent in flight.partitions.into_values().flatten() {
            self.fail_sent(sent, error, &mut failed_keys);
        }
        if failed_keys.is_empty() {
            return;
        }
        let behind = AppendError::NotDone {
            why: "the batch before it failed",
        };
        // Of an uploaded segment only whole extents can be left out, which fails others' batches in
        // the same partition with them: they are told so, and send again.
        let later: Vec<u64> = self
            .flights
            .range(number..)
            .map(|(number, _)| *number)
            .collect();
        for number in later {
            let Some(flight) = self.flights.get_mut(&number) else {
                continue;
            };
            if matches!(flight.stage, Stage::Committing) {
                continue;
            }
            let concerned: Vec<TopicPartition> = flight
                .partitions
                .iter()
                .filter(|(_, batches)| {
                    batches
                        .iter()
                        .any(|sent| is_behind(sent.stamp, &failed_keys))
                })
                .map(|(at, _)| *at)
                .collect();
            let dropped: Vec<Sent> = concerned
                .iter()
                .filter_map(|at| flight.partitions.remove(at))
                .flatten()
                .collect();
            for sent in dropped {
                self.fail_sent(sent, behind, &mut failed_keys);
            }
            self.drop_empty_flight(number);
        }
        let mut dropped = Vec::new();
        for closed in self.ready.iter_mut().chain([&mut self.open]) {
            closed.partitions.retain(|_, batches| {
                dropped.extend(
                    batches.extract_if(.., |pending| is_behind(pending.stamp(), &failed_keys)),
                );
                !batches.is_empty()
            });
            closed.bytes = closed
                .partitions
                .values()
                .flatten()
                .map(Pending::bytes)
                .sum();
            if closed.partitions.is_empty() {
                *closed = Open::default();
            }
        }
        for pending in dropped {
            self.producers.release(pending.stamp().as_ref());
            pending.ticket.answer(Err(behind));
        }
        self.recheck_all();
    }

    fn fail_sent(&mut self, sent: Sent, error: AppendError, failed_keys: &mut BTreeSet<Key>) {
        self.producers.release(sent.stamp.as_ref());
        sent.ticket.answer(Err(error));
        let Some(stamp) = sent.stamp else { return };
        failed_keys.insert(stamp.key);
        self.producers.remember_failure(&stamp);
    }

    /// A segment of which nothing is left to be committed is garbage.
    pub(super) fn drop_empty_flight(&mut self, number: u64) {
        let is_over = self.flights.get(&number).is_some_and(|flight| {
            flight.partitions.is_empty() && matches!(flight.stage, Stage::Uploaded(_))
        });
        if is_over {
            self.flights.remove(&number);
        }
    }
}

fn is_behind(stamp: Option<Stamp>, failed: &BTreeSet<Key>) -> bool {
    stamp.is_some_and(|stamp| failed.contains(&stamp.key))
}
