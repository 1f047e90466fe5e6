//! What new rows and queries cost as partitions and files grow around them.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, TryStreamExt};
use tarn_client::{Admin, NewTopic, Producer, ProducerRecord, ProducerSettings};
use tarn_model::Timestamp;
use tarn_runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::{Bar, Cost, Line, server_cpu};
use crate::server::Server;
use crate::sql::Sql;
use crate::{Common, Session};

const TOPIC: &str = "events";
/// Days of one commit, each of which becomes a file.
const DAYS_AT_ONCE: u64 = 60;
const DAY_MS: i64 = 86_400_000;

pub(crate) const LINES: &[Line] = &[
    Line {
        name: "hot-keep",
        what: "a record to one partition, seen in SQL's memory; all others hold one, too",
        grows: "partitions of its topic",
        sizes: &[1, 100, 1_000, 10_000],
        bar: Bar::Flat,
        measure: |size, common| with_hot_rows(size, common, Asked::Nothing),
    },
    Line {
        name: "sql-hot-one",
        what: "SELECT one row of one partition, by its place",
        grows: "partitions with new rows",
        sizes: &[1, 100, 1_000, 10_000],
        bar: Bar::Linear,
        measure: |size, common| {
            let place = "WHERE _topic_partition = 0 AND _offset = 0";
            with_hot_rows(size, common, Asked::Rows(place))
        },
    },
    Line {
        name: "sql-hot-count",
        what: "SELECT count(*) of new rows",
        grows: "partitions with new rows",
        sizes: &[1, 100, 1_000, 10_000],
        bar: Bar::Linear,
        measure: |size, common| with_hot_rows(size, common, Asked::Rows("")),
    },
    Line {
        name: "sql-plan",
        what: "SELECT one row of one day, of a table with a file for each day and commit",
        grows: "files of its table",
        sizes: &[120, 1_200, 12_000],
        bar: Bar::Linear,
        measure: |size, common| plan(size, common).boxed_local(),
    },
];

/// What is done over and over.
#[derive(Clone, Copy)]
enum Asked {
    /// A record is produced.
    Nothing,
    /// Rows are counted that pass a filter.
    Rows(&'static str),
}

fn with_hot_rows(
    partitions: u64,
    common: &Common,
    asked: Asked,
) -> LocalBoxFuture<'_, Result<Cost>> {
    async move {
        let server = Server::start(common, &["--ephemeral"]).await?;
        let session = Session::new(&server.kafka);
        let topic = NewTopic::new(TOPIC, i32::try_from(partitions)?)
            .config("tarn.table.interval.ms", "86400000");
        Admin::new(&session.client)
            .create_topic(&topic, false)
            .await?;
        let producer = Producer::new(&session.client, ProducerSettings::default());
        let record = |partition: u64| -> Result<ProducerRecord> {
            let partition = i32::try_from(partition)?;
            Ok(ProducerRecord::new(TOPIC, "one").partition(partition))
        };
        let records: Result<Vec<ProducerRecord>> = (0..partitions).map(record).collect();
        let produced: FuturesUnordered<_> = records?
            .into_iter()
            .map(|record| producer.produce(record))
            .collect();
        produced.try_for_each(|_| async { Ok(()) }).await?;
        let sql = Sql::new(&server.http);
        let count = async |filter: &str| -> Result<u64> {
            let rows = sql
                .rows(&format!("SELECT count(*) FROM {TOPIC} {filter}"))
                .await?;
            match rows.first().and_then(|row| row.first()?.as_u64()) {
                Some(count) => Ok(count),
                None => bail!("an answer without a count"),
            }
        };
        ensure!(count("").await? == partitions, "all records are rows");
        let cost = server_cpu(&server, async || {
            match asked {
                Asked::Nothing => producer.produce(record(0)?).await.map(|_| ())?,
                Asked::Rows(filter) => count(filter).await.map(|_| ())?,
            }
            Ok(())
        })
        .await?;
        producer.close().await;
        session.scope.drain().await;
        server.stop().await?;
        Ok(cost)
    }
    .boxed_local()
}

async fn plan(files: u64, common: &Common) -> Result<Cost> {
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let topic = NewTopic::new(TOPIC, 1).config("tarn.table.interval.ms", "100");
    Admin::new(&session.client)
        .create_topic(&topic, false)
        .await?;
    let producer = Producer::new(&session.client, ProducerSettings::default());
    let sql = Sql::new(&server.http);
    let now = Runtime::real().clock().wall().0;
    let mut rows = 0;
    while rows < files {
        let records = (1..=DAYS_AT_ONCE).map(|day| -> Result<ProducerRecord> {
            let time = Timestamp(now - i64::try_from(day)? * DAY_MS);
            Ok(ProducerRecord::new(TOPIC, "one").timestamp(time))
        });
        let records: Result<Vec<ProducerRecord>> = records.collect();
        let produced: FuturesUnordered<_> = records?
            .into_iter()
            .map(|record| producer.produce(record))
            .collect();
        produced.try_for_each(|_| async { Ok(()) }).await?;
        rows += DAYS_AT_ONCE;
        let end = Instant::now() + Duration::from_secs(60);
        let cold = format!("SELECT count(*) FROM \"{TOPIC}$cold\"");
        while sql.rows(&cold).await?[0][0].as_u64() != Some(rows) {
            ensure!(Instant::now() < end, "the table does not grow");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let one = format!("SELECT _value FROM {TOPIC} WHERE _offset = 7");
    let cost = server_cpu(&server, async || {
        ensure!(sql.rows(&one).await?.len() == 1, "one row has this offset");
        Ok(())
    })
    .await?;
    producer.close().await;
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}
