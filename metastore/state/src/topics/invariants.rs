//! What always holds of topics, partitions, segments and producers.
//!
//! Leaves to others: what holds of tables and of the other areas.

use std::collections::BTreeMap;

use imbl::ordmap::DiffItem;
use tarn_model::{Offset, PartitionId, SegmentId, TopicPartition};

use super::producers::Producer;
use super::types::{Extent, Partition};
use crate::State;
use crate::invariants::{BrokenInvariant, Check, broken, ensure};

impl State {
    pub(crate) fn check_topics(&self) -> Check {
        self.check_names()?;
        for (at, partition) in self.partitions.iter().chain(&self.leftovers) {
            check_partition(*at, partition)?;
        }
        self.check_trimmed()?;
        self.check_leftovers()?;
        self.check_segments()?;
        self.check_producers()
    }

    /// What changed from `before` to `after`.
    pub(crate) fn check_topics_step(before: &State, after: &State) -> Check {
        for change in before.partitions.diff(&after.partitions) {
            match change {
                DiffItem::Add(at, partition) => check_partition(*at, partition)?,
                DiffItem::Update {
                    old: (_, old),
                    new: (at, new),
                } => check_partition_step(*at, old, new)?,
                DiffItem::Remove(at, _) => ensure(
                    "partitions-belong-to-topics",
                    !after.topics.contains_key(&at.topic),
                    || format!("{at} is gone, its topic is not"),
                )?,
            }
        }
        for change in before.producers.diff(&after.producers) {
            if let DiffItem::Add((at, id), producer)
            | DiffItem::Update {
                new: ((at, id), producer),
                ..
            } = change
            {
                check_producer(producer).map_err(|detail| {
                    broken("producer-window", format!("{at} producer {id}: {detail}"))
                })?;
            }
        }
        for change in before.topics.diff(&after.topics) {
            if let DiffItem::Add(id, topic)
            | DiffItem::Update {
                new: (id, topic), ..
            } = change
            {
                ensure(
                    "names-and-topics-agree",
                    after.topic_names.get(&topic.name) == Some(id),
                    || topic.name.clone(),
                )?;
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Check {
        let same = self.topics.len() == self.topic_names.len();
        ensure("names-and-topics-agree", same, || {
            "one more than the other".into()
        })?;
        let mut partitions = 0usize;
        for (id, topic) in &self.topics {
            ensure(
                "names-and-topics-agree",
                self.topic_names.get(&topic.name) == Some(id),
                || topic.name.clone(),
            )?;
            for partition in 0..topic.partitions {
                let at = TopicPartition::new(*id, PartitionId(partition));
                ensure(
                    "partitions-belong-to-topics",
                    self.partitions.contains_key(&at),
                    || format!("{at} is missing"),
                )?;
                partitions += 1;
            }
        }
        ensure(
            "partitions-belong-to-topics",
            partitions == self.partitions.len(),
            || "there are more".into(),
        )
    }

    fn check_segments(&self) -> Check {
        let mut counted: BTreeMap<SegmentId, u64> = BTreeMap::new();
        let all = self.partitions.iter().chain(&self.leftovers);
        for (at, partition) in all.chain(&self.leaving) {
            for extent in partition.extents.values() {
                *counted.entry(extent.segment).or_insert(0) += 1;
                let segment = self.segments.get(&extent.segment);
                let fits = segment.is_some_and(|segment| extent.position.end() <= segment.bytes);
                ensure("extents-lie-in-segments", fits, || {
                    format!("{at} {} in {}", extent.offsets, extent.segment)
                })?;
            }
        }
        for (id, segment) in &self.segments {
            let real = counted.get(id).copied().unwrap_or(0);
            ensure(
                "segments-count-their-extents",
                segment.extents == real,
                || format!("{id} says {}, there are {real}", segment.extents),
            )?;
        }
        Ok(())
    }

    fn check_producers(&self) -> Check {
        let mut counted: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for ((at, id), producer) in &self.producers {
            *counted.entry(*at).or_insert(0) += 1;
            let checked = check_producer(producer).and_then(|()| match self.partitions.get(at) {
                // It is on its way out with its partition.
                None if self.topics.contains_key(&at.topic) => {
                    Err("its partition is gone".to_owned())
                }
                Some(partition)
                    if producer
                        .batches
                        .iter()
                        .any(|batch| batch.base >= partition.high_watermark) =>
                {
                    Err("a batch lies above the high watermark".to_owned())
                }
                None | Some(_) => Ok(()),
            });
            checked.map_err(|detail| {
                broken("producer-window", format!("{at} producer {id}: {detail}"))
            })?;
        }
        let same = counted.len() == self.producer_counts.len()
            && counted
                .iter()
                .all(|(at, count)| self.producer_counts.get(at) == Some(count));
        ensure("producers-are-counted", same, || "the counts differ".into())
    }

    fn check_trimmed(&self) -> Check {
        for (at, partition) in &self.partitions {
            let known = self.trimmed.contains(at) == partition.has_trimmed_extents();
            ensure("trimmed-partitions-are-known", known, || format!("{at}"))?;
        }
        for at in &self.trimmed {
            let there = self.partitions.contains_key(at);
            ensure("trimmed-partitions-are-known", there, || format!("{at}"))?;
        }
        Ok(())
    }

    /// What is left of deleted topics belongs to no topic, and what waits for its table has one.
    fn check_leftovers(&self) -> Check {
        for at in self.leftovers.keys().chain(self.leaving.keys()) {
            ensure(
                "leftovers-belong-to-nobody",
                !self.topics.contains_key(&at.topic),
                || format!("{at}"),
            )?;
        }
        for at in self.leftovers.keys() {
            let detached = self
                .table_of(at.topic)
                .and_then(|table| table.of_topic()?.detached);
            let waits =
                detached.is_some_and(|since| self.detached_tables.contains(&(since, at.topic)));
            ensure("leftovers-belong-to-nobody", waits, || {
                format!("{at} waits for no table")
            })?;
        }
        Ok(())
    }
}

/// I3 and I4 of a partition by itself.
fn check_partition(at: TopicPartition, partition: &Partition) -> Check {
    let Partition {
        log_start,
        high_watermark,
        ..
    } = *partition;
    ensure(
        "log-start-is-not-above-the-high-watermark",
        log_start <= high_watermark,
        || format!("{at}: {}", partition.offsets()),
    )?;
    ensure(
        "last-stable-is-not-above-the-high-watermark",
        partition.last_stable() <= high_watermark,
        || format!("{at}"),
    )?;
    let mut bytes = 0u64;
    let first = partition
        .extents
        .get_min()
        .map_or(high_watermark, |(first, _)| *first);
    ensure("offsets-are-dense", first <= log_start, || {
        format!("{at}: starts at {log_start}, the first extent at {first}")
    })?;
    let end = check_dense(at, first, partition.extents.iter(), &mut bytes)?;
    ensure("offsets-are-dense", end == high_watermark, || {
        format!("{at}: ends at {end}, not at {high_watermark}")
    })?;
    ensure(
        "partitions-count-their-bytes",
        bytes == partition.bytes,
        || format!("{at} says {}, there are {bytes}", partition.bytes),
    )
}

/// The extents follow one another from `next` on. Gives where they end.
fn check_dense<'p>(
    at: TopicPartition,
    mut next: Offset,
    extents: impl Iterator<Item = (&'p Offset, &'p Extent)>,
    bytes: &mut u64,
) -> Result<Offset, BrokenInvariant> {
    for (key, extent) in extents {
        let dense = *key == extent.offsets.start && *key == next && !extent.offsets.is_empty();
        ensure("offsets-are-dense", dense, || {
            format!("{at}: {} where {next} comes next", extent.offsets)
        })?;
        next = extent.offsets.end;
        *bytes = bytes.saturating_add(extent.position.length);
    }
    Ok(next)
}

/// I3 and I4 of a partition that changed: nothing goes back, and what was committed stays.
fn check_partition_step(at: TopicPartition, old: &Partition, new: &Partition) -> Check {
    let rises = old.log_start <= new.log_start && old.high_watermark <= new.high_watermark;
    ensure("offsets-never-go-back", rises, || {
        format!("{at}: from {} to {}", old.offsets(), new.offsets())
    })?;
    let mut bytes = 0;
    let mut from = old.high_watermark;
    if new.log_start > from {
        // What was added may be deleted in the same step, and then gone already.
        let first = new.extents.range(from..).next();
        from = first.map_or(new.high_watermark, |(first, _)| *first);
        ensure("offsets-are-dense", from <= new.log_start, || {
            format!(
                "{at}: starts at {}, the first extent at {from}",
                new.log_start
            )
        })?;
    }
    let added = new.extents.range(old.high_watermark..);
    let end = check_dense(at, from, added, &mut bytes)?;
    ensure("offsets-are-dense", end == new.high_watermark, || {
        format!("{at}: ends at {end}")
    })?;
    if !cfg!(debug_assertions) {
        // The proposer tries each of its proposals: it looks at what they add. Where the rest could
        // have changed costs more to find than the commit itself.
        return Ok(());
    }
    for change in old.extents.diff(&new.extents) {
        let allowed = match change {
            DiffItem::Add(start, _) => *start >= old.high_watermark,
            DiffItem::Remove(_, extent) => extent.offsets.end <= new.log_start,
            DiffItem::Update {
                old: (_, old),
                new: (_, new),
            } => is_unhidden(old, new),
        };
        ensure("what-was-committed-stays", allowed, || format!("{at}"))?;
    }
    Ok(())
}

/// The same extent, of which it is known by now that its headers hid later records.
fn is_unhidden(old: &Extent, new: &Extent) -> bool {
    let known = Extent {
        max_timestamp: old.max_timestamp.max(new.max_timestamp),
        hides_timestamps: true,
        ..*old
    };
    known == *new
}

fn check_producer(producer: &Producer) -> Result<(), String> {
    let ordered = producer
        .batches
        .windows(2)
        .all(|pair| matches!(pair, [one, next] if one.base < next.base));
    if ordered {
        Ok(())
    } else {
        Err("its batches are not in order".to_owned())
    }
}
