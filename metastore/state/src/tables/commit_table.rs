//! Moves a table's pointer and M together: the rows of `[from, to)` of each partition are in the
//! files that the new metadata names, exactly once. Whoever made the rows has opened every batch: what
//! their headers hid of their timestamps comes with it, and the index by time takes the truth.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{
    ByteSize, Offset, OffsetRange, PartitionId, Timestamp, TopicId, TopicPartition, caps,
};

use super::refusal::TableRefusal;
use crate::{Context, Counters, Extent, Outcome, Refusal, State, TopicRefusal};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommitTable {
    #[n(0)]
    pub topic: TopicId,
    /// Compared with what the table has; refused if it moved.
    #[n(1)]
    pub expected: Option<String>,
    #[n(2)]
    pub pointer: String,
    #[n(3)]
    pub table_snapshot: Option<i64>,
    /// Partitions whose M moves; each `from` must be the M that is there.
    #[n(4)]
    pub steps: Vec<MaterializedStep>,
    /// Where headers of batches name less than their records have; at most [`HIDDEN_TIMESTAMPS_MAX`].
    #[n(5)]
    pub hidden: Vec<HiddenTimestamp>,
}

/// Most of one commit.
pub const HIDDEN_TIMESTAMPS_MAX: usize = 16_384;

/// Offsets with records that are later than the headers of their batches say, the latest at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HiddenTimestamp {
    #[n(0)]
    pub partition: PartitionId,
    #[n(1)]
    pub offsets: OffsetRange,
    #[n(2)]
    pub timestamp: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MaterializedStep {
    #[n(0)]
    pub partition: PartitionId,
    #[n(1)]
    pub from: Offset,
    #[n(2)]
    pub to: Offset,
    /// Added to the table's counters; their sum is `to − from`.
    #[n(3)]
    pub counted: Counters,
}

impl CommitTable {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        // Also of a deleted topic, until it has taken what was acknowledged before.
        let table = state
            .table_to_fill(self.topic)
            .ok_or(TableRefusal::NoSuchTable(self.topic))?;
        if table.pointer != self.expected {
            return Err(TableRefusal::PointerMoved {
                have: table.pointer.clone(),
            }
            .into());
        }
        if self.pointer.len() > caps::NAME_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
            });
        }
        if self.hidden.len() > HIDDEN_TIMESTAMPS_MAX {
            return Err(TableRefusal::TableCommitInvalid(format!(
                "it names {} hidden timestamps",
                self.hidden.len()
            ))
            .into());
        }
        let mut table = table.as_ref().clone();
        for step in &self.steps {
            let partition = state
                .readable(TopicPartition::new(self.topic, step.partition))
                .ok_or(TopicRefusal::NoSuchPartition(self.topic, step.partition))?;
            let have = table.materialized(step.partition);
            if step.from != have {
                return Err(TableRefusal::MaterializedMoved {
                    partition: step.partition,
                    have,
                }
                .into());
            }
            let invalid = |why: String| {
                Refusal::Table(TableRefusal::TableCommitInvalid(format!(
                    "partition {}: {why}",
                    step.partition
                )))
            };
            let Some(length) = step.to.0.checked_sub(step.from.0) else {
                return Err(invalid(format!(
                    "M would go back from {} to {}",
                    step.from, step.to
                )));
            };
            let stable = partition.last_stable();
            if step.to > stable {
                return Err(invalid(format!(
                    "{} is above the last stable offset {stable}",
                    step.to
                )));
            }
            if step.counted.sum() != Some(length) {
                return Err(invalid(format!(
                    "the counters do not account for {length} offsets"
                )));
            }
            let counters = table
                .counters
                .get(&step.partition)
                .copied()
                .unwrap_or_default();
            let counters = counters
                .checked_add(step.counted)
                .ok_or_else(|| invalid("a counter is full".into()))?;
            table.counters.insert(step.partition, counters);
            table.materialized.insert(step.partition, step.to);
        }
        table.pointer = Some(self.pointer.clone());
        table.table_snapshot = self.table_snapshot;
        table.committed = Some(ctx.cluster_time);
        table.problem = None;
        let table = Arc::new(table);
        state.tables.insert(self.topic, Arc::clone(&table));
        for hidden in &self.hidden {
            self.unhide(state, hidden);
        }
        for step in self.steps.iter().filter(|_| table.detached) {
            let at = TopicPartition::new(self.topic, step.partition);
            let all = state
                .leftovers
                .get(&at)
                .is_some_and(|partition| step.to >= partition.last_stable());
            if all {
                state.table_has_taken(at);
            }
        }
        Ok(Outcome::Done)
    }

    /// The extent may be gone meanwhile, and nobody asks a deleted topic for offsets by time.
    fn unhide(&self, state: &mut State, hidden: &HiddenTimestamp) {
        let at = TopicPartition::new(self.topic, hidden.partition);
        let Some(partition) = state.partitions.get_mut(&at) else {
            return;
        };
        let extents = partition.extents_from(hidden.offsets.start);
        let extents = extents.take_while(|extent| extent.offsets.start < hidden.offsets.end);
        let extents: Vec<Extent> = extents.copied().collect();
        for mut extent in extents {
            extent.hides_timestamps = true;
            extent.max_timestamp = extent.max_timestamp.max(hidden.timestamp);
            let extents = &mut Arc::make_mut(partition).extents;
            extents.insert(extent.offsets.start, extent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::{Cluster, at, batch, topic};

    fn step(partition: i32, from: u64, to: u64) -> MaterializedStep {
        let counted = Counters {
            rows: to.saturating_sub(from),
            ..Counters::default()
        };
        MaterializedStep {
            partition: PartitionId(partition),
            from: Offset(from),
            to: Offset(to),
            counted,
        }
    }

    fn commit(expected: Option<&str>, pointer: &str, steps: Vec<MaterializedStep>) -> Command {
        let expected = expected.map(str::to_owned);
        Command::CommitTable(CommitTable {
            topic: topic(7),
            expected,
            pointer: pointer.into(),
            table_snapshot: Some(1),
            steps,
            hidden: Vec::new(),
        })
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::with_topic("orders", 2);
        cluster.produce(at(7, 0), vec![batch(10)]);
        cluster.produce(at(7, 1), vec![batch(4)]);
        cluster
    }

    #[test]
    fn pointer_and_m_move_together() {
        let mut cluster = cluster();
        let mut first = step(0, 0, 6);
        first.counted = Counters {
            rows: 3,
            undecodable: 2,
            deleted: 1,
            ..Counters::default()
        };
        cluster
            .run(commit(None, "v1", vec![first, step(1, 0, 4)]))
            .unwrap();
        cluster
            .run(commit(Some("v1"), "v2", vec![step(0, 6, 10)]))
            .unwrap();
        let table = cluster.state.table(topic(7)).unwrap();
        assert_eq!(table.pointer.as_deref(), Some("v2"));
        assert_eq!(
            (
                table.materialized(PartitionId(0)),
                table.materialized(PartitionId(1))
            ),
            (Offset(10), Offset(4))
        );
        assert_eq!(
            table.counters[&PartitionId(0)],
            Counters {
                rows: 7,
                undecodable: 2,
                deleted: 1,
                ..Counters::default()
            }
        );
        assert_eq!(table.committed, Some(cluster.now()));
        cluster.run(commit(Some("v2"), "v3", Vec::new())).unwrap();
    }

    #[test]
    fn the_index_by_time_takes_what_headers_hid() {
        let mut cluster = cluster();
        cluster.produce(at(7, 0), vec![batch(5)]);
        let extents = |cluster: &Cluster| -> Vec<(u64, i64, bool)> {
            let partition = cluster.state.partition(topic(7), PartitionId(0)).unwrap();
            let extents = partition.extents.values();
            let told = extents.map(|extent| {
                let start = extent.offsets.start.0;
                (start, extent.max_timestamp.0, extent.hides_timestamps)
            });
            told.collect()
        };
        let [(0, first, false), (10, second, false)] = extents(&cluster)[..] else {
            panic!("{:?}", extents(&cluster));
        };
        let hidden = |partition: i32, start: u64, end: u64, timestamp: i64| HiddenTimestamp {
            partition: PartitionId(partition),
            offsets: OffsetRange::new(Offset(start), Offset(end)),
            timestamp: Timestamp(timestamp),
        };
        let commit_with =
            |expected: Option<&str>, pointer: &str, hidden: Vec<HiddenTimestamp>| match commit(
                expected,
                pointer,
                Vec::new(),
            ) {
                Command::CommitTable(commit) => {
                    Command::CommitTable(CommitTable { hidden, ..commit })
                }
                other => other,
            };
        // Within an extent; earlier than what is known; of nothing that is there.
        let told = vec![
            hidden(0, 3, 4, first + 7),
            hidden(0, 12, 13, second - 1),
            hidden(0, 15, 99, second + 9),
            hidden(5, 0, 1, second + 9),
        ];
        cluster.run(commit_with(None, "v1", told)).unwrap();
        let expected = vec![(0, first + 7, true), (10, second, true)];
        assert_eq!(extents(&cluster), expected);
        let many = vec![hidden(0, 3, 4, 0); HIDDEN_TIMESTAMPS_MAX + 1];
        let refused = cluster.run(commit_with(Some("v1"), "v2", many));
        assert!(
            matches!(
                refused,
                Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
            ),
            "{refused:?}"
        );
        assert_eq!(extents(&cluster), expected);
        // Over several extents.
        let all = vec![hidden(0, 9, 11, second + 10)];
        cluster.run(commit_with(Some("v1"), "v2", all)).unwrap();
        assert_eq!(
            extents(&cluster),
            [(0, second + 10, true), (10, second + 10, true)]
        );
    }

    #[test]
    fn a_commit_from_an_old_view_is_refused_whole() {
        let mut cluster = cluster();
        cluster
            .run(commit(None, "v1", vec![step(0, 0, 6)]))
            .unwrap();
        let before = cluster.state.tables.clone();
        let moved = Refusal::Table(TableRefusal::PointerMoved {
            have: Some("v1".into()),
        });
        assert_eq!(cluster.run(commit(None, "v2", Vec::new())), Err(moved));
        let moved = Refusal::Table(TableRefusal::MaterializedMoved {
            partition: PartitionId(0),
            have: Offset(6),
        });
        assert_eq!(
            cluster.run(commit(
                Some("v1"),
                "v2",
                vec![step(1, 0, 4), step(0, 0, 10)]
            )),
            Err(moved)
        );
        for wrong in [
            step(0, 6, 11),
            step(0, 6, 5),
            MaterializedStep {
                counted: Counters::default(),
                ..step(0, 6, 7)
            },
        ] {
            let refused = cluster.run(commit(Some("v1"), "v2", vec![wrong]));
            assert!(
                matches!(
                    refused,
                    Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
                ),
                "{refused:?}"
            );
        }
        let absent = Refusal::Topic(TopicRefusal::NoSuchPartition(topic(7), PartitionId(2)));
        assert_eq!(
            cluster.run(commit(Some("v1"), "v2", vec![step(2, 0, 0)])),
            Err(absent)
        );
        assert_eq!(cluster.state.tables, before);
    }
}
