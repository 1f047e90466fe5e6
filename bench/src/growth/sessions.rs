//! What fetches, members and schemas cost as there are more of their kind, over the real binary.
//!
//! Each line measures the same operation beside few of its kind and beside many.
//! Leaves to others: what is printed and compared (`growth`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use futures::future::try_join_all;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    FetchRequest, GroupId, JoinGroupRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};
use tarn_client::{
    Admin, ClientSettings, Connection, NewTopic, Producer, ProducerRecord, ProducerSettings,
};
use tokio::time::Instant;

use super::{Bar, Cost, Line, server_cpu};
use crate::server::Server;
use crate::sql::Sql;
use crate::{Common, Session};

pub(crate) const LINES: &[Line] = &[
    Line {
        name: "fetch-in-session",
        what: "a fetch in a session of one partition, at its end",
        grows: "fetch sessions",
        sizes: &[1, 100, 1_000, 5_000],
        bar: Bar::Flat,
        measure: |size, common| fetch_in_session(size, common).boxed_local(),
    },
    Line {
        name: "join",
        what: "one member's part of a rebalance: its join and its sync",
        grows: "members of its group",
        sizes: &[10, 100, 1_000, 5_000],
        bar: Bar::Flat,
        measure: |size, common| join(size, common).boxed_local(),
    },
    Line {
        name: "sql-schemas",
        what: "SQL that counts one row of a typed topic",
        grows: "schemas of its subject",
        sizes: &[1, 50, 200],
        bar: Bar::Flat,
        measure: |size, common| schemas(size, common, Step::Count).boxed_local(),
    },
    Line {
        name: "schema-look-up",
        what: "a serializer's question for its schema's id",
        grows: "schemas of its subject",
        sizes: &[1, 50, 200],
        bar: Bar::Flat,
        measure: |size, common| schemas(size, common, Step::LookUp).boxed_local(),
    },
];

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

async fn fetch_in_session(sessions: u64, common: &Common) -> Result<Cost> {
    const TOPIC: &str = "fetched";
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let topic = NewTopic::new(TOPIC, 1).config("tarn.table", "off");
    Admin::new(&session.client)
        .create_topic(&topic, false)
        .await?;
    let settings = ClientSettings::new([server.kafka.as_str()]);
    let connection =
        Connection::open(&session.runtime, &session.scope, &settings, &server.kafka).await?;
    let deadline = Instant::now() + Duration::from_secs(600);
    // By name, which the newest versions do not.
    let fetch = async |request: &FetchRequest| -> Result<i32> {
        let answer = connection.start_version::<FetchRequest>(request, 12, deadline);
        let answer = answer.await?.wait().await?;
        ensure!(answer.error_code == 0, "error {}", answer.error_code);
        Ok(answer.session_id)
    };
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let topic = FetchTopic::default()
        .with_topic(TopicName(text(TOPIC)))
        .with_partitions(vec![partition]);
    let first = FetchRequest::default()
        .with_max_bytes(1_000)
        .with_session_epoch(0)
        .with_topics(vec![topic]);
    let mut id = 0;
    for _ in 0..sessions {
        id = fetch(&first).await?;
        ensure!(id != 0, "a session");
    }
    let mut epoch = 0;
    let cost = server_cpu(&server, async || {
        epoch += 1;
        let next = FetchRequest::default()
            .with_max_bytes(1_000)
            .with_session_id(id)
            .with_session_epoch(epoch);
        fetch(&next).await.map(|_| ())
    })
    .await?;
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}

/// All members of a group offer something new, so that all join and sync again; each on a connection of
/// its own.
async fn join(members: u64, common: &Common) -> Result<Cost> {
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let settings = ClientSettings::new([server.kafka.as_str()]);
    // The first one is a generation alone, and has left when the others make the next.
    let open = (0..=members)
        .map(|_| Connection::open(&session.runtime, &session.scope, &settings, &server.kafka));
    let mut group: Vec<(Connection, StrBytes)> = try_join_all(open)
        .await?
        .into_iter()
        .map(|connection| (connection, StrBytes::default()))
        .collect();
    let newest = rebalance(&mut group, 0).await?;
    ensure!(newest as u64 >= members, "{newest} members");
    let mut round = 0;
    let cost = server_cpu(&server, async || {
        round += 1;
        let joined = rebalance(&mut group, round).await?;
        ensure!(joined == newest, "{joined} of {newest}");
        Ok(())
    })
    .await?;
    let size = newest as f64;
    drop(group);
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost.divided_by(size))
}

/// Lets everybody join and sync; who is not in the newest generation is left out from then on. Says how
/// many are in it.
async fn rebalance(group: &mut Vec<(Connection, StrBytes)>, round: u64) -> Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(600);
    let id = || GroupId(text("g"));
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(round.to_be_bytes().to_vec().into());
    let joining = group.iter().map(|(connection, member)| {
        let join = JoinGroupRequest::default()
            .with_group_id(id())
            .with_member_id(member.clone())
            .with_session_timeout_ms(1_800_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol.clone()]);
        // Before members have to be given their ids first.
        async move {
            let answer = connection.start_version::<JoinGroupRequest>(&join, 3, deadline);
            answer.await?.wait().await
        }
    });
    let joined = try_join_all(joining).await?;
    let newest = joined.iter().map(|joined| joined.generation_id).max();
    let syncing = group.iter().zip(&joined).map(|((connection, _), joined)| {
        let sync = SyncGroupRequest::default()
            .with_group_id(id())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        async move {
            let answer = connection.start_version::<SyncGroupRequest>(&sync, 2, deadline);
            answer.await?.wait().await
        }
    });
    try_join_all(syncing).await?;
    let mut answers = joined.into_iter();
    group.retain_mut(|(_, member)| {
        let answer = answers.next();
        let there = answer.filter(|joined| Some(joined.generation_id) == newest);
        there.map(|joined| *member = joined.member_id).is_some()
    });
    Ok(group.len())
}

enum Step {
    Count,
    LookUp,
}

async fn schemas(versions: u64, common: &Common, step: Step) -> Result<Cost> {
    const TOPIC: &str = "typed";
    const MAGIC_AND_ID: [u8; 4] = [0; 4];
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let topic = NewTopic::new(TOPIC, 1).config("tarn.table.interval.ms", "86400000");
    Admin::new(&session.client)
        .create_topic(&topic, false)
        .await?;
    let http = reqwest::Client::new();
    let subject = format!("{}/subjects/{TOPIC}-value", server.registry);
    let ask = async |path: &str, version: u64| -> Result<Value> {
        let schema = json!({
            "type": "record", "name": "r", "fields": [
                {"name": "n", "type": "long"},
                {"name": "s", "type": "string", "default": version.to_string()},
            ],
        });
        let body = json!({ "schema": schema.to_string() }).to_string();
        let answer = http
            .post(format!("{subject}{path}"))
            .body(body)
            .send()
            .await?;
        Ok(serde_json::from_str(
            &answer.error_for_status()?.text().await?,
        )?)
    };
    let mut id = 0;
    for version in 1..=versions {
        let known = ask("/versions", version).await?;
        id = known["id"].as_u64().context("an id")?;
    }
    let mut value = MAGIC_AND_ID.to_vec();
    value.push(u8::try_from(id)?);
    // 1, and an empty text.
    value.extend([2, 0]);
    let producer = Producer::new(&session.client, ProducerSettings::default());
    let record = ProducerRecord::new(TOPIC, value).partition(0);
    producer.produce(record).await?;
    let sql = Sql::new(&server.http);
    let count = format!("SELECT count(*) FROM {TOPIC} WHERE n = 1");
    let cost = server_cpu(&server, async || {
        match step {
            Step::Count => {
                let rows = sql.rows(&count).await?;
                ensure!(rows[0][0].as_u64() == Some(1), "one row: {rows:?}");
            }
            Step::LookUp => {
                let found = ask("", versions).await?;
                ensure!(found["id"].as_u64() == Some(id), "{found}");
            }
        }
        Ok(())
    })
    .await?;
    producer.close().await;
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}
