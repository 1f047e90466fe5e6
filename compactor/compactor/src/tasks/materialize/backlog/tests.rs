use std::sync::Arc;

use tarn_model::{ClusterId, OffsetRange, SegmentId, TableUuid, Timestamp};
use tarn_runtime::Random;
use tarn_state::{Extent, Position, State, Table, TableKind};

use super::*;

const PARTITIONS: i32 = 5;

fn topic(n: u64) -> TopicId {
    TopicId::from_u128(u128::from(n))
}

fn put(state: &mut State, of: TopicTable) {
    let (uuid, topic) = (TableUuid(of.topic.0), of.topic);
    let table = Table::new(uuid, "events", &topic.to_string(), TableKind::Topic(of));
    state.tables.insert(uuid, Arc::new(table));
    state.topic_tables.insert(topic, uuid);
}

fn append(partition: &mut Partition, time: ClusterTime, records: u64, bytes: u64) {
    let start = partition.high_watermark;
    let offsets = OffsetRange::new(start, start.advance(records));
    let extent = Extent {
        offsets,
        segment: SegmentId::new(time, 1),
        position: Position {
            start: 0,
            length: bytes,
        },
        max_timestamp: Timestamp(0),
        committed_at: 1,
        committed_time: time,
        leader_epoch: 1,
        hides_timestamps: false,
    };
    partition.extents.insert(start, extent);
    partition.high_watermark = offsets.end;
}

/// Something that may happen to a partition or its table.
fn happen(state: &mut State, random: &Random) {
    let at = TopicPartition::new(
        topic(random.below(3)),
        PartitionId(i32::try_from(random.below(PARTITIONS as u64)).expect("small")),
    );
    let time = state.cluster_time;
    let Some(mut partition) = state
        .readable(at)
        .map(|partition| partition.as_ref().clone())
    else {
        return;
    };
    let table = state.table_of(at.topic).expect("made");
    let mut table = table.of_topic().expect("a topic's").clone();
    let m = table.materialized(at.partition);
    match random.below(10) {
        0..=4 if table.detached.is_none() => {
            append(
                &mut partition,
                time,
                1 + random.below(9),
                1 + random.below(99),
            );
            state.partitions.insert(at, Arc::new(partition));
        }
        5..=7 => {
            let left = partition.high_watermark.0 - m.0.min(partition.high_watermark.0);
            let to = Offset(m.0 + random.below(left + 1));
            table.materialized.insert(at.partition, to);
            put(state, table);
        }
        8 => {
            let extents: Vec<Extent> = partition.extents.values().copied().collect();
            if let Some(first) = extents.first() {
                partition.extents.remove(&first.offsets.start);
                partition.log_start = first.offsets.end;
                match table.detached {
                    Some(_) => state.leftovers.insert(at, Arc::new(partition)),
                    None => state.partitions.insert(at, Arc::new(partition)),
                };
            }
        }
        _ if random.below(10) == 0 => {
            // The topic goes, and its table takes what it left.
            table.detached = Some(time);
            put(state, table);
            for n in 0..PARTITIONS {
                let at = TopicPartition::new(at.topic, PartitionId(n));
                if let Some(partition) = state.partitions.remove(&at) {
                    state.leftovers.insert(at, partition);
                }
            }
        }
        _ => {}
    }
}

/// Of each partition its offsets, its bytes, and since when it waits; where all of it was deleted there
/// is no record that could say since when.
fn told(backlog: &Backlog) -> BTreeMap<TopicPartition, (Offset, Offset, u64, Option<ClusterTime>)> {
    let mut told = BTreeMap::new();
    for (topic, behind) in &backlog.tables {
        assert_eq!(behind.partitions.len(), behind.by_age.len());
        let bytes = behind.partitions.values().map(|waits| waits.bytes);
        assert_eq!(behind.bytes, bytes.sum::<u64>());
        for (partition, waits) in &behind.partitions {
            let since = (waits.from < waits.to).then_some(waits.since);
            assert!(behind.by_age.contains(&(waits.since, *partition)));
            let at = TopicPartition::new(*topic, *partition);
            told.insert(at, (waits.from, waits.to, waits.bytes, since));
        }
    }
    told
}

#[test]
fn looking_at_what_moved_is_looking_at_everything() {
    for seed in 0..20 {
        let random = Random::seeded(seed);
        let mut state = State::new(ClusterId([1; 16]));
        for n in 0..3 {
            put(&mut state, TopicTable::new(topic(n)));
            for partition in 0..PARTITIONS {
                let at = TopicPartition::new(topic(n), PartitionId(partition));
                state.partitions.insert(at, Arc::new(Partition::empty()));
            }
        }
        let mut backlog = Backlog::default();
        let mut waited = false;
        for _ in 0..300 {
            for _ in 0..random.below(4) {
                happen(&mut state, &random);
            }
            state.n += 1;
            state.cluster_time = ClusterTime(state.cluster_time.0 + 10);
            let view: View = Arc::new(state.clone());
            let before: BTreeSet<TopicId> = backlog.tables.keys().copied().collect();
            let done = backlog.update(&view);
            let mut whole = Backlog::default();
            whole.update(&view);
            assert_eq!(told(&backlog), told(&whole), "seed {seed} at {}", state.n);
            waited |= !whole.tables.is_empty();
            let caught_up = before
                .iter()
                .filter(|topic| !whole.tables.contains_key(topic));
            for topic in caught_up {
                assert!(done.contains(topic), "seed {seed} at {}", state.n);
            }
        }
        assert!(waited);
    }
}
