//! An agent whose view lags never says no.

use std::sync::Arc;

use async_trait::async_trait;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FetchRequest, MetadataRequest};
use tarn_commit_log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, SnapshotRef,
};
use tarn_kafka::ErrorCode;
use tarn_model::{Generation, Lsn, plant_defect};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep};

use super::harness::{
    Client, Cluster, TestAgent, batch, code, fetch, name, only_fetch, records, settings,
};

/// A log whose followers can be held where they stand.
#[derive(Debug, Clone)]
struct HeldLog {
    log: Arc<dyn CommitLog>,
    held: watch::Sender<bool>,
}

#[derive(Debug)]
struct HeldFollower {
    follower: Box<dyn Follower>,
    held: watch::Receiver<bool>,
}

#[async_trait]
impl Follower for HeldFollower {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError> {
        loop {
            let _ = self.held.wait_for(|held| !held).await;
            tokio::select! {
                _ = self.held.wait_for(|held| *held) => {}
                batch = self.follower.next_batch(max) => return batch,
            }
        }
    }

    fn position(&self) -> Lsn {
        self.follower.position()
    }
}

#[async_trait]
impl CommitLog for HeldLog {
    fn generation(&self) -> Generation {
        self.log.generation()
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        self.log.append(entry).await
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(HeldFollower {
            follower: self.log.follow(after),
            held: self.held.subscribe(),
        })
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        self.log.end().await
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        self.log.trim(floor, snapshot).await
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        self.log.floor().await
    }

    fn wake(&self) {
        self.log.wake();
    }
}

struct Two {
    fresh: TestAgent,
    lagging: TestAgent,
    held: watch::Sender<bool>,
}

/// Two agents; the second one can be held where it is.
async fn two() -> Two {
    let cluster = Cluster::new();
    let held = watch::Sender::new(false);
    let log = Arc::new(HeldLog {
        log: Arc::clone(&cluster.log),
        held: held.clone(),
    });
    let fresh = cluster.agent(settings()).await;
    let lagging = cluster.agent_over(log, settings()).await;
    Two {
        fresh,
        lagging,
        held,
    }
}

impl Two {
    /// The second agent has seen the topic with one record; then it is held, and two more are produced.
    async fn behind(&self) -> Client {
        let mut producer = self.fresh.with_topic("orders", 1).await;
        producer.produce("orders", 0, batch(&["a"])).await;
        let mut consumer = self.lagging.client().await;
        let first = consumer.call(11, fetch("orders", &[(0, 0)], 10_000)).await;
        assert_eq!(records(&only_fetch(first)).len(), 1);
        self.held.send_replace(true);
        producer.produce("orders", 0, batch(&["b", "c"])).await;
        consumer
    }

    async fn release_soon(&self) {
        sleep(Duration::from_millis(200)).await;
        self.held.send_replace(false);
    }
}

#[tokio::test]
async fn an_offset_above_a_lagging_high_watermark_waits_for_a_barrier() {
    let two = two().await;
    let mut consumer = two.behind().await;
    // What is there is answered without one.
    assert_eq!(records(&consumer.fetch("orders", 0, 0).await).len(), 1);
    consumer.send(11, &fetch("orders", &[(0, 3)], 0)).await;
    let (response, ()) = tokio::join!(consumer.receive::<FetchRequest>(11), two.release_soon());
    let data = only_fetch(response);
    assert_eq!((data.error_code, data.high_watermark), (0, 3));
    let beyond = consumer.fetch("orders", 0, 4).await;
    assert_eq!(code(beyond.error_code), ErrorCode::OffsetOutOfRange);
}

#[tokio::test]
async fn the_planted_defect_refuses_without_a_barrier() {
    let two = two().await;
    let mut consumer = two.behind().await;
    plant_defect(Some("negative-from-lagging-view"));
    let data = consumer.fetch("orders", 0, 3).await;
    plant_defect(None);
    assert_eq!(code(data.error_code), ErrorCode::OffsetOutOfRange);
}

#[tokio::test]
async fn a_fetch_without_a_barrier_in_time_is_empty() {
    let two = two().await;
    let mut consumer = two.behind().await;
    let started = Instant::now();
    let data = consumer.fetch("orders", 0, 3).await;
    assert!(started.elapsed() >= Duration::from_secs(4), "it tried");
    assert_eq!(data.error_code, 0);
    assert!(records(&data).is_empty());
}

#[tokio::test]
async fn a_topic_that_another_agent_just_created_is_found() {
    let two = two().await;
    two.behind().await;
    two.fresh.with_topic("clicks", 2).await;
    let mut client = two.lagging.client().await;
    let topic = MetadataRequestTopic::default().with_name(Some(name("clicks")));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    client.send(9, &request).await;
    let (response, ()) = tokio::join!(client.receive::<MetadataRequest>(9), two.release_soon());
    assert_eq!(
        (
            response.topics[0].error_code,
            response.topics[0].partitions.len()
        ),
        (0, 2)
    );
    // Produce and the list of all topics likewise.
    two.held.send_replace(true);
    two.fresh.with_topic("views", 1).await;
    let (done, ()) = tokio::join!(
        client.produce("views", 0, batch(&["x"])),
        two.release_soon()
    );
    assert_eq!((done.error_code, done.base_offset), (0, 0));
    two.held.send_replace(true);
    two.fresh.with_topic("zebras", 1).await;
    client
        .send(9, &MetadataRequest::default().with_topics(None))
        .await;
    let (all, ()) = tokio::join!(client.receive::<MetadataRequest>(9), two.release_soon());
    assert_eq!(all.topics.len(), 4);
}

#[tokio::test]
async fn both_agents_advise_the_same_leaders() {
    let two = two().await;
    let mut one = two.fresh.with_topic("orders", 16).await;
    let mut other = two.lagging.client().await;
    let ask = || MetadataRequest::default().with_topics(None);
    let (one, other) = (one.call(9, ask()).await, other.call(9, ask()).await);
    assert_eq!(one.brokers.len(), 2);
    let leaders = |response: &kafka_protocol::messages::MetadataResponse| {
        response.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.leader_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(leaders(&one), leaders(&other));
    // Any agent serves any partition, whoever leads.
    let mut client = two.fresh.client().await.named("zone=nowhere");
    for partition in 0..16 {
        assert_eq!(
            client
                .produce("orders", partition, batch(&["x"]))
                .await
                .error_code,
            0
        );
    }
}

/// What the log does not hear for long must not be where clients go.
#[tokio::test]
async fn an_agent_that_the_log_does_not_hear_names_itself_to_nobody() {
    let two = two().await;
    let mut client = two.behind().await;
    let asked = |topic: &str| {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let before = client.call(9, asked("orders")).await;
    assert_eq!(before.brokers.len(), 2);
    while !two.lagging.node.metastore.is_fenced() {
        sleep(Duration::from_millis(50)).await;
    }
    let told = client.call(9, asked("orders")).await;
    let fresh = two.fresh.node.metastore.node().0;
    let named: Vec<i32> = told.brokers.iter().map(|broker| broker.node_id.0).collect();
    assert_eq!(named, [fresh]);
    let partition = &told.topics[0].partitions[0];
    assert_eq!(
        (partition.error_code, partition.leader_id.0),
        (0, fresh),
        "it leads nothing either"
    );
}
