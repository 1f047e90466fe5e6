//! Memory: the resident size of the server under lasting load, next to its budget.
//!
//! The load is everything at once: a producer at a steady rate (or as fast as it goes), a consumer
//! that reads the topic from its start over and over, table files every few seconds, and SQL that
//! scans all of it. What the server refuses because it is busy is counted and is no failure;
//! records that were acknowledged and are not there at the end are one.

#![expect(clippy::print_stdout, reason = "a measurement prints what it found")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tarn_client::{
    Admin, Client, Consumer, ConsumerSettings, Isolation, NewTopic, OffsetSpec, Producer,
    ProducerRecord, ProducerSettings, StartAt,
};
use tarn_model::{ByteSize, Offset};
use tokio::time::{Instant, sleep, sleep_until};

use crate::payload::Payloads;
use crate::server::{BUDGET, BUDGET_BYTES, Server};
use crate::sql::Sql;
use crate::stats::Samples;
use crate::usage::mib;
use crate::{Common, Session, print_head};

const TOPIC: &str = "events";
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Records that are accepted between two looks at the clock.
const BURST: u64 = 64;
/// Deliveries that may be open; the producer's own buffer is the tighter bound.
const OPEN_MAX: usize = 100_000;
/// Between two SQL queries.
const PAUSE: Duration = Duration::from_millis(500);

const QUERIES: [&str; 3] = [
    "SELECT _topic_partition, count(*), max(_offset) FROM events.events GROUP BY _topic_partition",
    "SELECT _value->>'page' AS page, count(*) FROM events.events GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "SELECT _timestamp, _value::text FROM events.events ORDER BY _timestamp DESC LIMIT 100",
];

#[derive(Debug, Args)]
pub(crate) struct Soak {
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Values a second; 0 is as fast as it goes. The folder grows by as much and its table files.
    #[arg(long, default_value = "20MiB")]
    rate: ByteSize,
    #[arg(long, default_value = "1KiB")]
    size: ByteSize,
    #[arg(long, default_value_t = 8)]
    partitions: i32,
}

/// What the load has done so far.
#[derive(Debug, Default)]
struct Done {
    acknowledged: AtomicU64,
    not_acknowledged: AtomicU64,
    consumed: AtomicU64,
    consume_failures: AtomicU64,
    queries: AtomicU64,
    query_failures: AtomicU64,
}

impl Soak {
    pub(crate) async fn run(&self, common: &Common) -> Result<()> {
        let rate = match self.rate.0 {
            0 => "as fast as it goes".to_owned(),
            _ => format!("{}/s", self.rate),
        };
        print_head(
            &format!(
                "soak: RSS against memory.budget {BUDGET}, {} minutes of producing {rate} of {} values to {} partitions, \
                 consuming from the start, table files and SQL over everything; sampled every {SAMPLE_EVERY:?}; \
                 goal: at most 1.15 × the budget",
                self.minutes, self.size, self.partitions
            ),
            common,
        );
        let mut server = Server::start(common, &[]).await?;
        let session = Session::new(&server.kafka);
        let admin = Admin::new(&session.client);
        admin
            .create_topic(&NewTopic::new(TOPIC, self.partitions), false)
            .await?;
        let done = Done::default();
        let sql = Sql::new(&server.http);
        let started = Instant::now();
        let ends = started + Duration::from_secs_f64(self.minutes * 60.0);
        let load = async {
            tokio::try_join!(
                self.watch(&server, started, ends, &done),
                self.produce(&session, ends, &done),
                self.consume(&session.client, ends, &done).map(Ok),
                query(&sql, ends, &done).map(Ok),
            )
        };
        let samples = match load.await {
            Ok((samples, ..)) => samples,
            Err(error) => return Err(server.explain(error)),
        };
        let usage = server.usage()?;
        let seconds = started.elapsed().as_secs_f64();
        let ratio = |mib: f64| mib / self::mib(BUDGET_BYTES);
        println!(
            "  RSS: median {:.0} MiB ({:.2} × budget), p99 {:.0} MiB, at most {:.0} MiB ({:.2} × budget), n = {}",
            samples.median(),
            ratio(samples.median()),
            samples.quantile(0.99),
            mib(usage.rss_bytes_max),
            ratio(mib(usage.rss_bytes_max)),
            samples.len()
        );
        println!(
            "  server: {:.0} CPU s in {seconds:.0} s, {:.1} GiB on disk",
            usage.cpu.as_secs_f64(),
            crate::usage::gib(server.disk_bytes())
        );
        let ends = admin
            .topic_offsets(TOPIC, OffsetSpec::Latest, Isolation::ReadUncommitted)
            .await?;
        let there: u64 = ends.values().flatten().map(|Offset(end)| *end).sum();
        let acknowledged = done.acknowledged.load(Ordering::Relaxed);
        ensure!(
            there >= acknowledged,
            "{acknowledged} records were acknowledged, {there} are there"
        );
        let warnings = server.warnings();
        if !warnings.is_empty() {
            println!("  the server's last warnings:\n{warnings}");
        }
        session.scope.drain().await;
        server.stop().await
    }

    /// Sends at the rate until it is over; a record that fails is counted.
    async fn produce(&self, session: &Session, ends: Instant, done: &Done) -> Result<()> {
        let payloads = Payloads::new(session.runtime.random(), self.size);
        let producer = Producer::new(&session.client, ProducerSettings::default());
        let started = Instant::now();
        let mut open = FuturesUnordered::new();
        let count = |delivered: bool| {
            let counter = match delivered {
                true => &done.acknowledged,
                false => &done.not_acknowledged,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let mut n = 0;
        while Instant::now() < ends {
            if self.rate.0 > 0 {
                let seconds = (n * self.size.0) as f64 / self.rate.0 as f64;
                let due = started + Duration::from_secs_f64(seconds);
                // Deliveries go on while the rate makes us wait.
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = async { while let Some(delivered) = open.next().await { count(delivered) }
                        std::future::pending().await } => {}
                }
            }
            for _ in 0..BURST {
                let delivery = producer
                    .send(ProducerRecord::new(TOPIC, payloads.of(n)))
                    .await?;
                open.push(async move { delivery.await.is_ok() });
                n += 1;
            }
            while open.len() > OPEN_MAX {
                open.next().await.into_iter().for_each(count);
            }
        }
        while let Some(delivered) = open.next().await {
            count(delivered);
        }
        producer.close().await;
        Ok(())
    }

    /// Reads from the start to the end, again and again.
    async fn consume(&self, client: &Client, ends: Instant, done: &Done) {
        while Instant::now() < ends {
            let settings = ConsumerSettings {
                isolation: Isolation::ReadUncommitted,
                ..ConsumerSettings::default()
            };
            let mut consumer = Consumer::new(client, settings);
            let all = 0..self.partitions;
            consumer.assign(all.map(|partition| (TOPIC.to_owned(), partition, StartAt::Earliest)));
            while Instant::now() < ends {
                match consumer.poll(Duration::from_secs(1)).await {
                    Ok(records) if records.is_empty() => break,
                    Ok(records) => {
                        let count = records.len() as u64;
                        done.consumed.fetch_add(count, Ordering::Relaxed);
                    }
                    Err(_) => {
                        done.consume_failures.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
            }
            if consumer.close().await.is_err() {
                done.consume_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Samples the server's memory; says each minute how it goes.
    async fn watch(
        &self,
        server: &Server,
        started: Instant,
        ends: Instant,
        done: &Done,
    ) -> Result<Samples> {
        const MINUTE: usize = 60;
        let mut sizes = Vec::new();
        let mut due = started;
        while due < ends {
            due += SAMPLE_EVERY;
            sleep_until(due.min(ends)).await;
            sizes.push(mib(server.usage()?.rss_bytes));
            if sizes.len() % MINUTE == 0 || due >= ends {
                let from = (sizes.len() - 1) / MINUTE * MINUTE;
                let minute: Samples = sizes[from..].iter().copied().collect();
                let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                println!(
                    "  {:>4} s: RSS {minute:.0} MiB; so far {:.0} MiB acknowledged, {} records not, {:.0} MiB consumed \
                     ({} failures), {} queries ({} failures)",
                    started.elapsed().as_secs(),
                    mib(of(&done.acknowledged) * self.size.0),
                    of(&done.not_acknowledged),
                    mib(of(&done.consumed) * self.size.0),
                    of(&done.consume_failures),
                    of(&done.queries),
                    of(&done.query_failures),
                );
            }
        }
        Ok(sizes.into_iter().collect())
    }
}

async fn query(sql: &Sql, ends: Instant, done: &Done) {
    for query in QUERIES.iter().cycle() {
        if Instant::now() >= ends {
            return;
        }
        let counter = match sql.rows(query).await {
            Ok(_) => &done.queries,
            Err(_) => &done.query_failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}
