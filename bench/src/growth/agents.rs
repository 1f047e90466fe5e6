//! What Kafka requests cost as topics and partitions grow around them.

use anyhow::Result;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tarn_client::{Admin, NewTopic, Producer, ProducerRecord, ProducerSettings};

use super::{Bar, Cost, Line, server_cpu};
use crate::server::Server;
use crate::{Common, Session};

const TOPIC: &str = "events";

pub(crate) const LINES: &[Line] = &[
    Line {
        name: "produce-one",
        what: "a record to one partition, acks=all, one at a time",
        grows: "partitions of its topic",
        sizes: &[1, 100, 1_000, 10_000],
        bar: Bar::Flat,
        measure: |size, common| produce_one(size, common).boxed_local(),
    },
    Line {
        name: "metadata-one",
        what: "Metadata of one topic",
        grows: "topics",
        sizes: &[10, 1_000, 5_000],
        bar: Bar::Flat,
        measure: |size, common| metadata(size, common, true),
    },
    Line {
        name: "metadata-all",
        what: "Metadata of all topics",
        grows: "topics",
        sizes: &[10, 1_000, 5_000],
        bar: Bar::Linear,
        measure: |size, common| metadata(size, common, false),
    },
];

async fn produce_one(partitions: u64, common: &Common) -> Result<Cost> {
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let topic = NewTopic::new(TOPIC, i32::try_from(partitions)?).config("tarn.table", "off");
    Admin::new(&session.client)
        .create_topic(&topic, false)
        .await?;
    let producer = Producer::new(&session.client, ProducerSettings::default());
    let cost = server_cpu(&server, async || {
        let record = ProducerRecord::new(TOPIC, "one").partition(0);
        producer.produce(record).await?;
        Ok(())
    })
    .await?;
    producer.close().await;
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}

fn metadata(topics: u64, common: &Common, one: bool) -> LocalBoxFuture<'_, Result<Cost>> {
    async move {
        let server = Server::start(common, &["--ephemeral"]).await?;
        let session = Session::new(&server.kafka);
        let admin = Admin::new(&session.client);
        for n in 0..topics {
            let topic = NewTopic::new(format!("{TOPIC}-{n}"), 1).config("tarn.table", "off");
            admin.create_topic(&topic, false).await?;
        }
        let asked = one.then(|| vec![format!("{TOPIC}-0")]);
        let cost = server_cpu(&server, async || {
            let deadline = session.client.operation_deadline();
            session.client.metadata(asked.as_deref(), deadline).await?;
            Ok(())
        })
        .await?;
        session.scope.drain().await;
        server.stop().await?;
        Ok(cost)
    }
    .boxed_local()
}
