//! Requests to the router of a real node in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use expect_test::{Expect, expect};
use futures::StreamExt;
use serde_json::Value;
use tarn_commit_log::MemoryLog;
use tarn_compactor::{CompactorSettings, MaterializerHandle};
use tarn_engine::{Engine, EngineSettings};
use tarn_hot::{HotSettings, HotTier};
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{ByteSize, ColumnType, Field, PartitionId, SchemaFormat, TableUuid, TopicId};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::Runtime;
use tarn_state::Command;
use tarn_state::commands::{CreateTopic, RegisterSchema, ReportTable};
use tarn_state::topic_configs::Defaults;
use tarn_store::Store;
use tarn_tables::Catalog;
use tarn_topics::{NewBatch, Writer, WriterSettings};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::{Places, home, router};

mod catalog;
mod parameters;
mod plain;
mod vanish;

const CLICKS: TopicId = TopicId([7; 16]);

struct Fixture {
    node: Node,
    router: Router,
    writer: Writer,
    compactor: MaterializerHandle,
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Fixture {
    async fn new() -> Fixture {
        Fixture::with(EngineSettings::default()).await
    }

    async fn with(settings: EngineSettings) -> Fixture {
        let runtime = Runtime::real();
        let parts = Parts {
            runtime: runtime.clone(),
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
        };
        // Nothing becomes a table by itself.
        let opened_with = NodeSettings {
            defaults: Defaults::tables_every(Duration::from_secs(1_000_000)),
            ..NodeSettings::default()
        };
        let node = Node::open(opened_with, parts, runtime.root_scope("test"));
        let node = node.await.expect("a node in memory opens");
        let create = CreateTopic {
            id: CLICKS,
            name: "clicks".to_owned(),
            partitions: 1,
            configs: BTreeMap::new(),
            table: TableUuid([9; 16]),
        };
        node.metastore
            .propose(vec![Command::CreateTopic(create)], soon())
            .await
            .expect("the topic is new");
        let hot = HotTier::start(
            &node,
            HotSettings {
                bytes: ByteSize::mib(8),
            },
        );
        let tables = Catalog::new(&node, ByteSize::mib(8));
        let engine = Engine::start(&node, &tables, hot, settings);
        let places = Places {
            kafka: "127.0.0.1:9092".to_owned(),
            registry: "http://127.0.0.1:8081".to_owned(),
            http: "http://127.0.0.1:8080".to_owned(),
        };
        Fixture {
            writer: Writer::start(&node, WriterSettings::local()),
            compactor: tarn_compactor::start_materializer(
                &node,
                &tables,
                CompactorSettings::default(),
            ),
            router: router(&node, engine).merge(home(&node, places)),
            node,
        }
    }

    /// Another topic, whose id and table are this number and a hundred, so many times.
    async fn create(&self, n: usize, name: &str) {
        self.create_with(n, name, 1).await;
    }

    async fn create_with(&self, n: usize, name: &str, partitions: i32) {
        let id = [u8::try_from(100 + n).expect("few topics"); 16];
        let create = CreateTopic {
            id: TopicId(id),
            name: name.to_owned(),
            partitions,
            configs: BTreeMap::new(),
            table: TableUuid(id),
        };
        let command = Command::CreateTopic(create);
        let proposed = self.node.metastore.propose(vec![command], soon()).await;
        proposed.expect("the topic is new");
    }

    async fn produce(&self, values: &[&str]) {
        let mut builder = BatchBuilder::new(Compression::None);
        for value in values {
            builder
                .push(4_102_444_800_000, None, Some(value.as_bytes()), &[])
                .expect("small");
        }
        let batch = builder.build().expect("a batch");
        let permit = self.node.budget.acquire(1 << 10).await.expect("small");
        let batch = NewBatch {
            topic: CLICKS,
            partition: PartitionId(0),
            batch,
        };
        for result in self.writer.append(vec![batch], permit, soon()).await {
            result.expect("a batch is appended");
        }
    }

    /// Registers a schema whose one field `n` is of this type for the topic.
    async fn register(&self, kind: ColumnType) {
        let register = RegisterSchema {
            subject: "clicks-value".to_owned(),
            guid: [if kind == ColumnType::Int { 1 } else { 2 }; 16],
            format: SchemaFormat::Avro,
            text: format!("{kind:?}"),
            columns: vec![Field::new("n", kind)],
            references: Vec::new(),
        };
        let command = Command::RegisterSchema(register);
        self.node
            .metastore
            .propose(vec![command], soon())
            .await
            .expect("it is legal");
    }

    async fn materialize(&self) {
        self.compactor
            .materialize_now(CLICKS)
            .await
            .expect("the table is written");
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        let router = self.router.clone();
        router
            .oneshot(request)
            .await
            .expect("a router does not fail")
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.ask(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("the body is whole");
        (
            status,
            headers,
            String::from_utf8(body.to_vec()).expect("it is text"),
        )
    }

    async fn sql(&self, body: impl Into<Body>) -> (StatusCode, HeaderMap, String) {
        self.send(
            Request::post("/v1/sql")
                .body(body.into())
                .expect("a request"),
        )
        .await
    }

    async fn query(&self, sql: &str) -> String {
        let (status, _, body) = self
            .sql(serde_json::json!({ "query": sql }).to_string())
            .await;
        format!("{} {body}", status.as_u16())
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        self.send(Request::get(path).body(Body::empty()).expect("a request"))
            .await
    }

    async fn check(&self, method: &str, path: &str, expected: Expect) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .expect("a request");
        let (status, _, body) = self.send(request).await;
        expected.assert_eq(&format!("{} {body}", status.as_u16()));
    }
}

#[tokio::test]
async fn an_answer_does_not_grow_with_the_partitions_of_its_tables() {
    let fixture = Fixture::new().await;
    fixture.create_with(0, "few", 100).await;
    fixture.create_with(1, "many", 5_000).await;
    let answer = fixture.query("SELECT count(*) FROM few, many").await;
    let answer: Value =
        serde_json::from_str(answer.strip_prefix("200 ").expect("it is answered")).expect("JSON");
    let told = |topic: &str, key: &str| answer["cut"]["topics"][topic][key].clone();
    assert_eq!(told("few", "partition_count"), 100);
    assert_eq!(
        told("few", "partitions").as_array().map(Vec::len),
        Some(100)
    );
    assert_eq!(told("many", "partition_count"), 5_000);
    assert_eq!(told("many", "partitions"), serde_json::json!([]));
    fixture.node.drain().await;
}

#[tokio::test]
async fn rows_come_as_json_with_the_cut_they_were_read_at() {
    let fixture = Fixture::new().await;
    fixture.produce(&["{\"a\": 1}", "two"]).await;
    let answer = fixture.query("SELECT _offset, json(_value) AS v, _value, _timestamp, 1.5 AS d FROM clicks ORDER BY 1").await;
    let (body, cut) = answer.split_once(",\"cut\":").expect("there is a cut");
    expect![[r#"200 {"columns":[{"name":"_offset","type":"bigint"},{"name":"v","type":"varchar"},{"name":"_value","type":"binary"},{"name":"_timestamp","type":"timestamptz"},{"name":"d","type":"decimal(2,1)"}],"rows":[[0,"{\"a\": 1}","eyJhIjogMX0=","2100-01-01T00:00:00.000000Z",1.5],[1,"two","dHdv","2100-01-01T00:00:00.000000Z",1.5]]"#]].assert_eq(body);
    let cut: Value = serde_json::from_str(cut.strip_suffix('}').expect("the end")).expect("JSON");
    assert_eq!(
        cut["topics"].to_string(),
        r#"{"clicks":{"partition_count":1,"partitions":[{"h":2,"m":0,"partition":0}],"snapshot":null}}"#
    );
    assert!(
        cut["lsn"].as_str().is_some_and(|lsn| lsn.starts_with("1-")),
        "{cut}"
    );

    fixture.materialize().await;
    let answer = fixture.query("SELECT count(*) FROM clicks").await;
    let answer: Value =
        serde_json::from_str(answer.strip_prefix("200 ").expect("it is answered")).expect("JSON");
    assert_eq!(answer["rows"].to_string(), "[[2]]");
    assert!(
        answer["cut"]["topics"]["clicks"]["snapshot"].is_string(),
        "{answer}"
    );
    assert_eq!(answer["cut"]["topics"]["clicks"]["partitions"][0]["m"], 2);
    let answer = fixture.query("SELECT 1 WHERE false").await;
    assert!(
        answer.starts_with(
            r#"200 {"columns":[{"name":"?column?","type":"bigint"}],"rows":[],"cut":"#
        ),
        "{answer}"
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_failure_is_a_problem_with_its_code() {
    let fixture = Fixture::with(EngineSettings {
        row_limit: 3,
        ..EngineSettings::default()
    })
    .await;
    let (_, headers, _) = fixture.sql("{").await;
    assert_eq!(headers["content-type"], "application/problem+json");
    let mut said = String::new();
    for body in [
        "{",
        r#"{"sql": "SELECT 1"}"#,
        r#"{"query": "SELECT\n FORM x y z"}"#,
        r#"{"query": "SELECT 1/0"}"#,
        r#"{"query": "SELECT * FROM nothing"}"#,
        r#"{"query": "DROP TABLE clicks"}"#,
        r#"{"query": "SELECT * FROM generate_series(1, 4)"}"#,
    ] {
        let (status, _, answer) = fixture.sql(body).await;
        said += &format!("{body}\n    {} {answer}\n", status.as_u16());
    }
    expect![[r#"
        {
            400 {"code":"TARN-1200","detail":"the body is not the JSON expected: EOF while parsing an object at line 1 column 1","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"sql": "SELECT 1"}
            400 {"code":"TARN-1200","detail":"the body is not the JSON expected: missing field `query` at line 1 column 19","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT\n FORM x y z"}
            400 {"code":"TARN-1201","detail":"Expected: end of statement, found: y","position":{"column":9,"line":2},"status":400,"title":"Not SQL","type":"urn:tarn:error:TARN-1201"}
        {"query": "SELECT 1/0"}
            400 {"code":"TARN-1202","detail":"Divide by zero error","status":400,"title":"Wrong SQL","type":"urn:tarn:error:TARN-1202"}
        {"query": "SELECT * FROM nothing"}
            404 {"code":"TARN-1203","detail":"there is no table events.nothing","hint":"SHOW TABLES lists them; names with upper case, dots or dashes stand in double quotes","status":404,"title":"No such table","type":"urn:tarn:error:TARN-1203"}
        {"query": "DROP TABLE clicks"}
            400 {"code":"TARN-1204","detail":"DROP is not possible: SQL reads here; SELECT, EXPLAIN, SHOW TABLES and DESCRIBE are","status":400,"title":"Not supported","type":"urn:tarn:error:TARN-1204"}
        {"query": "SELECT * FROM generate_series(1, 4)"}
            413 {"code":"TARN-1207","detail":"the answer has more than 3 rows, the limit; select fewer or aggregate","hint":"aggregate, add a LIMIT, or raise the setting sql.row_limit","status":413,"title":"Row limit","type":"urn:tarn:error:TARN-1207"}
    "#]].assert_eq(&said);
    let (status, _, answer) = fixture.sql(" ".repeat((1 << 20) + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
    let (status, ..) = fixture.get("/v1/sql").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_large_answer_is_streamed_and_whole() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .query("SELECT value, repeat('x', 100) FROM generate_series(1, 200000)")
        .await;
    let answer = answer.strip_prefix("200 ").expect("it is answered");
    assert!(answer.len() > 20_000_000);
    let answer: Value = serde_json::from_str(answer).expect("it is whole");
    let rows = answer["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 200_000);
    assert!(answer["cut"]["lsn"].is_string());
    fixture.node.drain().await;
}

/// What a client leaves lying is given up when its query's time is over; until then it costs a place.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_gone_with_its_query() {
    let fixture = Fixture::with(EngineSettings {
        time_limit: Duration::from_secs(5),
        queries_at_once: 1,
        ..EngineSettings::default()
    })
    .await;
    // Less than what is made before the status is sent.
    let body = r#"{"query": "SELECT repeat('x', 1000) FROM generate_series(1, 1000)"}"#;
    let unread = fixture.ask(
        Request::post("/v1/sql")
            .body(Body::from(body))
            .expect("a request"),
    );
    let unread = unread.await;
    assert_eq!(unread.status(), StatusCode::OK);
    let length = unread.headers()["content-length"].to_str().expect("text");
    assert!(length.parse::<usize>().expect("a number") > 1_000_000);
    let next = async {
        // A query that waited in vain for the place may be told so.
        while !fixture.query("SELECT 1").await.starts_with("200 ") {}
    };
    timeout(Duration::from_secs(120), next)
        .await
        .expect("the place is free again");
    assert!(to_bytes(unread.into_body(), usize::MAX).await.is_err());
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_query_ends_with_the_client_that_asked() {
    let fixture = Fixture::with(EngineSettings {
        time_limit: Duration::from_secs(600),
        queries_at_once: 1,
        ..EngineSettings::default()
    })
    .await;
    // More than what is made before the status is sent, and then nothing for a very long time.
    let query = "SELECT repeat('x', 1000) FROM generate_series(1, 4300) \
         UNION ALL SELECT '' FROM generate_series(1, 1000000000000) WHERE value < 0";
    let body = serde_json::json!({ "query": query }).to_string();
    let request = Request::post("/v1/sql").body(Body::from(body));
    let response = fixture.ask(request.expect("a request")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut answer = response.into_body().into_data_stream();
    let mut read = 0;
    while read < 4_290_000 {
        let chunk = answer.next().await.expect("there is more");
        read += chunk.expect("it does not fail").len();
    }
    drop(answer);
    let next = timeout(Duration::from_secs(60), fixture.query("SELECT 1")).await;
    let next = next.expect("the place is free again");
    assert!(next.starts_with("200 "), "{next}");
    fixture.node.drain().await;
}

/// It runs in a task of its own, which must end when nobody waits for it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_when_its_client_goes_before_the_first_row() {
    let fixture = Fixture::with(EngineSettings {
        time_limit: Duration::from_secs(600),
        queries_at_once: 1,
        ..EngineSettings::default()
    })
    .await;
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value < 0";
    let client = fixture.query(endless);
    let gone = timeout(Duration::from_secs(1), client).await;
    assert!(gone.is_err(), "it cannot have ended: {gone:?}");
    // Its place is free, long before its time limit.
    let next = timeout(Duration::from_secs(60), fixture.query("SELECT 1")).await;
    assert!(next.is_ok_and(|answer| answer.starts_with("200 ")));
    fixture.node.drain().await;
}

/// Half past midnight in Oslo is a day and an hour of its own there; as PostgreSQL 15 answers after
/// `SET TIME ZONE`.
#[tokio::test]
async fn a_request_brings_its_time_zone() {
    let fixture = Fixture::new().await;
    let rows = async |zone: &str| {
        let sql = "SELECT '2024-07-15 01:30'::timestamptz, timestamptz '2024-07-15 22:30Z'::date, \
                   date_trunc('day', timestamptz '2024-07-15 22:30Z'), \
                   extract(hour FROM timestamptz '2024-07-15 22:30Z'), \
                   timestamptz '2024-07-15 22:30Z'::text, \
                   timestamptz '2024-07-15 22:30Z' > timestamp '2024-07-16 00:00'";
        let body = serde_json::json!({ "query": sql, "time_zone": zone });
        let (_, _, answer) = fixture.sql(body.to_string()).await;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        match answer["detail"].as_str() {
            Some(detail) => detail.to_owned(),
            None => answer["rows"].to_string(),
        }
    };
    expect![[r#"[["2024-07-15T01:30:00.000000Z","2024-07-15","2024-07-15T00:00:00.000000Z",22,"2024-07-15 22:30:00+00",false]]"#]]
        .assert_eq(&rows("UTC").await);
    expect![[r#"[["2024-07-14T23:30:00.000000Z","2024-07-16","2024-07-15T22:00:00.000000Z",0,"2024-07-16 00:30:00+02",true]]"#]]
        .assert_eq(&rows("Europe/Oslo").await);
    let detail = rows("Nowhere").await;
    assert!(
        detail.contains("time zone") && detail.contains("Nowhere"),
        "{detail}"
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn what_needs_too_much_memory_is_told_so() {
    let fixture = Fixture::with(EngineSettings {
        memory_limit: ByteSize::mib(8),
        ..EngineSettings::default()
    })
    .await;
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT repeat('x', 1000000 * value) FROM generate_series(7, 9)",
        // One value, shown three times.
        "SELECT s AS a, s AS b, s AS c FROM (SELECT repeat('x', 3000000) AS s)",
    ] {
        let answer = fixture.query(sql).await;
        assert!(answer.starts_with("413 "), "{sql}\n{answer:.200}");
        assert!(answer.contains("TARN-1206"), "{sql}\n{answer:.200}");
    }
    let answer = fixture.query("SELECT repeat('x', 3000000)").await;
    assert!(answer.starts_with("200 "), "{answer:.200}");
    fixture.node.drain().await;
}

#[tokio::test]
async fn an_answer_that_fails_late_breaks_off() {
    let fixture = Fixture::with(EngineSettings {
        row_limit: 100_000,
        ..EngineSettings::default()
    })
    .await;
    let body =
        serde_json::json!({ "query": "SELECT repeat('x', 200) FROM generate_series(1, 200000)" });
    let request = Request::post("/v1/sql")
        .body(Body::from(body.to_string()))
        .expect("a request");
    let response = fixture.ask(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        to_bytes(response.into_body(), usize::MAX).await.is_err(),
        "half of an answer must not look whole"
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_process_tells_its_health_and_its_metrics() {
    let fixture = Fixture::new().await;
    fixture.check("GET", "/healthz", expect!["200 ok\n"]).await;
    fixture
        .check("GET", "/readyz", expect!["200 ready\n"])
        .await;
    // A table that somebody has to mend is told of, and makes no process unready.
    let report = ReportTable {
        table: fixture
            .node
            .metastore
            .view()
            .table(CLICKS)
            .expect("a table")
            .uuid,
        pointer: None,
        problem: "its metadata is damaged".to_owned(),
    };
    let commands = vec![Command::ReportTable(report)];
    let proposed = fixture.node.metastore.propose(commands, soon()).await;
    proposed.expect("the table is there");
    let told = expect![[r#"
        200 ready
        table events.clicks is not written: its metadata is damaged
    "#]];
    fixture.check("GET", "/readyz", told).await;
    fixture.query("SELECT 1").await;
    let (status, headers, body) = fixture.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        headers["content-type"]
            .to_str()
            .is_ok_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    assert!(
        body.contains(r#"tarn_query_duration_seconds_count{class="select"} 1"#),
        "{body}"
    );
    assert!(body.ends_with("# EOF\n"));
    // From the first moment on, though something is waited for.
    let (part, busy) = (fixture.node.scope.child("part"), Arc::new(Notify::new()));
    let held = Arc::clone(&busy);
    drop(part.spawn("busy", async move { held.notified().await }));
    let mut draining = std::pin::pin!(fixture.node.drain());
    tokio::select! {
        () = &mut draining => panic!("something is waited for"),
        () = fixture.node.scope.draining() => {}
    }
    fixture.check("GET", "/healthz", expect!["200 ok\n"]).await;
    fixture
        .check("GET", "/readyz", expect!["503 this process is stopping\n"])
        .await;
    let (status, _, answer) = fixture.sql(r#"{"query": "SELECT 1"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    busy.notify_one();
    draining.await;
}

#[tokio::test]
async fn the_home_page_says_what_is_here() {
    let fixture = Fixture::new().await;
    fixture.produce(&["a", "b"]).await;
    let (status, headers, page) = fixture.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert!(
        headers["content-security-policy"]
            .to_str()
            .is_ok_and(|policy| policy.contains("default-src 'none'"))
    );
    let cluster = fixture.node.metastore.view().cluster.to_string();
    for said in [
        cluster.as_str(),
        "127.0.0.1:9092",
        "http://127.0.0.1:8081/subjects",
        "data-topic=\"clicks\"",
        "<td class=\"number\">2</td>",
        "/catalog/v1/namespaces/events/tables/clicks",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
    assert!(!page.contains("{{"), "{page}");
    // Whatever it leads to on this listener is there.
    for link in page.split("href=\"/").skip(1) {
        let path = link.split_once('"').map_or(link, |(path, _)| path);
        let (status, ..) = fixture.get(&format!("/{path}")).await;
        assert_eq!(status, StatusCode::OK, "/{path}");
    }
    fixture
        .check(
            "GET",
            "/nowhere",
            expect!["404 There is no /nowhere here. / shows what there is.\n"],
        )
        .await;
    for n in 0..60 {
        fixture.create(n, &format!("topic-{n}")).await;
    }
    let (_, _, page) = fixture.get("/").await;
    assert!(page.contains("And 11 more"), "{page}");
    fixture.node.drain().await;
}
