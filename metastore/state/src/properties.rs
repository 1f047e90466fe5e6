//! Random histories: whatever is proposed, in whatever order it comes, the invariants hold, replicas
//! agree, and a snapshot can stand for what came before it.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use tarn_model::{
    ColumnType, Field, NodeId, Offset, OffsetRange, PartitionId, SchemaFormat, SchemaReference,
    TableUuid, Timestamp, TopicPartition, encode,
};

use crate::BatchOutcome;
use crate::commands::{
    AllocateProducerId, AlterTopicConfigs, ClaimTask, CloseSession, Closes, CommitGroupOffsets,
    CommitMode, CommitTables, CompleteGroup, ConfigChange, CreatePartitions, CreateTable,
    DeleteGroup, DeleteGroupOffsets, DeleteRecords, DeleteSchemaVersions, DeleteTopic, DropTable,
    ExpireSession, GroupOffset, HiddenTimestamp, LastIds, MaterializedChange, MaterializedStep,
    NewTable, RecordsBelow, RegisterSchema, ReleaseClaim, RemoveGroupMembers, RenewClaim,
    SchemaChange, TableCommit, Withdraw,
};
use crate::harness::{
    Cluster, advertise, at, batch, create_topic, idempotent, open_command, session, topic,
};
use crate::{
    ClaimEpoch, Command, Counters, Entry, FeatureLevel, GroupMember, Outcome, PlainTable,
    ProposalOutcome, SqlView, State,
};

/// What happens next, as numbers that a story is made of.
type Step = (u8, u8, u8, u16);

/// Which records were given which place: per topic partition, producer, epoch and sequence.
type Places = BTreeMap<(TopicPartition, i64, i16, i32), Offset>;

fn pick<T: Copy>(from: &[T], number: impl Into<usize>) -> T {
    from[number.into() % from.len()]
}

fn member(id: u8) -> GroupMember {
    GroupMember {
        id: format!("m{id}"),
        instance: None,
        client_id: String::new(),
        client_host: String::new(),
        session_timeout_ms: 1,
        rebalance_timeout_ms: 1,
    }
}

fn command(cluster: &mut Cluster, node: NodeId, (what, a, b, c): Step) -> Command {
    let id = u128::from(a % 4) + 10;
    let partition = PartitionId(i32::from(b % 3));
    let group = format!("g{}", a % 2);
    let generation = cluster
        .state
        .groups
        .get(&group)
        .map_or(0, |group| group.generation);
    match what % 26 {
        0 | 1 => {
            let mut create = create_topic(
                id,
                pick(&["a", "b", "a.b", "a_b", "c"], b),
                i32::from(c % 4),
            );
            create.table = TableUuid::from_u128(id << 96);
            Command::CreateTopic(create)
        }
        2 => Command::DeleteTopic(DeleteTopic { id: topic(id) }),
        3 => Command::CreatePartitions(CreatePartitions {
            id: topic(id),
            total: i32::from(b % 5),
        }),
        4 => {
            let value = || pick(&["x", "x,y", "z", ""], b).to_owned();
            let change = match c % 4 {
                0 => ConfigChange::Set(value()),
                1 => ConfigChange::Delete,
                2 => ConfigChange::Append(value(), "x".into()),
                _ => ConfigChange::Subtract(value(), "x".into()),
            };
            let name = pick(&["cleanup.policy", "tarn.table"], c).to_owned();
            Command::AlterTopicConfigs(AlterTopicConfigs {
                id: topic(id),
                changes: BTreeMap::from([(name, change)]),
            })
        }
        5..=12 => {
            let producer = i64::from(b % 3);
            let (epoch, first) = (
                i16::from(pick(&[0u8, 0, 0, 1], c >> 8)),
                i32::from(pick(&[0u8, 2, 4, 6, 9], c)),
            );
            let batches = match c % 3 {
                0 => vec![batch(u32::from(c % 7) + 1)],
                1 => vec![
                    idempotent(2, producer, epoch, first),
                    batch(1),
                    idempotent(2, producer, epoch, first),
                ],
                _ => vec![
                    idempotent(2, producer, epoch, first),
                    idempotent(2, producer, epoch, first + 2),
                ],
            };
            let mode = pick(
                &[CommitMode::Each, CommitMode::Each, CommitMode::All],
                b >> 4,
            );
            let other = at(id + 1, 0);
            Command::CommitSegment(cluster.segment(
                mode,
                vec![(at(id, partition.0), batches), (other, vec![batch(1)])],
            ))
        }
        13 if c.is_multiple_of(2) => Command::DeleteRecords(DeleteRecords {
            partitions: vec![RecordsBelow {
                at: at(id, partition.0),
                offset: (b > 32).then(|| Offset(u64::from(b % 32))),
            }],
        }),
        13 => Command::AllocateProducerId(AllocateProducerId {}),
        14 => {
            let generations = (generation, generation + i32::from(b % 3));
            let members = (0..b % 3).map(member).collect();
            Command::CompleteGroup(CompleteGroup {
                group,
                node,
                previous: generations.0,
                generation: generations.1,
                protocol_type: "consumer".into(),
                protocol: "range".into(),
                leader: "m0".into(),
                members,
                brought: vec![b; usize::from(c)].into(),
            })
        }
        15 => {
            let members = vec![format!("m{}", b % 3)];
            Command::RemoveGroupMembers(RemoveGroupMembers {
                group,
                node,
                members,
            })
        }
        16 | 17 => {
            let offset = i64::from(c) - 3;
            let offsets = vec![GroupOffset {
                at: at(id, partition.0),
                offset,
                leader_epoch: -1,
                metadata: String::new(),
            }];
            let (generation, member) = if c.is_multiple_of(2) {
                (generation, "m0")
            } else {
                (-1, "")
            };
            let member = member.into();
            Command::CommitGroupOffsets(CommitGroupOffsets {
                group,
                node,
                generation,
                member,
                instance: None,
                offsets,
                seen: if b.is_multiple_of(8) {
                    0
                } else {
                    cluster.state.n
                },
            })
        }
        18 if c.is_multiple_of(2) => Command::DeleteGroup(DeleteGroup { group, node }),
        18 => Command::DeleteGroupOffsets(DeleteGroupOffsets {
            group,
            node,
            partitions: vec![at(id, partition.0)],
            until: b.is_multiple_of(2).then(|| cluster.now()),
        }),
        20 if c.is_multiple_of(3) => Command::DeleteSchemaVersions(DeleteSchemaVersions {
            subject: format!("{}-value", pick(&["a", "b"], a)),
            version: (b > 64).then(|| u32::from(b % 4)),
            permanent: b.is_multiple_of(2),
        }),
        19 | 20 => {
            let kinds = [
                ColumnType::Int,
                ColumnType::Long,
                ColumnType::String,
                ColumnType::list(ColumnType::Int),
            ];
            let kind = kinds[usize::from(c) % kinds.len()].clone();
            let columns = vec![Field::new(pick(&["x", "y"], b), kind)];
            let subject = format!("{}-value", pick(&["a", "b"], a));
            let number = b % 2 * 4 + u8::try_from(c % 4).unwrap();
            let guid = [number; 16];
            // Some refer to others; which ones is the schema's, as its guid is.
            let references = (5..8).contains(&number).then(|| SchemaReference {
                name: "r".into(),
                subject: format!("{}-value", pick(&["a", "b"], number)),
                version: u32::from(number - 4),
            });
            let (format, text) = (SchemaFormat::Avro, String::new());
            Command::RegisterSchema(RegisterSchema {
                subject,
                guid,
                format,
                text,
                columns,
                references: references.into_iter().collect(),
            })
        }
        21 | 22 => table_command(cluster, (a, b, c)),
        23 => claim_command(cluster, (a, b, c)),
        24 if c.is_multiple_of(4) => Command::Withdraw(Withdraw {}),
        24 => advertise(9092),
        _ => match cluster.state.silent_sessions().next() {
            Some(silent) => Command::ExpireSession(ExpireSession { session: silent }),
            None if b.is_multiple_of(8) => Command::CloseSession(CloseSession {}),
            None => Command::ExpireSession(ExpireSession {
                session: session(u128::from(a % 8)),
            }),
        },
    }
}

/// One table of two namespaces is made, dropped, or committed to together with a topic's.
fn table_command(cluster: &Cluster, (a, b, c): (u8, u8, u16)) -> Command {
    let own = TableUuid::from_u128(u128::from(b % 4));
    match a % 8 {
        0 => Command::CreateTable(CreateTable {
            uuid: own,
            namespace: pick(&["sales", "system"], b / 128).into(),
            name: pick(&["x", "y", "X", "z"], b).into(),
            columns: vec![Field::new("n", ColumnType::Long)],
            kind: match c % 8 {
                0 => NewTable::View(SqlView {
                    sql: "SELECT 1".into(),
                    properties: BTreeMap::new(),
                }),
                _ => NewTable::Plain(PlainTable::default()),
            },
        }),
        1 if c.is_multiple_of(4) => Command::DropTable(DropTable { uuid: own }),
        2 | 3 => Command::CommitTables(CommitTables {
            tables: vec![
                topic_commit(cluster, (a, b, c)),
                own_commit(cluster, own, c),
            ],
        }),
        4 => Command::CommitTables(CommitTables::one(own_commit(cluster, own, c))),
        _ => Command::CommitTables(CommitTables::one(topic_commit(cluster, (a, b, c)))),
    }
}

fn topic_commit(cluster: &Cluster, (a, b, c): (u8, u8, u16)) -> TableCommit {
    let partition = PartitionId(i32::from(b % 3));
    let table = cluster.state.table_of(topic(u128::from(a / 8 % 4) + 10));
    let from = table.map_or(Offset::ZERO, |table| table.materialized(partition));
    let rows = u64::from(c % 4);
    let counted = Counters {
        rows,
        ..Counters::default()
    };
    TableCommit {
        table: table.map_or(TableUuid::from_u128(9), |table| table.uuid),
        expected: table.and_then(|table| table.pointer.clone()),
        pointer: format!("v{c}"),
        table_snapshot: None,
        materialized: MaterializedChange::Move {
            steps: vec![MaterializedStep {
                partition,
                from,
                to: from.advance(rows),
                counted,
            }],
            hidden: vec![HiddenTimestamp {
                partition,
                offsets: OffsetRange::new(from, from.advance(rows)),
                timestamp: Timestamp(i64::from(c)),
            }],
        },
        schema: None,
    }
}

fn own_commit(cluster: &Cluster, own: TableUuid, c: u16) -> TableCommit {
    let table = cluster.state.tables.get(&own);
    let on = LastIds {
        field: table.map_or(0, |table| table.last_field_id),
        schema: table.map_or(0, |table| table.schema_id),
    };
    TableCommit {
        table: own,
        expected: table.and_then(|table| table.pointer.clone()),
        pointer: format!("p{c}"),
        table_snapshot: None,
        materialized: MaterializedChange::Keep,
        schema: c.is_multiple_of(3).then_some(SchemaChange {
            on,
            last: LastIds {
                field: on.field + i32::from(c % 4 == 1),
                schema: on.schema + 1,
            },
            columns: None,
        }),
    }
}

fn claim_command(cluster: &Cluster, (a, b, c): (u8, u8, u16)) -> Command {
    let task = pick(&["archive", "pipeline/1", "pipeline/2"], a).to_owned();
    let claim = cluster.state.claims.get(&task);
    let epoch = claim.map_or(1, |claim| claim.epoch.0);
    let epoch = ClaimEpoch(epoch.saturating_sub(u64::from(b % 4 / 3)));
    let progress = claim.map_or(0, |claim| claim.progress) + u64::from(c % 3);
    match b % 3 {
        0 => Command::ClaimTask(ClaimTask {
            task,
            patience_ms: pick(&[0u32, 1, 5_000, 60_000, 3_600_000], c),
        }),
        1 if c.is_multiple_of(4) => Command::ReleaseClaim(ReleaseClaim { task, epoch }),
        _ => Command::RenewClaim(RenewClaim {
            task,
            epoch,
            progress,
        }),
    }
}

/// A batch that was taken has one place, and whoever asks again is told the same.
fn note_places(places: &mut Places, entry: &Entry, outcomes: &[ProposalOutcome]) {
    for (proposal, outcome) in entry.proposals.iter().zip(outcomes) {
        let ProposalOutcome::Applied(outcomes) = outcome else {
            continue;
        };
        for (command, outcome) in proposal.commands.iter().zip(outcomes) {
            let (Command::CommitSegment(commit), Outcome::SegmentCommitted(outcomes)) =
                (command, outcome)
            else {
                continue;
            };
            for (extent, outcomes) in commit.extents.iter().zip(outcomes) {
                let at = TopicPartition::new(extent.topic, extent.partition);
                for (batch, outcome) in extent.batches.iter().zip(outcomes) {
                    let Some(stamp) = batch.producer else {
                        continue;
                    };
                    let key = (at, stamp.id.0, stamp.epoch.0, stamp.first_sequence);
                    match outcome {
                        BatchOutcome::Appended(base) => {
                            assert_eq!(places.insert(key, *base), None, "{key:?}")
                        }
                        BatchOutcome::Duplicate(base) => {
                            assert_eq!(places.get(&key), Some(base), "{key:?}")
                        }
                        BatchOutcome::DuplicateForgotten => {
                            assert!(places.contains_key(&key), "{key:?}")
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Plays a story and checks every step.
fn play(story: &[Vec<Step>]) -> Cluster {
    let mut cluster = Cluster::one();
    let mut places = Places::new();
    let mut late: Vec<Entry> = Vec::new();
    for steps in story {
        let Some(&(what, a, b, c)) = steps.first() else {
            continue;
        };
        cluster.pass(u64::from(pick(&[10u16, 500, 3_000, 9_000, 60_000], a)));
        let open: Vec<_> = cluster
            .state
            .sessions
            .iter()
            .map(|(id, session)| (*id, session.node))
            .collect();
        let entry = match (what, open.is_empty()) {
            (0..=20, _) | (_, true) => {
                let tried = |number: u8| session(u128::from(number % 8));
                let closes = if c.is_multiple_of(16) {
                    Closes::All(vec![])
                } else {
                    Closes::Own(vec![tried(b), tried(b.wrapping_add(1))])
                };
                let fresh = cluster.state.n % 5 + 2;
                let name = pick(&["a", "b", "c"], c);
                Entry {
                    sequence: 1,
                    previous: tarn_model::Hash::ZERO,
                    ..cluster.entry(u128::from(fresh), vec![vec![open_command(name, closes)]])
                }
            }
            (21..=40, _) if !late.is_empty() => late.swap_remove(usize::from(b) % late.len()),
            _ => {
                let (id, node) = pick(&open, b);
                let commands: Vec<Command> = steps
                    .iter()
                    .map(|step| command(&mut cluster, node, *step))
                    .collect();
                let (one, other) = commands.split_at(commands.len() / 2);
                let id = u128::from_be_bytes(id.0);
                let mut entry = cluster.entry(id, vec![one.to_vec(), other.to_vec()]);
                if what > 250 {
                    entry.wall = Timestamp(entry.wall.0 + i64::from(c) * 100);
                }
                entry
            }
        };
        // Some entries come twice, or much later than they were written.
        if what.is_multiple_of(5) {
            late.push(entry.clone());
        }
        if what.is_multiple_of(15) {
            continue;
        }
        let before = cluster.state.clone();
        let applied = cluster
            .append(&entry)
            .expect("every entry was written on this history");
        State::check_step(&before, &cluster.state).unwrap();
        cluster.state.check_invariants().unwrap();
        if let Ok(outcomes) = applied.outcomes {
            note_places(&mut places, &entry, &outcomes);
        }
    }
    cluster
}

fn replay(mut state: State, log: &[Vec<u8>]) -> State {
    for bytes in log {
        state
            .apply(state.lsn().next(), bytes)
            .expect("it was applied before");
    }
    state
}

/// As a replica does it: in place, and from the start with care where that fails.
fn replay_in_place(state: &State, log: &[Vec<u8>]) -> State {
    let mut at = state.clone();
    for (count, bytes) in log.iter().enumerate() {
        if at
            .apply_in_place(FeatureLevel::NEWEST, at.lsn().next(), bytes)
            .is_err()
        {
            at = replay(state.clone(), &log[..=count]);
        }
    }
    at
}

fn story() -> impl Strategy<Value = Vec<Vec<Step>>> {
    vec(vec(any::<Step>(), 1..5), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_proposed_the_invariants_hold_and_replicas_agree(story in story(), cut in any::<u16>()) {
        let cluster = play(&story);
        let empty = State::new(cluster.state.cluster);

        let again = replay(empty.clone(), &cluster.log);
        prop_assert_eq!(again.hash(), cluster.state.hash());
        prop_assert_eq!(&replay_in_place(&empty, &cluster.log), &cluster.state);

        let (first, rest) = cluster.log.split_at(usize::from(cut) % (cluster.log.len() + 1));
        let snapshot = replay(empty, first).to_snapshot();
        let read = State::from_snapshot(&snapshot, cluster.state.cluster).unwrap();
        prop_assert_eq!(replay(read, rest), cluster.state);
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_change_nothing(bytes in vec(any::<u8>(), 0..200)) {
        let mut cluster = Cluster::one();
        let before = cluster.state.clone();
        let lsn = cluster.state.lsn().next();
        prop_assert!(cluster.state.apply(lsn, &bytes).is_err());
        prop_assert!(State::from_snapshot(&bytes, before.cluster).is_err());
        prop_assert_eq!(cluster.state, before);
    }

    #[test]
    fn a_flipped_bit_makes_another_entry_or_none(place in any::<usize>(), bit in 0..8u8) {
        let mut cluster = Cluster::with_topic("orders", 1);
        let segment = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![idempotent(2, 1, 0, 0)])]);
        let mut bytes = encode(&cluster.entry(1, vec![vec![Command::CommitSegment(segment)]]));
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        let before = cluster.state.clone();
        match cluster.state.apply(before.lsn().next(), &bytes) {
            Ok(_) => cluster.state.check_invariants().unwrap(),
            Err(_) => prop_assert_eq!(cluster.state, before),
        }
    }
}

#[test]
fn stories_reach_what_they_are_about() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut most = [0; 12];
    for _ in 0..48 {
        let story = story().new_tree(&mut runner).expect("a story").current();
        let state = play(&story).state;
        let counts = [
            state.sessions.len(),
            state.tombstones.len(),
            state.topics.len(),
            state
                .partitions
                .values()
                .map(|partition| partition.extents.len())
                .sum(),
            state.producers.len(),
            state.groups.values().map(|group| group.offsets.len()).sum(),
            state
                .tables
                .values()
                .filter_map(|table| table.of_topic())
                .filter(|of| of.typed && !of.materialized.is_empty())
                .count(),
            state.detached_tables.len(),
            state
                .tables
                .values()
                .filter(|table| table.topic().is_none() && table.pointer.is_some())
                .count(),
            state.claims.len(),
            usize::try_from(state.next_claim.0 - 1).expect("few"),
            state
                .claims
                .values()
                .filter(|claim| claim.progress > 0)
                .count(),
        ];
        most.iter_mut()
            .zip(counts)
            .for_each(|(most, count)| *most = count.max(*most));
    }
    assert!(most.iter().all(|count| *count > 0), "{most:?}");
}
