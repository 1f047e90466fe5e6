//! What reading from the chunk cache and writing segments costs as there are more of them at once, in
//! this process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use tarn_commit_log::MemoryLog;
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{ByteSize, PartitionId, TableUuid, TopicId};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::Runtime;
use tarn_state::Command;
use tarn_state::commands::CreateTopic;
use tarn_store::{ChunkCache, FaultyStore, Options, Path, Store, StoreFaults};
use tarn_topics::{NewBatch, Writer, WriterSettings};
use tokio::time::Instant;

use super::{Bar, Cost, Line, ROUNDS};
use crate::usage;

const TOPIC: TopicId = TopicId([7; 16]);
const PATIENCE: Duration = Duration::from_secs(120);
/// Reads of one round.
const READS: usize = 1_000_000;
/// Objects that are read, over and over: with all of them the line would measure how far away memory is.
const READ: usize = 100;
/// How long an upload takes.
const UPLOAD: Duration = Duration::from_millis(50);
/// Segments of one round, at least, and for each that is in flight.
const SEGMENTS_MIN: u64 = 64;
const SEGMENTS_EACH: u64 = 16;
/// Partitions that each segment has a batch of.
const PARTITIONS: i32 = 100;

pub(crate) const LINES: &[Line] = &[
    Line {
        name: "cache-hit",
        what: "a thousand reads of a hundred objects that the chunk cache holds",
        grows: "objects in it",
        sizes: &[1_000, 10_000, 100_000],
        bar: Bar::Flat,
        measure: |size, _| cache_hit(size).boxed_local(),
    },
    Line {
        name: "segment-in-flight",
        what: "a segment of a hundred batches, from its batches to their answers, on a slow store",
        grows: "segments in flight",
        sizes: &[1, 8, 64],
        bar: Bar::Flat,
        measure: |size, _| in_flight(size).boxed_local(),
    },
];

async fn cache_hit(objects: u64) -> Result<Cost> {
    let runtime = Runtime::real();
    let store = Store::memory(&runtime);
    let cache = ChunkCache::new(store, ByteSize::gib(1), runtime.metrics());
    let paths: Vec<Path> = (0..objects)
        .map(|n| Path::from(format!("segments/{n:020}")))
        .collect();
    for path in &paths {
        cache.insert(path, Bytes::from_static(&[1; 1_000]));
    }
    // Far from each other.
    let read = |n: usize| &paths[n % READ * 7_919 % paths.len()];
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // Not the kernel's count of CPU, whose ticks are as long as all of a round.
        let started = Instant::now();
        for n in 0..READS {
            let path = read(n);
            let read = cache.read_range(path, 100..200).await?;
            ensure!(read.len() == 100, "it is kept whole");
        }
        let micros = started.elapsed().as_secs_f64() * 1e6;
        rounds.push(micros * 1_000.0 / READS as f64);
    }
    Ok(Cost::Micros(rounds.into_iter().collect()))
}

async fn in_flight(segments: u64) -> Result<Cost> {
    let runtime = Runtime::real();
    let faults = StoreFaults {
        latency_min: UPLOAD,
        latency_max: UPLOAD,
        ..StoreFaults::default()
    };
    let slow = FaultyStore::new(Store::memory(&runtime).object_store(), 1, &runtime);
    slow.set_faults(faults);
    let parts = Parts {
        runtime: runtime.clone(),
        store: Store::new(Arc::new(slow), Options::default(), &runtime),
        log: Arc::new(MemoryLog::new()),
        name: "test".to_owned(),
    };
    let node = Node::open(NodeSettings::default(), parts, runtime.root_scope("bench")).await?;
    let create = CreateTopic {
        id: TOPIC,
        name: "events".to_owned(),
        partitions: PARTITIONS,
        configs: [("tarn.table".to_owned(), "off".to_owned())].into(),
        table: TableUuid([9; 16]),
    };
    let deadline = Instant::now() + PATIENCE;
    let create = vec![Command::CreateTopic(create)];
    node.metastore.propose(create, deadline).await?;
    let bytes: u64 = batches()?
        .iter()
        .map(|batch| batch.batch.bytes().len() as u64)
        .sum();
    let settings = WriterSettings {
        // A segment is full with what is appended at once.
        segment_bytes: ByteSize::bytes(bytes),
        uploads_max: usize::try_from(segments)?,
        ..WriterSettings::default()
    };
    let writer = Writer::start(&node, settings);
    let mut rounds = Vec::new();
    let count = SEGMENTS_MIN.max(SEGMENTS_EACH * segments);
    for _ in 0..ROUNDS {
        let before = usage::of(std::process::id()).context("own usage")?.cpu;
        let lanes = (0..segments).map(|_| async {
            for _ in 0..count / segments {
                let permit = node.budget.acquire(100 * 1024).await?;
                let batches = batches()?;
                let deadline = Instant::now() + PATIENCE;
                for appended in writer.append(batches, permit, deadline).await {
                    appended?;
                }
            }
            anyhow::Ok(())
        });
        join_all(lanes).await.into_iter().collect::<Result<()>>()?;
        let took = usage::of(std::process::id()).context("own usage")?.cpu - before;
        rounds.push(took.as_secs_f64() * 1e6 / count as f64);
    }
    node.drain().await;
    Ok(Cost::Micros(rounds.into_iter().collect()))
}

fn batches() -> Result<Vec<NewBatch>> {
    let mut batches = Vec::new();
    for partition in 0..PARTITIONS {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, None, Some(b"one"), &[])?;
        batches.push(NewBatch {
            topic: TOPIC,
            partition: PartitionId(partition),
            batch: builder.build()?,
        });
    }
    Ok(batches)
}
