//! Records that are deleted, and leaders that need no election. Codes are those of Apache Kafka 4.3.

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, ElectLeadersRequest, ListOffsetsRequest};
use tarn_kafka::ErrorCode;

use super::harness::{Client, agent, batch, code, name, records};

/// The code and the low watermark.
async fn delete(client: &mut Client, topic: &str, partition: i32, offset: i64) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(partition)
        .with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let answer = client.call(2, request).await;
    let result = &answer.topics[0].partitions[0];
    (code(result.error_code), result.low_watermark)
}

async fn earliest(client: &mut Client, topic: &str) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-2);
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let answer = client.call(6, request).await;
    answer.topics[0].partitions[0].offset
}

#[tokio::test]
async fn deleted_records_are_read_by_nobody() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    for _ in 0..3 {
        client.produce("orders", 0, batch(&["a", "b"])).await;
    }
    let none = ErrorCode::None;
    // In the middle of the second batch.
    assert_eq!(delete(&mut client, "orders", 0, 3).await, (none, 3));
    assert_eq!(earliest(&mut client, "orders").await, 3);
    let below = client.fetch("orders", 0, 2).await;
    assert_eq!(code(below.error_code), ErrorCode::OffsetOutOfRange);
    assert_eq!(below.log_start_offset, -1);
    let there = client.fetch("orders", 0, 3).await;
    assert_eq!((there.error_code, there.log_start_offset), (0, 3));
    assert!(!records(&there).is_empty());
    // Never back, and never above what is there.
    assert_eq!(delete(&mut client, "orders", 0, 1).await, (none, 3));
    let above = ErrorCode::OffsetOutOfRange;
    assert_eq!(delete(&mut client, "orders", 0, 7).await, (above, -1));
    assert_eq!(delete(&mut client, "orders", 0, -2).await, (above, -1));
    assert_eq!(delete(&mut client, "orders", 0, -1).await, (none, 6));
    assert_eq!(earliest(&mut client, "orders").await, 6);
    let produced = client.produce("orders", 0, batch(&["c"])).await;
    assert_eq!((produced.base_offset, produced.log_start_offset), (6, 6));
    assert_eq!(records(&client.fetch("orders", 0, 6).await).len(), 1);

    let unknown = (ErrorCode::UnknownTopicOrPartition, -1);
    assert_eq!(delete(&mut client, "orders", 1, 0).await, unknown);
    assert_eq!(delete(&mut client, "nothing", 0, 0).await, unknown);
    let compacted = [("cleanup.policy", "compact")];
    client.create("latest", 1, &compacted).await;
    let kept = (ErrorCode::PolicyViolation, -1);
    assert_eq!(delete(&mut client, "latest", 0, -1).await, kept);
}

#[tokio::test]
async fn every_partition_has_the_leader_that_it_should_have() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 2).await;
    let asked = |topic: &str, partitions: Vec<i32>| {
        TopicPartitions::default()
            .with_topic(name(topic))
            .with_partitions(partitions)
    };
    for (version, kind) in [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)] {
        let request = ElectLeadersRequest::default()
            .with_election_type(kind)
            .with_timeout_ms(1_000)
            .with_topic_partitions(Some(vec![
                asked("orders", vec![1, 7]),
                asked("no", vec![0]),
            ]));
        let answer = client.call(version, request).await;
        assert_eq!(answer.error_code, 0);
        let codes: Vec<Vec<(i32, ErrorCode)>> = answer
            .replica_election_results
            .iter()
            .map(|topic| {
                let results = topic.partition_result.iter();
                results
                    .map(|result| (result.partition_id, code(result.error_code)))
                    .collect()
            })
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let expected = [
            vec![(1, ErrorCode::ElectionNotNeeded), (7, unknown)],
            vec![(0, unknown)],
        ];
        assert_eq!(codes, expected, "v{version}");
    }
    let all = ElectLeadersRequest::default().with_topic_partitions(None);
    let answer = client.call(2, all.clone()).await;
    assert_eq!(answer.error_code, 0);
    let [only] = answer.replica_election_results.as_slice() else {
        panic!("there is one topic");
    };
    assert_eq!(only.topic, name("orders"));
    assert!(only.partition_result.is_empty());
    let other = client.call(2, all.with_election_type(7)).await;
    assert_eq!(code(other.error_code), ErrorCode::InvalidRequest);
}
