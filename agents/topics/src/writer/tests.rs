use std::time::Duration;

use tarn_model::{ByteSize, ClusterTime, SegmentId, TopicPartition, defect};
use tarn_replica::Node;
use tarn_state::commands::{AllocateProducerId, CommitMode};
use tarn_state::{Command, Outcome};
use tarn_store::{StoreFaults, paths};
use tokio::time::{Instant, sleep};

use super::commit::{Verdict, commit};
use super::parts::Parts;
use super::upload::Uploaded;
use super::*;
use crate::Reader;
use crate::segment::{self, Builder};
use crate::testing::{append, at, base, batch, cluster, idempotent, quick, send};

fn parts(node: &Node) -> Parts {
    let settings = WriterSettings {
        give_up_after: Duration::from_secs(5),
        ..WriterSettings::local()
    };
    Parts::new(node, settings)
}

/// A segment as if it had been uploaded under this name.
async fn uploaded(
    node: &Node,
    id: SegmentId,
    batches: Vec<(TopicPartition, ValidBatch)>,
) -> Uploaded {
    let view = node.metastore.view();
    let mut builder = Builder::new(view.cluster, view.generation);
    for (at, batch) in batches {
        builder.push(at.topic, at.partition, batch);
    }
    let segment::Finished { object, commit } = builder.finish(id, CommitMode::Each);
    node.store
        .put_if_absent(&paths::segment(id), object.clone())
        .await
        .expect("memory takes it");
    Uploaded {
        commit,
        object,
        at: Instant::now(),
        renewed: false,
    }
}

fn fresh(node: &Node) -> SegmentId {
    SegmentId::new(
        node.metastore.view().cluster_time,
        node.runtime.random().u128(),
    )
}

async fn read_all(node: &Node, at: TopicPartition) -> Vec<String> {
    let view = node.metastore.view();
    let range = view.partitions.get(&at).expect("it exists").offsets();
    let read = Reader::new(node)
        .read_range(&view, at, range, 1 << 30)
        .await
        .expect("it can be read");
    assert_eq!(read.next_offset, range.end);
    let mut next = range.start;
    let mut values = Vec::new();
    for item in read.records(range, &Default::default()) {
        let crate::RecordItem::Record(record) = item else {
            panic!("{item:?}")
        };
        assert_eq!(record.offset, next);
        next = next.advance(1);
        values.push(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"));
    }
    values
}

#[tokio::test]
async fn appended_batches_get_dense_offsets_and_read_back() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 2).await;
    let writer = Writer::start(&cluster.node, quick());
    let first = send(
        &cluster.node,
        &writer,
        vec![
            (at(topic, 0), batch(1, &["a", "b"])),
            (at(topic, 1), batch(1, &["x"])),
            (at(topic, 0), batch(2, &["c"])),
        ],
    );
    let second = append(&cluster.node, &writer, at(topic, 0), batch(3, &["d"]));
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.into_iter().map(base).collect::<Vec<_>>(), [0, 0, 2]);
    assert_eq!(base(second), 3);
    assert_eq!(
        read_all(&cluster.node, at(topic, 0)).await,
        ["a", "b", "c", "d"]
    );
    assert_eq!(read_all(&cluster.node, at(topic, 1)).await, ["x"]);
}

#[tokio::test]
async fn the_order_of_calls_is_the_order_of_offsets_in_every_partition() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 20).await;
    // Small segments, so that many are on their way at the same time.
    let settings = WriterSettings {
        segment_bytes: ByteSize::bytes(700),
        ..quick()
    };
    let faults = StoreFaults {
        latency_max: Duration::from_millis(20),
        ..StoreFaults::default()
    };
    cluster.store.set_faults(faults);
    let writer = Writer::start(&cluster.node, settings);
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let value = format!("{i}");
            let batches = (0..20)
                .filter(|p| (i + p) % 3 != 0)
                .map(|p| (at(topic, p), batch(1, &[&value])))
                .collect();
            send(&cluster.node, &writer, batches)
        })
        .collect();
    for call in calls {
        for result in call.await {
            result.expect("it was appended");
        }
    }
    for p in 0..20 {
        let expected: Vec<String> = (0..100)
            .filter(|i| (i + p) % 3 != 0)
            .map(|i| format!("{i}"))
            .collect();
        assert_eq!(
            read_all(&cluster.node, at(topic, p)).await,
            expected,
            "partition {p}"
        );
    }
    assert_eq!(cluster.node.budget.available(), cluster.node.budget.total());
}

#[tokio::test]
async fn a_batch_sent_again_gets_its_first_offsets() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(&cluster.node, quick());
    let send = |sequence, values: &'static [&'static str]| {
        append(
            &cluster.node,
            &writer,
            at(topic, 0),
            idempotent(7, 0, sequence, values),
        )
    };
    // Also while the first one is still on its way.
    let (first, again, next) =
        tokio::join!(send(0, &["a", "b"]), send(0, &["a", "b"]), send(2, &["c"]));
    assert_eq!((base(first), base(again), base(next)), (0, 0, 2));
    let again = send(0, &["a", "b"])
        .await
        .expect("a duplicate has an offset");
    assert_eq!((again.base.0, again.committed_time), (0, None));
    assert_eq!(read_all(&cluster.node, at(topic, 0)).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn refusals_come_from_apply() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(&cluster.node, quick());
    let nowhere = append(&cluster.node, &writer, at(topic, 5), batch(1, &["a"])).await;
    assert_eq!(nowhere, Err(AppendError::NoSuchPartition));
    base(
        append(
            &cluster.node,
            &writer,
            at(topic, 0),
            idempotent(7, 1, 0, &["a"]),
        )
        .await,
    );
    let fenced = append(
        &cluster.node,
        &writer,
        at(topic, 0),
        idempotent(7, 0, 1, &["b"]),
    )
    .await;
    assert!(
        matches!(fenced, Err(AppendError::FencedEpoch { .. })),
        "{fenced:?}"
    );
    let gap = append(
        &cluster.node,
        &writer,
        at(topic, 0),
        idempotent(7, 1, 9, &["b"]),
    )
    .await;
    assert_eq!(gap, Err(AppendError::OutOfOrder { expected: 1 }));
}

#[tokio::test]
async fn a_batch_ahead_of_its_predecessor_waits_at_the_door_for_it() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let other = cluster.another().await;
    let settings = WriterSettings {
        door_wait: Duration::from_secs(5),
        ..quick()
    };
    let here = Writer::start(&cluster.node, settings.clone());
    let there = Writer::start(&other, settings);
    base(
        append(
            &cluster.node,
            &here,
            at(topic, 0),
            idempotent(7, 0, 0, &["0"]),
        )
        .await,
    );
    // The producer moved: its later batches overtake one that is still on its way here.
    let late = [2, 3].map(|sequence| {
        let value = sequence.to_string();
        send(
            &other,
            &there,
            vec![(at(topic, 0), idempotent(7, 0, sequence, &[&value]))],
        )
    });
    sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    assert_eq!(
        base(
            append(
                &cluster.node,
                &here,
                at(topic, 0),
                idempotent(7, 0, 1, &["1"])
            )
            .await
        ),
        1
    );
    for (expected, appending) in (2..).zip(late) {
        assert_eq!(base(appending.await[0]), expected);
    }
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "the view let them in, not the clock"
    );
}

#[tokio::test]
async fn nobody_waits_at_the_door_for_ever_or_without_room() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(&cluster.node, quick());
    base(
        append(
            &cluster.node,
            &writer,
            at(topic, 0),
            idempotent(7, 0, 0, &["0"]),
        )
        .await,
    );
    let started = Instant::now();
    let gap = append(
        &cluster.node,
        &writer,
        at(topic, 0),
        idempotent(7, 0, 5, &["5"]),
    )
    .await;
    assert_eq!(gap, Err(AppendError::OutOfOrder { expected: 1 }));
    assert!(started.elapsed() >= Duration::from_millis(400));

    let other = cluster.another().await;
    let small = Writer::start(
        &other,
        WriterSettings {
            door_bytes: ByteSize(10),
            door_wait: Duration::from_secs(60),
            ..quick()
        },
    );
    let gap = append(&other, &small, at(topic, 0), idempotent(7, 0, 5, &["5"])).await;
    assert_eq!(gap, Err(AppendError::OutOfOrder { expected: 1 }));
}

#[tokio::test]
async fn batches_that_arrive_in_reverse_are_put_in_order_at_once() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let settings = WriterSettings {
        door_wait: Duration::from_secs(10),
        linger: Duration::from_millis(100),
        eager: false,
        ..quick()
    };
    let writer = Writer::start(&cluster.node, settings);
    base(
        append(
            &cluster.node,
            &writer,
            at(topic, 0),
            idempotent(7, 0, 0, &["0"]),
        )
        .await,
    );
    let waiting: Vec<_> = (1..6)
        .rev()
        .map(|i| {
            send(
                &cluster.node,
                &writer,
                vec![(at(topic, 0), idempotent(7, 0, i, &[&i.to_string()]))],
            )
        })
        .collect();
    for (expected, appending) in (1..6).rev().zip(waiting) {
        assert_eq!(base(appending.await[0]), expected);
    }
    // The predecessor need not be committed, only be ahead in the open segment.
    let view = cluster.node.metastore.view();
    assert_eq!(
        view.partition(topic, at(topic, 0).partition)
            .expect("it exists")
            .extents
            .len(),
        2
    );
}

#[tokio::test]
async fn what_happened_is_counted() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(&cluster.node, quick());
    base(append(&cluster.node, &writer, at(topic, 0), batch(1, &["a", "b"])).await);
    let reader = Reader::metered(&cluster.node);
    let view = cluster.node.metastore.view();
    let plan = reader
        .plan(&view, at(topic, 0), Offset::ZERO, 1 << 20)
        .expect("in range");
    reader.fetch(plan).await.expect("readable");
    let text = cluster.node.runtime.metrics().encode();
    for line in [
        "tarn_segment_records_total 2",
        "tarn_produce_batches_total{result=\"Appended\"} 1",
        "tarn_segments_total 1",
        "tarn_segment_flushes_total{reason=\"Idle\"} 1",
        "tarn_segment_upload_seconds_count 1",
        "tarn_segment_commit_seconds_count 1",
        "tarn_fetch_batches_total 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_producer_that_nobody_knows_may_begin_anywhere() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(
        &cluster.node,
        WriterSettings {
            door_wait: Duration::from_secs(30),
            ..quick()
        },
    );
    let started = Instant::now();
    let first = send(
        &cluster.node,
        &writer,
        vec![(at(topic, 0), idempotent(7, 0, 40, &["a"]))],
    );
    let next = send(
        &cluster.node,
        &writer,
        vec![(at(topic, 0), idempotent(7, 0, 41, &["b"]))],
    );
    assert_eq!((base(first.await[0]), base(next.await[0])), (0, 1));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the barrier answered"
    );
}

#[tokio::test]
async fn a_producer_that_nobody_can_have_forgotten_begins_with_its_first_batch() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let soon = Instant::now() + Duration::from_secs(10);
    let allocate = vec![Command::AllocateProducerId(AllocateProducerId {})];
    let allocated = cluster.node.metastore.propose(allocate, soon).await;
    let Outcome::ProducerId(id) = allocated.expect("the log answers").outcomes[0] else {
        panic!("another outcome");
    };
    let writer = Writer::start(
        &cluster.node,
        WriterSettings {
            door_wait: Duration::from_secs(30),
            ..quick()
        },
    );
    let mut second = Box::pin(send(
        &cluster.node,
        &writer,
        vec![(at(topic, 0), idempotent(id.0, 0, 1, &["b"]))],
    ));
    let other = vec![(at(topic, 0), batch(1, &["another producer's"]))];
    assert_eq!(base(send(&cluster.node, &writer, other).await[0]), 0);
    assert!(futures::poll!(&mut second).is_pending(), "it overtook");
    let first = vec![(at(topic, 0), idempotent(id.0, 0, 0, &["a"]))];
    assert_eq!(base(send(&cluster.node, &writer, first).await[0]), 1);
    assert_eq!(base(second.await[0]), 2);
}

#[tokio::test]
async fn a_commit_that_would_not_fit_into_an_entry_is_split() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 30).await;
    let settings = WriterSettings {
        commit_bytes: ByteSize(600),
        eager: false,
        ..quick()
    };
    let writer = Writer::start(&cluster.node, settings);
    let batches = (0..30).map(|p| (at(topic, p), batch(1, &["a"]))).collect();
    for result in send(&cluster.node, &writer, batches).await {
        assert_eq!(base(result), 0);
    }
    let view = cluster.node.metastore.view();
    assert!(view.segments.len() >= 5, "{} segments", view.segments.len());
}

#[tokio::test]
async fn a_segment_that_grew_too_old_is_uploaded_again() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let parts = parts(&cluster.node);
    let old = SegmentId::new(ClusterTime(1_000), 1);
    let batches = vec![(at(topic, 0), batch(1, &["a"]))];
    let first = uploaded(&cluster.node, old, batches).await;
    let fresh_one = uploaded(
        &cluster.node,
        fresh(&cluster.node),
        vec![(at(topic, 0), batch(1, &["b"]))],
    )
    .await;
    let verdicts = commit(&parts, vec![first, fresh_one]).await;
    let bases: Vec<u64> = verdicts
        .iter()
        .map(|(_, verdict)| match verdict {
            Verdict::Settled(results) => base(results[0][0]),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bases, [0, 1]);
    assert!(verdicts[0].0.renewed && verdicts[0].0.commit.segment != old);
    assert_eq!(read_all(&cluster.node, at(topic, 0)).await, ["a", "b"]);
}

#[tokio::test]
async fn a_commit_that_turns_out_to_be_known_is_answered_from_the_state() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 2).await;
    let parts = parts(&cluster.node);
    let view = cluster.node.metastore.view();
    let id = SegmentId::new(view.cluster_time, 7);
    let batches = || {
        vec![
            (at(topic, 0), batch(1, &["a", "b"])),
            (at(topic, 0), idempotent(5, 0, 0, &["c"])),
            (at(topic, 0), idempotent(5, 0, 0, &["c"])),
            (at(topic, 0), batch(1, &["d"])),
            (at(topic, 1), batch(1, &["x"])),
        ]
    };
    let first = uploaded(&cluster.node, id, batches()).await;
    let again = uploaded(&cluster.node, id, batches()).await;
    let bases = |verdict: &Verdict| -> Vec<Vec<u64>> {
        let Verdict::Settled(results) = verdict else {
            panic!("{verdict:?}")
        };
        results
            .iter()
            .map(|extent| extent.iter().map(|result| base(*result)).collect())
            .collect()
    };
    let (_, first) = commit(&parts, vec![first]).await.pop().expect("one");
    let (_, again) = commit(&parts, vec![again]).await.pop().expect("one");
    assert_eq!(bases(&first), [vec![0, 2, 2, 3], vec![0]]);
    assert_eq!(bases(&again), bases(&first));
    assert_eq!(
        read_all(&cluster.node, at(topic, 0)).await,
        ["a", "b", "c", "d"]
    );
}

#[tokio::test]
async fn an_upload_that_fails_takes_its_producers_later_batches_with_it() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 2).await;
    let writer = Writer::start(
        &cluster.node,
        WriterSettings {
            segment_bytes: ByteSize(1),
            ..quick()
        },
    );
    cluster.store.set_faults(StoreFaults {
        request_lost: 1000,
        ..StoreFaults::default()
    });
    let batches: Vec<_> = (0..3)
        .map(|i| {
            send(
                &cluster.node,
                &writer,
                vec![(at(topic, 0), idempotent(7, 0, i, &[&i.to_string()]))],
            )
        })
        .collect();
    // The first upload is given up while the last one has begun and can still succeed.
    sleep(Duration::from_millis(100)).await;
    let last = send(
        &cluster.node,
        &writer,
        vec![(at(topic, 0), idempotent(7, 0, 3, &["3"]))],
    );
    for appending in batches {
        let result = appending.await[0];
        assert!(
            matches!(result, Err(AppendError::NotDone { .. })),
            "{result:?}"
        );
    }
    cluster.store.set_faults(StoreFaults::default());
    let result = last.await[0];
    assert!(
        matches!(result, Err(AppendError::NotDone { .. })),
        "{result:?}"
    );
    // One that was on the wire when the first failed must not become the producer's first batch.
    let result = append(
        &cluster.node,
        &writer,
        at(topic, 0),
        idempotent(7, 0, 4, &["4"]),
    )
    .await;
    assert!(
        matches!(result, Err(AppendError::NotDone { .. })),
        "{result:?}"
    );
    for i in 0..5 {
        let result = append(
            &cluster.node,
            &writer,
            at(topic, 0),
            idempotent(7, 0, i, &[&i.to_string()]),
        )
        .await;
        assert_eq!(base(result), u64::try_from(i).expect("small"));
    }
    assert_eq!(
        read_all(&cluster.node, at(topic, 0)).await,
        ["0", "1", "2", "3", "4"]
    );
    assert_eq!(cluster.node.budget.available(), cluster.node.budget.total());
}

#[tokio::test]
async fn a_log_that_forgets_to_answer_loses_and_doubles_nothing() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(
        &cluster.node,
        WriterSettings {
            give_up_after: Duration::from_secs(20),
            ..quick()
        },
    );
    cluster.log.set_faults(tarn_commit_log::LogFaults {
        request_lost: 200,
        reply_lost: 200,
        late: 100,
        late_max: Duration::from_millis(50),
        twice: 100,
        ..Default::default()
    });
    let calls: Vec<_> = (0..30)
        .map(|i| {
            send(
                &cluster.node,
                &writer,
                vec![(at(topic, 0), idempotent(7, 0, i, &[&i.to_string()]))],
            )
        })
        .collect();
    for (expected, call) in (0..).zip(calls) {
        assert_eq!(base(call.await[0]), expected);
    }
    cluster.log.set_faults(Default::default());
    let expected: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    assert_eq!(read_all(&cluster.node, at(topic, 0)).await, expected);
}

#[tokio::test]
async fn a_commit_of_unknown_fate_is_looked_for_in_the_log() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let mut parts = parts(&cluster.node);
    parts.settings.give_up_after = Duration::from_millis(200);
    let one = uploaded(
        &cluster.node,
        fresh(&cluster.node),
        vec![(at(topic, 0), batch(1, &["a"]))],
    )
    .await;
    cluster.log.stall(Duration::from_millis(1500));
    let began = Instant::now();
    let (_, verdict) = commit(&parts, vec![one]).await.pop().expect("one");
    assert!(
        began.elapsed() > parts.settings.give_up_after,
        "no outcome was seen in time"
    );
    match verdict {
        Verdict::Settled(results) => assert_eq!(base(results[0][0]), 0),
        other => panic!("{other:?}"),
    }
    assert_eq!(read_all(&cluster.node, at(topic, 0)).await, ["a"]);
}

#[tokio::test]
async fn a_log_that_stays_silent_makes_the_answer_unknown_never_not_done() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let parts = parts(&cluster.node);
    let one = uploaded(
        &cluster.node,
        fresh(&cluster.node),
        vec![(at(topic, 0), batch(1, &["a"]))],
    )
    .await;
    cluster.log.stall(Duration::from_secs(60));
    let mut parts = parts;
    parts.settings.give_up_after = Duration::from_millis(100);
    let (_, verdict) = commit(&parts, vec![one]).await.pop().expect("one");
    assert!(
        matches!(verdict, Verdict::Failed(AppendError::Unknown { .. })),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn at_the_deadline_the_answer_is_unknown_and_the_batch_goes_on() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let settings = WriterSettings {
        linger: Duration::from_millis(300),
        eager: false,
        ..quick()
    };
    let writer = Writer::start(&cluster.node, settings);
    let permit = cluster.node.budget.try_acquire(1).expect("free");
    let new = NewBatch {
        topic,
        partition: at(topic, 0).partition,
        batch: batch(1, &["a"]),
    };
    let results = writer
        .append(
            vec![new],
            permit,
            Instant::now() + Duration::from_millis(50),
        )
        .await;
    assert!(matches!(results[0], Err(AppendError::Unknown { .. })));
    assert!(
        cluster.node.budget.available() < cluster.node.budget.total(),
        "its bytes are still on their way"
    );
    assert_eq!(
        base(append(&cluster.node, &writer, at(topic, 0), batch(1, &["b"])).await),
        1
    );
    assert_eq!(read_all(&cluster.node, at(topic, 0)).await, ["a", "b"]);
}

#[tokio::test]
async fn stopping_flushes_what_was_appended_and_refuses_the_rest() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let settings = WriterSettings {
        linger: Duration::from_secs(3600),
        eager: false,
        ..quick()
    };
    let writer = Writer::start(&cluster.node, settings);
    let before = send(
        &cluster.node,
        &writer,
        vec![(at(topic, 0), batch(1, &["a"]))],
    );
    cluster.node.scope.drain().await;
    assert_eq!(base(before.await[0]), 0);
    let after = send(
        &cluster.node,
        &writer,
        vec![(at(topic, 0), batch(1, &["b"]))],
    )
    .await;
    assert!(matches!(after[0], Err(AppendError::NotDone { .. })));
}

#[tokio::test]
async fn a_committed_segment_is_read_from_memory() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(&cluster.node, quick());
    base(append(&cluster.node, &writer, at(topic, 0), batch(1, &["a"])).await);
    cluster.store.set_faults(StoreFaults {
        request_lost: 1000,
        ..StoreFaults::default()
    });
    assert_eq!(read_all(&cluster.node, at(topic, 0)).await, ["a"]);
}

#[tokio::test]
async fn the_planted_defect_acknowledges_before_the_commit() {
    assert!(!defect("ack-before-commit"));
    let cluster = cluster().await;
    let topic = cluster.topic("t", 1).await;
    let writer = Writer::start(&cluster.node, quick());
    cluster.log.stall(Duration::from_secs(3));
    tarn_model::plant_defect(Some("ack-before-commit"));
    let result = append(&cluster.node, &writer, at(topic, 0), batch(1, &["a"])).await;
    tarn_model::plant_defect(None);
    assert_eq!(base(result), 0);
    let view = cluster.node.metastore.view();
    assert!(view.segments.is_empty(), "it lied");
}

#[tokio::test]
async fn behind_a_batch_that_found_no_room_nothing_is_taken_before_it_comes_again() {
    let cluster = cluster().await;
    let topic = cluster.topic("t", 2).await;
    let node = &cluster.node;
    let writer = Writer::start(node, quick());
    let of_producer = |sequence, value: &'static str| {
        append(
            node,
            &writer,
            at(topic, 0),
            idempotent(7, 0, sequence, &[value]),
        )
    };
    assert_eq!(base(of_producer(0, "a").await), 0);
    // Nothing else runs in between, so the queue fills up.
    let filling: Vec<_> = (0..QUEUE)
        .map(|_| send(node, &writer, vec![(at(topic, 1), batch(1, &["x"]))]))
        .collect();
    let refused = send(
        node,
        &writer,
        vec![(at(topic, 0), idempotent(7, 0, 1, &["b"]))],
    );
    let not_done = |result: AppendResult| match result {
        Err(AppendError::NotDone { why }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(not_done(refused.await[0]), "too many requests wait");
    for call in filling {
        call.await[0].expect("it was in the queue");
    }
    assert_eq!(
        not_done(of_producer(2, "c").await),
        "the batch before it failed"
    );
    assert_eq!(base(of_producer(1, "b").await), 1);
    assert_eq!(base(of_producer(2, "c").await), 2);
}
