use super::*;
use crate::harness::{Cluster, at, batch, session};
use crate::tables::*;
use crate::topics::*;
use std::sync::Arc;
use tarn_model::*;
use tarn_model::{ClusterTime, NodeId};

/// A sound state that has something of most kinds.
fn sound() -> Cluster {
    let mut cluster = Cluster::with_topic("orders", 2);
    cluster.open(2);
    cluster.produce(at(7, 0), vec![batch(3)]);
    cluster.produce(at(7, 0), vec![crate::harness::idempotent(2, 1, 0, 0)]);
    cluster.state.check_invariants().unwrap();
    cluster
}

fn found(spoil: impl FnOnce(&mut State)) -> &'static str {
    let mut state = sound().state;
    spoil(&mut state);
    state.check_invariants().unwrap_err().name
}

fn spoil_partition(state: &mut State, spoil: impl FnOnce(&mut Partition)) {
    spoil(Arc::make_mut(state.partitions.get_mut(&at(7, 0)).unwrap()));
}

#[test]
fn every_forged_state_is_found() {
    let partition = |spoil: fn(&mut Partition)| found(|state| spoil_partition(state, spoil));
    assert_eq!(
        partition(|partition| partition.high_watermark = Offset(9)),
        "offsets-are-dense"
    );
    assert_eq!(
        partition(|partition| {
            let _ = partition.extents.remove(&Offset(0));
        }),
        "offsets-are-dense"
    );
    assert_eq!(
        partition(|partition| partition.log_start = Offset(6)),
        "log-start-is-not-above-the-high-watermark"
    );
    assert_eq!(
        partition(|partition| partition.bytes += 1),
        "partitions-count-their-bytes"
    );
}

#[test]
fn references_that_lead_nowhere_are_found() {
    assert_eq!(
        found(|state| {
            let first = *state.segments.get_min().unwrap();
            state.segments.remove(&first.0);
        }),
        "extents-lie-in-segments"
    );
    assert_eq!(
        found(|state| {
            let first = *state.segments.get_min().unwrap();
            state.segments.get_mut(&first.0).unwrap().extents += 1;
        }),
        "segments-count-their-extents"
    );
    assert_eq!(
        found(|state| {
            let _ = state.topic_names.remove("orders");
        }),
        "names-and-topics-agree"
    );
    assert_eq!(
        found(|state| {
            let _ = state.partitions.remove(&at(7, 1));
        }),
        "partitions-belong-to-topics"
    );
    assert_eq!(
        found(|state| {
            let _ = state.producer_counts.remove(&at(7, 0));
        }),
        "producers-are-counted"
    );
    let table = |spoil: fn(&mut Table)| {
        found(|state| {
            spoil(Arc::make_mut(
                state.tables.get_mut(&crate::harness::table(7)).unwrap(),
            ))
        })
    };
    let of_topic = |spoil: fn(&mut TopicTable)| {
        found(|state| {
            let table = state.tables.get_mut(&crate::harness::table(7)).unwrap();
            spoil(Arc::make_mut(table).of_topic_mut().unwrap());
        })
    };
    assert_eq!(
        of_topic(|of| of.detached = Some(ClusterTime(1))),
        "tables-belong-to-topics"
    );
    assert_eq!(
        table(|table| {
            let twice = Field::new("twice", ColumnType::Int);
            table.columns = vec![twice.clone(), twice];
        }),
        "field-ids-are-unique"
    );
    assert_eq!(
        of_topic(|of| {
            of.materialized.insert(PartitionId(0), Offset(6));
            of.counters.insert(
                PartitionId(0),
                Counters {
                    rows: 6,
                    ..Counters::default()
                },
            );
        }),
        "m-is-stable"
    );
    assert_eq!(
        of_topic(|of| {
            let _ = of.materialized.insert(PartitionId(0), Offset(2));
        }),
        "counters-account-for-m"
    );
    assert_eq!(
        table(|table| table.name = "other".into()),
        "tables-are-indexed"
    );
    assert_eq!(
        found(|state| {
            let _ = state.topic_tables.remove(&crate::harness::topic(7));
        }),
        "tables-are-indexed"
    );
}

#[test]
fn sessions_that_contradict_each_other_are_found() {
    assert_eq!(
        found(|state| state.sessions.get_mut(&session(2)).unwrap().node = NodeId(1)),
        "node-ids-are-unique"
    );
    assert_eq!(
        found(|state| state.sessions.get_mut(&session(2)).unwrap().name = "node-1".into()),
        "open-sessions-have-their-name"
    );
    assert_eq!(
        found(|state| {
            let two = state.nodes["node-2"];
            state.nodes.insert("node-3".into(), two);
        }),
        "a-node-has-one-name"
    );
    assert_eq!(
        found(|state| {
            let tombstone = crate::Tombstone {
                sequence: 0,
                closed_at: 1,
            };
            state.tombstones.insert(session(2), tombstone);
        }),
        "sessions-are-open-or-closed"
    );
}

#[test]
fn steps_back_are_found() {
    let before = sound().state;
    let step = |spoil: &dyn Fn(&mut State)| {
        let mut after = before.clone();
        spoil(&mut after);
        State::check_step(&before, &after)
            .err()
            .map(|broken| broken.name)
    };
    assert_eq!(step(&|_| {}), None);
    assert_eq!(
        step(&|state| state.cluster_time = ClusterTime(0)),
        Some("clocks-never-go-back")
    );
    let partition = |spoil: fn(&mut Partition)| step(&|state| spoil_partition(state, spoil));
    assert_eq!(
        partition(|partition| partition.high_watermark = Offset(3)),
        Some("offsets-never-go-back")
    );
    assert_eq!(
        partition(|partition| partition.high_watermark = Offset(6)),
        Some("offsets-are-dense")
    );
    assert_eq!(
        partition(|partition| {
            let _ = partition.extents.remove(&Offset(0));
        }),
        Some("what-was-committed-stays")
    );
    assert_eq!(
        partition(|partition| partition
            .extents
            .get_mut(&Offset(0))
            .unwrap()
            .position
            .start += 1),
        Some("what-was-committed-stays")
    );
}
