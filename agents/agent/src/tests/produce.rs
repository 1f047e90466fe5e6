//! What a Produce is refused for beyond its headers, and what becomes of the others on its connection.
//!
//! The expected codes are those of Apache Kafka 4.3.1 for the same requests.

use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, ListOffsetsRequest, ProduceRequest};
use tarn_kafka::{BatchBuilder, Compression, ErrorCode, ValidBatch};

use super::harness::{Client, TestAgent, agent, code, name};

const HOUR: i64 = 3_600_000;

fn now(agent: &TestAgent) -> i64 {
    agent.node.runtime.clock().wall().0
}

/// A batch of records at these times, each with a key or without.
fn timed(compression: Compression, records: &[(i64, bool)]) -> ValidBatch {
    let mut builder = BatchBuilder::new(compression);
    for (timestamp, has_key) in records {
        let key = has_key.then_some(&b"key"[..]);
        builder
            .push(*timestamp, key, Some(b"value"), &[])
            .expect("fits");
    }
    builder.build().expect("a batch")
}

/// The same batch under a header that says something else of its largest timestamp.
fn lying(batch: ValidBatch, max_timestamp: i64) -> Bytes {
    batch.with_max_timestamp(max_timestamp).into_bytes()
}

async fn list_offsets(client: &mut Client, topic: &str, timestamp: i64) -> (i64, i64) {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let response = client.call(7, request).await;
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

#[tokio::test]
async fn headers_that_hide_timestamps_are_corrected_and_held_against_the_limits() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let t = now(&agent) - HOUR;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        // No largest timestamp, one below the first record's, and one that is all the same.
        for (kind, stated) in [("none", -1), ("below", t - 1), ("same", t)] {
            let topic = format!("{kind}-{compression}");
            client.create(&topic, 1, &[]).await;
            let batch = timed(compression, &[(t, true), (t + 5, true)]);
            let answer = client.produce(&topic, 0, lying(batch, stated)).await;
            assert_eq!(code(answer.error_code), ErrorCode::None);
            assert_eq!(
                list_offsets(&mut client, &topic, t).await,
                (0, t),
                "{topic}"
            );
            assert_eq!(
                list_offsets(&mut client, &topic, t + 1).await,
                (1, t + 5),
                "{topic}"
            );
            assert_eq!(list_offsets(&mut client, &topic, -3).await, (1, t + 5));

            // A record of the far future behind such a header.
            let batch = timed(compression, &[(t, true), (t + 1_000 * HOUR, true)]);
            let answer = client.produce(&topic, 0, lying(batch, stated)).await;
            let refused = answer;
            assert_eq!(code(refused.error_code), ErrorCode::InvalidTimestamp);
            assert_eq!(refused.record_errors[0].batch_index, 1);
            assert_eq!(refused.base_offset, -1);
        }
    }
}

#[tokio::test]
async fn records_without_timestamps_stay_without() {
    let agent = agent().await;
    let mut client = agent.client().await;
    client.create("old", 1, &[]).await;
    let batch = timed(Compression::None, &[(-1, true), (-1, true)]);
    let answer = client.produce("old", 0, batch.into_bytes()).await;
    assert_eq!(code(answer.error_code), ErrorCode::None);
    assert_eq!(list_offsets(&mut client, "old", 0).await, (-1, -1));
}

#[tokio::test]
async fn a_topic_with_limits_of_its_own_holds_every_record_against_them() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let limits = [("message.timestamp.before.max.ms", "60000")];
    client.create("strict", 1, &limits).await;
    client.create("plain", 1, &[]).await;
    let t = now(&agent);
    // The header tells the first timestamp and the last: both are fine, the one between is not.
    let batch = timed(
        Compression::Gzip,
        &[(t, true), (t - 2 * 60_000, true), (t + 1, true)],
    );
    let answer = client.produce("strict", 0, batch.bytes().clone()).await;
    let refused = answer;
    assert_eq!(code(refused.error_code), ErrorCode::InvalidTimestamp);
    assert_eq!(refused.record_errors.len(), 1);
    assert_eq!(refused.record_errors[0].batch_index, 1);
    let answer = client.produce("plain", 0, batch.into_bytes()).await;
    assert_eq!(code(answer.error_code), ErrorCode::None);
}

#[tokio::test]
async fn compacted_topics_refuse_records_without_a_key() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let t = now(&agent);
    for (topic, policy) in [("compacted", "compact"), ("both", "delete, compact")] {
        client.create(topic, 1, &[("cleanup.policy", policy)]).await;
        for compression in [Compression::None, Compression::Snappy] {
            let batch = timed(compression, &[(t, true), (t + 1, false), (t + 2, false)]);
            let answer = client.produce(topic, 0, batch.into_bytes()).await;
            let refused = answer;
            assert_eq!(code(refused.error_code), ErrorCode::InvalidRecord);
            let to_blame: Vec<i32> = refused
                .record_errors
                .iter()
                .map(|record| record.batch_index)
                .collect();
            assert_eq!(to_blame, [1, 2]);
            let batch = timed(compression, &[(t, true), (t + 1, true)]);
            let answer = client.produce(topic, 0, batch.into_bytes()).await;
            assert_eq!(code(answer.error_code), ErrorCode::None);
        }
    }
}

/// A failed produce without acknowledgement ends its connection, but not before what was asked earlier
/// on it is answered.
#[tokio::test]
async fn acks_0_that_fails_closes_after_the_earlier_answers() {
    let agent = agent().await;
    let mut client = agent.client().await;
    for _ in 0..20 {
        client.send(0, &ApiVersionsRequest::default()).await;
    }
    let data = PartitionProduceData::default().with_records(Some(Bytes::from_static(b"no batch")));
    let topic = TopicProduceData::default()
        .with_name(name("nowhere"))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(0)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![topic]);
    client.send(7, &request).await;
    for answer in 0..20 {
        assert!(client.receive_frame().await.is_some(), "answer {answer}");
    }
    assert!(client.receive_frame().await.is_none(), "hung up");
}
