//! Tables that no topic has, beside those of topics: in the catalog, in SQL, in one commit.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use axum::http::StatusCode;
use expect_test::expect;
use serde_json::{Value, json};
use tarn_model::{ByteSize, ColumnType, Field, TableUuid};
use tarn_replica::JointError;
use tarn_state::commands::{
    CommitTables, CreateTable, DropTable, MaterializedChange, NewTable, TableCommit,
};
use tarn_state::{Command, PlainTable, Refusal, SqlView, TableRefusal};
use tarn_tables::{Append, Catalog, Committer, FileWriter, Prepared, schema_change};

use super::{CLICKS, Fixture, soon};

const DAILY: TableUuid = TableUuid([3; 16]);

fn create(uuid: TableUuid, name: &str, kind: NewTable) -> Command {
    Command::CreateTable(CreateTable {
        uuid,
        namespace: "sales".to_owned(),
        name: name.to_owned(),
        columns: vec![
            Field::new("n", ColumnType::Long).required(),
            // In the table of a topic it would be ours.
            Field::new("_offset", ColumnType::String),
        ],
        kind,
    })
}

fn plain() -> NewTable {
    let properties = [("owner".to_owned(), "me".to_owned())];
    NewTable::Plain(PlainTable {
        location: None,
        properties: properties.into(),
    })
}

impl Fixture {
    async fn propose(&self, command: Command) {
        let proposed = self.node.metastore.propose(vec![command], soon()).await;
        proposed.expect("it is taken");
    }

    /// A commit of these rows to a table as it is now; none moves nothing but the pointer.
    async fn prepared(&self, table: TableUuid, rows: &[i64]) -> Prepared {
        let n: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
        let rows = RecordBatch::try_from_iter([("n", n)]).expect("one column");
        self.prepared_rows(table, rows).await
    }

    async fn prepared_rows(&self, table: TableUuid, rows: RecordBatch) -> Prepared {
        let catalog = Catalog::new(&self.node, ByteSize::mib(1));
        let view = self.node.metastore.view();
        let table = &view.tables[&table];
        let loaded = catalog.load(table).await.expect("it loads");
        let base_url = self.node.store.base_url();
        let uuid = self.node.runtime.random().uuid();
        let mut writer = FileWriter::new(&loaded, base_url, uuid, 1 << 20).expect("it is ours");
        if rows.num_rows() > 0 {
            writer.add(vec![rows]).expect("rows of the table");
        }
        let mut files = Vec::new();
        for file in writer.finish().expect("a file") {
            let put = self.node.store.put_if_absent(&file.path, file.bytes).await;
            put.expect("memory takes it");
            files.push(file.file);
        }
        let append = Append {
            table: Arc::clone(table),
            loaded,
            time: view.cluster_time,
            files,
            steps: Vec::new(),
            hidden: Vec::new(),
        };
        let committer = Committer::new(&self.node, &catalog);
        committer.prepare(append).await.expect("it is written")
    }

    /// As another engine's `ALTER TABLE` does it: these columns in a new schema, the same snapshot.
    async fn change_elsewhere(&self, table: TableUuid, columns: Value) {
        let view = self.node.metastore.view();
        let table = &view.tables[&table];
        let catalog = Catalog::new(&self.node, ByteSize::mib(1));
        let loaded = catalog.load(table).await.expect("it loads");
        let mut json = loaded.metadata_json(true);
        json["last-updated-ms"] = json!(loaded.metadata().last_updated_ms() + 1);
        let id = json["schemas"].as_array().expect("schemas").len();
        let mut schema = json["schemas"][0].clone();
        schema["schema-id"] = json!(id);
        schema["fields"] = columns;
        json["schemas"]
            .as_array_mut()
            .expect("schemas")
            .push(schema);
        json["current-schema-id"] = json!(id);
        json["last-column-id"] = json!(20);
        let pointer = format!(
            "{}/metadata/elsewhere-{id}.metadata.json",
            loaded.location()
        );
        let output = loaded.file_io().new_output(&pointer).expect("a path");
        let bytes = serde_json::to_vec(&json).expect("JSON");
        let metadata = serde_json::from_slice(&bytes).expect("Iceberg's metadata");
        output.write(bytes.into()).await.expect("it is written");
        let commit = TableCommit {
            table: table.uuid,
            expected: table.pointer.clone(),
            pointer,
            table_snapshot: table.table_snapshot,
            materialized: MaterializedChange::Keep,
            schema: schema_change(table, &metadata),
        };
        let commit = CommitTables::one(commit);
        self.propose(Command::CommitTables(commit)).await;
    }

    async fn rows_of(&self, sql: &str) -> String {
        let answer = self.query(sql).await;
        let answer = answer.strip_prefix("200 ").expect(&answer);
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        answer["rows"].to_string()
    }
}

#[tokio::test]
async fn a_plain_table_is_listed_loaded_and_queried_beside_those_of_topics() {
    let fixture = Fixture::new().await;
    fixture.propose(create(DAILY, "Daily", plain())).await;
    let list = "/catalog/v1/namespaces";
    let all = expect![[r#"200 {"namespaces":[["events"],["sales"]]}"#]];
    fixture.check("GET", list, all).await;
    let tables = "/catalog/v1/namespaces/sales/tables";
    let listed = expect![[r#"200 {"identifiers":[{"name":"Daily","namespace":["sales"]}]}"#]];
    fixture.check("GET", tables, listed).await;
    assert_eq!(
        fixture.rows_of("SELECT count(*) FROM sales.daily").await,
        "[[0]]"
    );

    fixture.produce(&["a", "b", "c"]).await;
    let prepared = fixture.prepared(DAILY, &[1, 41]).await;
    let landed = fixture.node.metastore.commit(&[&prepared], soon()).await;
    landed.expect("nobody else writes");
    let (status, _, body) = fixture.get(&format!("{tables}/Daily")).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let view = fixture.node.metastore.view();
    let table = &view.tables[&DAILY];
    assert_eq!(body["metadata-location"].as_str(), table.pointer.as_deref());
    let metadata: iceberg::spec::TableMetadata =
        serde_json::from_value(body["metadata"].clone()).expect("Iceberg's metadata");
    let schema = metadata.current_schema();
    let names = schema.as_struct().fields().iter();
    let names: Vec<(i32, &str, bool)> = names
        .map(|field| (field.id, field.name.as_str(), field.required))
        .collect();
    assert_eq!(names, [(1, "n", true), (2, "_offset", false)]);
    assert!(metadata.default_partition_spec().is_unpartitioned());
    assert_eq!(metadata.properties()["owner"], "me");
    let summary = &metadata.current_snapshot().expect("a commit").summary();
    let properties = &summary.additional_properties;
    assert_eq!(properties["total-records"], "2");
    assert!(!properties.contains_key("tarn.materialized-offsets"));

    // Filters on a name that topics' tables have are of its own column.
    for (sql, rows) in [
        ("SELECT sum(n), count(_offset) FROM sales.daily", "[[42,0]]"),
        ("SELECT n FROM sales.\"Daily\" WHERE n > 1", "[[41]]"),
        (
            "SELECT count(*) FROM sales.daily WHERE _offset = '7' OR n = 1",
            "[[1]]",
        ),
        (
            "SELECT count(*) FROM sales.daily d CROSS JOIN events.clicks c WHERE d.n > c._offset",
            "[[4]]",
        ),
        (
            "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema IN ('events', 'sales') ORDER BY 1",
            r#"[["events","clicks","BASE TABLE"],["sales","Daily","BASE TABLE"]]"#,
        ),
        (
            "SELECT namespace, name, topic, typed, rows, event_time FROM system.tables ORDER BY 1",
            r#"[["events","clicks","clicks",false,0,"_timestamp"],["sales","Daily",null,null,null,null]]"#,
        ),
        (
            "SELECT \"column\", field_id, payload_field FROM system.columns WHERE namespace = 'sales' ORDER BY 2",
            r#"[["n",1,null],["_offset",2,null]]"#,
        ),
    ] {
        assert_eq!(fixture.rows_of(sql).await, rows, "{sql}");
    }
    // It has no hot half.
    let answer = fixture.query("SELECT * FROM sales.\"Daily$hot\"").await;
    assert!(answer.starts_with("404 "), "{answer}");
    fixture
        .propose(Command::DropTable(DropTable { uuid: DAILY }))
        .await;
    let gone = expect![[
        r#"404 {"error":{"code":404,"message":"Namespace does not exist: sales","type":"NoSuchNamespaceException"}}"#
    ]];
    fixture.check("GET", tables, gone).await;
    fixture.node.drain().await;
}

#[tokio::test]
async fn columns_of_another_engine_are_seen_in_a_plain_table() {
    let fixture = Fixture::new().await;
    fixture.propose(create(DAILY, "daily", plain())).await;
    let landed = fixture.prepared(DAILY, &[1]).await;
    let landed = fixture.node.metastore.commit(&[&landed], soon()).await;
    landed.expect("nobody else writes");
    // The first is known, the second one was renamed, the third has a type that is none of ours.
    let columns = json!([
        { "id": 1, "name": "n", "required": false, "type": "long" },
        { "id": 2, "name": "note", "required": false, "type": "string" },
        { "id": 10, "name": "clock", "required": false, "type": "time" },
        { "id": 11, "name": "theirs", "required": false, "type": "decimal(9, 2)", "doc": "of theirs" },
        { "id": 12, "name": "place", "required": false, "type": { "type": "struct", "fields": [
            { "id": 13, "name": "lat", "required": false, "type": "double" },
            { "id": 14, "name": "at", "required": false, "type": "time" },
        ] } },
        { "id": 15, "name": "tags", "required": false, "type": {
            "type": "list", "element-id": 16, "element": "string", "element-required": false
        } },
    ]);
    fixture.change_elsewhere(DAILY, columns).await;
    expect![[r#"[["n","bigint","YES"],["note","varchar","YES"],["theirs","decimal(9,2)","YES"],["place","struct<lat:double>","YES"],["tags","array<varchar>","YES"]]"#]].assert_eq(&fixture.rows_of("DESCRIBE sales.daily").await);
    let old = "SELECT n, note, theirs, place, tags FROM sales.daily";
    assert_eq!(fixture.rows_of(old).await, "[[1,null,null,null,null]]");

    // Rows with them, and over a commit of ours.
    let n: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let note: ArrayRef = Arc::new(StringArray::from(vec!["new"]));
    let theirs = Decimal128Array::from(vec![250]).with_precision_and_scale(9, 2);
    let theirs: ArrayRef = Arc::new(theirs.expect("it fits"));
    let rows = RecordBatch::try_from_iter([("n", n), ("note", note), ("theirs", theirs)]);
    let prepared = fixture.prepared_rows(DAILY, rows.expect("a row")).await;
    let landed = fixture.node.metastore.commit(&[&prepared], soon()).await;
    landed.expect("nobody else writes");
    let both = "SELECT n, note, theirs FROM sales.daily WHERE theirs > 2 OR n = 1 ORDER BY n";
    assert_eq!(
        fixture.rows_of(both).await,
        r#"[[1,null,null],[2,"new",2.50]]"#
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_view_keeps_its_text_and_is_told_from_a_table() {
    let fixture = Fixture::new().await;
    let sql = "SELECT 1 AS n";
    let kind = NewTable::View(SqlView {
        sql: sql.to_owned(),
        properties: Default::default(),
    });
    fixture.propose(create(DAILY, "top", kind)).await;
    let types =
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'sales'";
    assert_eq!(fixture.rows_of(types).await, r#"[["top","VIEW"]]"#);
    let answer = fixture.query("SELECT * FROM sales.top").await;
    assert!(answer.contains("TARN-"), "{answer}");
    assert!(
        answer.contains("sales.top is a view: views cannot be queried yet"),
        "{answer}"
    );
    let tables = "/catalog/v1/namespaces/sales/tables";
    let none = expect![[r#"200 {"identifiers":[]}"#]];
    fixture.check("GET", tables, none).await;
    let view = fixture.node.metastore.view();
    let kept = format!("{:?}", view.tables[&DAILY].kind);
    assert!(kept.contains(sql), "{kept}");
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_topics_table_and_a_plain_one_are_committed_together_or_not_at_all() {
    let fixture = Fixture::new().await;
    fixture.propose(create(DAILY, "daily", plain())).await;
    let clicks = fixture.node.metastore.view();
    let clicks = clicks.table(CLICKS).expect("a table").uuid;
    let pointers = || {
        let view = fixture.node.metastore.view();
        [DAILY, clicks].map(|uuid| view.tables[&uuid].pointer.clone())
    };
    let first = [
        fixture.prepared(DAILY, &[1]).await,
        fixture.prepared(clicks, &[]).await,
    ];
    // On the same view: by the time that it is proposed the topic's table has moved.
    let late = fixture.prepared(clicks, &[]).await;
    let [plain, topic] = &first;
    let landed = fixture.node.metastore.commit(&[plain, topic], soon()).await;
    landed.expect("both tables are as they were");
    let both = pointers();
    assert!(both.iter().all(Option::is_some));

    let second = fixture.prepared(DAILY, &[2]).await;
    let refused = fixture
        .node
        .metastore
        .commit(&[&second, &late], soon())
        .await;
    assert!(
        matches!(
            &refused,
            Err(JointError::Refused {
                part: 1,
                refusal: Refusal::Table(TableRefusal::PointerMoved { table, .. }),
            }) if *table == clicks
        ),
        "{refused:?}"
    );
    assert_eq!(pointers(), both);
    assert_eq!(
        fixture.rows_of("SELECT sum(n) FROM sales.daily").await,
        "[[1]]"
    );
    fixture.node.drain().await;
}
