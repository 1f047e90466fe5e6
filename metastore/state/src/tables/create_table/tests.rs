use super::*;
use crate::Command;
use crate::commands::{CommitTables, DeleteTopic, DropTable, MaterializedChange, TableCommit};
use crate::harness::{Cluster, commit, table, topic};
use std::collections::BTreeMap;
use tarn_model::{ColumnType, FieldId};

fn plain(id: u128, namespace: &str, name: &str) -> CreateTable {
    CreateTable {
        uuid: TableUuid::from_u128(id),
        namespace: namespace.into(),
        name: name.into(),
        columns: vec![Field::new("n", ColumnType::Long)],
        kind: NewTable::Plain(PlainTable::default()),
    }
}

fn create(cluster: &mut Cluster, table: CreateTable) -> Result<Outcome, Refusal> {
    cluster.run(Command::CreateTable(table))
}

fn view(sql: &str) -> NewTable {
    NewTable::View(SqlView {
        sql: sql.into(),
        properties: BTreeMap::new(),
    })
}

#[test]
fn columns_get_their_ids_and_stay_required() {
    let mut cluster = Cluster::one();
    let mut daily = plain(1, "sales", "daily");
    daily.columns = vec![
        Field::new("day", ColumnType::Date).required(),
        Field::new(
            "lines",
            ColumnType::list(ColumnType::Struct(vec![
                Field::new("sku", ColumnType::String).required(),
                Field::new("n", ColumnType::Int),
            ])),
        ),
        Field::new("tags", ColumnType::map(ColumnType::String, ColumnType::Int)),
    ];
    create(&mut cluster, daily).unwrap();
    let table = cluster.state.table_named("sales", "daily").unwrap();
    let ids: Vec<FieldId> = table.columns.iter().map(|column| column.id).collect();
    assert_eq!(ids, [FieldId(1), FieldId(2), FieldId(6)]);
    assert_eq!((table.last_field_id, table.schema_id), (8, 0));
    let nullable: Vec<bool> = table.columns.iter().map(|column| column.nullable).collect();
    assert_eq!(nullable, [false, true, true]);
    assert_eq!(table.created, cluster.now());
    cluster.state.check_invariants().unwrap();
}

#[test]
fn a_name_is_taken_once_and_free_again() {
    let mut cluster = Cluster::with_topic("orders", 1);
    create(&mut cluster, plain(1, "sales", "daily")).unwrap();
    create(&mut cluster, plain(2, "Sales", "daily")).unwrap();
    create(&mut cluster, plain(3, "sales", "Daily")).unwrap();
    let mut other = plain(4, "sales", "daily");
    other.kind = view("SELECT 1");
    // The name, and the uuid of a late copy.
    for table in [other, plain(1, "sales", "free")] {
        let refused = create(&mut cluster, table);
        assert!(matches!(
            refused,
            Err(Refusal::Table(TableRefusal::TableExists { .. }))
        ));
    }
    let alike = cluster.state.tables_alike("sales", "DAILY");
    let alike: Vec<&str> = alike.map(|table| table.name.as_str()).collect();
    assert_eq!(alike, ["Daily", "daily"]);
    let namespaces: Vec<&str> = cluster.state.table_namespaces().collect();
    assert_eq!(namespaces, ["Sales", "events", "sales"]);

    let drop = |id: u128| {
        let uuid = TableUuid::from_u128(id);
        Command::DropTable(DropTable { uuid })
    };
    cluster.run(drop(1)).unwrap();
    let gone = Refusal::Table(TableRefusal::NoSuchTable(TableUuid::from_u128(1)));
    assert_eq!(cluster.run(drop(1)), Err(gone));
    create(&mut cluster, plain(5, "sales", "daily")).unwrap();
    for id in [2, 3, 5] {
        cluster.run(drop(id)).unwrap();
    }
    let namespaces: Vec<&str> = cluster.state.table_namespaces().collect();
    assert_eq!(namespaces, ["events"]);
    cluster.state.check_invariants().unwrap();
}

#[test]
fn a_topics_table_goes_with_its_topic_and_what_it_left_may_be_dropped() {
    let mut cluster = Cluster::with_topic("orders", 1);
    cluster.run(commit(7, None, "v1", Vec::new())).unwrap();
    let drop = || Command::DropTable(DropTable { uuid: table(7) });
    let belongs = Refusal::Table(TableRefusal::BelongsToTopic(topic(7)));
    assert_eq!(cluster.run(drop()), Err(belongs));
    cluster
        .run(Command::DeleteTopic(DeleteTopic { id: topic(7) }))
        .unwrap();
    cluster.run(drop()).unwrap();
    assert!(cluster.state.tables.is_empty() && cluster.state.detached_tables.is_empty());
    cluster.state.check_invariants().unwrap();
}

#[test]
fn names_and_columns_that_cannot_be_are_refused() {
    let mut cluster = Cluster::one();
    for (namespace, name) in [
        ("system", "x"),
        ("events", "x"),
        ("a.b", "x"),
        ("", "x"),
        ("sales", ""),
        ("sales", "x$hot"),
        ("sales", &"x".repeat(250)),
    ] {
        let refused = create(&mut cluster, plain(1, namespace, name));
        assert!(
            matches!(
                refused,
                Err(Refusal::Table(TableRefusal::InvalidTableName { .. }))
            ),
            "{namespace}.{name}: {refused:?}"
        );
    }
    let field = |name: &str, kind| Field::new(name, kind);
    let inner = ColumnType::Struct(vec![
        field("a", ColumnType::Int),
        field("A", ColumnType::Int),
    ]);
    let deep = (0..40).fold(ColumnType::Int, |kind, _| ColumnType::list(kind));
    let many = (0..=caps::SCHEMA_COLUMNS_MAX).map(|n| field(&n.to_string(), ColumnType::Int));
    for columns in [
        vec![field("a", ColumnType::Int), field("a", ColumnType::Int)],
        vec![field("", ColumnType::Int)],
        vec![field("s", inner)],
        vec![field("deep", deep)],
        many.collect(),
    ] {
        let mut table = plain(1, "sales", "daily");
        table.columns = columns;
        let refused = create(&mut cluster, table);
        assert!(
            matches!(
                refused,
                Err(Refusal::Table(TableRefusal::InvalidColumns(_)))
            ),
            "{refused:?}"
        );
    }
    assert!(cluster.state.tables.is_empty());
}

#[test]
fn what_is_too_long_or_too_much_is_refused() {
    let mut cluster = Cluster::one();
    let long = |bytes: usize| "x".repeat(bytes);
    let located = |location: String, property: String| {
        NewTable::Plain(PlainTable {
            location: Some(location),
            properties: BTreeMap::from([("k".to_owned(), property)]),
        })
    };
    let properties = caps::TABLE_PROPERTIES_BYTES_MAX;
    for (kind, is_refused) in [
        (
            located(long(caps::NAME_BYTES_MAX), long(properties - 1)),
            false,
        ),
        (located(long(caps::NAME_BYTES_MAX + 1), String::new()), true),
        (located(String::new(), long(properties)), true),
        (view(&long(caps::VIEW_BYTES_MAX + 1)), true),
    ] {
        let mut table = plain(1, "sales", "daily");
        table.kind = kind;
        let refused = create(&mut cluster, table);
        assert_eq!(
            matches!(refused, Err(Refusal::TooLong { .. })),
            is_refused,
            "{refused:?}"
        );
    }
    let mut documented = plain(2, "sales", "documented");
    documented.columns[0].doc = Some(long(caps::SCHEMA_BYTES_MAX));
    let refused = create(&mut cluster, documented);
    assert!(matches!(refused, Err(Refusal::TooLong { .. })));
    for n in 1..caps::NAMESPACES_MAX as u128 {
        create(&mut cluster, plain(n + 1, &format!("n{n}"), "x")).unwrap();
    }
    let refused = create(&mut cluster, plain(9_999, "one_more", "x"));
    assert!(matches!(refused, Err(Refusal::Full { .. })), "{refused:?}");
    create(&mut cluster, plain(9_999, "n1", "y")).unwrap();
}

#[test]
fn nothing_is_committed_to_a_view() {
    let mut cluster = Cluster::one();
    let mut table = plain(1, "sales", "top");
    table.kind = view("SELECT * FROM events.orders");
    create(&mut cluster, table).unwrap();
    let commit = TableCommit {
        table: TableUuid::from_u128(1),
        expected: None,
        pointer: "p".into(),
        table_snapshot: None,
        materialized: MaterializedChange::Keep,
        schema: None,
    };
    let refused = cluster.run(Command::CommitTables(CommitTables::one(commit)));
    assert!(matches!(
        refused,
        Err(Refusal::Table(TableRefusal::NoSuchTable(_)))
    ));
}
