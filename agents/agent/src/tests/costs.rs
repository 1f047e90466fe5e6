//! What must not stay, or be paid for by others.

use std::time::Duration;

use kafka_protocol::messages::DeleteTopicsRequest;
use tokio::time::{sleep, timeout};

use super::harness::{PATIENCE, agent, batch, name};

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
