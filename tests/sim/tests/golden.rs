//! Golden bytes of what is persisted: `compat/<format>/NNN-name.vN.bin`. Bytes once written keep their
//! meaning: a changed encoding fails here. `TARN_GOLDEN=add` writes files that are missing and never
//! touches one that is there; a new version of a format is a new file beside the old one.

#![expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment to add files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tarn_commit_log::{Floor, SnapshotRef};
use tarn_hot::{Cut, TableCut};
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{
    ByteSize, ClusterId, ClusterTime, ColumnType, Field, Generation, Hash, Lsn, Monotonic, NodeId,
    Offset, OffsetRange, PartitionId, ProducerEpoch, ProducerId, SchemaFormat, SegmentId,
    SessionId, TableUuid, Timestamp, TopicId, TopicPartition, decode, encode,
};
use tarn_state::commands::{
    Advertise, AllocateProducerId, AlterTopicConfigs, ClaimTask, CloseSession, Closes,
    CommitGroupOffsets, CommitMode, CommitSegment, CommitTables, CompleteGroup, ConfigChange,
    CreatePartitions, CreateTable, CreateTopic, DeleteGroup, DeleteGroupOffsets, DeleteRecords,
    DeleteSchemaVersions, DeleteTopic, DropTable, ExpireSession, GroupOffset, HiddenTimestamp,
    LastIds, MaterializedChange, MaterializedStep, NewBatch, NewExtent, NewTable, OpenSession,
    ProducerStamp, RaiseLevel, RecordsBelow, RegisterSchema, ReleaseClaim, RemoveGroupMembers,
    RenewClaim, ReportTable, SchemaChange, SetCompatibility, TableCommit, Withdraw,
};
use tarn_state::{
    Advertised, BatchOutcome, BroughtByMember, ClaimEpoch, Command, Compatibility, Counters, Entry,
    Extent, FeatureLevel, GroupMember, GroupRefusal, Observed, Outcome, PlainTable, Position,
    Proposal, ProposalOutcome, Refusal, SchemaRefusal, SessionRefusal, SqlView, State,
    TableRefusal, TaskRefusal, TopicRefusal,
};
use tarn_topics::segment;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat")
}

/// Compares with the golden file, or adds it when asked to.
fn golden(format: &str, name: &str, bytes: &[u8]) {
    let path = folder().join(format).join(format!("{name}.bin"));
    match std::fs::read(&path) {
        Ok(kept) => assert_eq!(
            kept,
            bytes,
            "{} has changed: an old file could not be read any more",
            path.display()
        ),
        Err(_) if std::env::var("TARN_GOLDEN").is_ok_and(|wish| wish == "add") => {
            std::fs::create_dir_all(path.parent().expect("it has a folder"))
                .expect("a writable folder");
            std::fs::write(&path, bytes).expect("a writable folder");
        }
        Err(error) => panic!("{}: {error}; add it with TARN_GOLDEN=add", path.display()),
    }
}

fn session() -> SessionId {
    SessionId::from_u128(0x11)
}

fn cluster() -> ClusterId {
    ClusterId::from_u128(0xc1)
}

fn topic() -> TopicId {
    TopicId::from_u128(0x7a)
}

fn table() -> TableUuid {
    TableUuid::from_u128(0x7b)
}

fn segment_id() -> SegmentId {
    SegmentId::new(ClusterTime(1_700_000_000_000), 0x5e6 << 64)
}

fn entry(commands: Vec<Command>) -> Entry {
    Entry {
        cluster: cluster(),
        generation: Generation::FIRST,
        session: session(),
        sequence: 2,
        previous: Hash([7; 32]),
        applied: 1,
        applied_hash: Hash([9; 32]),
        wall: Timestamp(1_700_000_000_123),
        monotonic: Monotonic(4_567),
        votes: true,
        level: FeatureLevel::ONE,
        observed: Some(Observed {
            n: 1,
            outcome_hash: Hash([3; 32]),
        }),
        proposals: vec![Proposal::of(commands)],
    }
}

fn new_batch(bytes: u32) -> NewBatch {
    NewBatch {
        bytes,
        offsets: 3,
        max_timestamp: Timestamp(1_700_000_000_000),
        producer: Some(ProducerStamp {
            id: ProducerId(5),
            epoch: ProducerEpoch(1),
            first_sequence: 40,
        }),
    }
}

fn columns() -> Vec<Field> {
    vec![
        Field::new("id", ColumnType::Long),
        Field::new(
            "price",
            ColumnType::Decimal {
                precision: 12,
                scale: 2,
            },
        ),
        Field::new(
            "tags",
            ColumnType::map(ColumnType::String, ColumnType::list(ColumnType::Int)),
        ),
        Field::new(
            "place",
            ColumnType::Struct(vec![Field::new("city", ColumnType::String)]),
        ),
    ]
}

/// Every command by the name of its file, with every field filled.
fn commands() -> Vec<(&'static str, Command)> {
    let group = || "readers".to_owned();
    let member = GroupMember {
        id: "m-1".into(),
        instance: Some("i-1".into()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
    };
    // In the log it is compressed; the golden bytes are of what is compressed.
    let brought = BroughtByMember {
        id: "m-1".into(),
        protocols: vec![("range".into(), vec![1, 2].into())],
        assignment: vec![3].into(),
    };
    let agent = Advertised {
        host: "a.example".into(),
        port: 9092,
        zone: Some("z1".into()),
    };
    let at = TopicPartition::new(topic(), PartitionId(2));
    let offset = GroupOffset {
        at,
        offset: 77,
        leader_epoch: 1,
        metadata: "note".into(),
    };
    let step = MaterializedStep {
        partition: PartitionId(2),
        from: Offset(10),
        to: Offset(20),
        counted: Counters {
            rows: 8,
            undecodable: 1,
            deleted: 1,
            append_timed: 2,
            nulled: 3,
        },
    };
    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), ConfigChange::Set("1000".into())),
        ("tarn.event.time".to_owned(), ConfigChange::Delete),
        (
            "cleanup.policy".to_owned(),
            ConfigChange::Append("compact".into(), "delete".into()),
        ),
    ]);
    let extent = NewExtent {
        topic: topic(),
        partition: PartitionId(2),
        position: Position {
            start: 16,
            length: 300,
        },
        batches: vec![
            new_batch(100),
            NewBatch {
                producer: None,
                ..new_batch(200)
            },
        ],
    };
    vec![
        (
            "001-open_session",
            Command::OpenSession(OpenSession {
                closes: Closes::Own(vec![SessionId::from_u128(0x10)]),
                name: "a.example:9092".to_owned(),
                level_max: FeatureLevel::ONE,
                clock: tarn_state::ClockTrust::Trusted,
            }),
        ),
        (
            "002-expire_session",
            Command::ExpireSession(ExpireSession {
                session: SessionId::from_u128(0x10),
            }),
        ),
        ("003-close_session", Command::CloseSession(CloseSession {})),
        (
            "004-raise_level",
            Command::RaiseLevel(RaiseLevel {
                level: FeatureLevel(2),
            }),
        ),
        ("005-advertise", Command::Advertise(Advertise { at: agent })),
        ("006-withdraw", Command::Withdraw(Withdraw {})),
        (
            "010-create_topic",
            Command::CreateTopic(CreateTopic {
                id: topic(),
                name: "orders".into(),
                partitions: 3,
                configs: BTreeMap::from([("retention.ms".to_owned(), "604800000".to_owned())]),
                table: TableUuid::from_u128(0x7b),
            }),
        ),
        (
            "011-delete_topic",
            Command::DeleteTopic(DeleteTopic { id: topic() }),
        ),
        (
            "012-create_partitions",
            Command::CreatePartitions(CreatePartitions {
                id: topic(),
                total: 6,
            }),
        ),
        (
            "013-alter_topic_configs",
            Command::AlterTopicConfigs(AlterTopicConfigs {
                id: topic(),
                changes,
            }),
        ),
        (
            "020-commit_segment",
            Command::CommitSegment(CommitSegment {
                segment: segment_id(),
                mode: CommitMode::Each,
                bytes: 512,
                extents: vec![extent],
            }),
        ),
        (
            "021-allocate_producer_id",
            Command::AllocateProducerId(AllocateProducerId {}),
        ),
        (
            "022-delete_records",
            Command::DeleteRecords(DeleteRecords {
                partitions: vec![RecordsBelow {
                    at,
                    offset: Some(Offset(7)),
                }],
            }),
        ),
        (
            "030-complete_group",
            Command::CompleteGroup(CompleteGroup {
                group: group(),
                node: NodeId(1),
                previous: 3,
                generation: 4,
                protocol_type: "consumer".into(),
                protocol: "range".into(),
                leader: "m-1".into(),
                members: vec![member],
                brought: encode(&vec![brought]).into(),
            }),
        ),
        (
            "031-remove_group_members",
            Command::RemoveGroupMembers(RemoveGroupMembers {
                group: group(),
                node: NodeId(1),
                members: vec!["m-1".into()],
            }),
        ),
        (
            "032-commit_group_offsets",
            Command::CommitGroupOffsets(CommitGroupOffsets {
                group: group(),
                node: NodeId(1),
                generation: 4,
                member: "m-1".into(),
                instance: None,
                offsets: vec![offset],
                seen: 71,
            }),
        ),
        (
            "033-delete_group",
            Command::DeleteGroup(DeleteGroup {
                group: group(),
                node: NodeId(1),
            }),
        ),
        (
            "034-delete_group_offsets",
            Command::DeleteGroupOffsets(DeleteGroupOffsets {
                group: group(),
                node: NodeId(1),
                partitions: vec![at],
                until: Some(ClusterTime(8)),
            }),
        ),
        (
            "040-register_schema",
            Command::RegisterSchema(RegisterSchema {
                subject: "orders-value".into(),
                guid: [6; 16],
                format: SchemaFormat::Avro,
                text: "\"long\"".into(),
                columns: columns(),
                references: Vec::new(),
            }),
        ),
        (
            "041-set_compatibility",
            Command::SetCompatibility(SetCompatibility {
                subject: Some("orders-value".into()),
                compatibility: Some(Compatibility::FullTransitive),
            }),
        ),
        (
            "042-delete_schema_versions",
            Command::DeleteSchemaVersions(DeleteSchemaVersions {
                subject: "orders-value".into(),
                version: Some(2),
                permanent: true,
            }),
        ),
        (
            "050-commit_tables",
            Command::CommitTables(CommitTables {
                tables: vec![
                    TableCommit {
                        table: table(),
                        expected: Some("file:///t/metadata/1.json".into()),
                        pointer: "file:///t/metadata/2.json".into(),
                        table_snapshot: Some(-5),
                        materialized: MaterializedChange::Move {
                            steps: vec![step],
                            hidden: vec![HiddenTimestamp {
                                partition: PartitionId(3),
                                offsets: OffsetRange::new(Offset(102), Offset(104)),
                                timestamp: Timestamp(1_700_000_000_999),
                            }],
                        },
                        schema: None,
                    },
                    TableCommit {
                        table: TableUuid::from_u128(14),
                        expected: None,
                        pointer: "file:///p/metadata/1.json".into(),
                        table_snapshot: None,
                        materialized: MaterializedChange::Keep,
                        schema: Some(SchemaChange {
                            on: LastIds {
                                field: 2,
                                schema: 0,
                            },
                            last: LastIds {
                                field: 3,
                                schema: 1,
                            },
                            columns: Some(columns()),
                        }),
                    },
                ],
            }),
        ),
        (
            "051-report_table",
            Command::ReportTable(ReportTable {
                table: table(),
                pointer: Some("file:///t/metadata/2.json".into()),
                problem: "it cannot be written".into(),
            }),
        ),
        (
            "052-create_table",
            Command::CreateTable(CreateTable {
                uuid: TableUuid::from_u128(0x7d),
                namespace: "sales".into(),
                name: "daily".into(),
                columns: columns(),
                kind: NewTable::Plain(PlainTable {
                    location: Some("file:///sales/daily".into()),
                    properties: BTreeMap::from([("owner".into(), "me".into())]),
                }),
            }),
        ),
        (
            "052-create_table_view",
            Command::CreateTable(CreateTable {
                uuid: TableUuid::from_u128(0x7c),
                namespace: "sales".into(),
                name: "top".into(),
                columns: columns(),
                kind: NewTable::View(SqlView {
                    sql: "SELECT * FROM sales.daily".into(),
                    properties: BTreeMap::from([("owner".into(), "me".into())]),
                }),
            }),
        ),
        (
            "053-drop_table",
            Command::DropTable(DropTable { uuid: table() }),
        ),
        (
            "060-claim_task",
            Command::ClaimTask(ClaimTask {
                task: "archive".into(),
                patience_ms: 60_000,
            }),
        ),
        (
            "061-renew_claim",
            Command::RenewClaim(RenewClaim {
                task: "archive".into(),
                epoch: ClaimEpoch(1),
                progress: 7,
            }),
        ),
        (
            "062-release_claim",
            Command::ReleaseClaim(ReleaseClaim {
                task: "archive".into(),
                epoch: ClaimEpoch(1),
            }),
        ),
    ]
}

#[test]
fn entries_keep_their_bytes() {
    let mut kinds = BTreeSet::new();
    for (name, command) in commands() {
        let kind = command.kind();
        let number = format!("{:03}-", kind.number);
        assert!(
            name.starts_with(&number),
            "{name} is number {}",
            kind.number
        );
        kinds.insert(format!("{number}{}", kind.name));
        let entry = entry(vec![command]);
        let bytes = encode(&entry);
        assert_eq!(decode::<Entry>(&bytes).expect("canonical"), entry, "{name}");
        golden("entry", &format!("{name}.v1"), &bytes);
    }
    // A new command is a new line in `commands!`, and needs its golden file here.
    for kind in Command::ALL
        .iter()
        .filter(|kind| kind.since <= FeatureLevel::NEWEST)
    {
        let name = format!("{:03}-{}", kind.number, kind.name);
        assert!(kinds.contains(&name), "command {name} has no golden file");
    }
    assert!(
        Command::ALL
            .windows(2)
            .all(|pair| pair[0].number < pair[1].number)
    );
}

/// Every refusal once, by area.
fn refusals() -> Vec<(&'static str, Vec<Refusal>)> {
    let session = SessionId::from_u128(0x10);
    let partition = PartitionId(3);
    let duplicate = BatchOutcome::Duplicate(Offset(7));
    vec![
        (
            "001-session",
            vec![
                SessionRefusal::SessionKnown.into(),
                SessionRefusal::NoSuchSession(session).into(),
                SessionRefusal::SessionNotSilent(session).into(),
                SessionRefusal::LevelRefused(2).into(),
                SessionRefusal::NodeNameTaken {
                    name: "a.example:9092".into(),
                    node: NodeId(2),
                    session,
                }
                .into(),
            ],
        ),
        (
            "010-topic",
            vec![
                TopicRefusal::TopicExists("orders".into()).into(),
                TopicRefusal::NoSuchTopic(topic()).into(),
                TopicRefusal::NoSuchPartition(topic(), partition).into(),
                TopicRefusal::InvalidTopicName {
                    name: "a b".into(),
                    why: "it has a space".into(),
                }
                .into(),
                TopicRefusal::InvalidPartitions { max: 1_000 }.into(),
                TopicRefusal::InvalidConfig {
                    name: "retention.ms".into(),
                    why: "it is no number".into(),
                }
                .into(),
                TopicRefusal::SegmentTooOld(segment_id()).into(),
                TopicRefusal::SegmentKnown(segment_id()).into(),
                TopicRefusal::SegmentInvalid("it is empty".into()).into(),
                TopicRefusal::BatchRefused {
                    extent: 1,
                    batch: 2,
                    outcome: duplicate,
                }
                .into(),
            ],
        ),
        (
            "030-group",
            vec![
                GroupRefusal::NoSuchGroup("g".into()).into(),
                GroupRefusal::NotCoordinator(NodeId(2)).into(),
                GroupRefusal::WrongGeneration { have: 4 }.into(),
                GroupRefusal::UnknownMember("m".into()).into(),
                GroupRefusal::FencedInstance("i".into()).into(),
                GroupRefusal::GroupNotEmpty.into(),
                GroupRefusal::GroupInvalid("the leader is no member".into()).into(),
            ],
        ),
        (
            "040-schema",
            vec![
                SchemaRefusal::ColumnsDoNotFit("a type changed".into()).into(),
                SchemaRefusal::NoSuchSubject("orders-value".into()).into(),
                SchemaRefusal::NoSuchSchemaVersion(2).into(),
                SchemaRefusal::SchemaVersionDeleted.into(),
                SchemaRefusal::SchemaVersionNotDeleted.into(),
                SchemaRefusal::NoSuchReference {
                    subject: "lines".into(),
                    version: 3,
                }
                .into(),
                SchemaRefusal::SchemaReferenced {
                    subject: "lines".into(),
                    version: 3,
                }
                .into(),
                SchemaRefusal::GuidOfAnother.into(),
            ],
        ),
        (
            "050-table",
            vec![
                TableRefusal::NoSuchTable(table()).into(),
                TableRefusal::PointerMoved {
                    table: table(),
                    have: Some("file:///t/metadata/1.json".into()),
                }
                .into(),
                TableRefusal::MaterializedMoved {
                    table: table(),
                    partition,
                    have: Offset(102),
                }
                .into(),
                TableRefusal::TableCommitInvalid("it has no steps".into()).into(),
                TableRefusal::SchemaMoved { table: table() }.into(),
                TableRefusal::TableExists {
                    namespace: "sales".into(),
                    name: "daily".into(),
                }
                .into(),
                TableRefusal::InvalidTableName {
                    name: "system".into(),
                    why: "it is taken".into(),
                }
                .into(),
                TableRefusal::InvalidColumns("twice".into()).into(),
                TableRefusal::BelongsToTopic(topic()).into(),
            ],
        ),
        (
            "060-task",
            vec![
                TaskRefusal::TaskHeld { node: NodeId(2) }.into(),
                TaskRefusal::ClaimOver {
                    current: Some(ClaimEpoch(8)),
                }
                .into(),
                TaskRefusal::NoProgress { have: 7 }.into(),
                TaskRefusal::ClaimInvalid("it names no task".into()).into(),
            ],
        ),
        (
            "090-any",
            vec![
                Refusal::Full {
                    what: "groups".into(),
                    max: 10,
                },
                Refusal::TooLong {
                    max: ByteSize::bytes(255),
                },
                Refusal::AboveLevel {
                    command: "CreateTopic".into(),
                    needs: FeatureLevel(2),
                    level: FeatureLevel::ONE,
                },
                Refusal::Panicked("it panicked".into()),
            ],
        ),
    ]
}

/// How many variants of an enum can be read, told by what is said to bytes that hold nothing else.
fn variants_of<T: for<'b> minicbor::Decode<'b, ()>>() -> usize {
    let is_known = |number: &u8| {
        let bytes = [0x82, 0x18, *number, 0x80];
        !minicbor::decode::<T>(&bytes).is_err_and(|error| error.is_unknown_variant())
    };
    (0..=u8::MAX).filter(is_known).count()
}

#[test]
fn outcomes_keep_their_bytes() {
    // Their hashes are compared between replicas, so that a version with other bytes would stop.
    let sizes = [
        variants_of::<SessionRefusal>(),
        variants_of::<TopicRefusal>(),
        variants_of::<GroupRefusal>(),
        variants_of::<SchemaRefusal>(),
        variants_of::<TableRefusal>(),
        variants_of::<TaskRefusal>(),
        variants_of::<Refusal>() - 6,
    ];
    for ((name, refusals), size) in refusals().into_iter().zip(sizes) {
        assert_eq!(
            refusals.len(),
            size,
            "{name}: each refusal has its bytes here"
        );
        assert!(size <= 16, "{name} says too many things");
        let outcomes: Vec<ProposalOutcome> = refusals
            .into_iter()
            .map(|refusal| ProposalOutcome::Refused {
                command: 1,
                refusal,
            })
            .collect();
        let bytes = encode(&outcomes);
        assert_eq!(
            decode::<Vec<ProposalOutcome>>(&bytes).expect("canonical"),
            outcomes
        );
        golden("outcome", &format!("{name}.v1"), &bytes);
    }
    let applied = vec![
        Outcome::Done,
        Outcome::SessionOpened(NodeId(2)),
        Outcome::TopicCreated(topic()),
        Outcome::SegmentCommitted(vec![vec![
            BatchOutcome::Appended(Offset(5)),
            BatchOutcome::Duplicate(Offset(4)),
            BatchOutcome::DuplicateForgotten,
            BatchOutcome::OutOfOrder { expected: 6 },
            BatchOutcome::FencedEpoch {
                current: ProducerEpoch(3),
            },
            BatchOutcome::NoSuchPartition,
        ]]),
        Outcome::ProducerId(ProducerId(9)),
        Outcome::GroupGeneration(4),
        Outcome::SchemaRegistered {
            id: tarn_model::SchemaId(8),
            version: 2,
        },
        Outcome::SchemaVersionsDeleted(vec![1, 2]),
        Outcome::TaskClaimed(ClaimEpoch(3)),
    ];
    assert_eq!(applied.len(), variants_of::<Outcome>());
    assert_eq!(6, variants_of::<BatchOutcome>());
    let applied = ProposalOutcome::Applied(applied);
    let bytes = encode(&applied);
    assert_eq!(
        decode::<ProposalOutcome>(&bytes).expect("canonical"),
        applied
    );
    golden("outcome", "000-applied.v1", &bytes);
}

#[test]
fn every_old_entry_can_be_read() {
    for file in std::fs::read_dir(folder().join("entry")).expect("golden files") {
        let path = file.expect("a readable entry").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        decode::<Entry>(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// The first entries of a cluster: a session opens and creates a topic.
fn story() -> State {
    let mut state = State::new(cluster());
    let mut previous = Hash::ZERO;
    let mut hash = Hash::ZERO;
    let wanted = [
        "001-open_session",
        "010-create_topic",
        "040-register_schema",
        "021-allocate_producer_id",
        "052-create_table",
        "052-create_table_view",
        "060-claim_task",
        "061-renew_claim",
    ];
    for (index, wanted) in wanted.into_iter().enumerate() {
        let n = index as u64;
        let mut command = commands()
            .into_iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, command)| command)
            .expect("in the list");
        if let Command::OpenSession(open) = &mut command {
            open.closes = Closes::Own(Vec::new());
            open.level_max = FeatureLevel::NEWEST;
        }
        let entry = Entry {
            sequence: n + 1,
            previous,
            applied: n,
            applied_hash: hash,
            observed: None,
            ..entry(vec![command])
        };
        let bytes = encode(&entry);
        let applied = state
            .apply(Lsn::new(Generation::FIRST, n + 1), &bytes)
            .expect("it applies");
        assert!(applied.outcomes.is_ok(), "{:?}", applied.outcomes);
        previous = state.sessions.get(&session()).expect("open").entry_hash;
        hash = state.log_hash;
    }
    state
}

#[test]
fn state_snapshots_keep_their_bytes() {
    let state = story();
    let bytes = state.to_snapshot();
    golden("state-snapshot", "001-eight-entries.v1", &bytes);
    assert_eq!(
        State::from_snapshot(&bytes, cluster()).expect("whole"),
        state
    );
}

/// A topic's table at the end of a story in which something was produced.
#[test]
fn cuts_keep_their_bytes() {
    let mut state = story();
    let at = TopicPartition::new(topic(), PartitionId(0));
    let mut partition = state
        .partitions
        .get(&at)
        .expect("it is there")
        .as_ref()
        .clone();
    for n in 0..3_u64 {
        let extent = Extent {
            offsets: OffsetRange::new(Offset(n * 300), Offset(n * 300 + 300)),
            segment: segment_id(),
            position: Position {
                start: n * 70_000,
                length: 70_000,
            },
            max_timestamp: Timestamp(1_700_000_000_000),
            committed_at: 7 + n,
            committed_time: ClusterTime(1_700_000_000_500),
            leader_epoch: 1,
            hides_timestamps: false,
        };
        partition.extents.insert(extent.offsets.start, extent);
        partition.high_watermark = extent.offsets.end;
    }
    state.partitions.insert(at, Arc::new(partition));
    let cut = Cut::at(Arc::new(state)).table_of(topic());
    let cut = cut.expect("the topic has a table");
    let bytes = cut.encode();
    golden("cut", "001-a-topics-table.v1", &bytes);
    assert_eq!(TableCut::decode(&bytes), Ok(cut));
}

#[test]
fn segments_keep_their_bytes() {
    let mut batch = BatchBuilder::new(Compression::None);
    for n in 0..3_i64 {
        let key = format!("k{n}");
        batch
            .push(
                1_700_000_000_000 + n,
                Some(key.as_bytes()),
                Some(b"value"),
                &[],
            )
            .expect("small");
    }
    let batch = batch.build().expect("small");
    let mut builder = segment::Builder::new(cluster(), Generation::FIRST);
    builder.push(topic(), PartitionId(0), batch.clone());
    builder.push(topic(), PartitionId(2), batch);
    let finished = builder.finish(segment_id(), CommitMode::Each);
    golden("segment", "001-two-extents.v1", &finished.object);
}

#[test]
fn floors_keep_their_bytes() {
    let snapshot = SnapshotRef {
        path: "snapshots/1/7-x".into(),
        hash: Hash([8; 32]),
    };
    let floor = Floor {
        lsn: Lsn::new(Generation::FIRST, 7),
        snapshot: Some(snapshot),
    };
    golden("floor", "001-with-snapshot.v1", &encode(&floor));
}
