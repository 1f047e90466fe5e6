use tarn_model::{ProducerEpoch, ProducerId};

use super::*;
use crate::commands::AllocateProducerId;
use crate::harness::{Cluster, at, batch, idempotent, topic};
use crate::{Command, ProposalOutcome, TopicRefusal};
use tarn_model::{ClusterTime, caps};

use BatchOutcome::{
    Appended, Duplicate, DuplicateForgotten, FencedEpoch, NoSuchPartition, OutOfOrder,
};

/// The outcomes of batches that one segment brings to one partition.
fn produce(cluster: &mut Cluster, batches: Vec<NewBatch>) -> Vec<BatchOutcome> {
    match cluster.produce(at(7, 0), batches) {
        Outcome::SegmentCommitted(mut outcomes) => outcomes.remove(0),
        other => panic!("{other:?}"),
    }
}

/// A story of single batches, each with its expected outcome.
fn check(cluster: &mut Cluster, story: &[(NewBatch, BatchOutcome)]) {
    for (step, (batch, expected)) in story.iter().enumerate() {
        assert_eq!(produce(cluster, vec![*batch]), [*expected], "step {step}");
    }
    cluster.state.check_invariants().unwrap();
}

fn extents(cluster: &Cluster, partition: i32) -> Vec<(u64, u64, u64, u64)> {
    let partition = &cluster.state.partitions[&at(7, partition)];
    let part = |extent: &Extent| {
        (
            extent.offsets.start.0,
            extent.offsets.end.0,
            extent.position.start,
            extent.position.length,
        )
    };
    partition.extents.values().map(part).collect()
}

fn commit(cluster: &mut Cluster, command: CommitSegment) -> Result<Outcome, Refusal> {
    cluster.run(Command::CommitSegment(command))
}

#[test]
fn offsets_are_dense_and_an_extent_says_where_its_batches_lie() {
    let mut cluster = Cluster::with_topic("orders", 2);
    let command = cluster.segment(
        CommitMode::Each,
        vec![
            (at(7, 0), vec![batch(3), batch(2)]),
            (at(7, 1), vec![batch(4)]),
            (at(8, 0), vec![batch(1)]),
        ],
    );
    let outcome = commit(&mut cluster, command.clone()).unwrap();
    let appended = |offset| Appended(Offset(offset));
    let expected = vec![
        vec![appended(0), appended(3)],
        vec![appended(0)],
        vec![NoSuchPartition],
    ];
    assert_eq!(outcome, Outcome::SegmentCommitted(expected));
    assert_eq!(produce(&mut cluster, vec![batch(1)]), [appended(5)]);
    assert_eq!(extents(&cluster, 0), [(0, 5, 8, 50), (5, 6, 8, 10)]);
    assert_eq!(extents(&cluster, 1), [(0, 4, 58, 40)]);
    let segment = cluster.state.segments[&command.segment];
    assert_eq!((segment.extents, segment.bytes), (2, command.bytes));
    let extent = *cluster.state.partitions[&at(7, 0)]
        .extents
        .get_min()
        .map(|(_, extent)| extent)
        .unwrap();
    assert_eq!(
        (extent.committed_at, extent.leader_epoch),
        (segment.committed_at, 1)
    );
    assert_eq!(extent.committed_time, cluster.now());
    assert_eq!(cluster.state.partitions[&at(7, 0)].bytes, 60);
    cluster.state.check_invariants().unwrap();
}

#[test]
fn a_retry_returns_the_first_offsets() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let story = [
        (idempotent(3, 1, 0, 0), Appended(Offset(0))),
        (idempotent(3, 1, 0, 0), Duplicate(Offset(0))),
        (idempotent(2, 1, 0, 3), Appended(Offset(3))),
        (idempotent(3, 1, 0, 0), Duplicate(Offset(0))),
        (idempotent(2, 1, 0, 6), OutOfOrder { expected: 5 }),
        (idempotent(2, 1, 0, 4), OutOfOrder { expected: 5 }),
        (idempotent(1, 1, 0, 5), Appended(Offset(5))),
    ];
    check(&mut cluster, &story);
}

#[test]
fn five_batches_are_remembered() {
    let mut cluster = Cluster::with_topic("orders", 1);
    for i in 0..6i32 {
        let taken = Appended(Offset(u64::from(i.cast_unsigned())));
        check(&mut cluster, &[(idempotent(1, 1, 0, i), taken)]);
    }
    let story = [
        (idempotent(1, 1, 0, 1), Duplicate(Offset(1))),
        (idempotent(1, 1, 0, 0), DuplicateForgotten),
        (idempotent(2, 1, 0, 0), OutOfOrder { expected: 6 }),
    ];
    check(&mut cluster, &story);
}

#[test]
fn what_an_unknown_producer_left_out_is_not_called_a_duplicate() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let story = [
        (idempotent(5, 1, 3, 10), Appended(Offset(0))),
        (idempotent(10, 1, 3, 0), OutOfOrder { expected: 15 }),
        (idempotent(5, 1, 3, 15), Appended(Offset(5))),
    ];
    check(&mut cluster, &story);
}

#[test]
fn epochs_fence_and_begin_at_zero() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let story = [
        (idempotent(2, 1, 5, 0), Appended(Offset(0))),
        (idempotent(1, 1, 6, 2), OutOfOrder { expected: 0 }),
        (idempotent(1, 1, 6, 0), Appended(Offset(2))),
        (
            idempotent(2, 1, 5, 2),
            FencedEpoch {
                current: ProducerEpoch(6),
            },
        ),
        (
            idempotent(2, 1, 5, 0),
            FencedEpoch {
                current: ProducerEpoch(6),
            },
        ),
        (idempotent(1, 2, 0, 0), Appended(Offset(3))),
    ];
    check(&mut cluster, &story);
}

#[test]
fn sequences_wrap() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let story = [
        (idempotent(2, 1, 0, i32::MAX - 2), Appended(Offset(0))),
        (idempotent(3, 1, 0, i32::MAX), Appended(Offset(2))),
        (idempotent(3, 1, 0, i32::MAX), Duplicate(Offset(2))),
        (idempotent(1, 1, 0, 3), OutOfOrder { expected: 2 }),
        (idempotent(1, 1, 0, 2), Appended(Offset(5))),
    ];
    check(&mut cluster, &story);
}

#[test]
fn what_is_not_taken_splits_the_extent() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let plain = batch(1);
    let first = idempotent(2, 1, 0, 0);
    let outcomes = produce(
        &mut cluster,
        vec![
            plain,
            first,
            first,
            plain,
            plain,
            idempotent(1, 1, 0, 9),
            plain,
        ],
    );
    let appended = |offset| Appended(Offset(offset));
    let expected = [
        appended(0),
        appended(1),
        Duplicate(Offset(1)),
        appended(3),
        appended(4),
        OutOfOrder { expected: 2 },
        appended(5),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(
        extents(&cluster, 0),
        [(0, 3, 8, 30), (3, 5, 58, 20), (5, 6, 88, 10)]
    );
    assert_eq!(
        cluster
            .state
            .segments
            .values()
            .map(|segment| segment.extents)
            .sum::<u64>(),
        3
    );
    cluster.state.check_invariants().unwrap();
}

#[test]
fn a_segment_commits_once() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let command = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(1)])]);
    commit(&mut cluster, command.clone()).unwrap();
    assert_eq!(
        commit(&mut cluster, command.clone()),
        Err(Refusal::Topic(TopicRefusal::SegmentKnown(command.segment)))
    );
    // Also one of which nothing was taken.
    let nothing = cluster.segment(CommitMode::Each, vec![(at(9, 0), vec![batch(1)])]);
    commit(&mut cluster, nothing.clone()).unwrap();
    assert_eq!(
        commit(&mut cluster, nothing.clone()),
        Err(Refusal::Topic(TopicRefusal::SegmentKnown(nothing.segment)))
    );
    assert_eq!(cluster.high_watermark(at(7, 0)), Offset(1));
}

#[test]
fn a_segment_past_its_deadline_is_refused_by_the_time_of_this_entry() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let command = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(1)])]);
    let nothing = cluster.segment(CommitMode::Each, vec![(at(9, 0), vec![batch(1)])]);
    commit(&mut cluster, nothing.clone()).unwrap();
    let deadline = u64::try_from(caps::SEGMENT_COMMIT_DEADLINE.as_millis()).unwrap();
    cluster.pass(deadline);
    let mut in_time = cluster.clone();
    commit(&mut in_time, command.clone()).unwrap();
    cluster.pass(1);
    assert_eq!(
        commit(&mut cluster, command.clone()),
        Err(Refusal::Topic(TopicRefusal::SegmentTooOld(command.segment)))
    );
    // The empty one is forgotten now and too old for ever; the other stays and stays known.
    assert!(!cluster.state.segments.contains_key(&nothing.segment));
    assert_eq!(
        commit(&mut cluster, nothing.clone()),
        Err(Refusal::Topic(TopicRefusal::SegmentTooOld(nothing.segment)))
    );
    in_time.live(&[1], 60_000);
    assert_eq!(
        commit(&mut in_time, command.clone()),
        Err(Refusal::Topic(TopicRefusal::SegmentKnown(command.segment)))
    );
}

#[test]
fn mode_all_takes_every_batch_or_none() {
    let mut cluster = Cluster::with_topic("orders", 2);
    check(
        &mut cluster,
        &[(idempotent(1, 1, 0, 0), Appended(Offset(0)))],
    );
    let before = cluster.state.clone();
    for (bad, outcome) in [
        (idempotent(1, 1, 0, 0), Duplicate(Offset(0))),
        (idempotent(1, 1, 0, 5), OutOfOrder { expected: 1 }),
    ] {
        // Batch by batch the second one follows an accepted one.
        let command = cluster.segment(
            CommitMode::All,
            vec![(at(7, 0), vec![batch(1), bad]), (at(7, 1), vec![batch(1)])],
        );
        let refused = commit(&mut cluster, command.clone());
        assert_eq!(
            refused,
            Err(Refusal::Topic(TopicRefusal::BatchRefused {
                extent: 0,
                batch: 1,
                outcome
            }))
        );
        assert_eq!(cluster.state.partitions, before.partitions);
        assert!(!cluster.state.segments.contains_key(&command.segment));
    }
    let command = cluster.segment(
        CommitMode::All,
        vec![(at(7, 0), vec![batch(1)]), (at(7, 5), vec![batch(1)])],
    );
    let refused = Refusal::Topic(TopicRefusal::BatchRefused {
        extent: 1,
        batch: 0,
        outcome: NoSuchPartition,
    });
    assert_eq!(commit(&mut cluster, command), Err(refused));
    let command = cluster.segment(
        CommitMode::All,
        vec![(at(7, 0), vec![batch(1)]), (at(7, 1), vec![batch(1)])],
    );
    commit(&mut cluster, command).unwrap();
}

#[test]
fn a_description_that_contradicts_itself_is_refused() {
    let mut cluster = Cluster::with_topic("orders", 2);
    let good = cluster.segment(
        CommitMode::Each,
        vec![(at(7, 0), vec![batch(1)]), (at(7, 1), vec![batch(2)])],
    );
    let spoils: [fn(&mut CommitSegment); 12] = [
        |command| command.extents.clear(),
        |command| command.extents.swap(0, 1),
        |command| command.extents[1].partition = PartitionId(0),
        |command| command.extents[1].position.start -= 1,
        |command| command.extents[1].position.length += 1,
        |command| {
            command.extents[1].position = Position {
                start: u64::MAX,
                length: 20,
            }
        },
        |command| command.bytes = 30,
        |command| command.extents[0].batches.clear(),
        |command| command.extents[0].batches[0].offsets = 0,
        |command| command.extents[0].batches[0].offsets = u32::MAX,
        |command| command.extents[0].batches[0].bytes = 0,
        |command| command.extents[0].batches[0] = idempotent(1, -1, 0, 0),
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let mut command = good.clone();
        spoil(&mut command);
        let refused = commit(&mut cluster, command);
        assert!(
            matches!(
                refused,
                Err(Refusal::Topic(TopicRefusal::SegmentInvalid(_)))
            ),
            "{number}: {refused:?}"
        );
    }
    commit(&mut cluster, good).unwrap();
}

#[test]
fn offsets_end_where_kafkas_do() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let last = Offset(i64::MAX.unsigned_abs());
    let partition = Arc::make_mut(cluster.state.partitions.get_mut(&at(7, 0)).unwrap());
    partition.log_start = last;
    partition.high_watermark = last;
    let command = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(1)])]);
    assert!(matches!(
        commit(&mut cluster, command),
        Err(Refusal::Topic(TopicRefusal::SegmentInvalid(_)))
    ));
}

/// A producer id that the cluster gives out now.
fn new_producer(cluster: &mut Cluster) -> i64 {
    match cluster.run(Command::AllocateProducerId(AllocateProducerId {})) {
        Ok(Outcome::ProducerId(id)) => id.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_producers_second_batch_cannot_overtake_its_first() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let id = new_producer(&mut cluster);
    let story = [
        (idempotent(1, id, 0, 1), OutOfOrder { expected: 0 }),
        (idempotent(1, id, 0, 0), Appended(Offset(0))),
        (idempotent(1, id, 0, 1), Appended(Offset(1))),
        (idempotent(1, id, 0, 0), Duplicate(Offset(0))),
    ];
    check(&mut cluster, &story);
}

#[test]
fn who_may_have_been_forgotten_may_start_anywhere() {
    let mut cluster = Cluster::one();
    let older = new_producer(&mut cluster);
    cluster.create_topic(7, "orders", 1);
    let [idle, newer] = [(); 2].map(|()| new_producer(&mut cluster));
    let never_given_out = newer + 1;
    let story = [
        (idempotent(1, older, 0, 5), Appended(Offset(0))),
        (idempotent(1, never_given_out, 0, 5), Appended(Offset(1))),
        (idempotent(1, idle, 0, 0), Appended(Offset(2))),
    ];
    check(&mut cluster, &story);
    cluster.pass(u64::try_from(caps::PRODUCER_IDLE_MAX.as_millis()).unwrap() + 1);
    cluster.live(&[1], 3_000);
    assert!(cluster.state.producers.is_empty());
    // One that was given out after the last that was forgotten is as strict as before.
    let newest = [(); 2].map(|()| new_producer(&mut cluster))[1];
    let story = [
        (idempotent(1, idle, 0, 1), Appended(Offset(3))),
        (idempotent(1, newer, 0, 5), Appended(Offset(4))),
        (idempotent(1, newest, 0, 1), OutOfOrder { expected: 0 }),
    ];
    check(&mut cluster, &story);
}

#[test]
fn an_idle_producer_is_forgotten_and_may_start_anywhere() {
    let mut cluster = Cluster::with_topic("orders", 1);
    check(
        &mut cluster,
        &[(idempotent(1, 1, 4, 0), Appended(Offset(0)))],
    );
    let idle = u64::try_from(caps::PRODUCER_IDLE_MAX.as_millis()).unwrap();
    cluster.pass(idle);
    check(
        &mut cluster,
        &[(idempotent(1, 1, 4, 7), OutOfOrder { expected: 1 })],
    );
    let mut swept = cluster.clone();
    cluster.pass(1);
    // In the very entry that makes it idle, before any sweep.
    check(
        &mut cluster,
        &[(idempotent(1, 1, 3, 7), Appended(Offset(1)))],
    );
    swept.pass(1);
    swept.live(&[1], 3_000);
    assert!(swept.state.producers.is_empty() && swept.state.producer_counts.is_empty());
}

#[test]
fn the_search_for_idle_producers_comes_around() {
    let mut cluster = Cluster::with_topic("orders", 1);
    for id in 0..40 {
        produce(&mut cluster, vec![idempotent(1, id, 0, 0)]);
    }
    cluster.pass(u64::try_from(caps::PRODUCER_IDLE_MAX.as_millis()).unwrap() + 1);
    for id in 0..3 {
        produce(&mut cluster, vec![idempotent(1, id, 0, 0)]);
    }
    cluster.live(&[1], 12_000);
    assert_eq!(cluster.state.producers.len(), 3);
    assert_eq!(cluster.state.producer_counts[&at(7, 0)], 3);
    cluster.state.check_invariants().unwrap();
}

#[test]
fn of_too_many_producers_the_idlest_go() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let stamp = |id| ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        first_sequence: 0,
    };
    let remembered = RememberedBatch {
        first_sequence: 0,
        last_sequence: 0,
        base: Offset(0),
        max_timestamp: Timestamp(0),
    };
    let max = i64::try_from(caps::PRODUCERS_PER_PARTITION_MAX).unwrap();
    for id in 0..=max {
        // The later the id, the longer ago it was used.
        cluster
            .state
            .remember_batch(at(7, 0), stamp(id), remembered, ClusterTime(max - id));
    }
    let left: Vec<i64> = cluster
        .state
        .producers_of(at(7, 0))
        .map(|(id, _)| id.0)
        .collect();
    assert_eq!(left.len(), caps::PRODUCERS_PER_PARTITION_MAX * 9 / 10 + 1);
    assert!(left.contains(&0) && left.contains(&max) && !left.contains(&(max - 1)));
    assert_eq!(cluster.state.producer_counts[&at(7, 0)], left.len());
}

#[test]
fn the_planted_defect_takes_a_batch_twice() {
    let mut cluster = Cluster::with_topic("orders", 1);
    tarn_model::plant_defect(Some("skip-duplicate-check"));
    let outcomes = [0, 0].map(|first| produce(&mut cluster, vec![idempotent(2, 1, 0, first)]));
    tarn_model::plant_defect(None);
    assert_eq!(
        outcomes,
        [vec![Appended(Offset(0))], vec![Appended(Offset(2))]]
    );
}

#[test]
fn a_topic_that_is_made_again_starts_anew() {
    let mut cluster = Cluster::with_topic("orders", 1);
    check(
        &mut cluster,
        &[(idempotent(1, 1, 0, 0), Appended(Offset(0)))],
    );
    let delete = Command::DeleteTopic(crate::commands::DeleteTopic { id: topic(7) });
    let create = Command::CreateTopic(crate::harness::create_topic(8, "orders", 1));
    assert!(matches!(
        cluster.propose(1, vec![delete, create]),
        ProposalOutcome::Applied(_)
    ));
    assert_eq!(produce(&mut cluster, vec![batch(1)]), [NoSuchPartition]);
    assert!(cluster.state.producers.is_empty());
    cluster.state.check_invariants().unwrap();
}
