//! Iceberg's REST catalog, as clients ask it.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use expect_test::expect;
use serde_json::Value;
use tarn_model::{ColumnType, TopicId};
use tarn_state::Command;
use tarn_state::commands::DeleteTopic;

use super::{CLICKS, Fixture, soon};

#[tokio::test]
async fn the_catalog_lists_and_loads_tables() {
    let fixture = Fixture::new().await;
    fixture.check("GET", "/catalog/v1/config?warehouse=tarn", expect![[r#"200 {"defaults":{},"endpoints":["GET /v1/{prefix}/namespaces","GET /v1/{prefix}/namespaces/{namespace}","HEAD /v1/{prefix}/namespaces/{namespace}","GET /v1/{prefix}/namespaces/{namespace}/tables","GET /v1/{prefix}/namespaces/{namespace}/tables/{table}","HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}"],"overrides":{}}"#]]).await;
    fixture
        .check(
            "GET",
            "/catalog/v1/namespaces?pageToken=",
            expect![[r#"200 {"namespaces":[["events"]]}"#]],
        )
        .await;
    fixture
        .check(
            "GET",
            "/catalog/v1/namespaces?parent=events",
            expect![[r#"200 {"namespaces":[]}"#]],
        )
        .await;
    fixture
        .check(
            "GET",
            "/catalog/v1/namespaces/events",
            expect![[r#"200 {"namespace":["events"],"properties":{}}"#]],
        )
        .await;
    fixture
        .check("HEAD", "/catalog/v1/namespaces/events", expect!["204 "])
        .await;
    fixture
        .check("HEAD", "/catalog/v1/namespaces/nope", expect!["404 "])
        .await;
    fixture.check("GET", "/catalog/v1/namespaces/nope/tables", expect![[r#"404 {"error":{"code":404,"message":"Namespace does not exist: nope","type":"NoSuchNamespaceException"}}"#]]).await;
    let path = "/catalog/v1/namespaces/events/tables/clicks";
    // A table from the first moment on, though no file says so.
    let (status, headers, body) = fixture.get(path).await;
    assert_eq!(status, StatusCode::OK);
    let empty: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(empty.get("metadata-location"), None);
    // PyIceberg takes no table whose list of snapshots is null.
    for list in ["snapshots", "snapshot-log", "schemas"] {
        assert_ne!(empty["metadata"].get(list), Some(&Value::Null), "{list}");
    }
    let metadata: iceberg::spec::TableMetadata =
        serde_json::from_value(empty["metadata"].clone()).expect("Iceberg's metadata");
    assert!(metadata.current_snapshot().is_none());
    assert_eq!(
        metadata.current_schema().as_struct().fields()[0].name,
        "_topic_partition"
    );
    let first_tag = headers["etag"].to_str().expect("text").to_owned();

    fixture.produce(&["a"]).await;
    fixture.materialize().await;
    fixture
        .check(
            "GET",
            "/catalog/v1/namespaces/events/tables?pageSize=1",
            expect![[r#"200 {"identifiers":[{"name":"clicks","namespace":["events"]}]}"#]],
        )
        .await;
    fixture
        .check(
            "HEAD",
            "/catalog/v1/namespaces/events/tables/clicks",
            expect!["204 "],
        )
        .await;
    let (status, headers, body) = fixture.get(path).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(headers["etag"], first_tag.as_str());
    let loaded: Value = serde_json::from_str(&body).expect("JSON");
    let view = fixture.node.metastore.view();
    let table = view.table(CLICKS).expect("a table");
    assert_eq!(
        loaded["metadata-location"].as_str(),
        table.pointer.as_deref()
    );
    assert_eq!(loaded["metadata"]["format-version"], 2);
    assert_eq!(
        loaded["metadata"]["current-snapshot-id"].as_i64(),
        table.table_snapshot
    );
    assert_eq!(
        loaded["metadata"]["schemas"][0]["fields"][0]["name"],
        "_topic_partition"
    );
    serde_json::from_value::<iceberg::spec::TableMetadata>(loaded["metadata"].clone())
        .expect("Iceberg's metadata");

    let tag = headers["etag"].to_str().expect("text").to_owned();
    let again = Request::get(path)
        .header("if-none-match", &tag)
        .body(Body::empty())
        .expect("a request");
    let (status, headers, body) = fixture.send(again).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(headers["etag"], tag.as_str());
    fixture.produce(&["b"]).await;
    fixture.materialize().await;
    let changed = Request::get(path)
        .header("if-none-match", &tag)
        .body(Body::empty())
        .expect("a request");
    assert_eq!(fixture.send(changed).await.0, StatusCode::OK);

    // A client may do without the history.
    let (_, _, all) = fixture.get(&format!("{path}?snapshots=all")).await;
    let (_, headers, refs) = fixture.get(&format!("{path}?snapshots=refs")).await;
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let (mut all, refs) = (json(&all), json(&refs));
    let snapshots = |answer: &Value| {
        let list = answer["metadata"]["snapshots"].as_array().expect("a list");
        let numbers = list.iter().map(|one| one["sequence-number"].as_i64());
        numbers.collect::<Option<Vec<_>>>().expect("numbers")
    };
    assert_eq!((snapshots(&all), snapshots(&refs)), (vec![1, 2], vec![2]));
    for list in ["snapshots", "snapshot-log"] {
        all["metadata"][list]
            .as_array_mut()
            .expect("a list")
            .remove(0);
    }
    assert_eq!(all, refs, "nothing else is missing");
    let other = Request::get(path)
        .header("if-none-match", headers["etag"].to_str().expect("text"))
        .body(Body::empty())
        .expect("a request");
    assert_eq!(
        fixture.send(other).await.0,
        StatusCode::OK,
        "it is another answer"
    );
    fixture.check("GET", "/catalog/v1/namespaces/events/tables/clicks?snapshots=some", expect![[r#"400 {"error":{"code":400,"message":"Malformed request: snapshots=some means nothing: it is all or refs","type":"BadRequestException"}}"#]]).await;

    // A column that grows wider has a new type and no new id.
    let mut tags = BTreeSet::new();
    for (kind, name) in [(ColumnType::Int, "int"), (ColumnType::Long, "long")] {
        fixture.register(kind).await;
        let (_, headers, body) = fixture.get(path).await;
        let column = json(&body)["metadata"]["schemas"]
            .as_array()
            .and_then(|schemas| schemas.last())
            .and_then(|schema| schema["fields"].as_array())
            .and_then(|fields| fields.iter().find(|field| field["name"] == "n").cloned());
        assert_eq!(column.expect("a column")["type"], name);
        assert!(
            tags.insert(headers["etag"].to_str().expect("text").to_owned()),
            "{name}"
        );
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn what_the_catalog_does_not_offer_is_refused_in_its_form() {
    let fixture = Fixture::new().await;
    fixture.check("GET", "/catalog/v1/nope", expect![[r#"404 {"error":{"code":404,"message":"There is no GET /v1/nope in this catalog; /v1/config lists what there is","type":"NotFoundException"}}"#]]).await;
    fixture.check("POST", "/catalog/v1/namespaces", expect![[r#"406 {"error":{"code":406,"message":"POST /v1/namespaces is not offered: this catalog is read only; tables are written through their topics","type":"UnsupportedOperationException"}}"#]]).await;
    fixture.check("POST", "/catalog/v1/namespaces/events/tables/clicks", expect![[r#"406 {"error":{"code":406,"message":"POST /v1/namespaces/events/tables/clicks is not offered: this catalog is read only; tables are written through their topics","type":"UnsupportedOperationException"}}"#]]).await;
    fixture.check("GET", "/catalog/v1/namespaces/a%1Fb/tables", expect![[r#"404 {"error":{"code":404,"message":"Namespace does not exist: a\u001fb","type":"NoSuchNamespaceException"}}"#]]).await;
    fixture.node.drain().await;
}

#[tokio::test]
async fn what_is_malformed_or_missing_has_the_specifications_error() {
    let fixture = Fixture::new().await;
    for (path, expected) in [
        ("/namespaces/%ff/tables", "400 BadRequestException"),
        ("/namespaces/%zz/tables", "400 BadRequestException"),
        ("/namespaces/events/tables/a%2", "400 BadRequestException"),
        (
            "/namespaces/events/tables/%F0%28",
            "400 BadRequestException",
        ),
        ("/namespaces?parent=%ff&parent=b", "400 BadRequestException"),
        ("/namespaces?parent=%g", "400 BadRequestException"),
        ("/namespaces?pageSize=0", "400 BadRequestException"),
        (
            "/namespaces/events/tables?pageSize=-1",
            "400 BadRequestException",
        ),
        (
            "/namespaces/events/tables?pageSize=x",
            "400 BadRequestException",
        ),
        ("/namespaces?parent=nope", "404 NoSuchNamespaceException"),
        ("/namespaces/a%1Fb", "404 NoSuchNamespaceException"),
        ("/namespaces/events/tables/nope", "404 NoSuchTableException"),
        ("/namespaces/nope/tables/clicks", "404 NoSuchTableException"),
        ("/namespaces/nope/views", "404 NoSuchNamespaceException"),
        ("/namespaces/events/views/clicks", "404 NoSuchViewException"),
        (
            "/namespaces/events/tables/clicks/plan",
            "406 UnsupportedOperationException",
        ),
        ("/transactions/commit", "406 UnsupportedOperationException"),
    ] {
        let (status, headers, body) = fixture.get(&format!("/catalog/v1{path}")).await;
        let error: Value = serde_json::from_str(&body).expect(path);
        let kind = error["error"]["type"].as_str().unwrap_or_default();
        assert_eq!(
            format!("{} {kind}", status.as_u16()),
            expected,
            "{path}: {body}"
        );
        assert_eq!(error["error"]["code"], status.as_u16(), "{path}");
        assert_eq!(headers["content-type"], "application/json", "{path}");
        let request = Request::head(format!("/catalog/v1{path}"));
        let head = fixture.send(request.body(Body::empty()).expect("a request"));
        let (head_status, _, head_body) = head.await;
        assert_eq!(
            (head_status, head_body.as_str()),
            (status, ""),
            "HEAD {path}"
        );
    }
    fixture
        .check(
            "GET",
            "/catalog/v1/namespaces/events/views",
            expect![[r#"200 {"identifiers":[]}"#]],
        )
        .await;
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_listing_comes_in_pages_to_who_asks_for_them() {
    let fixture = Fixture::new().await;
    for (n, name) in ["a", "b", "d"].into_iter().enumerate() {
        fixture.create(n, name).await;
    }
    let page = async |query: &str| {
        let path = format!("/catalog/v1/namespaces/events/tables?{query}");
        let (_, _, body) = fixture.get(&path).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let names = body["identifiers"].as_array().expect("a list").iter();
        let names: Vec<String> = names
            .map(|table| table["name"].as_str().expect("a name").to_owned())
            .collect();
        let token = body.get("next-page-token");
        (
            names.join(" "),
            token.and_then(Value::as_str).map(str::to_owned),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(page("").await, ("a b clicks d".to_owned(), None));
    assert_eq!(page("pageSize=2").await, ("a b clicks d".to_owned(), None));
    assert_eq!(page("pageToken=").await, ("a b clicks d".to_owned(), None));
    assert_eq!(
        page("pageToken=&pageSize=3").await,
        ("a b clicks".to_owned(), some("clicks"))
    );
    assert_eq!(
        page("pageToken=clicks&pageSize=3").await,
        ("d".to_owned(), None)
    );
    assert_eq!(
        page("pageToken=b&pageSize=2").await,
        ("clicks d".to_owned(), None)
    );
    assert_eq!(page("pageToken=z&pageSize=2").await, (String::new(), None));
    fixture.node.drain().await;
}

/// What a deleted topic leaves is a table if it ever held a row.
#[tokio::test]
async fn a_table_without_topic_and_without_files_is_none() {
    let fixture = Fixture::new().await;
    fixture.create(0, "never-written").await;
    fixture.produce(&["a"]).await;
    fixture.materialize().await;
    for id in [CLICKS, TopicId([100; 16])] {
        let delete = Command::DeleteTopic(DeleteTopic { id });
        let proposed = fixture.node.metastore.propose(vec![delete], soon()).await;
        proposed.expect("it is there");
    }
    fixture
        .check(
            "GET",
            "/catalog/v1/namespaces/events/tables",
            expect![[
                r#"200 {"identifiers":[{"name":"clicks__09090909","namespace":["events"]}]}"#
            ]],
        )
        .await;
    for (path, status) in [
        ("clicks__09090909", "204 "),
        ("never-written__64646464", "404 "),
    ] {
        let request = Request::head(format!("/catalog/v1/namespaces/events/tables/{path}"));
        let (found, _, body) = fixture
            .send(request.body(Body::empty()).expect("a request"))
            .await;
        assert_eq!(format!("{} {body}", found.as_u16()), status, "{path}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_credential_is_granted_a_token() {
    let fixture = Fixture::new().await;
    let ask = async |kind: &str, body: String| {
        let request = Request::post("/catalog/v1/oauth/tokens").header("content-type", kind);
        let request = request.body(Body::from(body)).expect("a request");
        let (status, headers, body) = fixture.send(request).await;
        assert_eq!(headers["content-type"], "application/json");
        format!("{} {body}", status.as_u16())
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    let credential = "grant_type=client_credentials&client_id=me&client_secret=s%20t&scope=catalog";
    expect![[r#"200 {"access_token":"open-catalog","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","scope":"catalog","token_type":"bearer"}"#]].assert_eq(&ask(FORM, credential.to_owned()).await);
    let renewal = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=open-catalog";
    expect![[r#"200 {"access_token":"open-catalog","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"bearer"}"#]].assert_eq(&ask(FORM, renewal.to_owned()).await);
    expect![[r#"400 {"error":"unsupported_grant_type","error_description":"password is not client_credentials or urn:ietf:params:oauth:grant-type:token-exchange"}"#]].assert_eq(&ask(FORM, "grant_type=password".to_owned()).await);
    expect![[r#"400 {"error":"invalid_request","error_description":"there is no grant_type"}"#]]
        .assert_eq(&ask(FORM, String::new()).await);
    for (kind, body) in [
        ("application/json", "{}".to_owned()),
        (FORM, format!("grant_type={}", "x".repeat(17 << 10))),
    ] {
        let answer = ask(kind, body).await;
        assert!(
            answer.starts_with(r#"400 {"error":"invalid_request""#),
            "{answer}"
        );
    }
    fixture.node.drain().await;
}
