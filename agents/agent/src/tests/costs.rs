//! What must not stay, or be paid for by others.

use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{DeleteTopicsRequest, MetadataRequest, MetadataResponse};
use tokio::time::{sleep, timeout};

use super::harness::{Client, PATIENCE, TestAgent, agent, batch, name};

async fn all_topics(client: &mut Client, version: i16) -> MetadataResponse {
    let request = MetadataRequest::default().with_topics(None);
    client.call(version, request).await
}

/// Topics that were described so far.
fn described(agent: &TestAgent) -> u64 {
    let metrics = agent.node.runtime.metrics().encode();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tarn_kafka_metadata_topics_total "));
    line.and_then(|count| count.parse().ok())
        .expect("it is counted")
}

#[tokio::test]
async fn the_list_of_all_topics_is_made_once_for_all_who_ask() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 3).await;
    let mut other = agent.client().await;
    let first = all_topics(&mut client, 13).await;
    let before = described(&agent);
    for _ in 0..3 {
        assert_eq!(all_topics(&mut client, 13).await, first);
        assert_eq!(all_topics(&mut other, 13).await, first);
    }
    assert_eq!(described(&agent), before);
    // What moves elsewhere changes nothing, and what another version says is another answer.
    client.produce("orders", 0, batch(&["a"])).await;
    assert_eq!(all_topics(&mut client, 13).await, first);
    assert_eq!(described(&agent), before);
    assert_eq!(all_topics(&mut client, 9).await.topics.len(), 1);
    assert_eq!(described(&agent), before + 1);

    let names = |answer: &MetadataResponse| -> Vec<(String, usize)> {
        let topics = answer.topics.iter();
        let named = topics.map(|topic| {
            let name = topic.name.as_ref().expect("it has one");
            (name.to_string(), topic.partitions.len())
        });
        named.collect()
    };
    client.create("other", 2, &[]).await;
    let both = all_topics(&mut other, 13).await;
    let expected = [("orders".to_owned(), 3), ("other".to_owned(), 2)];
    assert_eq!(names(&both), expected);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![name("orders")]);
    client.call(1, delete).await;
    let left = all_topics(&mut other, 13).await;
    assert_eq!(names(&left), [("other".to_owned(), 2)]);
    // By its name it is the same.
    for version in [1, 4, 7, 8, 9, 10, 12, 13] {
        let asked = MetadataRequestTopic::default().with_name(Some(name("other")));
        let by_name = MetadataRequest::default().with_topics(Some(vec![asked]));
        let by_name = client.call(version, by_name).await;
        assert_eq!(
            all_topics(&mut client, version).await,
            by_name,
            "v{version}"
        );
        let wishes = MetadataRequest::default()
            .with_topics(None)
            .with_include_topic_authorized_operations(version >= 8);
        let with = client.call(version, wishes).await;
        let operations = with
            .topics
            .first()
            .map(|topic| topic.topic_authorized_operations);
        assert_eq!(
            operations.is_some_and(|operations| operations >= 0),
            version >= 8
        );
    }
}

#[tokio::test]
async fn a_deleted_topic_is_counted_no_longer() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    client.create("other", 1, &[]).await;
    for topic in ["orders", "other"] {
        client.produce(topic, 0, batch(&["a"])).await;
    }
    let counted = |topic: &str| {
        let line = format!("produce_records_total{{topic=\"{topic}\"}}");
        agent.node.runtime.metrics().encode().contains(&line)
    };
    assert!(counted("orders") && counted("other"));
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![name("orders")]);
    client.call(1, delete).await;
    let gone = async {
        while counted("orders") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it is forgotten");
    assert!(counted("other"));
}
