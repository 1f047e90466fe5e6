//! The registry from outside: requests to its routers, against a log and a store in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request as HttpRequest, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tarn_commit_log::MemoryLog;
use tarn_model::{ByteSize, TableUuid, TopicId};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::Runtime;
use tarn_state::Command;
use tarn_state::commands::CreateTopic;
use tarn_store::Store;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::{Registry, RegistrySettings, confluent, v1_schemas};

mod references;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#;
const ORDER_2: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"],"default":null}]}"#;

async fn call(router: &Router, method: Method, path: &str, body: impl Into<Body>) -> Response {
    let request = HttpRequest::builder()
        .method(method)
        .uri(path)
        .body(body.into())
        .expect("a request");
    router
        .clone()
        .oneshot(request)
        .await
        .expect("routers do not fail")
}

async fn json_of(response: Response) -> Value {
    let bytes = to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn get(router: &Router, path: &str) -> (u16, Value) {
    let response = call(router, Method::GET, path, Body::empty()).await;
    (response.status().as_u16(), json_of(response).await)
}

async fn send(router: &Router, method: Method, path: &str, body: Value) -> (u16, Value) {
    let response = call(router, method, path, body.to_string()).await;
    (response.status().as_u16(), json_of(response).await)
}

fn code(answer: &(u16, Value)) -> (u16, u64) {
    (
        answer.0,
        answer
            .1
            .get("error_code")
            .and_then(Value::as_u64)
            .unwrap_or(0),
    )
}

async fn routers() -> (Node, Router, Router) {
    routers_with(RegistrySettings::default()).await
}

async fn routers_with(settings: RegistrySettings) -> (Node, Router, Router) {
    let runtime = Runtime::real();
    let node_settings = NodeSettings {
        cache_bytes: ByteSize::mib(64),
        memory_budget: ByteSize::mib(256),
        tick: Duration::from_secs(1),
        ..NodeSettings::default()
    };
    let parts = Parts {
        store: Store::memory(&runtime),
        log: Arc::new(MemoryLog::new()),
        name: "test".to_owned(),
        runtime: runtime.clone(),
    };
    let scope = runtime.root_scope("test");
    let node = Box::pin(Node::open(node_settings, parts, scope))
        .await
        .expect("a node in memory opens");
    let registry = Registry::new(&node, settings);
    let (confluent, v1) = (confluent(registry.clone()), v1_schemas(registry));
    (node, confluent, v1)
}

async fn create_topic(node: &Node, name: &str, configs: &[(&str, &str)]) {
    let random = node.runtime.random();
    let configs = configs.iter();
    let command = Command::CreateTopic(CreateTopic {
        id: TopicId::from_uuid(random.uuid()),
        name: name.to_owned(),
        partitions: 1,
        configs: configs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        table: TableUuid::from_uuid(random.uuid()),
    });
    node.metastore
        .propose(vec![command], Instant::now() + PATIENCE)
        .await
        .expect("the topic is created");
}

#[tokio::test]
async fn a_schema_is_registered_found_and_listed() {
    let (_node, registry, _) = routers().await;
    assert_eq!(get(&registry, "/subjects").await, (200, json!([])));
    assert_eq!(
        get(&registry, "/schemas/types").await,
        (200, json!(["AVRO"]))
    );
    let register = async |schema: &str| {
        send(
            &registry,
            Method::POST,
            "/subjects/orders-value/versions",
            json!({"schema": schema, "extra": 1}),
        )
        .await
    };
    let (status, first) = register(ORDER).await;
    assert_eq!(
        (
            status,
            &first["id"],
            &first["version"],
            &first["schemaType"]
        ),
        (200, &json!(1), &json!(1), &json!("AVRO"))
    );
    let spaced = ORDER.replace(':', " : ");
    assert_eq!(
        register(&spaced).await.1,
        first,
        "the same schema, written otherwise"
    );
    let (_, second) = register(ORDER_2).await;
    assert_eq!((&second["id"], &second["version"]), (&json!(2), &json!(2)));
    let elsewhere = send(
        &registry,
        Method::POST,
        "/subjects/other-value/versions",
        json!({"schema": ORDER}),
    )
    .await;
    assert_eq!(
        (&elsewhere.1["id"], &elsewhere.1["version"]),
        (&json!(1), &json!(1)),
        "ids are global"
    );

    assert_eq!(
        get(&registry, "/subjects").await.1,
        json!(["orders-value", "other-value"])
    );
    assert_eq!(
        get(&registry, "/subjects/orders-value/versions").await.1,
        json!([1, 2])
    );
    for version in ["2", "latest", "-1"] {
        let (_, found) = get(
            &registry,
            &format!("/subjects/orders-value/versions/{version}"),
        )
        .await;
        assert_eq!(
            (&found["subject"], &found["version"], &found["id"]),
            (&json!("orders-value"), &json!(2), &json!(2))
        );
    }
    let (_, by_id) = get(&registry, "/schemas/ids/1").await;
    assert_eq!(
        (&by_id["schema"], &by_id["guid"]),
        (&first["schema"], &first["guid"])
    );
    let guid = first["guid"].as_str().expect("text");
    let (_, by_guid) = get(&registry, &format!("/schemas/guids/{guid}")).await;
    assert_eq!(
        (&by_guid["schema"], &by_guid["id"]),
        (&first["schema"], &json!(1))
    );
    assert_eq!(
        get(&registry, "/schemas/ids/1/schema").await.1["name"],
        json!("Order")
    );
    let versions = get(&registry, "/schemas/ids/1/versions").await.1;
    assert_eq!(
        versions,
        json!([{"subject": "orders-value", "version": 1}, {"subject": "other-value", "version": 1}])
    );
    let (_, found) = send(
        &registry,
        Method::POST,
        "/subjects/orders-value",
        json!({"schema": ORDER}),
    )
    .await;
    assert_eq!(
        (&found["version"], &found["subject"]),
        (&json!(1), &json!("orders-value"))
    );
    let response = call(&registry, Method::GET, "/subjects", Body::empty()).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.schemaregistry.v1+json"
    );
}

#[tokio::test]
async fn wrong_requests_get_confluents_codes() {
    let (node, registry, _) = routers().await;
    let versions = "/subjects/orders-value/versions";
    send(&registry, Method::POST, versions, json!({"schema": ORDER})).await;
    for (body, expected) in [
        ("{", (400, 400)),
        ("[]", (400, 400)),
        ("{}", (422, 42201)),
        (r#"{"schema": 1}"#, (422, 42201)),
        (r#"{"schema": "nonsense"}"#, (422, 42201)),
        (
            r#"{"schema": "\"string\"", "schemaType": "PROTOBUF"}"#,
            (422, 42201),
        ),
        (
            r#"{"schema": "\"string\"", "references": [{"name": "a"}]}"#,
            (422, 42201),
        ),
    ] {
        let response = call(&registry, Method::POST, versions, body).await;
        let answer = (response.status().as_u16(), json_of(response).await);
        assert_eq!(code(&answer), expected, "{body}");
    }
    for (path, expected) in [
        ("/subjects/nothing/versions", (404, 40401)),
        ("/subjects/nothing/versions/1", (404, 40401)),
        ("/subjects/nothing/versions/latest", (404, 40401)),
        ("/subjects/orders-value/versions/9", (404, 40402)),
        ("/subjects/orders-value/versions/0", (422, 42202)),
        ("/subjects/orders-value/versions/new", (422, 42202)),
        ("/schemas/ids/77", (404, 40403)),
        ("/schemas/ids/abc", (404, 404)),
        (
            "/schemas/guids/00000000-0000-4000-8000-000000000000",
            (404, 40403),
        ),
        ("/schemas/guids/abc", (404, 40403)),
        ("/config/orders-value", (404, 40408)),
        ("/mode/orders-value", (404, 40409)),
        ("/nowhere", (404, 404)),
        // Malformed before any handler sees it.
        ("/subjects/%ff/versions", (400, 400)),
        ("/config/orders-value?defaultToGlobal=perhaps", (400, 400)),
    ] {
        assert_eq!(code(&get(&registry, path).await), expected, "{path}");
    }
    let unknown = send(
        &registry,
        Method::POST,
        "/subjects/orders-value",
        json!({"schema": ORDER_2}),
    )
    .await;
    assert_eq!(code(&unknown), (404, 40403));
    let unknown = send(
        &registry,
        Method::POST,
        "/subjects/nothing",
        json!({"schema": ORDER}),
    )
    .await;
    assert_eq!(code(&unknown), (404, 40401));
    let wrong_method = call(&registry, Method::DELETE, "/subjects", Body::empty()).await;
    assert_eq!(wrong_method.status(), StatusCode::METHOD_NOT_ALLOWED);
    let large = json!({"schema": "x".repeat(300 << 10)});
    assert_eq!(
        code(&send(&registry, Method::POST, versions, large).await),
        (422, 42209)
    );
    let huge = "x".repeat(2 << 20);
    assert_eq!(
        call(&registry, Method::POST, versions, huge).await.status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        node.budget.available(),
        node.budget.total(),
        "all bytes were given back"
    );
}

#[tokio::test]
async fn a_schema_that_no_table_can_follow_is_refused_for_values_only() {
    let (node, registry, _) = routers().await;
    let tree = r#"{"type":"record","name":"T","fields":[{"name":"next","type":["null","T"]}]}"#;
    let register = async |subject: &str, schema: &str| {
        let path = format!("/subjects/{subject}/versions");
        code(&send(&registry, Method::POST, &path, json!({"schema": schema})).await)
    };
    assert_eq!(register("orders-value", tree).await, (422, 42201));
    assert_eq!(register("orders-key", tree).await, (200, 0));
    create_topic(&node, "untabled", &[("tarn.table", "off")]).await;
    assert_eq!(register("untabled-value", tree).await, (200, 0));
    create_topic(&node, "orders", &[]).await;
    assert_eq!(register("orders-value", ORDER).await, (200, 0));
    let other = ORDER.replace("\"long\"", "\"string\"");
    assert_eq!(
        register("orders-value", &other).await,
        (409, 40901),
        "a bigint does not become a text"
    );
}

#[tokio::test]
async fn levels_are_kept_and_shown() {
    let (_node, registry, _) = routers().await;
    assert_eq!(
        get(&registry, "/config").await,
        (200, json!({"compatibilityLevel": "BACKWARD"}))
    );
    let set = send(
        &registry,
        Method::PUT,
        "/config",
        json!({"compatibility": "full"}),
    )
    .await;
    assert_eq!(set, (200, json!({"compatibility": "FULL"})));
    let own = json!({"compatibility": "NONE"});
    // As in Confluent's registry, a level may come before the first version, which makes no subject.
    assert_eq!(
        send(&registry, Method::PUT, "/config/orders-value", own.clone()).await,
        (200, own.clone())
    );
    assert_eq!(get(&registry, "/subjects").await.1, json!([]));
    assert_eq!(
        code(&get(&registry, "/subjects/orders-value/versions").await),
        (404, 40401)
    );
    send(
        &registry,
        Method::POST,
        "/subjects/orders-value/versions",
        json!({"schema": ORDER}),
    )
    .await;
    assert_eq!(
        send(&registry, Method::PUT, "/config/orders-value", own)
            .await
            .0,
        200
    );
    assert_eq!(
        get(&registry, "/config/orders-value").await.1,
        json!({"compatibilityLevel": "NONE"})
    );
    assert_eq!(
        get(&registry, "/config/other?defaultToGlobal=true").await.1,
        json!({"compatibilityLevel": "FULL"})
    );
    let wrong = send(
        &registry,
        Method::PUT,
        "/config",
        json!({"compatibility": "SIDEWAYS"}),
    )
    .await;
    assert_eq!(code(&wrong), (422, 42203));
    assert_eq!(
        send(&registry, Method::DELETE, "/config/orders-value", json!({}))
            .await
            .0,
        200
    );
    assert_eq!(
        code(&get(&registry, "/config/orders-value").await),
        (404, 40408)
    );
    assert_eq!(
        get(&registry, "/mode").await,
        (200, json!({"mode": "READWRITE"}))
    );
}

#[tokio::test]
async fn a_registered_schema_says_under_which_names_its_fields_are_columns() {
    let (_node, _registry, v1) = routers().await;
    let odd = json!({"type": "record", "name": "Odd", "fields": [
        {"name": "_Partition", "type": "long"},
        {"name": "_offset_", "type": "string"},
        {"name": "id", "type": "int"},
    ]});
    let body = json!({ "definition": odd });
    let (status, registered) = send(&v1, Method::POST, "/v1/schemas/odd", body).await;
    let columns = json!([
        {"name": "_Partition_", "type": "bigint", "field": "_Partition"},
        {"name": "_offset__", "type": "varchar", "field": "_offset_"},
        {"name": "id", "type": "int", "field": "id"},
    ]);
    assert_eq!((status, &registered["columns"]), (200, &columns));
    let (_, latest) = get(&v1, "/v1/schemas/odd").await;
    assert_eq!(latest["columns"], columns);
}

#[tokio::test]
async fn the_briefs_registry_is_a_layer_over_the_same_subjects() {
    let (_node, registry, v1) = routers().await;
    let order: Value = serde_json::from_str(ORDER).expect("JSON");
    let body = json!({"definition": order, "compatibility": "FORWARD"});
    let (status, first) = send(&v1, Method::POST, "/v1/schemas/orders", body).await;
    assert_eq!(
        (status, &first["version"], &first["compatible"]),
        (200, &json!(1), &json!(true))
    );
    let (_, confluent) = get(&registry, "/subjects/orders-value/versions/1").await;
    assert_eq!(first["schema_id"], confluent["guid"]);
    let (_, second) = send(
        &v1,
        Method::POST,
        "/v1/schemas/orders",
        json!({"definition": ORDER_2}),
    )
    .await;
    assert_eq!(second["version"], json!(2));
    let (status, latest) = get(&v1, "/v1/schemas/orders").await;
    assert_eq!(
        (status, &latest["version"], &latest["topic"]),
        (200, &json!(2), &json!("orders"))
    );
    assert_eq!(latest["compatibility"], json!("FORWARD"));
    let (_, one) = get(&v1, "/v1/schemas/orders?version=1").await;
    assert_eq!(
        (&one["definition"]["name"], &one["schema_id"]),
        (&json!("Order"), &first["schema_id"])
    );
    for (path, status) in [
        ("/v1/schemas/orders?version=9", 404),
        ("/v1/schemas/orders?version=x", 400),
        ("/v1/schemas/nothing", 404),
        ("/v1/schemas/no%20name", 400),
        ("/v1/schemas/%ff", 400),
        ("/v1/schemas/orders?version=1&version=2", 400),
    ] {
        let response = call(&v1, Method::GET, path, Body::empty()).await;
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
        assert_eq!(response.status().as_u16(), status, "{path}");
        let problem = json_of(response).await;
        assert!(
            problem["code"]
                .as_str()
                .is_some_and(|code| code.starts_with("TARN-")),
            "{problem}"
        );
    }
    for (body, status) in [
        (json!({}), 400),
        (json!({"definition": "nonsense"}), 422),
        (
            json!({"definition": ORDER, "compatibility": "SIDEWAYS"}),
            400,
        ),
    ] {
        assert_eq!(
            send(&v1, Method::POST, "/v1/schemas/orders", body).await.0,
            status
        );
    }
    let cached = call(
        &v1,
        Method::GET,
        "/v1/schemas/orders?version=1",
        Body::empty(),
    )
    .await;
    let etag = cached.headers()["etag"].clone();
    let again = HttpRequest::builder()
        .uri("/v1/schemas/orders?version=1")
        .header("if-none-match", etag)
        .body(Body::empty())
        .expect("a request");
    assert_eq!(
        v1.clone().oneshot(again).await.expect("an answer").status(),
        StatusCode::NOT_MODIFIED
    );
}

#[tokio::test]
async fn a_body_that_no_memory_is_free_for_is_refused_in_time() {
    let settings = RegistrySettings {
        request_deadline: Duration::from_millis(200),
        ..RegistrySettings::default()
    };
    let (node, registry, v1) = routers_with(settings).await;
    let budget = &node.budget;
    let all = budget.acquire(budget.total().0).await.expect("it is free");
    for (router, path, status, field, code) in [
        (
            &registry,
            "/subjects/orders-value/versions",
            500,
            "error_code",
            json!(50002),
        ),
        (&v1, "/v1/schemas/orders", 503, "code", json!("TARN-1001")),
    ] {
        let asked = send(router, Method::POST, path, json!({"schema": ORDER}));
        let (found, body) = timeout(PATIENCE, asked).await.expect("it is answered");
        assert_eq!((found, &body[field]), (status, &code), "{path}: {body}");
    }
    drop(all);
}

/// Codes and texts are those of Confluent's registry.
#[tokio::test]
async fn versions_are_deleted_once_and_then_for_good() {
    let (_node, registry, _) = routers().await;
    let path = "/subjects/orders/versions";
    for schema in [ORDER, ORDER_2] {
        let body = json!({ "schema": schema });
        assert_eq!(send(&registry, Method::POST, path, body).await.0, 200);
    }
    let delete = async |path: &str| send(&registry, Method::DELETE, path, json!(null)).await;
    assert_eq!(code(&delete("/subjects/none").await), (404, 40401));
    assert_eq!(
        code(&delete("/subjects/orders/versions/9").await),
        (404, 40402)
    );
    assert_eq!(
        code(&delete("/subjects/orders/versions/x").await),
        (422, 42202)
    );
    let early = delete("/subjects/orders/versions/2?permanent=true").await;
    let why = "Subject 'orders' Version 2 was not deleted first before being permanently deleted";
    assert_eq!(early, (404, json!({"error_code": 40407, "message": why})));
    assert_eq!(
        delete("/subjects/orders/versions/latest").await,
        (200, json!(2))
    );
    let again = delete("/subjects/orders/versions/2").await;
    let why =
        "Subject 'orders' Version 2 was soft deleted.Set permanent=true to delete permanently";
    assert_eq!(again, (404, json!({"error_code": 40406, "message": why})));
    assert_eq!(get(&registry, path).await, (200, json!([1])));
    assert_eq!(
        get(&registry, "/subjects/orders/versions?deleted=true")
            .await
            .1,
        json!([1, 2])
    );
    assert_eq!(
        code(&get(&registry, "/subjects/orders/versions/2").await),
        (404, 40402)
    );
    let shown = get(&registry, "/subjects/orders/versions/2?deleted=true").await;
    assert_eq!((shown.0, &shown.1["id"]), (200, &json!(2)));
    // Whoever has a record with its id still reads it.
    assert_eq!(get(&registry, "/schemas/ids/2").await.0, 200);
    let body = json!({ "schema": ORDER_2 });
    let anew = send(&registry, Method::POST, path, body).await;
    assert_eq!((&anew.1["id"], &anew.1["version"]), (&json!(2), &json!(3)));

    let early = delete("/subjects/orders?permanent=true").await;
    assert_eq!(code(&early), (404, 40405));
    assert_eq!(delete("/subjects/orders").await, (200, json!([1, 3])));
    assert_eq!(code(&delete("/subjects/orders").await), (404, 40404));
    assert_eq!(get(&registry, "/subjects").await.1, json!([]));
    assert_eq!(
        get(&registry, "/subjects?deleted=true").await.1,
        json!(["orders"])
    );
    assert_eq!(code(&get(&registry, path).await), (404, 40401));
    assert_eq!(
        delete("/subjects/orders?permanent=true").await,
        (200, json!([1, 2, 3]))
    );
    assert_eq!(get(&registry, "/subjects?deleted=true").await.1, json!([]));
    assert_eq!(code(&get(&registry, "/schemas/ids/2").await), (404, 40403));
}
