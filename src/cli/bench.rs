//! `tarn bench`: throughput and latency of a running Tarn, as its own client sees them.
//!
//! Holds: what is measured is what was answered.
//! Leaves to others: comparisons between builds (`bench/`).

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use tarn_client::{
    Admin, Consumer, ConsumerSettings, Isolation, NewTopic, OffsetSpec, Producer, ProducerRecord,
    ProducerSettings, StartAt,
};
use tarn_kafka::{Compression, ErrorCode};
use tarn_model::ByteSize;
use tokio::time::Instant;

use super::Target;
use super::failure::Failure;
use super::kafka::{Session, block_on};
use super::output::print;
use super::produce::codec;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Write records and measure acknowledgements.
    Produce(Produce),
    /// Read a topic from its start to its end.
    Consume(Consume),
}

#[derive(Debug, Args)]
pub(crate) struct Produce {
    /// Created if absent.
    #[arg(default_value = "bench")]
    topic: String,
    #[arg(short = 'n', long, default_value_t = 1_000_000)]
    records: u64,
    /// Size of a record's value.
    #[arg(short, long, default_value = "1KiB")]
    size: ByteSize,
    #[arg(short, long, default_value_t = 4)]
    partitions: i32,
    /// Records a second; as fast as it goes if absent.
    #[arg(short, long)]
    rate: Option<u64>,
    #[arg(short = 'z', long, default_value = "none", value_parser = codec)]
    compression: Compression,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    #[arg(default_value = "bench")]
    topic: String,
    #[command(flatten)]
    target: Target,
}

fn bar(length: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}}");
    bar.set_style(ProgressStyle::with_template(&style).expect("a valid template"));
    bar
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(async move {
            match self {
                Bench::Produce(command) => command.run().await,
                Bench::Consume(command) => command.run().await,
            }
        })
    }
}

/// Deliveries that may be open at once.
const OPEN_MAX: usize = 20_000;

impl Produce {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let created = Admin::new(&session.client)
            .create_topic(&NewTopic::new(&self.topic, self.partitions), false)
            .await;
        match created {
            Err(tarn_client::AdminError::Refused(refused))
                if refused.error_code() == ErrorCode::TopicAlreadyExists => {}
            other => other?,
        }
        let settings = ProducerSettings {
            compression: self.compression,
            ..ProducerSettings::default()
        };
        let producer = Producer::new(&session.client, settings);
        let value = payload(&session, self.size);
        let progress = bar(self.records, "records");
        let started = Instant::now();
        let mut open = FuturesUnordered::new();
        let mut latencies: Vec<Duration> = Vec::new();
        for n in 0..self.records {
            if let Some(rate) = self.rate
                && n % 10 == 0
            {
                let due = started + Duration::from_secs_f64(n as f64 / rate as f64);
                tokio::time::sleep_until(due).await;
            }
            let sent = Instant::now();
            let delivery = producer
                .send(ProducerRecord::new(&self.topic, value.clone()))
                .await?;
            open.push(async move { (delivery.await, sent.elapsed()) });
            while open.len() >= OPEN_MAX
                || (self.rate.is_some() && n % 100 == 0 && !open.is_empty())
            {
                let Some((delivered, latency)) = open.next().await else {
                    break;
                };
                delivered?;
                latencies.push(latency);
                progress.inc(1);
                if open.len() < OPEN_MAX / 2 {
                    break;
                }
            }
        }
        while let Some((delivered, latency)) = open.next().await {
            delivered?;
            latencies.push(latency);
            progress.inc(1);
        }
        let seconds = started.elapsed().as_secs_f64();
        progress.finish_and_clear();
        producer.close().await;
        latencies.sort_unstable();
        let at = |permille: usize| {
            latencies
                .get(latencies.len() * permille / 1000)
                .copied()
                .unwrap_or_default()
        };
        print(format_args!(
            "{} records of {} in {seconds:.2} s: {:.0} records/s, {:.1} MiB/s",
            self.records,
            self.size,
            self.records as f64 / seconds,
            (self.records * self.size.0) as f64 / seconds / f64::from(1 << 20),
        ))?;
        print(format_args!(
            "acknowledged after p50 {:.1?}, p95 {:.1?}, p99 {:.1?}, p99.9 {:.1?}",
            at(500),
            at(950),
            at(990),
            at(999)
        ))?;
        Ok(())
    }
}

/// Text that compresses about as well as events do.
fn payload(session: &Session, size: ByteSize) -> Bytes {
    let random = session.runtime.random();
    let mut text = String::new();
    while text.len() < size.as_usize() {
        text.push_str(&format!(
            "{{\"id\":{},\"page\":\"/item/{}\"}}",
            random.u64(),
            random.below(1000)
        ));
    }
    text.truncate(size.as_usize());
    Bytes::from(text)
}

impl Consume {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let admin = Admin::new(&session.client);
        let starts = admin
            .topic_offsets(
                &self.topic,
                OffsetSpec::Earliest,
                Isolation::ReadUncommitted,
            )
            .await?;
        let ends = admin
            .topic_offsets(&self.topic, OffsetSpec::Latest, Isolation::ReadUncommitted)
            .await?;
        let sum = |offsets: &std::collections::BTreeMap<i32, Option<tarn_model::Offset>>| -> u64 {
            offsets
                .values()
                .map(|offset| offset.map_or(0, |offset| offset.0))
                .sum()
        };
        let total = sum(&ends).saturating_sub(sum(&starts));
        let settings = ConsumerSettings {
            isolation: Isolation::ReadUncommitted,
            partition_bytes_max: ByteSize::mib(8),
            bytes_max: ByteSize::mib(32),
            ..ConsumerSettings::default()
        };
        let mut consumer = Consumer::new(&session.client, settings);
        consumer.assign(
            starts
                .keys()
                .map(|partition| (self.topic.clone(), *partition, StartAt::Earliest)),
        );
        let progress = bar(total, "records");
        let started = Instant::now();
        let (mut records, mut bytes) = (0_u64, 0_u64);
        while records < total {
            for record in consumer.poll(Duration::from_secs(1)).await? {
                records += 1;
                bytes += record.value.as_ref().map_or(0, Bytes::len) as u64;
                progress.inc(1);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        progress.finish_and_clear();
        consumer.close().await?;
        print(format_args!(
            "{records} records in {seconds:.2} s: {:.0} records/s, {:.1} MiB/s",
            records as f64 / seconds,
            bytes as f64 / seconds / f64::from(1 << 20),
        ))?;
        Ok(())
    }
}
