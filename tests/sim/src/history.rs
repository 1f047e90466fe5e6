//! What clients and replicas saw, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarn_model::{Hash, TopicPartition};
use tarn_replica::View;
use tarn_state::{FeatureLevel, State};

use crate::joint;

/// An invariant of the product does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

/// A place in a topic.
pub(crate) type Place = (&'static str, i32, u64);

/// What the topics hold at the end: per topic and partition (offset, value).
pub(crate) type Topics = BTreeMap<(&'static str, i32), Vec<(u64, String)>>;

/// A record as its writer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    pub topic: &'static str,
    pub partition: i32,
    pub offset: u64,
    pub value: String,
    pub sent: Duration,
    pub acknowledged: Duration,
}

/// Shared by all clients and checkers of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    acknowledged: Vec<Acknowledged>,
    /// The end of what was acknowledged, by partition.
    ends: BTreeMap<(&'static str, i32), u64>,
    /// Values that were sent at all, and whether by an idempotent writer.
    sent: BTreeMap<String, bool>,
    /// Who read a place first, and what.
    seen: BTreeMap<Place, String>,
    /// What members of the group were given.
    delivered: BTreeSet<(i32, u64)>,
    /// Log, outcome and state hash of every replica at an n.
    hashes: BTreeMap<u64, Hashes>,
    /// The group's committed offsets, by n.
    committed: BTreeMap<TopicPartition, BTreeMap<u64, u64>>,
    newest: Option<View>,
    /// Checks of a node that were complete, newest n of each.
    complete: BTreeMap<usize, u64>,
    /// Subjects that were proposed, and what their proposer heard.
    told: BTreeMap<String, Told>,
    /// Every write that reached the store or failed, in order.
    writes: Vec<String>,
    cuts: u64,
    rows: u64,
    held: u64,
    outlived: u64,
    gone: u64,
    /// Nodes that have read what they could after all objects were gone.
    missed: BTreeSet<usize>,
    compared: u64,
    barriers: u64,
    commits: u64,
    joints: u64,
    refused_clocks: u64,
    violation: Option<Violation>,
}

/// What a proposer heard of its proposal, if it heard anything certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Applied,
    NotDone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hashes {
    log: Hash,
    outcome: Hash,
    state: Option<Hash>,
}

/// How much a run checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub acknowledged: u64,
    pub cuts: u64,
    pub rows: u64,
    /// Cuts that were read again later; and those of them whose table had moved on by then.
    pub held: u64,
    pub outlived: u64,
    /// Halves of held cuts that said that their objects are gone.
    pub gone: u64,
    /// Whole states that were compared between replicas.
    pub states_compared: u64,
    pub barriers: u64,
    /// Moves of the group's committed offsets.
    pub commits: u64,
    /// Joint proposals that landed and were told so.
    pub joints: u64,
    /// Starts that were refused because the machine's clock was wrong.
    pub refused_clocks: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.acknowledged += more.acknowledged;
        self.cuts += more.cuts;
        self.rows += more.rows;
        self.held += more.held;
        self.outlived += more.outlived;
        self.gone += more.gone;
        self.states_compared += more.states_compared;
        self.barriers += more.barriers;
        self.commits += more.commits;
        self.joints += more.joints;
        self.refused_clocks += more.refused_clocks;
    }
}

/// Every so many entries the whole state is hashed and checked.
const STATE_EVERY: u64 = 8;
/// And every so many it goes through a snapshot and back.
const SNAPSHOT_EVERY: u64 = 32;

impl History {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("nobody panics while holding it"))
    }

    /// Notes the first violation.
    pub fn violated(&self, invariant: &'static str, detail: impl Into<String>) {
        self.with(|inner| {
            inner.violation.get_or_insert(Violation {
                invariant,
                detail: detail.into(),
            });
        });
    }

    pub fn violation(&self) -> Option<Violation> {
        self.with(|inner| inner.violation.clone())
    }

    pub fn sent(&self, value: &str, idempotent: bool) {
        self.with(|inner| inner.sent.insert(value.to_owned(), idempotent));
    }

    pub fn acknowledged(&self, record: Acknowledged) {
        self.saw(
            (record.topic, record.partition, record.offset),
            &record.value,
            "a writer",
        );
        self.with(|inner| {
            let end = inner
                .ends
                .entry((record.topic, record.partition))
                .or_default();
            *end = (*end).max(record.offset + 1);
            inner.acknowledged.push(record);
        });
    }

    /// Where each partition ends at least, for whoever asks from now on.
    pub fn ends(&self) -> BTreeMap<(&'static str, i32), u64> {
        self.with(|inner| inner.ends.clone())
    }

    /// I7, and the promise of a barrier: what was acknowledged before it was asked for is below `end`.
    pub fn barrier(
        &self,
        before: &BTreeMap<(&'static str, i32), u64>,
        end: impl Fn(&str, i32) -> Option<u64>,
    ) {
        self.with(|inner| inner.barriers += 1);
        for ((topic, partition), acknowledged) in before {
            let end = end(topic, *partition);
            if end.is_none_or(|end| end < *acknowledged) {
                let detail = format!(
                    "{topic}/{partition} was acknowledged up to {acknowledged}; a barrier later it ends at {end:?}"
                );
                self.violated("barrier", detail);
            }
        }
    }

    /// I2: one place never shows two values, to anyone, ever.
    pub fn saw(&self, place: Place, value: &str, who: &str) {
        let before = self.with(|inner| {
            inner
                .seen
                .entry(place)
                .or_insert_with(|| value.to_owned())
                .clone()
        });
        if before != value {
            self.violated(
                "I2",
                format!("{place:?} was {before} and is {value} to {who}"),
            );
        }
    }

    pub fn delivered(&self, partition: i32, offset: u64) {
        self.with(|inner| inner.delivered.insert((partition, offset)));
    }

    pub fn checked_cut(&self, rows: u64) {
        self.with(|inner| {
            inner.cuts += 1;
            inner.rows += rows;
        });
    }

    /// A cut was read again and showed the same.
    pub fn held_cut(&self, is_outlived: bool) {
        self.with(|inner| {
            inner.held += 1;
            inner.outlived += u64::from(is_outlived);
        });
    }

    /// A cut whose objects are gone said so.
    pub fn said_gone(&self) {
        self.with(|inner| inner.gone += 1);
    }

    /// After the objects were gone a node has read again what it held.
    pub fn missed(&self, node: usize) {
        self.with(|inner| inner.missed.insert(node));
    }

    pub fn all_missed(&self, nodes: usize) -> bool {
        self.with(|inner| inner.missed.len() == nodes)
    }

    /// A node checked a cut in which every table was complete up to its topic's end.
    pub fn complete(&self, node: usize, n: u64) {
        self.with(|inner| {
            inner.complete.insert(node, n);
        });
    }

    /// Have so many nodes done that at `n` or later?
    pub fn all_complete(&self, nodes: usize, n: u64) -> bool {
        self.with(|inner| inner.complete.values().filter(|at| **at >= n).count() == nodes)
    }

    pub(crate) fn told(&self, subject: String, told: Told) {
        self.with(|inner| inner.told.insert(subject, told));
    }

    /// What was called not done is nowhere; what was called applied is there.
    fn check_told(&self) -> Result<(), Violation> {
        self.with(|inner| {
            let Some(view) = &inner.newest else {
                return Ok(());
            };
            for (subject, told) in &inner.told {
                let is_there = view.subjects.contains_key(subject);
                if is_there != (*told == Told::Applied) {
                    let detail = format!("{subject} was called {told:?}; is it there: {is_there}");
                    return Err(Violation {
                        invariant: "propose",
                        detail,
                    });
                }
            }
            Ok(())
        })
    }

    pub fn joined(&self) {
        self.with(|inner| inner.joints += 1);
    }

    pub fn refused_clock(&self) {
        self.with(|inner| inner.refused_clocks += 1);
    }

    /// A write reached the store or failed, as its sender heard.
    pub fn wrote(&self, name: &str, length: usize, fine: bool) {
        self.with(|inner| {
            inner.writes.push(format!("{name} {length} {fine}"));
        });
    }

    /// The writes in their order, and the newest state with everything that led to it.
    pub fn trace(&self) -> Vec<String> {
        self.with(|inner| {
            let mut trace = inner.writes.clone();
            if let Some((n, hashes)) = inner.hashes.last_key_value() {
                trace.push(format!("log {n} {} {}", hashes.log, hashes.outcome));
            }
            trace
        })
    }

    pub fn newest(&self) -> Option<View> {
        self.with(|inner| inner.newest.clone())
    }

    /// A replica published this view. I9: at one n all replicas have computed the same. I10: also
    /// through a snapshot. I17: the group's offsets never go back and never lie above the end.
    pub fn observed(&self, node: usize, view: &View) {
        let state = view.n.is_multiple_of(STATE_EVERY).then(|| view.hash());
        if state.is_some()
            && let Err(broken) = view.check_invariants()
        {
            self.violated("state", format!("node {node} at {}: {broken}", view.lsn()));
        }
        if view.n.is_multiple_of(SNAPSHOT_EVERY) {
            self.check_snapshot(view);
        }
        let hashes = Hashes {
            log: view.log_hash,
            outcome: view.outcome_hash,
            state,
        };
        let different = self.with(|inner| {
            if inner.newest.as_ref().is_none_or(|newest| newest.n < view.n) {
                inner.newest = Some(Arc::clone(view));
            }
            match inner.hashes.get_mut(&view.n) {
                None => {
                    inner.hashes.insert(view.n, hashes);
                    None
                }
                Some(known) => {
                    inner.compared += u64::from(hashes.state.is_some());
                    (*known != hashes).then(|| known.clone())
                }
            }
        });
        if let Some(known) = different {
            self.violated(
                "I9",
                format!(
                    "at {} node {node} computed something else than {known:?}",
                    view.lsn()
                ),
            );
        }
        self.observe_groups(view);
    }

    /// I10: a state that went through its snapshot is the same, and a torn snapshot is refused.
    fn check_snapshot(&self, view: &View) {
        let bytes = view.to_snapshot();
        match State::from_snapshot_up_to(FeatureLevel::REHEARSAL, &bytes, view.cluster) {
            Ok(state) if state == **view => {}
            Ok(_) => self.violated(
                "I10",
                format!("the snapshot at {} is another state", view.lsn()),
            ),
            Err(error) => self.violated(
                "I10",
                format!("the snapshot at {} was refused: {error}", view.lsn()),
            ),
        }
        let torn = usize::try_from(view.n).expect("small") * 31 % bytes.len();
        let start = &bytes[..torn];
        if State::from_snapshot_up_to(FeatureLevel::REHEARSAL, start, view.cluster).is_ok() {
            self.violated("I10", format!("a snapshot torn at {torn} was taken"));
        }
    }

    fn observe_groups(&self, view: &View) {
        let of_members = view.groups.iter().filter(|(name, _)| *name != joint::GROUP);
        for (name, group) in of_members {
            for (at, committed) in &group.offsets {
                let offset = committed.offset.cast_unsigned();
                let end = view
                    .partitions
                    .get(at)
                    .map(|partition| partition.high_watermark.0);
                if end.is_none_or(|end| offset > end) {
                    self.violated(
                        "I17",
                        format!("{name} has committed {offset} of {at}, which ends at {end:?}"),
                    );
                }
                self.with(|inner| inner.commit(*at, view.n, offset))
                    .unwrap_or_else(|detail| self.violated("I17", detail));
            }
        }
    }

    pub fn counts(&self) -> Counts {
        self.with(|inner| Counts {
            acknowledged: inner.acknowledged.len() as u64,
            cuts: inner.cuts,
            rows: inner.rows,
            held: inner.held,
            outlived: inner.outlived,
            gone: inner.gone,
            states_compared: inner.compared,
            barriers: inner.barriers,
            commits: inner.commits,
            joints: inner.joints,
            refused_clocks: inner.refused_clocks,
        })
    }

    /// Checks the whole history against what the topics hold at the end.
    pub fn check(&self, topics: &Topics) -> Result<(), Violation> {
        let violation = |invariant, detail: String| Err(Violation { invariant, detail });
        if let Some(violation) = self.violation() {
            return Err(violation);
        }
        self.check_told()?;
        let mut copies: BTreeMap<&str, u64> = BTreeMap::new();
        for ((topic, partition), records) in topics {
            for (index, (offset, value)) in records.iter().enumerate() {
                if *offset != index as u64 {
                    return violation(
                        "I3",
                        format!("{topic}/{partition} has {offset} at place {index}"),
                    );
                }
                self.saw((topic, *partition, *offset), value, "the last reader");
                *copies.entry(value).or_default() += 1;
            }
        }
        if let Some(violation) = self.violation() {
            return Err(violation);
        }
        self.with(|inner| {
            for record in &inner.acknowledged {
                let place = usize::try_from(record.offset).expect("small");
                let found = topics.get(&(record.topic, record.partition)).and_then(|records| records.get(place));
                if found.map(|(_, value)| value) != Some(&record.value) {
                    return violation("I1", format!("{record:?} was acknowledged; at the end {found:?} is there"));
                }
            }
            for ((topic, partition, offset), value) in &inner.seen {
                let place = usize::try_from(*offset).expect("small");
                if topics.get(&(*topic, *partition)).is_none_or(|records| records.len() <= place) {
                    return violation("I1", format!("{topic}/{partition}/{offset} was {value} to somebody; at the end it is not there"));
                }
            }
            for (value, count) in &copies {
                match inner.sent.get(*value) {
                    None => return violation("I2", format!("{value} was never sent")),
                    Some(true) if *count > 1 => {
                        return violation("I6", format!("{value} of an idempotent writer is there {count} times"));
                    }
                    Some(_) => {}
                }
            }
            Self::check_real_time_order(inner)?;
            Self::check_group(inner)
        })
    }

    /// I5: what was acknowledged before another was sent stands before it.
    fn check_real_time_order(inner: &Inner) -> Result<(), Violation> {
        let partitions: BTreeSet<(&str, i32)> = inner
            .acknowledged
            .iter()
            .map(|record| (record.topic, record.partition))
            .collect();
        for partition in partitions {
            let of_partition = || {
                inner
                    .acknowledged
                    .iter()
                    .filter(|record| (record.topic, record.partition) == partition)
            };
            let mut by_ack: Vec<&Acknowledged> = of_partition().collect();
            by_ack.sort_by_key(|record| record.acknowledged);
            let mut by_send: Vec<&Acknowledged> = of_partition().collect();
            by_send.sort_by_key(|record| record.sent);
            let mut highest: Option<&Acknowledged> = None;
            let mut acknowledged = by_ack.into_iter().peekable();
            for later in by_send {
                while let Some(earlier) =
                    acknowledged.next_if(|earlier| earlier.acknowledged < later.sent)
                {
                    if highest.is_none_or(|highest| earlier.offset > highest.offset) {
                        highest = Some(earlier);
                    }
                }
                if let Some(earlier) = highest
                    && earlier.offset >= later.offset
                {
                    let detail = format!("{earlier:?} was acknowledged before {later:?} was sent");
                    return Err(Violation {
                        invariant: "I5",
                        detail,
                    });
                }
            }
        }
        Ok(())
    }

    /// I17: the group's offset passed over nothing that no member was given.
    fn check_group(inner: &Inner) -> Result<(), Violation> {
        for (at, by_n) in &inner.committed {
            let end = by_n.last_key_value().map_or(0, |(_, offset)| *offset);
            if let Some(skipped) =
                (0..end).find(|offset| !inner.delivered.contains(&(at.partition.0, *offset)))
            {
                let detail =
                    format!("{at} is committed up to {end}, but nobody was given {skipped}");
                return Err(Violation {
                    invariant: "I17",
                    detail,
                });
            }
        }
        Ok(())
    }
}

impl Inner {
    fn commit(&mut self, at: TopicPartition, n: u64, offset: u64) -> Result<(), String> {
        let by_n = self.committed.entry(at).or_default();
        if let Some((before, earlier)) = by_n.range(..=n).next_back()
            && *earlier > offset
        {
            return Err(format!(
                "{at} was committed up to {earlier} at {before} and up to {offset} at {n}"
            ));
        }
        if let Some((after, later)) = by_n.range(n + 1..).next()
            && *later < offset
        {
            return Err(format!(
                "{at} was committed up to {offset} at {n} and up to {later} at {after}"
            ));
        }
        if by_n.insert(n, offset).is_none() {
            self.commits += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
