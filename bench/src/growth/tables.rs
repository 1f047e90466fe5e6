//! What a table's metadata costs as it grows: by partitions, by commits, by files.
//!
//! A node in memory, without a server: what is measured is the process's own time and bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, Struct,
};
use tarn_commit_log::MemoryLog;
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{ByteSize, Offset, PartitionId, TableUuid, TopicId};
use tarn_replica::{Node, NodeSettings, Parts, View};
use tarn_runtime::Runtime;
use tarn_state::commands::{CreateTopic, MaterializedStep};
use tarn_state::{Command, Counters};
use tarn_store::Store;
use tarn_tables::{Append, Catalog, Committer, Loaded};
use tarn_topics::{NewBatch, Writer, WriterSettings};
use tokio::time::Instant;

use super::{Bar, Cost, Line, ROUNDS};

const TOPIC: TopicId = TopicId([7; 16]);
const PATIENCE: Duration = Duration::from_secs(60);
/// Commits whose table snapshots are kept, however fast they come: a hundred, and those down to the one
/// that names every partition.
const KEPT: u64 = 100 + 31;
/// Folding manifests is a part of a commit, which each pays in turn: a file is written again once for each
/// tier of manifests that it passes, sixteen of one make one of the next. So many commits fold two tiers.
const COMMITS: u64 = 256;
/// Files of one commit, in one table partition.
const FILES: u64 = 1_000;
/// The column whose day is the table partition.
const EVENT_TIME: &str = "_event_time";
const DAY_MICROS: i64 = 86_400_000_000;

pub(crate) const LINES: &[Line] = &[
    Line {
        name: "table-metadata",
        what: "bytes of a metadata file after as many commits as are kept, each of which moved every partition",
        grows: "partitions of its topic",
        sizes: &[1, 100, 1_000],
        bar: Bar::AtMost(1_000_000.0),
        measure: |size, _| metadata(size).boxed_local(),
    },
    Line {
        name: "table-commit",
        what: "a commit of one file, as fast as they go: the busiest table",
        grows: "commits before it",
        sizes: &[100, 1_000, 3_000],
        bar: Bar::Flat,
        measure: |size, _| commit(size).boxed_local(),
    },
    Line {
        name: "table-commit-among-files",
        what: "a commit of one file",
        grows: "files of the table",
        sizes: &[100, 10_000, 100_000],
        bar: Bar::Flat,
        measure: |size, _| commit_among(size).boxed_local(),
    },
    Line {
        name: "table-plan-day",
        what: "a plan of one day's files, a thousand of them",
        grows: "files of the table",
        sizes: &[1_000, 10_000, 100_000],
        bar: Bar::Flat,
        measure: |size, _| plan(size, true).boxed_local(),
    },
    Line {
        name: "table-plan-one",
        what: "a plan of one file, found by its bounds alone",
        grows: "files of the table",
        sizes: &[100, 1_000, 10_000, 100_000],
        bar: Bar::Linear,
        measure: |size, _| plan(size, false).boxed_local(),
    },
    Line {
        name: "table-plan-crowded",
        what: "the same beside so many files that they do not fit into memory",
        grows: "files of the table",
        sizes: &[10_000, 100_000],
        bar: Bar::Linear,
        measure: |size, _| plan_crowded(size).boxed_local(),
    },
];

struct Bench {
    node: Node,
    catalog: Catalog,
    committer: Committer,
    writer: Writer,
}

impl Bench {
    async fn new(partitions: u64) -> Result<Bench> {
        Bench::keeping(partitions, ByteSize::gib(4)).await
    }

    /// With so much memory for what the table's manifests say.
    async fn keeping(partitions: u64, manifests: ByteSize) -> Result<Bench> {
        let runtime = Runtime::real();
        let parts = Parts {
            runtime: runtime.clone(),
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
        };
        let node = Node::open(NodeSettings::default(), parts, runtime.root_scope("bench")).await?;
        let create = CreateTopic {
            id: TOPIC,
            name: "events".to_owned(),
            partitions: i32::try_from(partitions)?,
            configs: BTreeMap::new(),
            table: TableUuid([9; 16]),
        };
        let create = vec![Command::CreateTopic(create)];
        node.metastore
            .propose(create, Instant::now() + PATIENCE)
            .await?;
        let catalog = Catalog::new(&node, manifests);
        Ok(Bench {
            committer: Committer::new(&node, &catalog),
            catalog,
            writer: Writer::start(&node, WriterSettings::local()),
            node,
        })
    }

    /// A record for each of the partitions.
    async fn produce(&self, partitions: u64) -> Result<()> {
        let mut batches = Vec::new();
        for partition in 0..partitions {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(0, None, Some(b"one"), &[])?;
            batches.push(NewBatch {
                topic: TOPIC,
                partition: PartitionId(i32::try_from(partition)?),
                batch: builder.build()?,
            });
        }
        let permit = self.node.budget.acquire(partitions * 1024).await?;
        for appended in self
            .writer
            .append(batches, permit, Instant::now() + PATIENCE)
            .await
        {
            appended?;
        }
        Ok(())
    }

    async fn load(&self, view: &View) -> Result<Loaded> {
        let table = view.table(TOPIC).context("a table")?;
        Ok(self.catalog.load(table).await?)
    }

    async fn commit(&self, files: Vec<DataFile>, moved: &[(i32, u64)]) -> Result<View> {
        let view = self.node.metastore.view();
        let table = view.table(TOPIC).context("a table")?;
        let steps = moved.iter().map(|(partition, to)| {
            let partition = PartitionId(*partition);
            let from = table.materialized(partition);
            MaterializedStep {
                partition,
                from,
                to: Offset(*to),
                counted: Counters {
                    rows: *to - from.0,
                    ..Counters::default()
                },
            }
        });
        let append = Append {
            loaded: self.load(&view).await?,
            table: Arc::clone(table),
            time: view.cluster_time,
            files,
            steps: steps.collect(),
            hidden: Vec::new(),
        };
        let prepared = Box::pin(self.committer.prepare(append)).await?;
        let deadline = Instant::now() + PATIENCE;
        let landed = self.node.metastore.commit(&[&prepared], deadline).await?;
        Ok(prepared.finish(landed.view).view)
    }

    async fn stop(self) {
        self.node.drain().await;
    }
}

/// A file of one day that holds these offsets. Nobody reads it.
fn a_file(loaded: &Loaded, day: i32, first: i64) -> Result<DataFile> {
    let schema = loaded.metadata().current_schema();
    let offset = schema.field_id_by_name("_offset").context("a column")?;
    let time = schema.field_id_by_name(EVENT_TIME).context("a column")?;
    let at = i64::from(day) * DAY_MICROS;
    let counted = |count: u64| -> HashMap<i32, u64> { (1..=10).map(|id| (id, count)).collect() };
    let bounds = |offset_at: i64, time_at: i64| {
        HashMap::from([
            (offset, Datum::long(offset_at)),
            (time, Datum::timestamptz_micros(time_at)),
        ])
    };
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_format(DataFileFormat::Parquet)
        .file_path(format!("{}/data/{day}/{first}.parquet", loaded.location()))
        .file_size_in_bytes(1 << 20)
        .record_count(1_000)
        .column_sizes(counted(9_000))
        .value_counts(counted(1_000))
        .null_value_counts(counted(0))
        .lower_bounds(bounds(first, at))
        .upper_bounds(bounds(first + 999, at + DAY_MICROS - 1))
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .partition_spec_id(loaded.metadata().default_partition_spec_id())
        .build()?;
    Ok(file)
}

async fn metadata(partitions: u64) -> Result<Cost> {
    let bench = Bench::new(partitions).await?;
    let mut size = 0;
    for n in 1..=KEPT {
        bench.produce(partitions).await?;
        let moved: Vec<(i32, u64)> = (0..i32::try_from(partitions)?).map(|at| (at, n)).collect();
        let view = bench.commit(vec![], &moved).await?;
        let pointer = view.table(TOPIC).and_then(|table| table.pointer.clone());
        let file = bench
            .catalog
            .file_io()
            .new_input(pointer.context("a pointer")?)?;
        size = size.max(file.metadata().await?.size);
    }
    bench.stop().await;
    Ok(Cost::Bytes(size))
}

async fn commit(before: u64) -> Result<Cost> {
    let bench = Bench::new(1).await?;
    let mut times = Vec::new();
    let measured = COMMITS * ROUNDS as u64;
    for n in 0..before + measured {
        let view = bench.node.metastore.view();
        let file = a_file(&bench.load(&view).await?, 0, i64::try_from(n)? * 1_000)?;
        let started = Instant::now();
        bench.commit(vec![file], &[]).await?;
        if n >= before {
            times.push(started.elapsed());
        }
    }
    bench.stop().await;
    let rounds = times.chunks(usize::try_from(COMMITS)?).map(|round| {
        let sum: Duration = round.iter().sum();
        sum.as_secs_f64() * 1e6 / round.len() as f64
    });
    Ok(Cost::Micros(rounds.collect()))
}

/// A table of so many files, those of one commit of one day.
async fn filled(files: u64, manifests: ByteSize) -> Result<Bench> {
    let bench = Bench::keeping(1, manifests).await?;
    let per_commit = FILES.min(files);
    for commit in 0..files / per_commit {
        let loaded = bench.load(&bench.node.metastore.view()).await?;
        let day = i32::try_from(commit)?;
        let firsts = (0..per_commit).map(|n| (commit * per_commit + n) * 1_000);
        let files = firsts.map(|first| a_file(&loaded, day, i64::try_from(first)?));
        bench.commit(files.collect::<Result<_>>()?, &[]).await?;
    }
    Ok(bench)
}

async fn commit_among(files: u64) -> Result<Cost> {
    let bench = filled(files, ByteSize::gib(4)).await?;
    let mut rounds = Vec::new();
    let mut first = i64::try_from(files)? * 1_000;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..COMMITS {
            first += 1_000;
            let file = a_file(&bench.load(&bench.node.metastore.view()).await?, 0, first)?;
            bench.commit(vec![file], &[]).await?;
        }
        rounds.push(started.elapsed().as_secs_f64() * 1e6 / COMMITS as f64);
    }
    bench.stop().await;
    Ok(Cost::Micros(rounds.into_iter().collect()))
}

async fn plan(files: u64, of_a_day: bool) -> Result<Cost> {
    plan_of(&filled(files, ByteSize::gib(4)).await?, files, of_a_day).await
}

async fn plan_crowded(files: u64) -> Result<Cost> {
    plan_of(&filled(files, ByteSize::mib(32)).await?, files, false).await
}

async fn plan_of(bench: &Bench, files: u64, of_a_day: bool) -> Result<Cost> {
    let per_commit = FILES.min(files);
    let view = bench.node.metastore.view();
    let loaded = bench.load(&view).await?;
    let snapshot = view.table(TOPIC).and_then(|table| table.table_snapshot);
    let snapshot = snapshot.context("a table snapshot")?;
    let (filter, expected): (Predicate, u64) = match of_a_day {
        true => {
            let time = || Reference::new(EVENT_TIME);
            let day = |n: i64| Datum::timestamptz_micros(n * DAY_MICROS);
            let from = time().greater_than_or_equal_to(day(0));
            (from.and(time().less_than(day(1))), per_commit)
        }
        false => (Reference::new("_offset").equal_to(Datum::long(500)), 1),
    };
    let mut rounds = Vec::new();
    for _ in 0..=ROUNDS {
        let started = Instant::now();
        let mut done = 0_u32;
        while done == 0 || started.elapsed() < Duration::from_millis(300) {
            let plan = loaded.plan(snapshot, Some(&filter)).await?;
            ensure!(
                plan.files.len() as u64 == expected,
                "{} files",
                plan.files.len()
            );
            done += 1;
        }
        rounds.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(done));
    }
    bench.node.drain().await;
    // The first may have read what the commits pushed out of memory.
    Ok(Cost::Micros(rounds.into_iter().skip(1).collect()))
}
