//! Which offsets wait to be materialized: a pure function of a view.
//!
//! Holds: a plan begins at M and ends at the last stable offset at the latest.
//! Leaves to others: when a round is due (`service`).

use tarn_model::{ClusterTime, Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_state::{Partition, State, TopicTable};

/// Offsets of one partition that are in no table file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) partition: PartitionId,
    /// M.
    pub(crate) from: Offset,
    /// From M, or from the log start where that is higher, to the last stable offset.
    pub(crate) readable: OffsetRange,
    /// When the oldest of them was committed.
    pub(crate) since: ClusterTime,
}

impl Waiting {
    /// Offsets that retention took before they were read.
    pub(crate) fn deleted(&self) -> u64 {
        OffsetRange::new(self.from, self.readable.start).len()
    }
}

/// Partitions with offsets between M and the last stable offset, in their order. Of a deleted topic
/// those that it left.
pub(crate) fn waiting(state: &State, table: &TopicTable) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    let first = TopicPartition::new(table.topic, PartitionId(0));
    let last = TopicPartition::new(table.topic, PartitionId(i32::MAX));
    let partitions = match table.detached {
        Some(_) => &state.leftovers,
        None => &state.partitions,
    };
    for (at, partition) in partitions.range(first..=last) {
        waiting.extend(waiting_of(state, table, at.partition, partition));
    }
    waiting
}

/// The same for one partition.
pub(crate) fn waiting_of(
    state: &State,
    table: &TopicTable,
    at: PartitionId,
    partition: &Partition,
) -> Option<Waiting> {
    let from = table.materialized(at);
    let end = partition.last_stable();
    if from >= end {
        return None;
    }
    let readable = OffsetRange::new(from.max(partition.log_start), end);
    let since = committed_time(partition, readable.start).unwrap_or(state.cluster_time);
    Some(Waiting {
        partition: at,
        from,
        readable,
        since,
    })
}

fn committed_time(partition: &Partition, offset: Offset) -> Option<ClusterTime> {
    partition
        .extents_from(offset)
        .next()
        .map(|extent| extent.committed_time)
}

/// Those that waited longest first: where memory ends a round early, none is always left out.
pub(crate) fn oldest_first(waiting: &mut [Waiting]) {
    waiting.sort_by_key(|waiting| (waiting.since, waiting.partition));
}

/// Stored bytes that wait, counted no further than to `bytes_max`.
pub(crate) fn stored_bytes(
    state: &State,
    topic: TopicId,
    waiting: &[Waiting],
    bytes_max: u64,
) -> u64 {
    let mut sum = 0;
    for waiting in waiting {
        let Some(partition) = state.readable(TopicPartition::new(topic, waiting.partition)) else {
            continue;
        };
        for extent in partition.extents_from(waiting.readable.start) {
            sum += extent.position.length;
            if sum >= bytes_max {
                return bytes_max;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tarn_model::{ClusterId, SegmentId, Timestamp, TopicId};
    use tarn_state::{Extent, Position};

    use super::*;

    const TOPIC: TopicId = TopicId([7; 16]);

    /// Log start, the starts of extents with their times, high watermark.
    fn a_partition(log_start: u64, extents: &[(u64, i64)], high_watermark: u64) -> Partition {
        let mut partition = Partition::empty();
        (partition.log_start, partition.high_watermark) =
            (Offset(log_start), Offset(high_watermark));
        let ends = extents
            .iter()
            .skip(1)
            .map(|(start, _)| *start)
            .chain([high_watermark]);
        for ((start, time), end) in extents.iter().zip(ends) {
            let extent = Extent {
                offsets: OffsetRange::new(Offset(*start), Offset(end)),
                segment: SegmentId([0; 16]),
                position: Position {
                    start: 0,
                    length: 100,
                },
                max_timestamp: Timestamp(0),
                committed_at: 1,
                committed_time: ClusterTime(*time),
                leader_epoch: 1,
                hides_timestamps: false,
            };
            partition.extents.insert(Offset(*start), extent);
        }
        partition
    }

    fn a_table(materialized: &[(i32, u64)]) -> TopicTable {
        let mut table = TopicTable::new(TOPIC);
        let materialized = materialized.iter();
        table.materialized = materialized
            .map(|(at, offset)| (PartitionId(*at), Offset(*offset)))
            .collect();
        table
    }

    #[test]
    fn what_waits_lies_between_m_and_the_end_and_what_retention_took_is_deleted() {
        let mut state = State::new(ClusterId([1; 16]));
        state.cluster_time = ClusterTime(10_000);
        let partitions = [
            a_partition(0, &[(0, 1_000), (10, 4_000)], 20),
            a_partition(5, &[(5, 3_000)], 9),
            a_partition(0, &[(0, 2_000)], 7),
            a_partition(6, &[], 6),
        ];
        for (at, partition) in (0..).zip(partitions) {
            state.partitions.insert(
                TopicPartition::new(TOPIC, PartitionId(at)),
                Arc::new(partition),
            );
        }
        let table = a_table(&[(0, 12), (1, 2), (2, 7)]);
        let mut waiting = waiting(&state, &table);
        oldest_first(&mut waiting);
        let seen: Vec<_> = waiting
            .iter()
            .map(|waiting| {
                (
                    waiting.partition.0,
                    waiting.from.0,
                    waiting.readable.to_string(),
                    waiting.deleted(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (1, 2, "[5, 9)".to_owned(), 3),
                (0, 12, "[12, 20)".to_owned(), 0),
                // Everything was deleted before it was read: only M has to move.
                (3, 0, "[6, 6)".to_owned(), 6),
            ]
        );
        assert_eq!(stored_bytes(&state, TOPIC, &waiting, 1_000), 200);
        assert_eq!(stored_bytes(&state, TOPIC, &waiting, 150), 150);
    }
}
