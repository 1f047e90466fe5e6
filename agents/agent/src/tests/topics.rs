//! Topics, produce, fetch and offsets.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, DescribeConfigsRequest, FetchRequest,
    IncrementalAlterConfigsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest,
};
use tarn_kafka::{Compression, ErrorCode, Producer};
use tarn_state::topic_configs::TOPIC_CONFIGS;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{AgentSettings, ReplicationFactorSettings};

use super::harness::{
    Client, Cluster, agent, batch, batch_of, code, create_topics, fetch, name, only_fetch,
    only_produce, produce, records, settings, text,
};

fn edited(batch: Bytes, at: usize, byte: u8) -> Bytes {
    let mut batch = batch.to_vec();
    batch[at] = byte;
    batch.into()
}

async fn list_offset(
    client: &mut Client,
    version: i16,
    topic: &str,
    timestamp: i64,
) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default()
        .with_timestamp(timestamp)
        .with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let response = client
        .call(
            version,
            ListOffsetsRequest::default().with_topics(vec![topic]),
        )
        .await;
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

#[tokio::test]
async fn what_is_produced_is_fetched_in_every_version() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 2).await;
    let id = agent.topic_id("orders").uuid();
    let mut offset = 0;
    for version in 3..=13 {
        let mut request = produce("orders", 1, batch(&["a", "b"]));
        request.topic_data[0].topic_id = id;
        if version >= 13 {
            request.topic_data[0].name = name("");
        }
        let done = only_produce(client.call(version, request).await);
        assert_eq!(
            (done.error_code, done.base_offset, done.index),
            (0, offset, 1),
            "version {version}"
        );
        offset += 2;
    }
    for version in 4..=18 {
        let mut request = fetch("orders", &[(1, 3)], 0);
        request.topics[0].topic_id = id;
        if version >= 13 {
            request.topics[0].topic = name("");
        }
        if version < 7 {
            request.session_epoch = -1;
        }
        let data = only_fetch(client.call(version, request).await);
        assert_eq!(
            (data.error_code, data.high_watermark),
            (0, 22),
            "version {version}"
        );
        let records = records(&data);
        // The whole batch that holds the offset comes; the client skips.
        assert_eq!(
            records.first(),
            Some(&(2, "a".to_owned())),
            "version {version}"
        );
        assert_eq!(
            records.last(),
            Some(&(21, "b".to_owned())),
            "version {version}"
        );
    }
    assert!(records(&client.fetch("orders", 0, 0).await).is_empty());
}

#[tokio::test]
async fn every_codec_passes_through_unopened() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    for codec in Compression::ALL {
        let done = client
            .produce("orders", 0, batch_of(codec, None, &["x", "y"]))
            .await;
        assert_eq!(done.error_code, 0, "{codec:?}");
    }
    let fetched = records(&client.fetch("orders", 0, 0).await);
    assert_eq!(fetched.len(), 10);
    assert!(
        fetched
            .iter()
            .enumerate()
            .all(|(n, (offset, _))| i64::try_from(n) == Ok(*offset))
    );
    // zstd came with version 7.
    let early = only_produce(
        client
            .call(
                6,
                produce("orders", 0, batch_of(Compression::Zstd, None, &["z"])),
            )
            .await,
    );
    assert_eq!(
        code(early.error_code),
        ErrorCode::UnsupportedCompressionType
    );
}

#[tokio::test]
async fn a_wrong_batch_fails_its_partition_only_and_gets_no_offset() {
    let agent = agent().await;
    let mut client = agent.client().await;
    client
        .create("orders", 2, &[("max.message.bytes", "200")])
        .await;
    let good = batch(&["a"]);
    let large = "x".repeat(300);
    for (what, records, expected) in [
        (
            "a broken checksum",
            edited(good.clone(), 66, 0xee),
            ErrorCode::CorruptMessage,
        ),
        ("nothing", Bytes::new(), ErrorCode::InvalidRecord),
        ("half a batch", good.slice(..40), ErrorCode::InvalidRecord),
        (
            "two batches",
            [good.clone(), good.clone()].concat().into(),
            ErrorCode::InvalidRecord,
        ),
        (
            "an old format",
            edited(good.clone(), 16, 1),
            ErrorCode::InvalidRecord,
        ),
        (
            "an unknown format",
            edited(good.clone(), 16, 3),
            ErrorCode::CorruptMessage,
        ),
        (
            "too many bytes",
            batch(&[&large]),
            ErrorCode::MessageTooLarge,
        ),
    ] {
        let mut request = produce("orders", 0, records);
        let fine = produce("orders", 1, good.clone())
            .topic_data
            .remove(0)
            .partition_data
            .remove(0);
        request.topic_data[0].partition_data.push(fine);
        let response = client.call(9, request).await;
        let partitions = &response.responses[0].partition_responses;
        assert_eq!(code(partitions[0].error_code), expected, "{what}");
        assert_eq!(
            (partitions[0].base_offset, partitions[0].log_start_offset),
            (-1, -1),
            "{what}"
        );
        assert!(partitions[0].error_message.is_some(), "{what}");
        assert_eq!(partitions[1].error_code, 0, "{what}");
    }
    let mut null = produce("orders", 0, Bytes::new());
    null.topic_data[0].partition_data[0].records = None;
    assert_eq!(
        code(only_produce(client.call(9, null).await).error_code),
        ErrorCode::InvalidRecord
    );
    for (topic, partition) in [("nowhere", 0), ("orders", 7), ("orders", -1)] {
        let done = client.produce(topic, partition, good.clone()).await;
        assert_eq!(
            (code(done.error_code), done.base_offset),
            (ErrorCode::UnknownTopicOrPartition, -1),
            "{topic}"
        );
    }
    let mut unknown_id = produce("", 0, good.clone());
    unknown_id.topic_data[0].topic_id = Uuid::from_u128(77);
    assert_eq!(
        code(only_produce(client.call(13, unknown_id).await).error_code),
        ErrorCode::UnknownTopicId
    );
    let strange = only_produce(
        client
            .call(9, produce("orders", 0, good.clone()).with_acks(2))
            .await,
    );
    assert_eq!(code(strange.error_code), ErrorCode::InvalidRequiredAcks);
    let transactional = produce("orders", 0, good).with_transactional_id(Some(text("tx").into()));
    let refused = only_produce(client.call(9, transactional).await);
    assert_eq!(
        code(refused.error_code),
        ErrorCode::TransactionalIdAuthorizationFailed
    );
}

#[tokio::test]
async fn a_produce_without_acknowledgement_gets_no_answer_and_an_error_closes() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    client
        .send(9, &produce("orders", 0, batch(&["quiet"])).with_acks(0))
        .await;
    let done = client.produce("orders", 0, batch(&["loud"])).await;
    assert_eq!(
        (done.error_code, done.base_offset),
        (0, 1),
        "the first was appended before, without an answer"
    );
    client
        .send(9, &produce("nowhere", 0, batch(&["lost"])).with_acks(0))
        .await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_idempotent_batch_sent_again_gets_its_first_offset() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    let of = |epoch, base_sequence| {
        batch_of(
            Compression::None,
            Some(Producer {
                id: 7,
                epoch,
                base_sequence,
            }),
            &["x", "y"],
        )
    };
    for (epoch, sequence, expected) in [(1, 0, 0), (1, 2, 2), (1, 0, 0), (1, 2, 2), (1, 4, 4)] {
        let done = client.produce("orders", 0, of(epoch, sequence)).await;
        assert_eq!(
            (done.error_code, done.base_offset),
            (0, expected),
            "sequence {sequence}"
        );
    }
    let fenced = client.produce("orders", 0, of(0, 6)).await;
    assert_eq!(
        (code(fenced.error_code), fenced.base_offset),
        (ErrorCode::InvalidProducerEpoch, -1)
    );
    let gap = client.produce("orders", 0, of(1, 100)).await;
    assert_eq!(
        (code(gap.error_code), gap.base_offset),
        (ErrorCode::OutOfOrderSequenceNumber, -1)
    );
    assert_eq!(records(&client.fetch("orders", 0, 0).await).len(), 6);
}

#[tokio::test]
async fn pipelined_produces_keep_their_order() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    let values: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for (sequence, value) in (0..).zip(&values) {
        let producer = Producer {
            id: 9,
            epoch: 0,
            base_sequence: sequence,
        };
        client
            .send(
                9,
                &produce(
                    "orders",
                    0,
                    batch_of(Compression::None, Some(producer), &[value]),
                ),
            )
            .await;
    }
    let last = client.last_correlation_id();
    for (n, id) in (0i64..40).zip(last - 39..=last) {
        let done = only_produce(
            client
                .receive_of::<kafka_protocol::messages::ProduceRequest>(9, id)
                .await,
        );
        assert_eq!((done.error_code, done.base_offset), (0, n));
    }
    let fetched: Vec<String> = records(&client.fetch("orders", 0, 0).await)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(fetched, values);
}

#[tokio::test]
async fn log_append_time_is_the_agents() {
    let agent = agent().await;
    let mut client = agent.client().await;
    client
        .create("orders", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let done = client.produce("orders", 0, batch(&["a"])).await;
    let now = agent.node.runtime.clock().wall().0;
    assert!(done.error_code == 0 && (now - 60_000..=now).contains(&done.log_append_time_ms));
    assert_eq!(
        records(&client.fetch("orders", 0, 0).await),
        [(0, "a".to_owned())]
    );
    let (_, offset, timestamp) = list_offset(&mut client, 7, "orders", -3).await;
    assert_eq!((offset, timestamp), (0, done.log_append_time_ms));
    // A topic that keeps the producer's time bounds it.
    client
        .create("bounded", 1, &[("message.timestamp.before.max.ms", "1000")])
        .await;
    let old = client.produce("bounded", 0, batch(&["old"])).await;
    assert_eq!(code(old.error_code), ErrorCode::InvalidTimestamp);
}

#[tokio::test]
async fn a_long_poll_ends_with_the_records_it_waited_for() {
    let agent = agent().await;
    let mut consumer = agent.with_topic("orders", 2).await;
    let mut producer = agent.client().await;
    consumer
        .send(11, &fetch("orders", &[(0, 0), (1, 0)], 15_000))
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    producer.produce("orders", 1, batch(&["late"])).await;
    let response = consumer.receive::<FetchRequest>(11).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(response.throttle_time_ms, 0);
    let partitions = &response.responses[0].partitions;
    assert_eq!(records(&partitions[1]), [(0, "late".to_owned())]);
    assert!(records(&partitions[0]).is_empty());
}

#[tokio::test]
async fn a_fetch_says_what_is_wrong() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    client.produce("orders", 0, batch(&["a", "b"])).await;
    for (topic, partition, offset, expected) in [
        ("orders", 0, 3, ErrorCode::OffsetOutOfRange),
        ("orders", 0, -1, ErrorCode::OffsetOutOfRange),
        ("orders", 1, 0, ErrorCode::UnknownTopicOrPartition),
        ("nowhere", 0, 0, ErrorCode::UnknownTopicOrPartition),
        ("orders", 0, 2, ErrorCode::None),
    ] {
        let data = client.fetch(topic, partition, offset).await;
        assert_eq!(
            code(data.error_code),
            expected,
            "{topic} {partition} {offset}"
        );
        assert!(records(&data).is_empty());
    }
    let mut stale = fetch("", &[(0, 0)], 0);
    stale.topics[0].topic_id = Uuid::from_u128(5);
    assert_eq!(
        code(only_fetch(client.call(13, stale).await).error_code),
        ErrorCode::UnknownTopicId
    );
    for (epoch, expected) in [
        (0, ErrorCode::FencedLeaderEpoch),
        (1, ErrorCode::None),
        (2, ErrorCode::UnknownLeaderEpoch),
    ] {
        let mut request = fetch("orders", &[(0, 0)], 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(
            code(only_fetch(client.call(11, request).await).error_code),
            expected,
            "epoch {epoch}"
        );
    }
}

#[tokio::test]
async fn limits_bound_a_fetch_but_one_batch_always_comes() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 3).await;
    for partition in 0..3 {
        for _ in 0..3 {
            client
                .produce("orders", partition, batch(&[&"x".repeat(1000)]))
                .await;
        }
    }
    let mut tiny = fetch("orders", &[(0, 0), (1, 0), (2, 0)], 0).with_max_bytes(1);
    for partition in &mut tiny.topics[0].partitions {
        partition.partition_max_bytes = 1;
    }
    let response = client.call(11, tiny).await;
    let counts: Vec<usize> = response.responses[0]
        .partitions
        .iter()
        .map(|data| records(data).len())
        .collect();
    assert_eq!(counts, [1, 0, 0]);
    let mut partial = fetch("orders", &[(0, 0), (1, 0)], 0);
    partial.topics[0].partitions[0].partition_max_bytes = 2500;
    let response = client.call(11, partial).await;
    let counts: Vec<usize> = response.responses[0]
        .partitions
        .iter()
        .map(|data| records(data).len())
        .collect();
    assert_eq!(counts, [2, 3]);
}

#[tokio::test]
async fn a_fetch_session_sends_only_news() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 2).await;
    client.produce("orders", 0, batch(&["a"])).await;
    let first = client
        .call(
            12,
            fetch("orders", &[(0, 0), (1, 0)], 0).with_session_epoch(0),
        )
        .await;
    assert!(first.session_id != 0 && first.responses[0].partitions.len() == 2);
    let session = |epoch| {
        let mut request = fetch("orders", &[(0, 1)], 0)
            .with_session_id(first.session_id)
            .with_session_epoch(epoch);
        if epoch > 1 {
            request.topics.clear();
        }
        request
    };
    let nothing = client.call(12, session(1)).await;
    assert!(nothing.session_id == first.session_id && nothing.responses.is_empty());
    client.produce("orders", 1, batch(&["b"])).await;
    let news = client.call(12, session(2)).await;
    assert_eq!(news.responses.len(), 1);
    assert_eq!(news.responses[0].partitions[0].partition_index, 1);
    assert_eq!(
        records(&news.responses[0].partitions[0]),
        [(0, "b".to_owned())]
    );
    let wrong = client.call(12, session(9)).await;
    assert_eq!(code(wrong.error_code), ErrorCode::InvalidFetchSessionEpoch);
    let forgotten = client
        .call(
            12,
            fetch("orders", &[], 0)
                .with_session_id(4711)
                .with_session_epoch(3),
        )
        .await;
    assert_eq!(
        code(forgotten.error_code),
        ErrorCode::FetchSessionIdNotFound
    );
}

#[tokio::test]
async fn offsets_are_listed_by_place_and_by_time() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    assert_eq!(list_offset(&mut client, 7, "orders", -3).await, (0, -1, -1));
    client.produce("orders", 0, batch(&["a", "b", "c"])).await;
    client.produce("orders", 0, batch(&["d"])).await;
    let start = 1_700_000_000_000;
    for version in 1..=10 {
        assert_eq!(
            list_offset(&mut client, version, "orders", -1).await,
            (0, 4, -1),
            "version {version}"
        );
        assert_eq!(
            list_offset(&mut client, version, "orders", -2).await,
            (0, 0, -1),
            "version {version}"
        );
        assert_eq!(
            list_offset(&mut client, version, "orders", start + 1).await,
            (0, 1, start + 1)
        );
    }
    assert_eq!(
        list_offset(&mut client, 7, "orders", -3).await,
        (0, 2, start + 2)
    );
    assert_eq!(list_offset(&mut client, 9, "orders", -4).await, (0, 0, -1));
    assert_eq!(list_offset(&mut client, 9, "orders", -5).await, (0, -1, -1));
    assert_eq!(
        list_offset(&mut client, 7, "orders", start + 9).await,
        (0, -1, -1)
    );
    assert_eq!(
        code(list_offset(&mut client, 7, "orders", -9).await.0),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        code(list_offset(&mut client, 7, "nowhere", -1).await.0),
        ErrorCode::UnknownTopicOrPartition
    );

    let asked = OffsetForLeaderPartition::default()
        .with_leader_epoch(1)
        .with_current_leader_epoch(-1);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(name("orders"))
        .with_partitions(vec![asked]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let response = client.call(4, request).await;
    let end = &response.topics[0].partitions[0];
    assert_eq!(
        (end.error_code, end.leader_epoch, end.end_offset),
        (0, 1, 4)
    );
}

#[tokio::test]
async fn metadata_creates_finds_and_lists_topics() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let node = agent.node.metastore.node().0;
    let ask = |topic: &str| {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let absent = client
        .call(9, ask("orders").with_allow_auto_topic_creation(false))
        .await;
    assert_eq!(
        code(absent.topics[0].error_code),
        ErrorCode::UnknownTopicOrPartition
    );
    let created = client
        .call(9, ask("orders").with_allow_auto_topic_creation(true))
        .await;
    assert_eq!(
        (
            created.topics[0].error_code,
            created.topics[0].partitions.len()
        ),
        (0, 1)
    );
    let invalid = client
        .call(9, ask("or/ders").with_allow_auto_topic_creation(true))
        .await;
    assert_eq!(code(invalid.topics[0].error_code), ErrorCode::InvalidTopic);
    client.create("clicks", 3, &[]).await;
    for version in 0..=13 {
        let all = MetadataRequest::default().with_topics(if version == 0 {
            Some(Vec::new())
        } else {
            None
        });
        let all = client.call(version, all).await;
        let names: Vec<String> = all
            .topics
            .iter()
            .map(|topic| topic.name.as_ref().expect("named").to_string())
            .collect();
        assert_eq!(names, ["clicks", "orders"], "version {version}");
        assert_eq!((all.brokers.len(), all.brokers[0].node_id.0), (1, node));
        let clicks = &all.topics[0];
        assert!(
            clicks
                .partitions
                .iter()
                .all(|partition| partition.leader_id.0 == node && partition.error_code == 0)
        );
    }
    let none = client
        .call(9, MetadataRequest::default().with_topics(Some(Vec::new())))
        .await;
    assert!(none.topics.is_empty());
    let by_id = |id: Uuid| {
        let topic = MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let found = client
        .call(12, by_id(agent.topic_id("clicks").uuid()))
        .await;
    assert_eq!(
        found.topics[0].name.as_ref().expect("named").as_str(),
        "clicks"
    );
    let lost = client.call(12, by_id(Uuid::from_u128(3))).await;
    assert_eq!(code(lost.topics[0].error_code), ErrorCode::UnknownTopicId);

    let mut strict = settings();
    strict.topics.auto_create_topics = false;
    let agent = Cluster::new().agent(strict).await;
    let refused = agent
        .client()
        .await
        .call(9, ask("orders").with_allow_auto_topic_creation(true))
        .await;
    assert_eq!(
        code(refused.topics[0].error_code),
        ErrorCode::UnknownTopicOrPartition
    );
}

#[tokio::test]
async fn topics_are_created_grown_and_deleted() {
    let agent = agent().await;
    let mut client = agent.client().await;
    for (what, request, expected) in [
        (
            "no partitions",
            create_topics("a", 0, &[]),
            ErrorCode::InvalidPartitions,
        ),
        (
            "far too many",
            create_topics("a", 1_000_000, &[]),
            ErrorCode::InvalidPartitions,
        ),
        (
            "a bad name",
            create_topics("a b", 1, &[]),
            ErrorCode::InvalidTopic,
        ),
        (
            "an unknown config",
            create_topics("a", 1, &[("retention.hours", "1")]),
            ErrorCode::InvalidConfig,
        ),
        (
            "a bad config",
            create_topics("a", 1, &[("retention.ms", "soon")]),
            ErrorCode::InvalidConfig,
        ),
    ] {
        let response = client.call(7, request).await;
        assert_eq!(code(response.topics[0].error_code), expected, "{what}");
    }
    let mut no_replicas = create_topics("a", 1, &[]);
    no_replicas.topics[0].replication_factor = 0;
    let refused = client.call(7, no_replicas).await;
    assert_eq!(
        code(refused.topics[0].error_code),
        ErrorCode::InvalidReplicationFactor
    );
    let dry = client
        .call(7, create_topics("a", 2, &[]).with_validate_only(true))
        .await;
    assert_eq!(
        (dry.topics[0].error_code, dry.topics[0].num_partitions),
        (0, 2)
    );
    for version in 2..=7 {
        let topic = format!("topic-{version}");
        let request = create_topics(
            &topic,
            if version >= 4 { -1 } else { 1 },
            &[("retention.ms", "1000")],
        );
        let response = client.call(version, request.clone()).await;
        assert_eq!(response.topics[0].error_code, 0, "version {version}");
        let again = client.call(version, request).await;
        assert_eq!(
            code(again.topics[0].error_code),
            ErrorCode::TopicAlreadyExists,
            "version {version}"
        );
    }
    let dry = client
        .call(7, create_topics("topic-7", 2, &[]).with_validate_only(true))
        .await;
    assert_eq!(
        code(dry.topics[0].error_code),
        ErrorCode::TopicAlreadyExists
    );

    let mut grow = async |total: i32, validate_only: bool| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name("topic-7"))
            .with_count(total)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_validate_only(validate_only);
        code(client.call(3, request).await.results[0].error_code)
    };
    assert_eq!(grow(1, false).await, ErrorCode::InvalidPartitions);
    assert_eq!(grow(4, true).await, ErrorCode::None);
    assert_eq!(grow(4, false).await, ErrorCode::None);
    assert_eq!(grow(4, false).await, ErrorCode::InvalidPartitions);

    let old = agent.topic_id("topic-7");
    let delete =
        DeleteTopicsRequest::default().with_topic_names(vec![name("topic-7"), name("nowhere")]);
    let response = client.call(5, delete).await;
    let codes: Vec<ErrorCode> = response
        .responses
        .iter()
        .map(|result| code(result.error_code))
        .collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
    client.create("topic-7", 1, &[]).await;
    assert_ne!(agent.topic_id("topic-7"), old);
    let by_id = |id: Uuid| {
        DeleteTopicsRequest::default().with_topics(vec![
            DeleteTopicState::default()
                .with_name(None)
                .with_topic_id(id),
        ])
    };
    let gone = client.call(6, by_id(old.uuid())).await;
    assert_eq!(
        code(gone.responses[0].error_code),
        ErrorCode::UnknownTopicId
    );
    let id = agent.topic_id("topic-7").uuid();
    assert_eq!(client.call(6, by_id(id)).await.responses[0].error_code, 0);
}

#[tokio::test]
async fn configs_are_described_and_altered() {
    let agent = agent().await;
    let mut client = agent.client().await;
    client
        .create("orders", 1, &[("retention.ms", "1000")])
        .await;
    let mut admin = agent.client().await;
    let mut alter = async |changes: &[(&str, i8, Option<&str>)]| {
        let configs = changes
            .iter()
            .map(|(name, operation, value)| {
                AlterableConfig::default()
                    .with_name(text(name))
                    .with_config_operation(*operation)
                    .with_value(value.map(text))
            })
            .collect();
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("orders"))
            .with_configs(configs);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        code(admin.call(1, request).await.responses[0].error_code)
    };
    assert_eq!(
        alter(&[("retention.ms", 0, Some("2000"))]).await,
        ErrorCode::None
    );
    assert_eq!(
        alter(&[("cleanup.policy", 2, Some("compact"))]).await,
        ErrorCode::None
    );
    assert_eq!(
        alter(&[("retention.ms", 0, Some("soon"))]).await,
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter(&[("retention.ms", 2, Some("5"))]).await,
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter(&[("retention.hours", 0, Some("5"))]).await,
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter(&[("retention.ms", 9, Some("5"))]).await,
        ErrorCode::InvalidRequest
    );

    let resource = |kind: i8, name: &str, keys: Option<Vec<&str>>| {
        let keys = keys.map(|keys| keys.into_iter().map(text).collect());
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(keys)
    };
    let node = agent.node.metastore.node().0.to_string();
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![
            resource(
                2,
                "orders",
                Some(vec![
                    "retention.ms",
                    "cleanup.policy",
                    "tarn.table",
                    "tarn.table.interval.ms",
                ]),
            ),
            resource(2, "orders", None),
            resource(4, &node, None),
            resource(4, "9999", None),
            resource(2, "nowhere", None),
            resource(8, "x", None),
        ])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let response = client.call(4, request).await;
    let some: Vec<(&str, &str, i8)> = response.results[0]
        .configs
        .iter()
        .map(|config| {
            (
                config.name.as_str(),
                config.value.as_deref().expect("a value"),
                config.config_source,
            )
        })
        .collect();
    assert_eq!(
        some,
        [
            ("cleanup.policy", "delete,compact", 1),
            ("retention.ms", "2000", 1),
            ("tarn.table", "on", 5),
            ("tarn.table.interval.ms", "7000", 4)
        ]
    );
    assert_eq!(response.results[1].configs.len(), TOPIC_CONFIGS.len());
    assert!(
        response.results[2]
            .configs
            .iter()
            .any(|config| config.name.as_str() == "num.partitions")
    );
    let codes: Vec<ErrorCode> = response.results[3..]
        .iter()
        .map(|result| code(result.error_code))
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::InvalidRequest,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidRequest
        ]
    );
    assert_eq!(alter(&[("retention.ms", 1, None)]).await, ErrorCode::None);
}

#[tokio::test]
async fn requests_are_counted() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    client.produce("orders", 0, batch(&["a", "b"])).await;
    let text = agent.node.runtime.metrics().encode();
    assert!(
        text.contains("tarn_produce_records_total{topic=\"orders\"} 2"),
        "{text}"
    );
    assert!(
        text.contains("tarn_kafka_request_duration_seconds_count{api=\"Produce\"} 1"),
        "{text}"
    );
    assert!(text.contains("tarn_kafka_connections 1"), "{text}");
}

#[tokio::test]
async fn replication_factors_are_taken_unless_the_setting_is_strict() {
    for (strict, expected) in [
        (false, ErrorCode::None),
        (true, ErrorCode::InvalidReplicationFactor),
    ] {
        let settings = AgentSettings {
            replication_factor: ReplicationFactorSettings { strict },
            ..settings()
        };
        let agent = Cluster::new().agent(settings).await;
        let mut client = agent.client().await;
        // The harness asks for three replicas, and there is one agent.
        let answer = client.call(7, create_topics("three", 1, &[])).await;
        assert_eq!(code(answer.topics[0].error_code), expected);
        let mut one = create_topics("one", 1, &[]);
        one.topics[0].replication_factor = 1;
        let answer = client.call(7, one).await;
        assert_eq!(code(answer.topics[0].error_code), ErrorCode::None);
    }
}

#[tokio::test]
async fn max_message_bytes_beyond_a_segment_is_refused_when_it_is_set() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let configs = [("max.message.bytes", "104857600")];
    let answer = client.call(7, create_topics("large", 1, &configs)).await;
    assert_eq!(code(answer.topics[0].error_code), ErrorCode::InvalidConfig);
    let message = answer.topics[0]
        .error_message
        .as_deref()
        .unwrap_or_default();
    assert!(message.contains("67108864"), "{message}");
}

#[tokio::test]
async fn only_kafkas_own_topics_are_internal() {
    let agent = agent().await;
    let mut client = agent.client().await;
    for (topic, internal) in [
        ("__consumer_offsets", true),
        ("__transaction_state", true),
        ("__share_group_state", true),
        ("__debezium-heartbeat.x", false),
        ("__mine", false),
    ] {
        client.create(topic, 1, &[]).await;
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = client.call(12, request).await;
        assert_eq!(answer.topics[0].is_internal, internal, "{topic}");
    }
}

/// `Admin.describeTopics` of the Java client sends an empty name beside an id.
#[tokio::test]
async fn topics_are_found_by_id_whatever_name_stands_beside_it() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 2).await;
    let id = agent.topic_id("orders").uuid();
    for beside in [None, Some(name(""))] {
        let asked = MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(beside);
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = client.call(12, request).await;
        let topic = &answer.topics[0];
        assert_eq!((topic.error_code, topic.topic_id), (0, id));
        assert_eq!(topic.name, Some(name("orders")));
    }
}
