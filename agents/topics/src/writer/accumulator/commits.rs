//! From uploaded segments to answers: what is committed when, and who hears of it.

use std::collections::BTreeSet;

use futures::FutureExt;
use tarn_model::TopicPartition;

use super::super::commit::commit;
use super::super::upload::Uploaded;
use super::super::{AppendResult, Appended};
use super::flight::{Flight, Stage};
use super::{Accumulator, COMMIT_BYTES_MAX, Event};

impl Accumulator {
    /// Proposes every uploaded segment whose turn it is, in one proposal. The log takes one append of
    /// a process at a time, so what is uploaded meanwhile goes with the next one.
    pub(super) fn start_commits(&mut self) {
        if self.committing || !self.may_commit {
            return;
        }
        self.may_commit = false;
        let is_uploaded = |flight: &Flight| matches!(flight.stage, Stage::Uploaded(_));
        let Some(last) = self.flights.iter().rfind(|(_, flight)| is_uploaded(flight)) else {
            return;
        };
        let last = *last.0;
        let limit = self.parts.settings.commit_bytes.min(COMMIT_BYTES_MAX).0;
        let mut before: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut commit_bytes = 0;
        let mut numbers = Vec::new();
        let mut group = Vec::new();
        for (number, flight) in self.flights.range_mut(..=last) {
            let is_free = flight.partitions.keys().all(|at| !before.contains(at));
            let fits = group.is_empty() || commit_bytes + flight.commit_bytes <= limit;
            if !(is_free && fits && matches!(flight.stage, Stage::Uploaded(_))) {
                #[cfg(test)]
                tests::LOOKED_AT.set(tests::LOOKED_AT.get() + flight.partitions.len());
                before.extend(flight.partitions.keys().copied());
                continue;
            }
            if let Stage::Uploaded(mut uploaded) =
                std::mem::replace(&mut flight.stage, Stage::Committing)
            {
                let partitions = &flight.partitions;
                uploaded.commit.extents.retain(|extent| {
                    partitions.contains_key(&TopicPartition::new(extent.topic, extent.partition))
                });
                commit_bytes += flight.commit_bytes;
                numbers.push(*number);
                group.push(uploaded);
            }
        }
        if group.is_empty() {
            return;
        }
        self.committing = true;
        let parts = self.parts.clone();
        let task = self
            .parts
            .scope
            .spawn("segment.commit", async move { commit(&parts, group).await });
        self.events
            .push(async move { Event::Committed(numbers, task.await) }.boxed());
    }

    /// Answers the batches of a committed segment.
    pub(super) fn settle_flight(
        &mut self,
        number: u64,
        uploaded: &Uploaded,
        results: Vec<Vec<AppendResult>>,
    ) {
        let Some(mut flight) = self.flights.remove(&number) else {
            return;
        };
        for (extent, results) in uploaded.commit.extents.iter().zip(results) {
            let at = TopicPartition::new(extent.topic, extent.partition);
            let Some(sent) = flight.partitions.remove(&at) else {
                continue;
            };
            for (sent, result) in sent.into_iter().zip(results) {
                if let Ok(Appended {
                    committed_time: Some(_),
                    ..
                }) = result
                {
                    self.parts.metrics.bytes.inc_by(sent.bytes);
                    self.parts.metrics.records.inc_by(sent.offsets);
                }
                self.producers.release(sent.stamp.as_ref());
                sent.ticket.answer(result);
            }
        }
    }

    /// The planted defect: answers before the commit, with the offsets that it will probably get.
    pub(super) fn acknowledge_too_early(&mut self, number: u64) {
        let Some(flight) = self.flights.get_mut(&number) else {
            return;
        };
        let mut released = Vec::new();
        for (at, batches) in std::mem::take(&mut flight.partitions) {
            let partition = self.view.partitions.get(&at);
            let log_start =
                partition.map_or_else(Default::default, |partition| partition.log_start);
            let mut base =
                partition.map_or_else(Default::default, |partition| partition.high_watermark);
            let mut kept = Vec::with_capacity(batches.len());
            for mut sent in batches {
                let committed_time = Some(self.view.cluster_time);
                sent.ticket.settle(Ok(Appended {
                    base,
                    log_start,
                    committed_time,
                }));
                base = base.advance(sent.offsets);
                kept.push(sent);
            }
            released.push((at, kept));
        }
        flight.partitions = released.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tarn_model::{PartitionId, TopicId};
    use tarn_state::commands::{CommitMode, CommitSegment};
    use tokio::time::Instant;

    use super::*;
    use crate::WriterSettings;
    use crate::testing::cluster;
    use crate::writer::parts::Parts;

    thread_local! {
        /// Partitions of segments on their way that a turn looked at.
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    fn flight(number: i32, stage: Stage) -> Flight {
        let at = |partition| {
            let partition = PartitionId(100 * number + partition);
            TopicPartition::new(TopicId::from_u128(7), partition)
        };
        Flight {
            partitions: (0..100)
                .map(|partition| (at(partition), Vec::new()))
                .collect(),
            commit_bytes: 1,
            stage,
        }
    }

    #[tokio::test]
    async fn a_turn_looks_at_what_is_on_its_way_only_before_what_is_uploaded() {
        let cluster = cluster().await;
        let parts = Parts::new(&cluster.node, WriterSettings::local());
        let mut accumulator = Accumulator::new(parts);
        for number in 0..16 {
            let one = flight(number, Stage::Uploading);
            accumulator.flights.insert(number as u64, one);
        }
        let mut turn = |may_commit| {
            LOOKED_AT.set(0);
            accumulator.may_commit = may_commit;
            accumulator.start_commits();
            let taken = std::mem::take(&mut accumulator.committing);
            let uploaded = Uploaded {
                commit: CommitSegment {
                    segment: tarn_model::SegmentId::new(tarn_model::ClusterTime(1), 1),
                    mode: CommitMode::Each,
                    bytes: 0,
                    extents: Vec::new(),
                },
                object: bytes::Bytes::new(),
                at: Instant::now(),
                renewed: false,
            };
            accumulator
                .flights
                .insert(2, flight(2, Stage::Uploaded(uploaded)));
            (LOOKED_AT.get(), taken)
        };
        assert_eq!(turn(true), (0, false), "nothing is uploaded");
        assert_eq!(turn(false), (0, false), "nothing happened");
        assert_eq!(turn(true), (200, true), "of 1600 those before it");
    }
}
