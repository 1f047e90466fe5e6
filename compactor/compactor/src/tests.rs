//! Records in, rows out, over a real node in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use tarn_commit_log::{CommitLog, FaultyLog, LogFaults, MemoryLog};
use tarn_kafka::{BatchBuilder, Compression, ValidBatch};
use tarn_model::{
    ByteSize, Fate, Offset, PartitionId, SchemaFormat, SchemaId, TableUuid, TopicId, plant_defect,
};
use tarn_replica::{Node, NodeSettings, Parts, View};
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_schema::frame_by_id;
use tarn_state::commands::{CreateTopic, RegisterSchema};
use tarn_state::topic_configs::Defaults;
use tarn_state::{Command, Counters, Outcome};
use tarn_store::{Store, paths};
use tarn_tables::Catalog;
use tarn_topics::{NewBatch, Writer, WriterSettings};
use tokio::time::{Instant, sleep};

mod deleted;
mod event_time;
mod foreign;
mod hidden;
mod lasting;
mod moving;
mod service;
mod told;

use crate::{CompactorSettings, MaterializeError, MaterializerHandle, start_materializer};

const TOPIC: TopicId = TopicId([7; 16]);

/// A process with a compactor, and a topic of two partitions.
struct Fixture {
    node: Node,
    writer: Writer,
    compactor: MaterializerHandle,
}

async fn open(runtime: &Runtime, store: &Store, log: Arc<dyn CommitLog>) -> Node {
    let settings = NodeSettings {
        snapshot_bytes: ByteSize::mib(8),
        snapshot_entries: 10_000,
        cache_bytes: ByteSize::mib(32),
        memory_budget: ByteSize::mib(256),
        tick: Duration::from_secs(1),
        // The clock of a store in memory is the real one.
        alone: runtime.is_simulated(),
        accept_clock: false,
        // Never by itself.
        defaults: Defaults::tables_every(Duration::from_secs(1_000_000)),
    };
    let parts = Parts {
        runtime: runtime.clone(),
        store: store.clone(),
        log,
        name: runtime.random().uuid().to_string(),
    };
    Node::open(settings, parts, runtime.root_scope("test"))
        .await
        .expect("a node in memory opens")
}

/// The same node, whose topics become tables so often.
fn every(interval: Duration, node: Node) -> Node {
    Node {
        defaults: Defaults::tables_every(interval),
        ..node
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn create_topic(node: &Node, id: TopicId, name: &str) {
    let create = CreateTopic {
        id,
        name: name.to_owned(),
        partitions: 2,
        configs: BTreeMap::new(),
        table: TableUuid([id.0[0] + 2; 16]),
    };
    node.metastore
        .propose(vec![Command::CreateTopic(create)], soon())
        .await
        .expect("the topic is new");
}

impl Fixture {
    async fn new(settings: CompactorSettings) -> Fixture {
        let runtime = Runtime::real();
        let store = Store::memory(&runtime);
        let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
        Fixture::on(node, settings).await
    }

    async fn on(node: Node, settings: CompactorSettings) -> Fixture {
        create_topic(&node, TOPIC, "clicks").await;
        let writer = Writer::start(&node, WriterSettings::local());
        let compactor = start_materializer(&node, &catalog(&node), settings);
        Fixture {
            node,
            writer,
            compactor,
        }
    }

    async fn append(&self, partition: i32, batch: ValidBatch) {
        self.append_to(TOPIC, partition, batch).await;
    }

    async fn append_to(&self, topic: TopicId, partition: i32, batch: ValidBatch) {
        let permit = self
            .node
            .budget
            .acquire(batch.bytes().len() as u64)
            .await
            .expect("small");
        let batch = NewBatch {
            topic,
            partition: PartitionId(partition),
            batch,
        };
        for result in self.writer.append(vec![batch], permit, soon()).await {
            result.expect("a batch is appended");
        }
    }

    async fn produce(&self, partition: i32, values: &[String]) {
        self.append(partition, batch_of(values)).await;
    }

    async fn materialize(&self) -> View {
        self.compactor
            .materialize_now(TOPIC)
            .await
            .expect("the table is written")
    }

    fn all_counters(&self, partition: i32) -> Counters {
        let view = self.node.metastore.view();
        let table = view.table(TOPIC).expect("a table");
        let of = table.of_topic().expect("a topic's");
        let counters = of.counters.get(&PartitionId(partition));
        counters.copied().unwrap_or_default()
    }

    /// Rows, undecodable, deleted.
    fn counters(&self, partition: i32) -> (u64, u64, u64) {
        let counters = self.all_counters(partition);
        (counters.rows, counters.undecodable, counters.deleted)
    }

    fn materialized(&self, partition: i32) -> Offset {
        self.node
            .metastore
            .view()
            .table(TOPIC)
            .expect("a table")
            .materialized(PartitionId(partition))
    }

    /// The values of all rows, sorted.
    async fn rows(&self) -> Vec<String> {
        rows(&self.node).await
    }
}

#[tokio::test]
async fn what_waits_becomes_a_table_though_cluster_time_stands_still() {
    // Outside of a simulation the clocks of a simulated machine never move.
    let runtime = Runtime::simulated(&SimulatedHost::new(3));
    let store = Store::memory(&runtime);
    let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
    let settings = CompactorSettings {
        tick: Duration::from_millis(50),
        ..CompactorSettings::default()
    };
    let fixture = Fixture::on(every(Duration::from_millis(300), node), settings).await;
    let before = fixture.node.metastore.view().cluster_time;
    let deadline = soon();
    for n in 1..=2 {
        fixture.produce(0, &[format!("v{n}")]).await;
        while fixture.materialized(0) < Offset(n) {
            assert!(Instant::now() < deadline, "it never becomes a table");
            sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(fixture.node.metastore.view().cluster_time, before);
}

fn catalog(node: &Node) -> Catalog {
    Catalog::new(node, ByteSize::mib(8))
}

async fn rows(node: &Node) -> Vec<String> {
    let view = node.metastore.barrier(soon()).await.expect("a view");
    let loaded = catalog(node)
        .load(view.table(TOPIC).expect("a table"))
        .await
        .expect("it loads");
    let scan = loaded
        .table()
        .scan()
        .select(["_value"])
        .build()
        .expect("a scan");
    let batches: Vec<_> = scan
        .to_arrow()
        .await
        .expect("a stream")
        .try_collect()
        .await
        .expect("batches");
    let mut values = Vec::new();
    for batch in batches {
        for value in batch.column(0).as_binary::<i64>() {
            values.push(String::from_utf8_lossy(value.expect("no value is null")).into_owned());
        }
    }
    values.sort();
    values
}

fn batch_of(values: &[String]) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder
            .push(4_102_444_800_000, None, Some(value.as_bytes()), &[])
            .expect("small");
    }
    builder.build().expect("a batch")
}

/// A batch that says gzip and is none. Its checksum is right: brokers do not open what they store.
fn unreadable_batch(values: &[String]) -> ValidBatch {
    let mut bytes = BytesMut::from(&batch_of(values).into_bytes()[..]);
    bytes[22] |= 1;
    let checksum = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    ValidBatch::from_stored(Bytes::from(bytes)).expect("the header is right")
}

fn values(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}-{n:06}")).collect()
}

fn sorted(parts: &[Vec<String>]) -> Vec<String> {
    let mut all: Vec<String> = parts.iter().flatten().cloned().collect();
    all.sort();
    all
}

#[tokio::test]
async fn what_was_produced_is_in_the_table_each_once() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let (a, b, c) = (values("a", 100), values("b", 50), values("c", 7));
    fixture.produce(0, &a).await;
    fixture.produce(1, &b).await;
    fixture.materialize().await;
    assert_eq!(fixture.rows().await, sorted(&[a.clone(), b.clone()]));
    let pointer = |view: &View| view.table(TOPIC).expect("a table").pointer.clone();
    let before = pointer(&fixture.node.metastore.view());
    assert_eq!(
        pointer(&fixture.materialize().await),
        before,
        "nothing waits, so nothing is committed"
    );

    fixture.produce(1, &c).await;
    fixture.materialize().await;
    assert_eq!(fixture.rows().await, sorted(&[a, b, c]));
    assert_eq!(fixture.counters(1), (57, 0, 0));
    assert_eq!(fixture.materialized(1), Offset(57));
    fixture.node.drain().await;
}

#[tokio::test]
async fn the_board_materializes_by_itself_when_the_interval_is_over() {
    let settings = CompactorSettings {
        tick: Duration::from_millis(20),
        ..CompactorSettings::default()
    };
    let runtime = Runtime::real();
    let store = Store::memory(&runtime);
    let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
    let fixture = Fixture::on(every(Duration::from_millis(100), node), settings).await;
    let a = values("a", 10);
    fixture.produce(0, &a).await;
    let until = soon();
    while fixture.materialized(0) < Offset(10) {
        assert!(Instant::now() < until, "the board never came to it");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fixture.rows().await, a);
    let metrics = fixture.node.runtime.metrics().encode();
    assert!(
        metrics.contains(r#"tarn_materialized_records_total{topic="clicks"} 10"#),
        "{metrics}"
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_opened_is_counted_and_stops_nobody() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let (a, b) = (values("a", 5), values("b", 4));
    fixture.produce(0, &a).await;
    fixture
        .append(0, unreadable_batch(&values("broken", 3)))
        .await;
    fixture.produce(0, &b).await;
    fixture
        .append(1, unreadable_batch(&values("broken", 2)))
        .await;
    fixture.materialize().await;
    assert_eq!(fixture.rows().await, sorted(&[a, b]));
    assert_eq!(fixture.counters(0), (9, 3, 0));
    assert_eq!(fixture.counters(1), (0, 2, 0));
    let metrics = fixture.node.runtime.metrics().encode();
    let line = r#"tarn_undecodable_records_total{topic="clicks",reason="unreadable_batch"} 5"#;
    assert!(metrics.contains(line), "{metrics}");
    fixture.node.drain().await;
}

const ORDER: &str = r#"{"type": "record", "name": "Order", "doc": "One order.", "fields": [
    {"name": "id", "type": "long", "doc": "Of the order."},
    {"name": "lines", "doc": "What was bought.", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string", "doc": "Stock keeping unit."},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}
    ]}}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
]}"#;

impl Fixture {
    async fn register(&self, text: &str) -> SchemaId {
        let parsed = tarn_schema::parse(text, &[]).expect("a schema");
        let register = RegisterSchema {
            subject: "clicks-value".to_owned(),
            guid: [5; 16],
            format: SchemaFormat::Avro,
            text: text.to_owned(),
            columns: tarn_schema::columns(&parsed).expect("columns"),
            references: Vec::new(),
        };
        let committed = self
            .node
            .metastore
            .propose(vec![Command::RegisterSchema(register)], soon())
            .await;
        match committed.expect("it fits").outcomes[..] {
            [Outcome::SchemaRegistered { id, .. }] => id,
            ref other => panic!("{other:?}"),
        }
    }

    async fn produce_bytes(&self, values: &[Vec<u8>]) {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        for value in values {
            builder
                .push(4_102_444_800_000, Some(b"key"), Some(value), &[])
                .expect("small");
        }
        self.append(0, builder.build().expect("a batch")).await;
    }
}

#[tokio::test]
async fn a_topic_that_gets_a_schema_goes_on_in_the_same_table() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    fixture.produce(0, &values("a", 3)).await;
    fixture.materialize().await;
    let id = fixture.register(ORDER).await;
    // id 21, one line of sku "x" for 1.00, one tag, 2100-01-01.
    let mut order = vec![42, 2, 2, b'x', 2, 100, 0, 2, 2, b'k', 2, b'v', 0];
    order.extend([0x80, 0xe0, 0x9e, 0xcc, 0xe5, 0xee, 0x01]);
    let good = frame_by_id(id, &order);
    fixture
        .produce_bytes(&[
            good.clone(),
            b"no schema".to_vec(),
            good[..good.len() - 1].to_vec(),
            good,
        ])
        .await;
    fixture.materialize().await;
    assert_eq!(fixture.counters(0), (5, 2, 0));

    let view = fixture.node.metastore.view();
    let loaded = catalog(&fixture.node)
        .load(view.table(TOPIC).expect("a table"))
        .await
        .expect("it loads");
    // `iceberg`'s own reader cannot fill lists and maps that an older file lacks.
    let scan = loaded
        .table()
        .scan()
        .select(["id", "_value"])
        .build()
        .expect("a scan");
    let batches: Vec<_> = scan
        .to_arrow()
        .await
        .expect("a stream")
        .try_collect()
        .await
        .expect("batches");
    let mut ids = Vec::new();
    for batch in &batches {
        ids.extend(batch.column(0).as_primitive::<Int64Type>().iter());
    }
    ids.sort();
    assert_eq!(ids, [None, None, None, Some(21), Some(21)]);
    let metrics = fixture.node.runtime.metrics().encode();
    for reason in ["no_schema", "truncated"] {
        let line =
            format!(r#"tarn_undecodable_records_total{{topic="clicks",reason="{reason}"}} 1"#);
        assert!(metrics.contains(&line), "{metrics}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn four_times_what_fits_into_memory_takes_several_commits() {
    let settings = CompactorSettings {
        commit_memory: ByteSize::mib(8),
        ..CompactorSettings::default()
    };
    let fixture = Fixture::new(settings).await;
    let mut all = Vec::new();
    for (n, partition) in [0, 1, 0, 1, 0, 1, 0, 1, 0].into_iter().enumerate() {
        let mut part = values(&n.to_string(), 12_000);
        part.iter_mut()
            .for_each(|value| value.push_str(&"x".repeat(300)));
        fixture.produce(partition, &part).await;
        all.push(part);
    }
    let view = fixture.materialize().await;
    assert!(
        fixture.rows().await == sorted(&all),
        "rows are lost or doubled"
    );
    let table = view.table(TOPIC).expect("a table");
    let loaded = catalog(&fixture.node).load(table).await.expect("it loads");
    assert!(loaded.metadata().snapshots().len() > 1);
    fixture.node.drain().await;
}

#[tokio::test]
async fn two_compactors_on_one_table_waste_work_and_nothing_else() {
    let runtime = Runtime::real();
    let store = Store::memory(&runtime);
    let log = MemoryLog::new();
    let first = Fixture::on(
        open(&runtime, &store, Arc::new(log.reopen())).await,
        CompactorSettings::default(),
    )
    .await;
    let other = open(&Runtime::real(), &store, Arc::new(log.reopen())).await;
    let compactor = start_materializer(&other, &catalog(&other), CompactorSettings::default());
    let mut all = Vec::new();
    for n in 0..5 {
        let part = values(&n.to_string(), 20);
        first.produce(n % 2, &part).await;
        all.push(part);
        let (one, two) = tokio::join!(
            first.compactor.materialize_now(TOPIC),
            compactor.materialize_now(TOPIC)
        );
        one.expect("the table is written");
        two.expect("the table is written");
    }
    assert_eq!(first.rows().await, sorted(&all));
    other.drain().await;
    first.node.drain().await;
}

#[test]
fn a_commit_of_unknown_outcome_is_looked_up() {
    let mut simulation = turmoil::Builder::new()
        .rng_seed(5)
        .tick_duration(Duration::from_millis(10))
        .simulation_duration(Duration::from_secs(3600))
        .build();
    simulation.client("compactor", async move {
        let host = SimulatedHost::new(5);
        let runtime = Runtime::simulated(&host);
        let store = Store::memory(&runtime);
        let log = FaultyLog::new(Arc::new(MemoryLog::new()), 5, &runtime);
        let (latency_min, latency_max) = (Duration::from_millis(100), Duration::from_millis(200));
        log.set_faults(LogFaults {
            latency_min,
            latency_max,
            ..LogFaults::default()
        });
        let fixture = Fixture::on(
            open(&runtime, &store, Arc::new(log.clone())).await,
            CompactorSettings::default(),
        )
        .await;
        let mut all = Vec::new();
        // Shorter than the commit's patience; longer, so that it looks; longer than it looks.
        for (n, (stall, is_known)) in [(8, true), (63, true), (100, false)]
            .into_iter()
            .enumerate()
        {
            let part = values(&n.to_string(), 20);
            fixture.produce(0, &part).await;
            all.push(part);
            let manifested = || {
                host.steps_passed()
                    .get("materialize.manifested")
                    .copied()
                    .unwrap_or(0)
            };
            let before = manifested();
            let stalled = async {
                while manifested() == before {
                    sleep(Duration::from_millis(10)).await;
                }
                // The proposal is under way, and lands when the stall is over.
                log.stall(Duration::from_secs(stall));
            };
            let (done, ()) = tokio::join!(fixture.compactor.materialize_now(TOPIC), stalled);
            assert_eq!(
                done.as_ref().err().map(MaterializeError::fate),
                (!is_known).then_some(Fate::Unknown)
            );
            sleep(Duration::from_secs(120)).await;
            fixture.materialize().await;
            assert_eq!(
                fixture.rows().await,
                sorted(&all),
                "after a stall of {stall} s"
            );
        }
        fixture.node.drain().await;
        Ok(())
    });
    simulation.run().expect("the simulation ends");
}

#[tokio::test]
async fn the_planted_defect_doubles_a_row() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    fixture.produce(0, &values("a", 3)).await;
    plant_defect(Some("materialized-off-by-one"));
    let view = fixture.node.metastore.view();
    assert!(
        view.table(TOPIC)
            .expect("a table")
            .materialized(PartitionId(0))
            < Offset(3)
    );
    let compactor = fixture.compactor.clone();
    // It never gets to the end, so it is not waited for.
    let endless =
        tokio::time::timeout(Duration::from_secs(2), compactor.materialize_now(TOPIC)).await;
    plant_defect(None);
    assert!(endless.is_err(), "M stays one below the end");
    assert!(fixture.rows().await.len() > 3);
    fixture.node.drain().await;
}

/// Objects of the table after a few commits on a simulated machine.
fn names_written(seed: u64) -> Vec<String> {
    let names = Arc::new(Mutex::new(Vec::new()));
    let mut simulation = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(600))
        .build();
    let written = Arc::clone(&names);
    simulation.client("compactor", async move {
        let host = SimulatedHost::new(seed);
        let runtime = Runtime::simulated(&host);
        let store = Store::memory(&runtime);
        let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
        let node = every(Duration::from_secs(5), node);
        let fixture = Fixture::on(node, CompactorSettings::default()).await;
        for n in 0..6 {
            fixture.produce(n % 2, &values(&n.to_string(), 10)).await;
            sleep(Duration::from_secs(4)).await;
        }
        fixture.materialize().await;
        assert_eq!(fixture.rows().await.len(), 60);
        let listed = store.list(&paths::tables(), None, 1000).await?;
        written
            .lock()
            .expect("test")
            .extend(listed.into_iter().map(|object| object.path.to_string()));
        fixture.node.drain().await;
        let steps = host.steps_passed();
        for step in [
            "materialize.read",
            "materialize.written",
            "materialize.manifested",
            "materialize.committed",
        ] {
            assert!(steps.contains_key(step), "{step} was never passed");
        }
        Ok(())
    });
    simulation.run().expect("the simulation ends");
    let names = names.lock().expect("test");
    names.clone()
}

#[test]
fn equal_seeds_write_equal_names_in_simulation() {
    let names = names_written(3);
    assert!(names.len() > 8, "{names:?}");
    assert_eq!(names, names_written(3));
    assert_ne!(names, names_written(4));
}
