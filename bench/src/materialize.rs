//! Turning a backlog into table files: the materializer's whole way (read, decode, encode, upload,
//! manifests, commit) next to decoding the same batches and writing the same Parquet alone, on one
//! thread, from and to memory.
//!
//! Both run in turns in one process, over a store in memory: what is compared is work, not a network.
//! The ratio says what the way costs beyond the work that nobody can do without; above one, it is that
//! cores work at the same time.

#![expect(clippy::print_stdout, reason = "a measurement prints what it found")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tarn_commit_log::MemoryLog;
use tarn_compactor::{CompactorSettings, MaterializerHandle};
use tarn_decode::{Decoders, decode_batches};
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{
    ByteSize, OffsetRange, PartitionId, SchemaFormat, SchemaId, TableUuid, TopicId, TopicPartition,
};
use tarn_replica::{Node, NodeSettings, Parts, View};
use tarn_runtime::{Random, Runtime};
use tarn_state::commands::{CreateTopic, RegisterSchema};
use tarn_state::topic_configs::Defaults;
use tarn_state::{Command, Outcome};
use tarn_store::Store;
use tarn_tables::{Catalog, FileWriter};
use tarn_topics::{NewBatch, Reader, StoredBatch, Writer, WriterSettings};
use tokio::time::Instant;

use crate::Common;
use crate::stats::Samples;

const PATIENCE: Duration = Duration::from_secs(600);
/// Records of one batch.
const BATCH: u64 = 1_000;
/// What each of the two may hold of files in the making.
const WRITER_MEMORY: u64 = 256 << 20;
/// Rows that are decoded before they are encoded.
const HOP_BYTES: u64 = 16 << 20;

const SCHEMA: &str = r#"{"type":"record","name":"Click","fields":[
    {"name":"id","type":"long"},
    {"name":"user","type":"string"},
    {"name":"page","type":"string"},
    {"name":"agent","type":["null","string"]},
    {"name":"amount","type":"double"},
    {"name":"count","type":"int"},
    {"name":"new","type":"boolean"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}
]}"#;

/// Measures the materializer in this process, without a server.
#[derive(Debug, Args)]
pub(crate) struct Materialize {
    /// Records of a table's backlog.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Partitions that they are spread over.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Tables that are written at the same time; alone they are written one after the other.
    #[arg(long, default_value_t = 1)]
    tables: u64,
    /// Turns of each; medians and spreads are printed.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
}

struct Bench {
    node: Node,
    catalog: Catalog,
    writer: Writer,
    compactor: MaterializerHandle,
    decoders: Decoders,
}

impl Materialize {
    pub(crate) async fn run(&self, common: &Common) -> Result<()> {
        crate::print_head(
            &format!(
                "materialize: {} records each of {} tables with {} partitions, {} rounds",
                self.records, self.tables, self.partitions, self.rounds
            ),
            common,
        );
        let bench = Bench::new().await?;
        let (mut whole, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut stored = 0;
        for round in 0..self.rounds {
            let mut topics = Vec::new();
            for table in 0..self.tables {
                let topic = TopicId::from_u128(u128::from(1 + round * self.tables + table));
                stored = bench.fill(topic, self.partitions, self.records).await?;
                topics.push(topic);
            }
            // The second may find warmer caches.
            let (way, work) = if round.is_multiple_of(2) {
                let way = bench.whole_way(&topics).await?;
                (way, bench.work_alone(&topics, self.records).await?)
            } else {
                let work = bench.work_alone(&topics, self.records).await?;
                (bench.whole_way(&topics).await?, work)
            };
            whole.push(way.as_secs_f64());
            alone.push(work.as_secs_f64());
            ratios.push(work.as_secs_f64() / way.as_secs_f64());
        }
        let rows = (self.records * self.tables) as f64;
        let bytes = (stored * self.tables) as f64 / f64::from(1 << 20);
        let per_second = |times: &[f64], all: f64| -> Samples {
            times.iter().map(|seconds| all / seconds).collect()
        };
        for (name, times) in [("materializer", &whole), ("decode + Parquet", &alone)] {
            println!(
                "  {name:>16}: {:.0} rows/s, {:.1} MiB/s of stored batches",
                per_second(times, rows),
                per_second(times, bytes)
            );
        }
        let ratios: Samples = ratios.into_iter().collect();
        println!("  {:>16}: {ratios:.2}; bar: at least 0.8", "ratio");
        bench.node.drain().await;
        Ok(())
    }
}

impl Bench {
    async fn new() -> Result<Bench> {
        let runtime = Runtime::real();
        let parts = Parts {
            runtime: runtime.clone(),
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
        };
        let settings = NodeSettings {
            memory_budget: ByteSize::gib(2),
            defaults: Defaults::tables_every(Duration::from_secs(86_400)),
            ..NodeSettings::default()
        };
        let node = Node::open(settings, parts, runtime.root_scope("bench")).await?;
        let catalog = Catalog::new(&node, ByteSize::mib(256));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let settings = CompactorSettings {
            // Only when it is told to.
            tick: Duration::from_secs(86_400),
            tables_at_once: (2 * cores).max(4),
            cores,
            ..CompactorSettings::default()
        };
        Ok(Bench {
            writer: Writer::start(&node, WriterSettings::local()),
            compactor: tarn_compactor::start_materializer(&node, &catalog, settings),
            catalog,
            decoders: Decoders::default(),
            node,
        })
    }

    async fn propose(&self, command: Command) -> Result<Option<Outcome>> {
        let deadline = Instant::now() + PATIENCE;
        let committed = self.node.metastore.propose(vec![command], deadline).await?;
        Ok(committed.outcomes.into_iter().next())
    }

    /// A topic with a schema and a backlog. Gives the bytes of its batches.
    async fn fill(&self, topic: TopicId, partitions: i32, records: u64) -> Result<u64> {
        let name = format!("clicks-{}", u128::from_be_bytes(topic.0));
        let create = CreateTopic {
            id: topic,
            name: name.clone(),
            partitions,
            configs: BTreeMap::new(),
            table: TableUuid(topic.0),
        };
        self.propose(Command::CreateTopic(create)).await?;
        let parsed = tarn_schema::parse(SCHEMA, &[])?;
        let register = RegisterSchema {
            subject: format!("{name}-value"),
            guid: [5; 16],
            format: SchemaFormat::Avro,
            text: SCHEMA.to_owned(),
            columns: tarn_schema::columns(&parsed)?,
            references: Vec::new(),
        };
        let id = match self.propose(Command::RegisterSchema(register)).await? {
            Some(Outcome::SchemaRegistered { id, .. }) => id,
            other => anyhow::bail!("the schema was not registered: {other:?}"),
        };
        let random = Random::seeded(1);
        let now = self.node.metastore.view().cluster_time.0;
        let mut bytes = 0;
        for n in 0..records.div_ceil(BATCH) {
            let mut builder = BatchBuilder::new(Compression::Lz4);
            for row in n * BATCH..records.min((n + 1) * BATCH) {
                let at = now - i64::try_from(random.below(60_000))?;
                let value = click(id, &random, row, at)?;
                builder.push(at, Some(b"key"), Some(&value), &[])?;
            }
            let batch = builder.build()?;
            let size = batch.bytes().len() as u64;
            bytes += size;
            let permit = self.node.budget.acquire(size).await?;
            let batch = NewBatch {
                topic,
                partition: PartitionId(i32::try_from(n % u64::try_from(partitions)?)?),
                batch,
            };
            let deadline = Instant::now() + PATIENCE;
            for appended in self.writer.append(vec![batch], permit, deadline).await {
                appended?;
            }
        }
        Ok(bytes)
    }

    async fn whole_way(&self, topics: &[TopicId]) -> Result<Duration> {
        let started = Instant::now();
        let tables = topics
            .iter()
            .map(|topic| self.compactor.materialize_now(*topic));
        futures::future::try_join_all(tables).await?;
        Ok(started.elapsed())
    }

    /// Decodes and encodes what a topic holds, table after table; reading it is not counted.
    async fn work_alone(&self, topics: &[TopicId], records: u64) -> Result<Duration> {
        let mut took = Duration::ZERO;
        for topic in topics {
            let view = self
                .node
                .metastore
                .barrier(Instant::now() + PATIENCE)
                .await?;
            let table = view.table(*topic).context("a table")?;
            let of = table.of_topic().context("a topic's")?;
            let decoder = self.decoders.of(&view.schemas, table, of);
            let loaded = self.catalog.load(table).await?;
            let parts = self.read(&view, *topic).await?;
            let uuid = self.node.runtime.random().uuid();
            let started = Instant::now();
            let mut writer = FileWriter::new(&loaded, "memory://", uuid, WRITER_MEMORY)?;
            let mut rows = 0;
            for (partition, range, batches) in &parts {
                let mut next = range.start;
                while next < range.end {
                    let within = OffsetRange::new(next, range.end);
                    let behind = batches.partition_point(|batch| batch.offsets().end <= next);
                    let batches = batches.get(behind..).unwrap_or_default();
                    let chunk = decode_batches(&decoder, *partition, batches, within, HOP_BYTES)?;
                    next = chunk.next;
                    rows += chunk.row_count;
                    writer.add(chunk.runs.into_iter().map(|run| run.rows).collect())?;
                }
            }
            writer.finish()?;
            took += started.elapsed();
            ensure!(rows == records, "{rows} of {records} rows");
        }
        Ok(took)
    }

    async fn read(
        &self,
        view: &View,
        topic: TopicId,
    ) -> Result<Vec<(PartitionId, OffsetRange, Vec<StoredBatch>)>> {
        let reader = Reader::new(&self.node);
        let mut parts = Vec::new();
        let first = TopicPartition::new(topic, PartitionId(0));
        let last = TopicPartition::new(topic, PartitionId(i32::MAX));
        for (at, partition) in view.partitions.range(first..=last) {
            let all = partition.offsets();
            let mut batches = Vec::new();
            let mut next = all.start;
            while next < all.end {
                let range = OffsetRange::new(next, all.end);
                let read = reader.read_range(view, *at, range, HOP_BYTES).await?;
                next = read.next_offset;
                batches.extend(read.batches);
            }
            parts.push((at.partition, all, batches));
        }
        Ok(parts)
    }
}

/// An Avro value of the schema, framed with its id.
fn click(schema: SchemaId, random: &Random, id: u64, at: i64) -> Result<Vec<u8>> {
    let mut value = Vec::with_capacity(128);
    put_long(&mut value, i64::try_from(id)?);
    put_text(&mut value, &format!("user-{}", random.below(50_000)));
    put_text(
        &mut value,
        &format!("/item/{}/details", random.below(2_000)),
    );
    if random.below(4) == 0 {
        put_long(&mut value, 0);
    } else {
        put_long(&mut value, 1);
        put_text(&mut value, &format!("agent/{}.0 (linux)", random.below(40)));
    }
    value.extend((random.below(1_000_000) as f64 / 100.0).to_le_bytes());
    put_long(&mut value, i64::try_from(random.below(100))?);
    value.push(u8::from(random.below(10) == 0));
    put_long(&mut value, at);
    Ok(tarn_schema::frame_by_id(schema, &value))
}

/// Zigzag, seven bits at a time.
fn put_long(value: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        value.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    value.push(left as u8);
}

fn put_text(value: &mut Vec<u8>, text: &str) {
    put_long(value, text.len() as i64);
    value.extend(text.as_bytes());
}
