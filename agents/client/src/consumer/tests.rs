use super::*;
use crate::Isolation;
use crate::fake::Fake;
use crate::{Admin, NewTopic, Producer, ProducerRecord, ProducerSettings};
use tarn_kafka::{BatchBuilder, Compression};

async fn filled(partitions: usize, records: usize, compression: Compression) -> Fake {
    let fake = Fake::start(&[("t", partitions)]).await;
    let settings = ProducerSettings {
        compression,
        ..ProducerSettings::default()
    };
    let producer = Producer::new(&fake.client, settings);
    let mut deliveries = Vec::new();
    for n in 0..records {
        let partition = i32::try_from(n % partitions).expect("small");
        let record = ProducerRecord::new("t", format!("v{n}"))
            .key(format!("k{n}"))
            .header("h", "x")
            .partition(partition);
        deliveries.push(producer.send(record).await.expect("accepted"));
    }
    for delivery in deliveries {
        delivery.await.expect("delivered");
    }
    producer.close().await;
    fake
}

fn text(record: &ConsumerRecord) -> String {
    String::from_utf8(record.value.as_ref().expect("a value").to_vec()).expect("text")
}

/// Polls until so many records came.
async fn read(consumer: &mut Consumer, records: usize) -> Vec<ConsumerRecord> {
    let mut all = Vec::new();
    for _ in 0..500 {
        all.extend(
            consumer
                .poll(Duration::from_millis(100))
                .await
                .expect("reads"),
        );
        if all.len() >= records {
            break;
        }
    }
    assert_eq!(all.len(), records);
    all
}

fn quick() -> ConsumerSettings {
    ConsumerSettings {
        wait_max: Duration::from_millis(50),
        ..ConsumerSettings::default()
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test]
async fn records_come_in_order_with_all_their_parts() {
    for compression in Compression::ALL {
        let fake = filled(2, 300, compression).await;
        let mut consumer = Consumer::new(&fake.client, quick());
        consumer.assign([
            ("t".to_owned(), 0, StartAt::Earliest),
            ("t".to_owned(), 1, StartAt::Earliest),
        ]);
        let records = read(&mut consumer, 300).await;
        for partition in [0, 1] {
            let of: Vec<&ConsumerRecord> = records
                .iter()
                .filter(|record| record.partition == partition)
                .collect();
            for (at, record) in of.iter().enumerate() {
                let n = at * 2 + usize::try_from(partition).expect("small");
                assert_eq!(record.offset, Offset(at as u64));
                assert_eq!(text(record), format!("v{n}"));
                assert_eq!(record.key, Some(Bytes::from(format!("k{n}"))));
                assert_eq!(
                    record.headers,
                    [RecordHeader::new("h", Some(Bytes::from_static(b"x")))]
                );
            }
        }
        assert_eq!(consumer.position("t", 0), Some(Offset(150)));
        assert_eq!(consumer.high_watermark("t", 0), Some(Offset(150)));
        assert_eq!(consumer.poll(Duration::from_millis(20)).await, Ok(vec![]));
        consumer.close().await.expect("closes");
        fake.scope.drain().await;
    }
}

#[tokio::test]
async fn reading_begins_where_it_is_told_even_inside_a_batch() {
    let fake = filled(1, 100, Compression::None).await;
    let mut consumer = Consumer::new(&fake.client, quick());
    consumer.assign([("t".to_owned(), 0, StartAt::Offset(Offset(37)))]);
    let records = read(&mut consumer, 63).await;
    assert_eq!(
        (records[0].offset, text(&records[0])),
        (Offset(37), "v37".to_owned())
    );
    consumer
        .seek("t", 0, StartAt::Offset(Offset(99)))
        .expect("assigned");
    assert_eq!(text(&read(&mut consumer, 1).await[0]), "v99");
    consumer.seek("t", 0, StartAt::Latest).expect("assigned");
    assert_eq!(consumer.poll(Duration::from_millis(20)).await, Ok(vec![]));
    assert_eq!(consumer.position("t", 0), Some(Offset(100)));
    // Beyond the end: back to the earliest, unless that is not wanted.
    consumer
        .seek("t", 0, StartAt::Offset(Offset(1000)))
        .expect("assigned");
    assert_eq!(text(&read(&mut consumer, 100).await[0]), "v0");
    assert!(consumer.seek("t", 1, StartAt::Latest).is_err());
    consumer.close().await.expect("closes");

    let mut strict = Consumer::new(
        &fake.client,
        ConsumerSettings {
            out_of_range: None,
            ..quick()
        },
    );
    strict.assign([("t".to_owned(), 0, StartAt::Offset(Offset(1000)))]);
    let error = strict
        .poll(Duration::from_millis(50))
        .await
        .expect_err("out of range");
    assert!(
        matches!(&error, ConsumeError::Refused(refused) if refused.error_code() == ErrorCode::OffsetOutOfRange)
    );
    strict.close().await.expect("closes");
    fake.scope.drain().await;
}

#[tokio::test]
async fn aborted_transactions_and_markers_are_not_returned() {
    let fake = Fake::start(&[("t", 1)]).await;
    let batch = |producer: i64, value: &str, transactional: bool, control: bool| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder
            .push(0, None, Some(value.as_bytes()), &[])
            .expect("small");
        builder.set_producer(tarn_kafka::Producer {
            id: producer,
            epoch: 0,
            base_sequence: 0,
        });
        if transactional {
            builder.set_transactional();
        }
        if control {
            builder.set_control();
        }
        builder.build().expect("valid")
    };
    fake.with(|state| {
        let partition = &mut state.topics.get_mut("t").expect("there")[0];
        for batch in [
            batch(7, "aborted", true, false),
            batch(8, "committed", true, false),
            batch(7, "abort marker", true, true),
            batch(9, "plain", false, false),
            batch(8, "commit marker", true, true),
        ] {
            partition.append(&batch).expect("in order");
        }
        partition.aborted.push((7, 0));
    });
    for (isolation, expected) in [
        (Isolation::ReadCommitted, vec!["committed", "plain"]),
        (
            Isolation::ReadUncommitted,
            vec!["aborted", "committed", "plain"],
        ),
    ] {
        let mut consumer = Consumer::new(
            &fake.client,
            ConsumerSettings {
                isolation,
                ..quick()
            },
        );
        consumer.assign([("t".to_owned(), 0, StartAt::Earliest)]);
        let records = read(&mut consumer, expected.len()).await;
        assert_eq!(records.iter().map(text).collect::<Vec<_>>(), expected);
        assert_eq!(consumer.position("t", 0), Some(Offset(5)));
        consumer.close().await.expect("closes");
    }
    fake.scope.drain().await;
}

#[tokio::test]
async fn a_missing_topic_is_an_error_of_the_poll() {
    let fake = Fake::start(&[]).await;
    let mut consumer = Consumer::new(&fake.client, quick());
    consumer.assign([("nowhere".to_owned(), 0, StartAt::Offset(Offset(0)))]);
    let error = consumer
        .poll(Duration::from_millis(30))
        .await
        .expect_err("no such topic");
    assert_eq!(error.kind(), tarn_model::Kind::NotFound);
    consumer.close().await.expect("closes");
    fake.scope.drain().await;
}

#[tokio::test]
async fn fetches_survive_a_broken_connection() {
    use crate::fake::Fault;
    let fake = filled(1, 10, Compression::None).await;
    fake.plan(
        tarn_kafka::ApiKey::Fetch,
        [Fault::LostAnswer, Fault::LostRequest],
    );
    let mut consumer = Consumer::new(&fake.client, quick());
    consumer.assign([("t".to_owned(), 0, StartAt::Earliest)]);
    let records = consumer
        .poll(Duration::from_secs(5))
        .await
        .expect("tries again");
    assert_eq!(records.len(), 10);
    consumer.close().await.expect("closes");
    fake.scope.drain().await;
}

fn membership() -> GroupSettings {
    GroupSettings {
        heartbeat_interval: Duration::from_millis(20),
        ..GroupSettings::new("g", ["t"])
    }
}

#[tokio::test]
async fn a_member_goes_on_where_the_group_stopped() {
    let fake = filled(2, 20, Compression::None).await;
    let mut first = Consumer::join(&fake.client, quick(), membership(), deadline())
        .await
        .expect("joins");
    read(&mut first, 20).await;
    first.commit().await.expect("commits");
    let admin = Admin::new(&fake.client);
    let committed = admin.group_offsets("g").await.expect("known");
    assert_eq!(
        committed,
        [
            (("t".to_owned(), 0), Offset(10)),
            (("t".to_owned(), 1), Offset(10))
        ]
        .into()
    );
    let described = admin.describe_group("g").await.expect("known");
    assert_eq!(described.members.len(), 1);
    assert_eq!(
        described.members[0]
            .assignment
            .partitions()
            .collect::<Vec<_>>(),
        [("t", 0), ("t", 1)]
    );
    first.close().await.expect("leaves");

    let mut second = Consumer::join(&fake.client, quick(), membership(), deadline())
        .await
        .expect("joins");
    assert_eq!(second.poll(Duration::from_millis(50)).await, Ok(vec![]));
    assert_eq!(second.position("t", 1), Some(Offset(10)));
    second.close().await.expect("leaves");
    fake.scope.drain().await;
}

#[tokio::test]
async fn members_share_the_partitions_and_take_over() {
    let fake = filled(4, 40, Compression::None).await;
    let settings = || ConsumerSettings {
        auto_commit: Some(Duration::from_millis(1)),
        ..quick()
    };
    let mut first = Consumer::join(&fake.client, settings(), membership(), deadline())
        .await
        .expect("joins");
    assert_eq!(first.assignment().count(), 4);
    read(&mut first, 40).await;

    let client = fake.client.clone();
    let joining = fake.scope.spawn("second", async move {
        Consumer::join(&client, settings(), membership(), deadline()).await
    });
    while !joining.is_finished() || first.assignment().count() != 2 {
        first.poll(Duration::from_millis(20)).await.expect("polls");
    }
    let second = joining.await.expect("no panic").expect("joins");
    let mut all: Vec<(String, i32)> = first
        .assignment()
        .chain(second.assignment())
        .map(|(topic, partition)| (topic.to_owned(), partition))
        .collect();
    all.sort();
    assert_eq!(
        all,
        (0..4)
            .map(|partition| ("t".to_owned(), partition))
            .collect::<Vec<_>>()
    );

    second.close().await.expect("leaves");
    for _ in 0..200 {
        // What was read before is committed, so nothing comes twice.
        assert_eq!(first.poll(Duration::from_millis(20)).await, Ok(vec![]));
        if first.assignment().count() == 4 {
            break;
        }
    }
    assert_eq!(first.assignment().count(), 4);
    first.close().await.expect("leaves");
    fake.scope.drain().await;
}

#[tokio::test]
async fn topics_are_created_described_and_deleted() {
    let fake = Fake::start(&[]).await;
    let admin = Admin::new(&fake.client);
    admin
        .create_topic(&NewTopic::new("orders", 3), false)
        .await
        .expect("creates");
    let error = admin
        .create_topic(&NewTopic::new("orders", 3), false)
        .await
        .expect_err("is there");
    assert_eq!(error.kind(), tarn_model::Kind::Conflict);
    assert_eq!(
        admin
            .describe_topic("orders")
            .await
            .expect("there")
            .partitions
            .len(),
        3
    );
    assert_eq!(admin.list_topics().await.expect("lists").len(), 1);
    let ends = admin
        .topic_offsets("orders", OffsetSpec::Latest, Isolation::ReadCommitted)
        .await
        .expect("asks");
    assert_eq!(
        ends,
        (0..3)
            .map(|partition| (partition, Some(Offset(0))))
            .collect()
    );
    admin.delete_topic("orders").await.expect("deletes");
    let error = admin.describe_topic("orders").await.expect_err("gone");
    assert_eq!(error.kind(), tarn_model::Kind::NotFound);
    assert!(admin.list_groups().await.expect("lists").is_empty());
    assert_eq!(admin.brokers().await.expect("asks").len(), 1);
    fake.scope.drain().await;
}
