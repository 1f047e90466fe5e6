//! A node in memory for this crate's tests, with a store and a log that can be made to fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tarn_commit_log::{FaultyLog, MemoryLog};
use tarn_kafka::{BatchBuilder, Compression, Producer, ValidBatch};
use tarn_model::{ByteSize, PartitionId, TopicId, TopicPartition};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::Runtime;
use tarn_state::Command;
use tarn_state::commands::CreateTopic;
use tarn_state::topic_configs::Defaults;
use tarn_store::{FaultyStore, Options, Store};
use tokio::time::Instant;

use crate::{AppendResult, NewBatch, Writer, WriterSettings};

pub(crate) struct Cluster {
    pub(crate) node: Node,
    pub(crate) store: FaultyStore,
    pub(crate) log: FaultyLog,
}

pub(crate) async fn cluster() -> Cluster {
    let runtime = Runtime::real();
    let store = FaultyStore::new(Store::memory(&runtime).object_store(), 1, &runtime);
    let log = FaultyLog::new(Arc::new(MemoryLog::new()), 1, &runtime);
    let node = node(runtime, &store, &log).await;
    Cluster { node, store, log }
}

async fn node(runtime: Runtime, store: &FaultyStore, log: &FaultyLog) -> Node {
    let settings = NodeSettings {
        snapshot_bytes: ByteSize::mib(64),
        snapshot_entries: 10_000,
        cache_bytes: ByteSize::mib(64),
        memory_budget: ByteSize::mib(256),
        tick: Duration::from_secs(1),
        alone: false,
        accept_clock: false,
        defaults: Defaults::default(),
    };
    let options = Options {
        backoff: Duration::from_millis(5),
        ..Options::default()
    };
    let parts = Parts {
        store: Store::new(Arc::new(store.clone()), options, &runtime),
        log: Arc::new(log.clone()),
        name: runtime.random().uuid().to_string(),
        runtime,
    };
    let scope = parts.runtime.root_scope("test");
    Node::open(settings, parts, scope)
        .await
        .expect("a node in memory opens")
}

impl Cluster {
    /// Another process of the same cluster.
    pub(crate) async fn another(&self) -> Node {
        node(Runtime::real(), &self.store, &self.log).await
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> TopicId {
        let id = self.node.runtime.random().topic_id();
        let create = CreateTopic {
            id,
            name: name.to_owned(),
            partitions,
            configs: BTreeMap::new(),
            table: self.node.runtime.random().table_uuid(),
        };
        self.node
            .metastore
            .propose(vec![Command::CreateTopic(create)], soon())
            .await
            .expect("the topic is created");
        id
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// As on a local folder, and quick to give up.
pub(crate) fn quick() -> WriterSettings {
    WriterSettings {
        give_up_after: Duration::from_millis(300),
        door_wait: Duration::from_millis(400),
        ..WriterSettings::local()
    }
}

pub(crate) fn at(topic: TopicId, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, PartitionId(partition))
}

/// Values, at consecutive timestamps from `timestamp` on.
pub(crate) fn batch(timestamp: i64, values: &[&str]) -> ValidBatch {
    build(timestamp, values, None, Compression::None)
}

pub(crate) fn idempotent(producer: i64, epoch: i16, sequence: i32, values: &[&str]) -> ValidBatch {
    build(
        1,
        values,
        Some(Producer {
            id: producer,
            epoch,
            base_sequence: sequence,
        }),
        Compression::None,
    )
}

pub(crate) fn build(
    timestamp: i64,
    values: &[&str],
    producer: Option<Producer>,
    compression: Compression,
) -> ValidBatch {
    let mut builder = BatchBuilder::new(compression);
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    for (i, value) in (0..).zip(values) {
        builder
            .push(timestamp + i, None, Some(value.as_bytes()), &[])
            .expect("a small record");
    }
    builder.build().expect("a valid batch")
}

/// Appends without waiting for the answers.
pub(crate) fn send(
    node: &Node,
    writer: &Writer,
    batches: Vec<(TopicPartition, ValidBatch)>,
) -> crate::Appending {
    let bytes: usize = batches.iter().map(|(_, batch)| batch.bytes().len()).sum();
    let permit = node
        .budget
        .try_acquire(bytes as u64)
        .expect("tests are small");
    let batches = batches
        .into_iter()
        .map(|(at, batch)| NewBatch {
            topic: at.topic,
            partition: at.partition,
            batch,
        })
        .collect();
    writer.append(batches, permit, soon())
}

pub(crate) async fn append(
    node: &Node,
    writer: &Writer,
    at: TopicPartition,
    batch: ValidBatch,
) -> AppendResult {
    let mut results = send(node, writer, vec![(at, batch)]).await;
    results.pop().expect("one batch, one result")
}

/// The offset that a batch got.
pub(crate) fn base(result: AppendResult) -> u64 {
    result.expect("it was appended").base.0
}
