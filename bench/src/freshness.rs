//! Freshness: from the moment a record is acknowledged to the moment SQL shows it.
//!
//! A producer sends at a steady rate; a prober asks for the highest offset of each partition, again
//! and again. A record counts as visible when the first answer that covers it has arrived, so the
//! figure includes the time that the query itself takes: it is what a user who keeps asking sees.
//! The prober also counts, so that a hole below the highest offset is an error and not freshness.

#![expect(clippy::print_stdout, reason = "a measurement prints what it found")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tarn_client::{Admin, Delivery, NewTopic, Producer, ProducerRecord, ProducerSettings};
use tarn_model::ByteSize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::payload::Payloads;
use crate::server::{BUDGET, Server};
use crate::sql::Sql;
use crate::stats::Samples;
use crate::usage::mib;
use crate::{Common, Session, print_head};

const TOPIC: &str = "events";
/// Records that are sent together; at 10,000 a second every millisecond.
const BURST: u64 = 10;
/// Deliveries that may be open: ten seconds of them at the usual rate.
const OPEN_MAX: usize = 100_000;
/// Between an answer of SQL and the next question. It is part of the figure.
const PAUSE: Duration = Duration::from_millis(20);
/// The run is cut into this many windows to see how much a percentile varies.
const WINDOWS: u32 = 6;
/// How long the last records may take to become visible before it counts as a hang.
const HANG: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Freshness {
    /// Records a second.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Size of a record's value.
    #[arg(long, default_value = "1KiB")]
    size: ByteSize,
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Measured, after the warm-up.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
}

/// A record was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    partition: i32,
    offset: u64,
    sent: Instant,
    at: Instant,
}

/// An answer of SQL that covers a partition up to an offset.
#[derive(Debug, Clone, Copy)]
struct Seen {
    next_offset: u64,
    at: Instant,
}

impl Freshness {
    pub(crate) async fn run(&self, common: &Common) -> Result<()> {
        print_head(
            &format!(
                "freshness: acknowledged → visible in SQL, {} records/s of {} to {} partitions, acks=all, \
                 memory.budget {BUDGET}; {} s after {} s of warm-up; goal: p99 ≤ 1 s",
                self.rate, self.size, self.partitions, self.seconds, self.warm_up
            ),
            common,
        );
        let server = Server::start(common, &[]).await?;
        let session = Session::new(&server.kafka);
        Admin::new(&session.client)
            .create_topic(&NewTopic::new(TOPIC, self.partitions), false)
            .await?;

        let begins = Instant::now() + Duration::from_secs(self.warm_up);
        let ends = begins + Duration::from_secs(self.seconds);
        let (open, deliveries) = mpsc::channel(OPEN_MAX);
        let (progress, written) = watch::channel(None);
        let collector = session.scope.spawn("collect", collect(deliveries));
        let prober = {
            let sql = Sql::new(&server.http);
            session
                .scope
                .spawn("probe", probe(sql, self.partitions, written))
        };
        let before = async {
            sleep_until(begins).await;
            server.usage()
        };
        let (sent, before) = tokio::join!(self.send(&session, ends, open), before);
        let (sent, before) = (sent?, before?);
        let after = server.usage()?;
        let acknowledged = collector.await??;
        let mut ends_of: BTreeMap<i32, u64> = BTreeMap::new();
        for record in &acknowledged {
            let end = ends_of.entry(record.partition).or_default();
            *end = (*end).max(record.offset + 1);
        }
        progress.send(Some(ends_of))?;
        let (seen, queries) = prober.await??;

        let measured: Vec<Acknowledged> = acknowledged
            .into_iter()
            .filter(|record| record.sent >= begins)
            .collect();
        let seconds = (sent.1 - begins).as_secs_f64();
        println!(
            "  {} records in {seconds:.1} s: {:.0} records/s",
            measured.len(),
            measured.len() as f64 / seconds
        );
        let fresh: Samples = measured
            .iter()
            .map(|record| millis(freshness(record, &seen)))
            .collect();
        print_latency("freshness", &fresh);
        let window = (sent.1 - begins) / WINDOWS;
        let windows: Samples = (0..WINDOWS)
            .map(|n| {
                let (from, to) = (begins + window * n, begins + window * (n + 1));
                measured
                    .iter()
                    .filter(|record| (from..to).contains(&record.sent))
                    .map(|record| millis(freshness(record, &seen)))
                    .collect::<Samples>()
                    .quantile(0.99)
            })
            .collect();
        println!(
            "  p99 of {WINDOWS} windows of {:.0} s: median (spread) {windows:.0} ms",
            window.as_secs_f64()
        );
        let acks: Samples = measured
            .iter()
            .map(|record| millis(record.at - record.sent))
            .collect();
        print_latency("sent → acknowledged", &acks);
        let queries: Samples = queries
            .iter()
            .filter(|(at, _)| *at >= begins)
            .map(|(_, took)| millis(*took))
            .collect();
        print_latency("the prober's query", &queries);
        println!(
            "  server: {:.1} CPU s in {seconds:.0} s, RSS {:.0} MiB, at most {:.0} MiB",
            (after.cpu - before.cpu).as_secs_f64(),
            mib(after.rss_bytes),
            mib(after.rss_bytes_max)
        );
        session.scope.drain().await;
        server.stop().await
    }

    /// Sends until `ends`; gives how many and when it was done.
    async fn send(
        &self,
        session: &Session,
        ends: Instant,
        open: mpsc::Sender<(Instant, Delivery)>,
    ) -> Result<(u64, Instant)> {
        let payloads = Payloads::new(session.runtime.random(), self.size);
        let producer = Producer::new(&session.client, ProducerSettings::default());
        let started = Instant::now();
        let mut n = 0;
        loop {
            let due = started + Duration::from_secs_f64(n as f64 / self.rate as f64);
            if due >= ends || Instant::now() >= ends {
                break;
            }
            sleep_until(due).await;
            for _ in 0..BURST {
                let sent = Instant::now();
                let delivery = producer
                    .send(ProducerRecord::new(TOPIC, payloads.of(n)))
                    .await?;
                open.send((sent, delivery)).await?;
                n += 1;
            }
        }
        let done = Instant::now();
        drop(open);
        producer.close().await;
        Ok((n, done))
    }
}

/// Notes when each record was acknowledged.
async fn collect(mut deliveries: mpsc::Receiver<(Instant, Delivery)>) -> Result<Vec<Acknowledged>> {
    let mut open = FuturesUnordered::new();
    let mut acknowledged = Vec::new();
    let mut more = true;
    while more || !open.is_empty() {
        tokio::select! {
            next = deliveries.recv(), if more => match next {
                Some((sent, delivery)) => open.push(async move { (sent, delivery.await, Instant::now()) }),
                None => more = false,
            },
            Some((sent, delivered, at)) = open.next() => {
                let delivered = delivered?;
                let offset = delivered.offset.context("acknowledged without an offset")?;
                acknowledged.push(Acknowledged { partition: delivered.partition, offset: offset.0, sent, at });
            }
        }
    }
    Ok(acknowledged)
}

/// When each partition was seen to reach which offset, and when each query was answered after how long.
type Probed = (BTreeMap<i32, Vec<Seen>>, Vec<(Instant, Duration)>);

/// Asks until everything is visible that `written` says, once it says so.
async fn probe(
    sql: Sql,
    partitions: i32,
    written: watch::Receiver<Option<BTreeMap<i32, u64>>>,
) -> Result<Probed> {
    let mut seen: BTreeMap<i32, Vec<Seen>> = (0..partitions)
        .map(|partition| (partition, Vec::new()))
        .collect();
    let mut queries = Vec::new();
    let mut written_at: Option<Instant> = None;
    loop {
        let next = |seen: &[Seen]| seen.last().map_or(0, |seen| seen.next_offset);
        // What is new since the slowest partition's last answer.
        let low = seen.values().map(|seen| next(seen)).min().unwrap_or(0);
        let query = format!(
            "SELECT _topic_partition, max(_offset), count(*) FROM events.{TOPIC} WHERE _offset >= {low} GROUP BY _topic_partition"
        );
        let asked = Instant::now();
        let rows = sql.rows(&query).await?;
        let at = Instant::now();
        queries.push((at, at - asked));
        for row in rows {
            let number = |n: usize| row.get(n).and_then(serde_json::Value::as_i64);
            let (Some(partition), Some(max), Some(count)) = (number(0), number(1), number(2))
            else {
                anyhow::bail!("not the columns expected: {row:?}");
            };
            let next_offset = u64::try_from(max)? + 1;
            ensure!(
                u64::try_from(count)? == next_offset - low,
                "partition {partition} shows {count} records between {low} and {next_offset}"
            );
            let seen = seen.entry(i32::try_from(partition)?).or_default();
            ensure!(next(seen) <= next_offset, "partition {partition} went back");
            if next(seen) < next_offset {
                seen.push(Seen { next_offset, at });
            }
        }
        if let Some(ends) = written.borrow().as_ref() {
            if ends
                .iter()
                .all(|(partition, end)| next(&seen[partition]) >= *end)
            {
                return Ok((seen, queries));
            }
            let since = *written_at.get_or_insert_with(Instant::now);
            ensure!(
                since.elapsed() < HANG,
                "acknowledged records never became visible"
            );
        }
        sleep(PAUSE).await;
    }
}

/// From acknowledged to visible; nothing if it was visible before.
fn freshness(record: &Acknowledged, seen: &BTreeMap<i32, Vec<Seen>>) -> Duration {
    let seen = &seen[&record.partition];
    let first = seen.partition_point(|seen| seen.next_offset <= record.offset);
    seen[first].at.saturating_duration_since(record.at)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn print_latency(what: &str, samples: &Samples) {
    println!(
        "  {what}: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms, n = {}",
        samples.median(),
        samples.quantile(0.99),
        samples.max(),
        samples.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_visible_with_the_first_answer_that_covers_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let answers = vec![
            Seen {
                next_offset: 5,
                at: at(10),
            },
            Seen {
                next_offset: 9,
                at: at(30),
            },
        ];
        let seen = BTreeMap::from([(0, answers)]);
        let of = |offset, ms| {
            let record = Acknowledged {
                partition: 0,
                offset,
                sent: start,
                at: at(ms),
            };
            freshness(&record, &seen).as_millis()
        };
        assert_eq!(of(4, 7), 3);
        assert_eq!(of(5, 7), 23);
        assert_eq!(of(8, 40), 0, "it was visible before the answer came");
    }
}
