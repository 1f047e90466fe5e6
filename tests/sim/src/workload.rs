//! Writers, readers and a consumer group with our own client.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tarn_client::{
    Admin, Client, ClientSettings, Consumer, ConsumerSettings, GroupSettings, Isolation, NewTopic,
    OffsetSpec, ProduceError, Producer, ProducerRecord, ProducerSettings, StartAt,
};
use tarn_kafka::ErrorCode;
use tarn_runtime::{Runtime, Scope, SimulatedHost};
use tokio::time::Instant;
use tracing::debug;

use crate::cluster::{Cluster, EVENTS, ORDERS, TOPICS};
use crate::history::{Acknowledged, Topics};
use crate::orders;

/// The group whose members read [`EVENTS`].
const GROUP: &str = "readers";

pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().expect("within the simulation")
}

fn client(cluster: &Cluster, salt: u64) -> (Client, Scope, Runtime) {
    let runtime = Runtime::simulated(&SimulatedHost::new(cluster.plan.seed ^ salt));
    let scope = runtime.root_scope("client");
    let mut settings = ClientSettings::new(cluster.bootstrap());
    settings.request_timeout = cluster.plan.request_timeout;
    settings.operation_timeout = Duration::from_secs(60);
    (Client::new(&runtime, &scope, settings), scope, runtime)
}

/// Waits until the topic is there; the first to ask creates it.
async fn topic(cluster: &Cluster, client: &Client, name: &str) {
    let admin = Admin::new(client);
    let wanted = NewTopic::new(name, cluster.plan.partitions);
    while admin.describe_topic(name).await.is_err() {
        // Whatever it says, describing it tells.
        let _ = admin.create_topic(&wanted, false).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Sends its records, a few at a time, and notes what was acknowledged. Every third one goes to the
/// topic with a schema, where every fifth does not decode.
pub(crate) async fn writer(cluster: Cluster, number: usize) -> turmoil::Result {
    let (client, scope, runtime) = client(&cluster, 0x3717e4 + number as u64);
    for name in TOPICS {
        topic(&cluster, &client, name).await;
    }
    let idempotent = cluster.plan.all_idempotent || number.is_multiple_of(2);
    let settings = ProducerSettings {
        idempotent,
        linger: Duration::from_millis(5),
        delivery_timeout: Duration::from_secs(150),
        ..ProducerSettings::default()
    };
    let producer = Producer::new(&client, settings);
    let mut open = FuturesUnordered::new();
    for n in 0..cluster.plan.records {
        tokio::time::sleep(Duration::from_millis(runtime.random().below(300))).await;
        let text = format!("w{number}-{n}");
        let (topic, value) = match cluster.schema() {
            Some(schema) if n % 3 == 2 && n % 5 == 4 => {
                (ORDERS, orders::bad(schema, &text, n / 15))
            }
            Some(schema) if n % 3 == 2 => (ORDERS, orders::good(schema, &text)),
            Some(_) | None => (EVENTS, text.into_bytes()),
        };
        let label = String::from_utf8(value.clone()).expect("values are ASCII");
        let partition = i32::try_from(n).expect("small") % cluster.plan.partitions;
        cluster.history.sent(&label, idempotent);
        let sent = now();
        let record = ProducerRecord::new(topic, value).partition(partition);
        let (producer, history) = (&producer, &cluster.history);
        open.push(async move {
            match producer.produce(record).await {
                Ok(delivered) => {
                    let Some(offset) = delivered.offset else {
                        return;
                    };
                    let (offset, acknowledged) = (offset.0, now());
                    history.acknowledged(Acknowledged {
                        topic,
                        partition,
                        offset,
                        value: label,
                        sent,
                        acknowledged,
                    });
                }
                // Without a sequence a lost answer ends a delivery, as in Kafka, and is no promise; with one
                // it must not.
                Err(error) => {
                    if idempotent && !is_from_the_future(&error) {
                        history.violated("I6", format!("{label} was never delivered: {error}"));
                    }
                }
            }
        });
        while open.len() > 20 {
            open.next().await;
        }
    }
    while open.next().await.is_some() {}
    producer.close().await;
    scope.drain().await;
    Ok(())
}

/// An agent whose clock stepped back by years refuses what is dated after it.
fn is_from_the_future(error: &ProduceError) -> bool {
    matches!(error, ProduceError::Refused(refused)
        if refused.error_code() == ErrorCode::InvalidTimestamp)
}

/// Reads along, from the start, over and over: each place must show the same value every time.
pub(crate) async fn reader(cluster: Cluster) -> turmoil::Result {
    let (client, scope, _) = client(&cluster, 0x4eade4);
    for name in TOPICS {
        topic(&cluster, &client, name).await;
    }
    while now() < cluster.plan.heal_at {
        let mut consumer = Consumer::new(&client, ConsumerSettings::default());
        let partitions = || 0..cluster.plan.partitions;
        consumer.assign(
            TOPICS.into_iter().flat_map(|name| {
                partitions().map(move |at| (name.to_owned(), at, StartAt::Earliest))
            }),
        );
        let mut next: BTreeMap<(&'static str, i32), u64> = BTreeMap::new();
        let until = now() + Duration::from_secs(10);
        while now() < until {
            let Ok(records) = consumer.poll(Duration::from_millis(500)).await else {
                continue;
            };
            for record in records {
                let name = TOPICS
                    .into_iter()
                    .find(|name| **name == *record.topic)
                    .expect("nothing else is assigned");
                let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
                    .into_owned();
                cluster.history.saw(
                    (name, record.partition, record.offset.0),
                    &value,
                    "a reader",
                );
                let expected = next.entry((name, record.partition)).or_insert(0);
                if record.offset.0 != *expected {
                    let detail = format!(
                        "{name}/{} went from {expected} to {}",
                        record.partition, record.offset
                    );
                    cluster.history.violated("I3", detail);
                }
                *expected = record.offset.0 + 1;
            }
        }
        drop(consumer.close().await);
    }
    scope.drain().await;
    Ok(())
}

/// A member of the group: reads what it is assigned, commits now and then, and joins again when it has
/// to. What goes wrong is anybody's guess; what is committed and given is checked elsewhere.
pub(crate) async fn member(cluster: Cluster, number: usize) -> turmoil::Result {
    let (client, scope, runtime) = client(&cluster, 0x6e0b + number as u64);
    topic(&cluster, &client, EVENTS).await;
    while now() < cluster.plan.heal_at {
        let mut group = GroupSettings::new(GROUP, [EVENTS]);
        group.session_timeout = Duration::from_secs(6);
        group.rebalance_timeout = Duration::from_secs(6);
        group.heartbeat_interval = Duration::from_secs(1);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut consumer =
            match Consumer::join(&client, ConsumerSettings::default(), group, deadline).await {
                Ok(consumer) => consumer,
                Err(error) => {
                    debug!(%error, "did not join");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
        // Some leave early, so that the others take over.
        let until = now() + Duration::from_secs(4 + runtime.random().below(20));
        let mut next: BTreeMap<i32, u64> = BTreeMap::new();
        while now() < until.min(cluster.plan.heal_at + Duration::from_secs(5)) {
            let polled = match consumer.poll(Duration::from_millis(300)).await {
                Ok(polled) => polled,
                Err(error) => {
                    debug!(%error, "poll");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            for record in &polled {
                let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
                    .into_owned();
                cluster.history.saw(
                    (EVENTS, record.partition, record.offset.0),
                    &value,
                    "a member",
                );
                cluster.history.delivered(record.partition, record.offset.0);
                next.insert(record.partition, record.offset.0 + 1);
            }
            if runtime.random().happens(300) && !next.is_empty() {
                // A commit that is refused or unknown is tried again with a later one.
                let _ = consumer.commit().await;
            }
        }
        drop(consumer.close().await);
    }
    scope.drain().await;
    Ok(())
}

/// What the topics hold, read from their starts to their ends after everything healed.
pub(crate) async fn read_all(cluster: &Cluster) -> Result<Topics, String> {
    let (client, scope, _) = client(cluster, 0x1a57);
    let mut all = Topics::new();
    for name in TOPICS {
        topic(cluster, &client, name).await;
        all.extend(read_topic(cluster, &client, name).await?);
    }
    scope.drain().await;
    Ok(all)
}

async fn read_topic(
    cluster: &Cluster,
    client: &Client,
    name: &'static str,
) -> Result<Topics, String> {
    let admin = Admin::new(client);
    let deadline = Instant::now() + Duration::from_secs(120);
    let before = cluster.history.ends();
    let ends = loop {
        match admin
            .topic_offsets(name, OffsetSpec::Latest, Isolation::ReadUncommitted)
            .await
        {
            Ok(ends) => break ends,
            Err(error) if Instant::now() > deadline => return Err(format!("no offsets: {error}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    };
    let of_topic = before
        .into_iter()
        .filter(|((topic, _), _)| *topic == name)
        .collect();
    cluster.history.barrier(&of_topic, |_, partition| {
        ends.get(&partition).copied().flatten().map(|end| end.0)
    });
    let mut consumer = Consumer::new(client, ConsumerSettings::default());
    consumer.assign(
        ends.keys()
            .map(|partition| (name.to_owned(), *partition, StartAt::Earliest)),
    );
    let mut records: Topics = ends
        .keys()
        .map(|partition| ((name, *partition), Vec::new()))
        .collect();
    let total: u64 = ends.values().map(|end| end.map_or(0, |end| end.0)).sum();
    let mut count = 0;
    while count < total {
        if Instant::now() > deadline {
            return Err(format!("{count} of {total} records could be read"));
        }
        let Ok(batch) = consumer.poll(Duration::from_secs(1)).await else {
            continue;
        };
        for record in batch {
            count += 1;
            let value =
                String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
            records
                .entry((name, record.partition))
                .or_default()
                .push((record.offset.0, value));
        }
    }
    drop(consumer.close().await);
    Ok(records)
}
