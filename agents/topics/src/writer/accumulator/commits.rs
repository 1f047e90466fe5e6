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
