//! The checks themselves: each finds a forged history.

use tarn_model::{ClusterId, ClusterTime, NodeId, Offset, PartitionId, TopicId};
use tarn_state::{CommittedOffset, Group, Partition};

use super::*;

const TOPIC: &str = "t";

fn record(offset: u64, value: &str, sent: u64, acknowledged: u64) -> Acknowledged {
    Acknowledged {
        topic: TOPIC,
        partition: 0,
        offset,
        value: value.to_owned(),
        sent: Duration::from_millis(sent),
        acknowledged: Duration::from_millis(acknowledged),
    }
}

fn held(values: &[&str]) -> Topics {
    let records = values
        .iter()
        .enumerate()
        .map(|(offset, value)| (offset as u64, (*value).to_owned()));
    Topics::from([((TOPIC, 0), records.collect())])
}

fn found(history: &History) -> Option<&'static str> {
    history.violation().map(|violation| violation.invariant)
}

/// The topic holds these values from offset 0; gives the invariant that is broken.
fn verdict(acknowledged: &[Acknowledged], values: &[&str]) -> Option<&'static str> {
    let history = History::default();
    for value in ["a", "b", "c"] {
        history.sent(value, true);
    }
    for record in acknowledged {
        history.acknowledged(record.clone());
    }
    history
        .check(&held(values))
        .err()
        .map(|violation| violation.invariant)
}

#[test]
fn forged_histories_are_found() {
    assert_eq!(
        verdict(&[record(0, "a", 0, 5), record(1, "b", 6, 9)], &["a", "b"]),
        None
    );
    assert_eq!(
        verdict(&[record(0, "a", 0, 5), record(1, "b", 6, 9)], &["a"]),
        Some("I1"),
        "lost"
    );
    assert_eq!(
        verdict(&[record(0, "a", 0, 5)], &["b"]),
        Some("I2"),
        "another value"
    );
    assert_eq!(verdict(&[], &["a", "a"]), Some("I6"), "doubled");
    assert_eq!(verdict(&[], &["x"]), Some("I2"), "out of thin air");
    assert_eq!(
        verdict(&[record(1, "a", 0, 5), record(0, "b", 6, 9)], &["b", "a"]),
        Some("I5"),
        "reordered"
    );
    assert_eq!(
        verdict(&[record(1, "a", 0, 7), record(0, "b", 6, 9)], &["b", "a"]),
        None,
        "overlapping"
    );
}

#[test]
fn a_hole_and_a_vanished_record_are_found() {
    let history = History::default();
    let holed = Topics::from([((TOPIC, 0), vec![(0, "a".to_owned()), (2, "b".to_owned())])]);
    assert_eq!(
        history
            .check(&holed)
            .err()
            .map(|violation| violation.invariant),
        Some("I3")
    );
    let history = History::default();
    history.saw((TOPIC, 0, 0), "a", "a reader");
    assert_eq!(
        history
            .check(&held(&[]))
            .err()
            .map(|violation| violation.invariant),
        Some("I1")
    );
}

#[test]
fn a_barrier_that_is_not_new_enough_is_found() {
    let history = History::default();
    history.acknowledged(record(4, "a", 0, 5));
    let before = history.ends();
    history.barrier(&before, |_, _| Some(5));
    assert_eq!(found(&history), None);
    history.barrier(&before, |_, _| Some(4));
    assert_eq!(found(&history), Some("barrier"));
}

fn place() -> TopicPartition {
    TopicPartition::new(TopicId::from_uuid(Default::default()), PartitionId(0))
}

/// A state at n, its partition ending at 10, with this committed by a group.
fn committed(n: u64, offset: u64) -> View {
    let mut state = State::new(ClusterId::from_u128(1));
    state.n = n;
    let partition = Partition {
        high_watermark: Offset(10),
        ..Partition::empty()
    };
    state.partitions.insert(place(), Arc::new(partition));
    let committed = CommittedOffset {
        offset: i64::try_from(offset).expect("small"),
        leader_epoch: -1,
        metadata: String::new(),
        committed: ClusterTime::default(),
    };
    let group = Group {
        generation: 1,
        offsets: [(place(), committed)].into_iter().collect(),
        ..Group::empty(ClusterTime::default())
    };
    state.groups.insert("g".to_owned(), Arc::new(group));
    Arc::new(state)
}

#[test]
fn committed_offsets_that_go_back_or_too_far_are_found() {
    let history = History::default();
    history.observed(0, &committed(1, 4));
    history.observed(0, &committed(3, 6));
    history.observed(1, &committed(2, 5));
    assert_eq!(found(&history), None);
    history.observed(0, &committed(4, 0));
    assert_eq!(found(&history), Some("I17"), "back");

    let history = History::default();
    history.observed(0, &committed(1, 11));
    assert_eq!(found(&history), Some("I17"), "above the end");

    let history = History::default();
    history.observed(0, &committed(1, 2));
    history.delivered(0, 0);
    assert_eq!(
        history
            .check(&held(&[]))
            .err()
            .map(|violation| violation.invariant),
        Some("I17"),
        "skipped"
    );
}

#[test]
fn replicas_that_differ_are_found() {
    let state = |n: u64, node: i32| {
        let mut state = State::new(ClusterId::from_u128(1));
        (state.n, state.next_node) = (n, NodeId(node));
        Arc::new(state)
    };
    let history = History::default();
    history.observed(0, &state(8, 1));
    history.observed(1, &state(8, 1));
    assert_eq!(
        (found(&history), history.counts().states_compared),
        (None, 1)
    );
    history.observed(2, &state(8, 2));
    assert_eq!(found(&history), Some("I9"));
}

#[test]
fn a_proposal_whose_proposer_heard_otherwise_is_found() {
    let verdict = |told, is_there: bool| {
        let mut state = State::new(ClusterId::from_u128(1));
        state.n = 1;
        if is_there {
            state.subjects.insert("s".to_owned(), Arc::default());
        }
        let history = History::default();
        history.observed(0, &Arc::new(state));
        history.told("s".to_owned(), told);
        history
            .check(&held(&[]))
            .err()
            .map(|violation| violation.invariant)
    };
    assert_eq!(verdict(Told::Applied, true), None);
    assert_eq!(verdict(Told::NotDone, false), None);
    assert_eq!(verdict(Told::Applied, false), Some("propose"));
    assert_eq!(verdict(Told::NotDone, true), Some("propose"));
}
