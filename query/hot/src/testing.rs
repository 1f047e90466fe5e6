//! A node in memory with a topic and its hot tier.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tarn_commit_log::MemoryLog;
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{ByteSize, PartitionId, SchemaFormat, SchemaId, TableUuid, TopicId};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::Runtime;
use tarn_state::commands::{CreateTopic, RegisterSchema};
use tarn_state::{Command, Outcome};
use tarn_store::{FaultyStore, Options, Store, paths};
use tarn_topics::{NewBatch, Writer, WriterSettings};
use tokio::time::{Instant, sleep};

use crate::{Cut, HotSettings, HotTier, TableCut};

pub(crate) const TOPIC: TopicId = TopicId([7; 16]);

pub(crate) struct Fixture {
    pub(crate) node: Node,
    pub(crate) faults: FaultyStore,
    writer: Writer,
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Values of so many bytes that do not compress.
pub(crate) fn values(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let random = tarn_runtime::Random::seeded(7);
    let byte = |_| u8::try_from(random.below(256)).expect("a byte");
    (0..count).map(|_| (0..bytes).map(byte).collect()).collect()
}

impl Fixture {
    /// With a topic of so many partitions. The node caches nothing: every read asks the store.
    pub(crate) async fn new(partitions: i32) -> Fixture {
        Fixture::with_store(partitions, Options::default()).await
    }

    pub(crate) async fn with_store(partitions: i32, options: Options) -> Fixture {
        let runtime = Runtime::real();
        let faults = FaultyStore::new(Store::memory(&runtime).object_store(), 1, &runtime);
        let parts = Parts {
            runtime: runtime.clone(),
            store: Store::new(Arc::new(faults.clone()), options, &runtime),
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
        };
        let settings = NodeSettings {
            cache_bytes: ByteSize(0),
            ..NodeSettings::default()
        };
        let node = Node::open(settings, parts, runtime.root_scope("test")).await;
        let node = node.expect("a node in memory opens");
        let create = CreateTopic {
            id: TOPIC,
            name: "clicks".to_owned(),
            partitions,
            configs: BTreeMap::new(),
            table: TableUuid([9; 16]),
        };
        let create = vec![Command::CreateTopic(create)];
        let created = node.metastore.propose(create, soon()).await;
        created.expect("the topic is new");
        Fixture {
            writer: Writer::start(&node, WriterSettings::local()),
            node,
            faults,
        }
    }

    /// A node of another cluster that has the same segments: it knows nothing of the topics that they are of.
    pub(crate) async fn stranger(&self) -> Node {
        let runtime = Runtime::real();
        let store = Store::memory(&runtime);
        let segments = self.node.store.list(&paths::segments(), None, 1_000).await;
        for segment in segments.expect("they are listed") {
            let bytes = self
                .node
                .store
                .get(&segment.path)
                .await
                .expect("it is there");
            store
                .put(&segment.path, bytes)
                .await
                .expect("there is room");
        }
        let parts = Parts {
            store,
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
            runtime: runtime.clone(),
        };
        let settings = NodeSettings {
            cache_bytes: ByteSize(0),
            ..NodeSettings::default()
        };
        let node = Node::open(settings, parts, runtime.root_scope("stranger")).await;
        node.expect("a node in memory opens")
    }

    /// Gives the topic a schema; returns its id.
    pub(crate) async fn register(&self, text: &str) -> SchemaId {
        let parsed = tarn_schema::parse(text, &[]).expect("a schema");
        let register = RegisterSchema {
            subject: "clicks-value".to_owned(),
            guid: [1; 16],
            format: SchemaFormat::Avro,
            text: text.to_owned(),
            columns: tarn_schema::columns(&parsed).expect("columns"),
            references: Vec::new(),
        };
        let register = vec![Command::RegisterSchema(register)];
        let committed = self.node.metastore.propose(register, soon()).await;
        match committed.expect("it is legal").outcomes[0] {
            Outcome::SchemaRegistered { id, .. } => id,
            ref other => panic!("{other:?}"),
        }
    }

    pub(crate) fn tier(&self, bytes: ByteSize) -> HotTier {
        HotTier::start(&self.node, HotSettings { bytes })
    }

    /// The same values into each partition, in one segment.
    pub(crate) async fn produce(&self, partitions: &[i32], values: &[Vec<u8>]) {
        let batch = |partition: &i32| {
            let mut builder = BatchBuilder::new(Compression::Zstd);
            for value in values {
                builder.push(0, None, Some(value), &[]).expect("small");
            }
            NewBatch {
                topic: TOPIC,
                partition: PartitionId(*partition),
                batch: builder.build().expect("a batch"),
            }
        };
        let batches: Vec<NewBatch> = partitions.iter().map(batch).collect();
        let permit = self.node.budget.acquire(1 << 20).await.expect("small");
        for result in self.writer.append(batches, permit, soon()).await {
            result.expect("a batch is appended");
        }
    }

    pub(crate) async fn cut(&self) -> TableCut {
        let view = self.node.metastore.barrier(soon()).await;
        let cut = Cut::at(view.expect("a view"));
        cut.table_of(TOPIC).expect("the topic has a table")
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = soon();
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}
