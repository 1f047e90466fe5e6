//! What the core costs as those who wait, what is stored and what a group holds grow around an
//! operation: over the real binary where a request shows it, in this process where only the state does.
//!
//! Leaves to others: what is printed and compared (`growth`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, try_join_all};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    FetchRequest, GroupId, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tarn_client::{
    Admin, ClientSettings, Connection, Isolation, NewTopic, OffsetSpec, Producer, ProducerRecord,
    ProducerSettings,
};
use tarn_model::{
    ClusterId, Generation, Hash, Monotonic, NodeId, PartitionId, SegmentId, SessionId, TableUuid,
    Timestamp, TopicId, TopicPartition, encode,
};
use tarn_state::commands::{
    Advertise, Closes, CommitGroupOffsets, CommitMode, CommitSegment, CompleteGroup, CreateTopic,
    DeleteTopic, GroupOffset, NewBatch, NewExtent, OpenSession,
};
use tarn_state::{
    Advertised, ClockTrust, Command, Entry, FeatureLevel, GroupMember, Position, Proposal,
    ProposalOutcome, State,
};
use tarn_store::{LocalStore, Options, Path, Store};
use tokio::time::Instant;

use super::{Bar, Cost, Line, server_cpu};
use crate::server::Server;
use crate::{Common, Session};

/// Times that an operation in this process is measured.
const TIMES: usize = 5;
/// How long a fetch waits.
const WAIT_MS: i32 = 60_000;

pub(crate) const LINES: &[Line] = &[
    Line {
        name: "produce-among-waiting",
        what: "a record to a partition that nobody waits for, one at a time",
        grows: "fetches that wait for another partition",
        sizes: &[1, 100, 1_000, 5_000],
        bar: Bar::Flat,
        measure: |size, common| produce_among_waiting(size, common).boxed_local(),
    },
    Line {
        name: "offset-by-time",
        what: "the offset of a timestamp, after the first time that anybody asked",
        grows: "extents of its partition",
        sizes: &[100, 1_000, 10_000],
        bar: Bar::Flat,
        measure: |size, common| offset_by_time(size, common).boxed_local(),
    },
    Line {
        name: "heartbeat",
        what: "one member's heartbeat",
        grows: "members of its group",
        sizes: &[10, 1_000, 5_000],
        bar: Bar::Flat,
        measure: |size, common| heartbeat(size, common).boxed_local(),
    },
    Line {
        name: "commit-offset",
        what: "one member's commit of one offset, applied",
        grows: "members of its group",
        sizes: &[10, 1_000, 5_000],
        bar: Bar::Flat,
        measure: |size, _| in_process(size, commit_offset),
    },
    Line {
        name: "delete-topic",
        what: "the entry that deletes a topic, applied: a thousand extents go, the rest with later entries",
        grows: "extents of the topic",
        sizes: &[1_000, 10_000, 100_000],
        bar: Bar::Logarithmic,
        measure: |size, _| in_process(size, delete_topic),
    },
    Line {
        name: "tick",
        what: "an entry with nothing in it, applied: sixteen groups are looked at",
        grows: "groups",
        sizes: &[100, 1_000, 100_000],
        bar: Bar::Logarithmic,
        measure: |size, _| in_process(size, tick),
    },
    Line {
        name: "list-page",
        what: "a page of 1,000 objects of a local folder",
        grows: "files in the folder",
        sizes: &[1_000, 10_000, 100_000],
        bar: Bar::AtMost(200_000.0),
        measure: |size, _| list_page(size).boxed_local(),
    },
];

async fn produce_among_waiting(waiting: u64, common: &Common) -> Result<Cost> {
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let admin = Admin::new(&session.client);
    for name in ["awaited", "written"] {
        let topic = NewTopic::new(name, 1).config("tarn.table", "off");
        admin.create_topic(&topic, false).await?;
    }
    let settings = ClientSettings::new([server.kafka.as_str()]);
    let open = (0..waiting)
        .map(|_| Connection::open(&session.runtime, &session.scope, &settings, &server.kafka));
    // A connection works on one fetch at a time.
    let connections = try_join_all(open).await?;
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("awaited")))
        .with_partitions(vec![FetchPartition::default().with_partition_max_bytes(1)]);
    let request = FetchRequest::default()
        .with_max_wait_ms(WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(1)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut answers = Vec::new();
    for connection in &connections {
        // By name, which the newest versions do not.
        answers.push(
            connection
                .start_version::<FetchRequest>(&request, 12, deadline)
                .await?,
        );
    }
    let producer = Producer::new(&session.client, ProducerSettings::default());
    let cost = server_cpu(&server, async || {
        let record = ProducerRecord::new("written", "one").partition(0);
        producer.produce(record).await?;
        Ok(())
    })
    .await?;
    producer.close().await;
    drop(answers);
    drop(connections);
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}

async fn offset_by_time(extents: u64, common: &Common) -> Result<Cost> {
    const TOPIC: &str = "timed";
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let admin = Admin::new(&session.client);
    let topic = NewTopic::new(TOPIC, 1).config("tarn.table", "off");
    admin.create_topic(&topic, false).await?;
    let producer = Producer::new(&session.client, ProducerSettings::default());
    // One at a time, so that each record is an extent.
    for _ in 0..extents {
        let record = ProducerRecord::new(TOPIC, "one").partition(0);
        producer.produce(record).await?;
    }
    producer.close().await;
    let latest = Timestamp(i64::MAX);
    let cost = server_cpu(&server, async || {
        admin
            .topic_offsets(
                TOPIC,
                OffsetSpec::Timestamp(latest),
                Isolation::ReadUncommitted,
            )
            .await?;
        Ok(())
    })
    .await?;
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}

/// A group of so many members, each on a connection of its own, and the heartbeats of one.
async fn heartbeat(members: u64, common: &Common) -> Result<Cost> {
    let server = Server::start(common, &["--ephemeral"]).await?;
    let session = Session::new(&server.kafka);
    let settings = ClientSettings::new([server.kafka.as_str()]);
    // The first one is a generation alone, and has left when the others make the next.
    let open = (0..=members)
        .map(|_| Connection::open(&session.runtime, &session.scope, &settings, &server.kafka));
    let connections = try_join_all(open).await?;
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(vec![0; 40].into());
    let join = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(1_800_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let deadline = Instant::now() + Duration::from_secs(600);
    // Before members have to be given their ids first.
    let joining = connections.iter().map(|connection| async {
        let answer = connection.start_version::<JoinGroupRequest>(&join, 3, deadline);
        answer.await?.wait().await
    });
    let joined = try_join_all(joining).await?;
    let newest = joined.iter().map(|joined| joined.generation_id).max();
    let syncing = connections.iter().zip(&joined).map(|(connection, joined)| {
        let sync = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        async move {
            let answer = connection.start_version::<SyncGroupRequest>(&sync, 2, deadline);
            answer.await?.wait().await
        }
    });
    try_join_all(syncing).await?;
    let (connection, member) = connections
        .iter()
        .zip(&joined)
        .find(|(_, joined)| Some(joined.generation_id) == newest)
        .context("somebody joined")?;
    let beat = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone());
    let cost = server_cpu(&server, async || {
        let answer = connection.start_version::<HeartbeatRequest>(&beat, 2, deadline);
        let answer = answer.await?.wait().await?;
        ensure!(answer.error_code == 0, "error {}", answer.error_code);
        Ok(())
    })
    .await?;
    drop(connections);
    session.scope.drain().await;
    server.stop().await?;
    Ok(cost)
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

/// A state with one session on one node, and the entries that change it.
struct Fold {
    state: State,
    wall: i64,
    segments: u128,
}

const NODE: NodeId = NodeId(1);

fn session() -> SessionId {
    SessionId::from_u128(1)
}

fn topic() -> TopicId {
    TopicId::from_u128(7)
}

impl Fold {
    fn new() -> Result<Fold> {
        let mut fold = Fold {
            state: State::new(ClusterId::from_u128(1)),
            wall: 1_700_000_000_000,
            segments: 0,
        };
        let agent = Advertised {
            host: "localhost".to_owned(),
            port: 9092,
            zone: None,
        };
        fold.apply(vec![Command::OpenSession(OpenSession {
            closes: Closes::All(Vec::new()),
            name: "a".to_owned(),
            level_max: FeatureLevel::NEWEST,
            clock: ClockTrust::Trusted,
        })])?;
        fold.apply(vec![Command::Advertise(Advertise { at: agent })])?;
        fold.apply(vec![Command::CreateTopic(CreateTopic {
            id: topic(),
            name: "events".to_owned(),
            partitions: 1,
            configs: BTreeMap::from([("tarn.table".to_owned(), "off".to_owned())]),
            table: TableUuid::from_u128(1),
        })])?;
        Ok(fold)
    }

    fn entry(&mut self, commands: Vec<Command>) -> Vec<u8> {
        self.wall += 1;
        let open = self.state.sessions.get(&session());
        let proposals = match commands.is_empty() {
            true => Vec::new(),
            false => vec![Proposal::of(commands)],
        };
        encode(&Entry {
            cluster: self.state.cluster,
            generation: Generation::FIRST,
            session: session(),
            sequence: open.map_or(1, |open| open.sequence + 1),
            previous: open.map_or(Hash::ZERO, |open| open.entry_hash),
            applied: self.state.n,
            applied_hash: self.state.log_hash,
            wall: Timestamp(self.wall),
            monotonic: Monotonic(self.wall.unsigned_abs()),
            votes: true,
            level: self.state.level,
            observed: None,
            proposals,
        })
    }

    /// Applies commands beside a view that shares the state, as there always is one. Gives how long
    /// that took.
    fn apply(&mut self, commands: Vec<Command>) -> Result<Duration> {
        let bytes = self.entry(commands);
        let view = self.state.clone();
        let lsn = self.state.lsn().next();
        let began = Instant::now();
        let applied = self.state.apply(lsn, &bytes)?;
        let took = began.elapsed();
        drop(view);
        let outcomes = applied.outcomes?;
        let refused =
            |outcome: &ProposalOutcome| matches!(outcome, ProposalOutcome::Refused { .. });
        ensure!(!outcomes.iter().any(refused), "refused: {outcomes:?}");
        Ok(took)
    }

    fn produce(&mut self) -> Result<()> {
        self.segments += 1;
        let id = SegmentId::new(self.state.cluster_time, self.segments << 48);
        let batch = NewBatch {
            bytes: 100,
            offsets: 1,
            max_timestamp: Timestamp(self.wall),
            producer: None,
        };
        let extent = NewExtent {
            topic: topic(),
            partition: PartitionId(0),
            position: Position {
                start: 8,
                length: 100,
            },
            batches: vec![batch],
        };
        self.apply(vec![Command::CommitSegment(CommitSegment {
            segment: id,
            mode: CommitMode::Each,
            bytes: 200,
            extents: vec![extent],
        })])?;
        Ok(())
    }

    fn offset(&self, group: &str, generation: i32, member: &str) -> Command {
        Command::CommitGroupOffsets(CommitGroupOffsets {
            group: group.to_owned(),
            node: NODE,
            generation,
            member: member.to_owned(),
            instance: None,
            offsets: vec![GroupOffset {
                at: TopicPartition::new(topic(), PartitionId(0)),
                offset: 1,
                leader_epoch: -1,
                metadata: String::new(),
            }],
            seen: u64::MAX,
        })
    }
}

fn in_process(
    size: u64,
    measure: fn(u64) -> Result<Vec<Duration>>,
) -> LocalBoxFuture<'static, Result<Cost>> {
    async move {
        let took = measure(size)?;
        let micros = took.iter().map(|took| took.as_secs_f64() * 1e6);
        Ok(Cost::Micros(micros.collect()))
    }
    .boxed_local()
}

fn commit_offset(members: u64) -> Result<Vec<Duration>> {
    let mut fold = Fold::new()?;
    let member = |n: u64| GroupMember {
        id: format!("consumer-{n:05}-6f1c2ab0-0000-4000-8000-000000000000"),
        instance: None,
        client_id: "consumer".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
    };
    fold.apply(vec![Command::CompleteGroup(CompleteGroup {
        group: "g".to_owned(),
        node: NODE,
        previous: 0,
        generation: 1,
        protocol_type: "consumer".to_owned(),
        protocol: "range".to_owned(),
        leader: member(0).id,
        members: (0..members).map(member).collect(),
        brought: vec![0; usize::try_from(members).unwrap_or(0) * 80].into(),
    })])?;
    let last = member(members - 1).id;
    (0..TIMES * 20)
        .map(|_| {
            let command = fold.offset("g", 1, &last);
            fold.apply(vec![command])
        })
        .collect()
}

fn delete_topic(extents: u64) -> Result<Vec<Duration>> {
    let mut fold = Fold::new()?;
    for _ in 0..extents {
        fold.produce()?;
    }
    (0..TIMES)
        .map(|_| {
            let mut again = Fold {
                state: fold.state.clone(),
                ..fold
            };
            again.apply(vec![Command::DeleteTopic(DeleteTopic { id: topic() })])
        })
        .collect()
}

fn tick(groups: u64) -> Result<Vec<Duration>> {
    let mut fold = Fold::new()?;
    for n in 0..groups {
        let command = fold.offset(&format!("group-{n}"), -1, "");
        fold.apply(vec![command])?;
    }
    (0..TIMES * 20).map(|_| fold.apply(Vec::new())).collect()
}

async fn list_page(files: u64) -> Result<Cost> {
    let folder = tempfile::tempdir()?;
    let runtime = tarn_runtime::Runtime::real();
    let local = LocalStore::open(folder.path(), false, &runtime)?;
    let store = Store::local(local, Options::default(), &runtime);
    let under = folder.path().join("archive");
    std::fs::create_dir(&under)?;
    for n in 0..files {
        std::fs::write(under.join(format!("{n:020}-{n:020}")), b"")?;
    }
    let prefix = Path::from("archive");
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let page = store.list(&prefix, None, 1_000).await?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
        ensure!(page.len() == 1_000, "a page of {}", page.len());
    }
    Ok(Cost::Micros(took.into_iter().collect()))
}
