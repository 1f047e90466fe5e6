use super::*;
use crate::Command;
use crate::commands::{CreateTable, NewTable, RegisterSchema};
use crate::harness::{Cluster, at, batch, commit as commit_of, table, topic};
use crate::{PlainTable, ProposalOutcome};
use tarn_model::{ColumnType, FieldId, SchemaFormat};

fn step(partition: i32, from: u64, to: u64) -> MaterializedStep {
    let counted = Counters {
        rows: to.saturating_sub(from),
        ..Counters::default()
    };
    MaterializedStep {
        partition: PartitionId(partition),
        from: Offset(from),
        to: Offset(to),
        counted,
    }
}

fn commit(expected: Option<&str>, pointer: &str, steps: Vec<MaterializedStep>) -> Command {
    commit_of(7, expected, pointer, steps)
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::with_topic("orders", 2);
    cluster.produce(at(7, 0), vec![batch(10)]);
    cluster.produce(at(7, 1), vec![batch(4)]);
    cluster
}

#[test]
fn pointer_and_m_move_together() {
    let mut cluster = cluster();
    let mut first = step(0, 0, 6);
    first.counted = Counters {
        rows: 3,
        undecodable: 2,
        deleted: 1,
        ..Counters::default()
    };
    cluster
        .run(commit(None, "v1", vec![first, step(1, 0, 4)]))
        .unwrap();
    cluster
        .run(commit(Some("v1"), "v2", vec![step(0, 6, 10)]))
        .unwrap();
    let table = cluster.state.table(topic(7)).unwrap();
    assert_eq!(table.pointer.as_deref(), Some("v2"));
    assert_eq!(
        (
            table.materialized(PartitionId(0)),
            table.materialized(PartitionId(1))
        ),
        (Offset(10), Offset(4))
    );
    assert_eq!(
        cluster.of_topic(7).counters[&PartitionId(0)],
        Counters {
            rows: 7,
            undecodable: 2,
            deleted: 1,
            ..Counters::default()
        }
    );
    assert_eq!(table.committed, Some(cluster.now()));
    cluster.run(commit(Some("v2"), "v3", Vec::new())).unwrap();
}

#[test]
fn the_index_by_time_takes_what_headers_hid() {
    let mut cluster = cluster();
    cluster.produce(at(7, 0), vec![batch(5)]);
    let extents = |cluster: &Cluster| -> Vec<(u64, i64, bool)> {
        let partition = cluster.state.partition(topic(7), PartitionId(0)).unwrap();
        let extents = partition.extents.values();
        let told = extents.map(|extent| {
            let start = extent.offsets.start.0;
            (start, extent.max_timestamp.0, extent.hides_timestamps)
        });
        told.collect()
    };
    let [(0, first, false), (10, second, false)] = extents(&cluster)[..] else {
        panic!("{:?}", extents(&cluster));
    };
    let hidden = |partition: i32, start: u64, end: u64, timestamp: i64| HiddenTimestamp {
        partition: PartitionId(partition),
        offsets: OffsetRange::new(Offset(start), Offset(end)),
        timestamp: Timestamp(timestamp),
    };
    let commit_with = |expected: Option<&str>, pointer: &str, hidden: Vec<HiddenTimestamp>| {
        let Command::CommitTables(mut commit) = commit(expected, pointer, Vec::new()) else {
            panic!("it is a commit");
        };
        let steps = Vec::new();
        commit.tables[0].materialized = MaterializedChange::Move { steps, hidden };
        Command::CommitTables(commit)
    };
    // Within an extent; earlier than what is known; of nothing that is there.
    let told = vec![
        hidden(0, 3, 4, first + 7),
        hidden(0, 12, 13, second - 1),
        hidden(0, 15, 99, second + 9),
        hidden(5, 0, 1, second + 9),
    ];
    cluster.run(commit_with(None, "v1", told)).unwrap();
    let expected = vec![(0, first + 7, true), (10, second, true)];
    assert_eq!(extents(&cluster), expected);
    let many = vec![hidden(0, 3, 4, 0); HIDDEN_TIMESTAMPS_MAX + 1];
    let refused = cluster.run(commit_with(Some("v1"), "v2", many));
    assert!(
        matches!(
            refused,
            Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
        ),
        "{refused:?}"
    );
    assert_eq!(extents(&cluster), expected);
    // Over several extents.
    let all = vec![hidden(0, 9, 11, second + 10)];
    cluster.run(commit_with(Some("v1"), "v2", all)).unwrap();
    assert_eq!(
        extents(&cluster),
        [(0, second + 10, true), (10, second + 10, true)]
    );
}

#[test]
fn a_commit_from_an_old_view_is_refused_whole() {
    let mut cluster = cluster();
    cluster
        .run(commit(None, "v1", vec![step(0, 0, 6)]))
        .unwrap();
    let before = cluster.state.tables.clone();
    let moved = Refusal::Table(TableRefusal::PointerMoved {
        table: table(7),
        have: Some("v1".into()),
    });
    assert_eq!(cluster.run(commit(None, "v2", Vec::new())), Err(moved));
    let moved = Refusal::Table(TableRefusal::MaterializedMoved {
        table: table(7),
        partition: PartitionId(0),
        have: Offset(6),
    });
    assert_eq!(
        cluster.run(commit(
            Some("v1"),
            "v2",
            vec![step(1, 0, 4), step(0, 0, 10)]
        )),
        Err(moved)
    );
    for wrong in [
        step(0, 6, 11),
        step(0, 6, 5),
        MaterializedStep {
            counted: Counters::default(),
            ..step(0, 6, 7)
        },
    ] {
        let refused = cluster.run(commit(Some("v1"), "v2", vec![wrong]));
        assert!(
            matches!(
                refused,
                Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
            ),
            "{refused:?}"
        );
    }
    let absent = Refusal::Topic(TopicRefusal::NoSuchPartition(topic(7), PartitionId(2)));
    assert_eq!(
        cluster.run(commit(Some("v1"), "v2", vec![step(2, 0, 0)])),
        Err(absent)
    );
    assert_eq!(cluster.state.tables, before);
}

/// A table that no topic has.
const PLAIN: TableUuid = TableUuid([3; 16]);

fn with_plain() -> Cluster {
    let mut cluster = cluster();
    let create = CreateTable {
        uuid: PLAIN,
        namespace: "sales".into(),
        name: "daily".into(),
        columns: vec![Field::new("n", ColumnType::Long)],
        kind: NewTable::Plain(PlainTable::default()),
    };
    cluster.run(Command::CreateTable(create)).unwrap();
    cluster
}

fn of_plain(expected: Option<&str>, pointer: &str) -> TableCommit {
    TableCommit {
        table: PLAIN,
        expected: expected.map(str::to_owned),
        pointer: pointer.into(),
        table_snapshot: Some(5),
        materialized: MaterializedChange::Keep,
        schema: None,
    }
}

fn of_topic(expected: Option<&str>, pointer: &str, steps: Vec<MaterializedStep>) -> TableCommit {
    let Command::CommitTables(mut commit) = commit(expected, pointer, steps) else {
        panic!("it is a commit");
    };
    commit.tables.remove(0)
}

#[test]
fn two_tables_move_together_or_neither_does() {
    let mut cluster = with_plain();
    let both = |plain: TableCommit, topic: TableCommit| {
        Command::CommitTables(CommitTables {
            tables: vec![plain, topic],
        })
    };
    let first = both(
        of_plain(None, "p1"),
        of_topic(None, "v1", vec![step(0, 0, 6)]),
    );
    cluster.run(first).unwrap();
    let pointers = |cluster: &Cluster| {
        [PLAIN, table(7)].map(|uuid| cluster.state.tables[&uuid].pointer.clone().unwrap())
    };
    assert_eq!(pointers(&cluster), ["p1", "v1"]);
    assert_eq!(cluster.state.tables[&PLAIN].table_snapshot, Some(5));

    // The second is refused, and the first untouched; also by what stands before it in its proposal.
    let before = cluster.state.tables.clone();
    for wrong in [
        of_topic(None, "v2", Vec::new()),
        of_topic(Some("v1"), "v2", vec![step(0, 0, 6)]),
        of_topic(Some("v1"), "v2", vec![step(0, 6, 99)]),
        of_plain(Some("p1"), "p3"),
        TableCommit {
            table: TableUuid([8; 16]),
            ..of_plain(None, "p3")
        },
    ] {
        let told = format!("{wrong:?}");
        let refused = cluster.run(both(of_plain(Some("p1"), "p2"), wrong));
        assert!(matches!(refused, Err(Refusal::Table(_))), "{told}");
        assert_eq!(cluster.state.tables, before, "{told}");
    }
    let two = vec![
        Command::CommitTables(CommitTables::one(of_plain(Some("p1"), "p2"))),
        commit(None, "v2", Vec::new()),
    ];
    assert!(matches!(
        cluster.propose(1, two),
        ProposalOutcome::Refused { command: 1, .. }
    ));
    assert_eq!(cluster.state.tables, before);
    cluster.state.check_invariants().unwrap();
}

#[test]
fn a_commit_names_some_tables_and_not_too_many() {
    let mut cluster = with_plain();
    let commit = |count: usize| {
        let tables = (0..count).map(|n| TableCommit {
            table: TableUuid::from_u128(n as u128),
            ..of_plain(None, "p")
        });
        Command::CommitTables(CommitTables {
            tables: tables.collect(),
        })
    };
    for (count, is_counted) in [
        (0, true),
        (1, false),
        (caps::COMMIT_TABLES_MAX, false),
        (caps::COMMIT_TABLES_MAX + 1, true),
    ] {
        let refused = cluster.run(commit(count)).unwrap_err();
        let is_invalid = matches!(refused, Refusal::Table(TableRefusal::TableCommitInvalid(_)));
        assert_eq!(is_invalid, is_counted, "{count}: {refused}");
    }
}

#[test]
fn a_plain_table_has_no_m_and_a_topics_may_keep_it() {
    let mut cluster = with_plain();
    let mut wrong = of_plain(None, "p1");
    wrong.materialized = MaterializedChange::Move {
        steps: vec![step(0, 0, 0)],
        hidden: Vec::new(),
    };
    let refused = cluster.run(Command::CommitTables(CommitTables::one(wrong)));
    assert!(matches!(
        refused,
        Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
    ));
    cluster
        .run(commit(None, "v1", vec![step(0, 0, 6)]))
        .unwrap();
    let mut kept = of_topic(Some("v1"), "v2", Vec::new());
    kept.materialized = MaterializedChange::Keep;
    cluster
        .run(Command::CommitTables(CommitTables::one(kept)))
        .unwrap();
    let of = cluster.of_topic(7);
    assert_eq!(of.materialized(PartitionId(0)), Offset(6));
}

/// The last ids that a state gave, or another engine.
fn ids(cluster: &Cluster, uuid: TableUuid) -> LastIds {
    let table = &cluster.state.tables[&uuid];
    LastIds {
        field: table.last_field_id,
        schema: table.schema_id,
    }
}

fn register(cluster: &mut Cluster, guid: u8, column: &str) {
    let register = RegisterSchema {
        subject: "orders-value".into(),
        guid: [guid; 16],
        format: SchemaFormat::Avro,
        text: guid.to_string(),
        columns: vec![Field::new(column, ColumnType::Int)],
        references: Vec::new(),
    };
    cluster.run(Command::RegisterSchema(register)).unwrap();
}

#[test]
fn ids_that_another_engine_gave_are_never_given_again() {
    let mut cluster = cluster();
    register(&mut cluster, 1, "a");
    let on = ids(&cluster, table(7));
    assert_eq!((on.field, on.schema), (100, 1));
    // ALTER TABLE ADD COLUMN, on the metadata that the state made so far.
    let foreign = |on: LastIds, expected: Option<&str>, pointer: &str| TableCommit {
        schema: Some(SchemaChange {
            on,
            last: LastIds {
                field: on.field + 1,
                schema: on.schema + 1,
            },
            columns: None,
        }),
        ..of_topic(expected, pointer, Vec::new())
    };
    let one = |commit: TableCommit| Command::CommitTables(CommitTables::one(commit));
    cluster.run(one(foreign(on, None, "v1"))).unwrap();
    register(&mut cluster, 2, "b");
    let table7 = cluster.state.table(topic(7)).unwrap();
    let given: Vec<FieldId> = table7.columns.iter().map(|column| column.id).collect();
    assert_eq!(given, [FieldId(100), FieldId(102)]);
    // The metadata's is 2, so what it and the state's columns make together is 3, and now 4.
    assert_eq!(table7.schema_id, 4);

    // Another one that has not seen `b`: its column would have the id of it.
    let refused = cluster.run(one(foreign(on, Some("v1"), "v2")));
    let moved = TableRefusal::SchemaMoved { table: table(7) };
    assert_eq!(refused, Err(Refusal::Table(moved)));
    let on = ids(&cluster, table(7));
    cluster.run(one(foreign(on, Some("v1"), "v2"))).unwrap();

    let on = ids(&cluster, table(7));
    for last in [
        LastIds {
            field: on.field - 1,
            ..on
        },
        LastIds {
            schema: on.schema - 1,
            ..on
        },
        LastIds {
            field: i32::MAX,
            ..on
        },
    ] {
        let mut wrong = foreign(on, Some("v2"), "v3");
        let columns = None;
        wrong.schema = Some(SchemaChange { on, last, columns });
        let refused = cluster.run(one(wrong));
        assert!(matches!(
            refused,
            Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
        ));
    }
}

#[test]
fn a_commit_may_bring_the_columns_of_a_plain_table_and_no_others() {
    let mut cluster = with_plain();
    let column = |id: i32, name: &str| Field {
        id: FieldId(id),
        ..Field::new(name, ColumnType::String)
    };
    let change = |cluster: &Cluster, uuid: TableUuid, columns: Vec<Field>| {
        let on = ids(cluster, uuid);
        Some(SchemaChange {
            on,
            last: LastIds {
                field: on.field + 1,
                schema: on.schema + 1,
            },
            columns: Some(columns),
        })
    };
    let one = |commit: TableCommit| Command::CommitTables(CommitTables::one(commit));
    for wrong in [
        vec![column(1, "n"), column(1, "twice")],
        vec![column(1, "n"), column(3, "never_given")],
        vec![column(0, "n")],
        vec![column(1, "n"), column(2, "N")],
    ] {
        let schema = change(&cluster, PLAIN, wrong);
        let refused = cluster.run(one(TableCommit {
            schema,
            ..of_plain(None, "p1")
        }));
        assert!(matches!(
            refused,
            Err(Refusal::Table(TableRefusal::InvalidColumns(_)))
        ));
    }
    let columns = vec![column(2, "note"), column(1, "n")];
    let schema = change(&cluster, PLAIN, columns.clone());
    cluster
        .run(one(TableCommit {
            schema,
            ..of_plain(None, "p1")
        }))
        .unwrap();
    assert_eq!(cluster.state.tables[&PLAIN].columns, columns);
    let schema = change(&cluster, table(7), columns);
    let refused = cluster.run(one(TableCommit {
        schema,
        ..of_topic(None, "v1", Vec::new())
    }));
    assert!(matches!(
        refused,
        Err(Refusal::Table(TableRefusal::TableCommitInvalid(_)))
    ));
}
