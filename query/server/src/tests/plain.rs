//! Tables that no topic has, beside those of topics: in the catalog, in SQL, in one commit.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use axum::http::StatusCode;
use expect_test::expect;
use serde_json::Value;
use tarn_model::{ByteSize, ColumnType, Field, TableUuid};
use tarn_replica::JointError;
use tarn_state::commands::{CreateTable, DropTable, NewTable};
use tarn_state::{Command, PlainTable, Refusal, SqlView, TableRefusal};
use tarn_tables::{Append, Catalog, Committer, FileWriter, Prepared};

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
        let catalog = Catalog::new(&self.node, ByteSize::mib(1));
        let view = self.node.metastore.view();
        let table = &view.tables[&table];
        let loaded = catalog.load(table).await.expect("it loads");
        let base_url = self.node.store.base_url();
        let uuid = self.node.runtime.random().uuid();
        let mut writer = FileWriter::new(&loaded, base_url, uuid, 1 << 20).expect("it is ours");
        if !rows.is_empty() {
            let n: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
            let rows = RecordBatch::try_from_iter([("n", n)]).expect("one column");
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
    assert!(answer.contains("sales.top, which is a view"), "{answer}");
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
