//! Iceberg's REST catalog, the reading half: DuckDB, PyIceberg, Spark and Trino find the tables here
//! and read their files themselves.
//!
//! What it offers stands in `endpoints` of `/v1/config`, and only that. A table exists for others once
//! it has a metadata file; its schema is the newest, as soon as a column was registered. Listings are
//! whole: `pageToken` and `pageSize` are taken and change nothing, as the specification allows.

mod error;

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tarn_engine::Engine;
use tarn_replica::{Metastore, Node, View};
use tarn_state::Table;
use tarn_tables::Catalog;
use tokio::time::Instant;

use error::CatalogError;

/// The namespace of topics' tables. It is there before the first of them.
const EVENTS: &str = "events";
const BARRIER_WITHIN: Duration = Duration::from_secs(10);

const ENDPOINTS: [&str; 6] = [
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
];

#[derive(Debug, Clone)]
struct CatalogService {
    metastore: Metastore,
    tables: Catalog,
}

pub(crate) fn router(node: &Node, engine: &Engine) -> Router {
    let service = CatalogService {
        metastore: node.metastore.clone(),
        tables: engine.tables().clone(),
    };
    Router::new()
        .route("/v1/config", get(config))
        .route("/v1/namespaces", get(list_namespaces))
        .route(
            "/v1/namespaces/{namespace}",
            get(namespace).head(has_namespace),
        )
        .route("/v1/namespaces/{namespace}/tables", get(list_tables))
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(load_table).head(has_table),
        )
        .method_not_allowed_fallback(not_allowed)
        .fallback(unknown)
        .with_state(service)
}

async fn config() -> Response {
    json_body(&json!({ "defaults": {}, "overrides": {}, "endpoints": ENDPOINTS }))
}

/// Which table snapshots a client wants to see: all, or those that a branch or a tag names.
#[derive(Debug, Deserialize)]
struct Snapshots {
    snapshots: Option<String>,
}

/// Parameters of listings that matter here.
#[derive(Debug, Deserialize)]
struct Parent {
    parent: Option<String>,
}

async fn list_namespaces(
    State(service): State<CatalogService>,
    Query(Parent { parent }): Query<Parent>,
) -> Result<Response, CatalogError> {
    let view = service.view().await?;
    let namespaces: Vec<Value> = match parent.filter(|parent| !parent.is_empty()) {
        None => namespaces(&view)
            .into_iter()
            .map(|name| json!([name]))
            .collect(),
        // Namespaces have one level.
        Some(parent) => {
            known(&view, &parent)?;
            Vec::new()
        }
    };
    Ok(json_body(&json!({ "namespaces": namespaces })))
}

async fn namespace(
    State(service): State<CatalogService>,
    Path(namespace): Path<String>,
) -> Result<Response, CatalogError> {
    known(&service.view().await?, &namespace)?;
    Ok(json_body(
        &json!({ "namespace": [namespace], "properties": {} }),
    ))
}

async fn has_namespace(
    State(service): State<CatalogService>,
    Path(namespace): Path<String>,
) -> Result<StatusCode, CatalogError> {
    known(&service.view().await?, &namespace)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_tables(
    State(service): State<CatalogService>,
    Path(namespace): Path<String>,
) -> Result<Response, CatalogError> {
    let view = service.view().await?;
    known(&view, &namespace)?;
    let mut names: Vec<&str> = view
        .tables
        .values()
        .filter(|table| table.namespace == namespace && table.pointer.is_some())
        .map(|table| table.name.as_str())
        .collect();
    names.sort_unstable();
    let identifiers: Vec<Value> = names
        .into_iter()
        .map(|name| json!({ "namespace": [namespace], "name": name }))
        .collect();
    Ok(json_body(&json!({ "identifiers": identifiers })))
}

async fn load_table(
    State(service): State<CatalogService>,
    Path((namespace, name)): Path<(String, String)>,
    Query(Snapshots { snapshots }): Query<Snapshots>,
    headers: HeaderMap,
) -> Result<Response, CatalogError> {
    let every_snapshot = match snapshots.as_deref() {
        None | Some("all" | "") => true,
        Some("refs") => false,
        Some(other) => return Err(CatalogError::BadSnapshots(other.to_owned())),
    };
    let view = service.view().await?;
    let (table, pointer) = find(&view, &namespace, &name)?;
    let tag = tag(table, pointer, every_snapshot);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let loaded = Box::pin(service.tables.load(table))
        .await
        .map_err(CatalogError::Load)?;
    let body = json!({
        "metadata-location": pointer,
        "metadata": loaded.metadata_json(every_snapshot),
        // Clients bring their own way to the files: no credentials are handed out.
        "config": {},
    });
    Ok(([(ETAG, tag)], json_body(&body)).into_response())
}

async fn has_table(
    State(service): State<CatalogService>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<StatusCode, CatalogError> {
    find(&service.view().await?, &namespace, &name)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn not_allowed(method: Method, uri: Uri) -> CatalogError {
    CatalogError::NotAllowed(format!("{method} {}", uri.path()))
}

async fn unknown(method: Method, uri: Uri) -> CatalogError {
    CatalogError::NoSuchEndpoint(format!("{method} {}", uri.path()))
}

impl CatalogService {
    /// What was committed before the request is in the answer.
    async fn view(&self) -> Result<View, CatalogError> {
        self.metastore
            .barrier(Instant::now() + BARRIER_WITHIN)
            .await
            .map_err(CatalogError::Barrier)
    }
}

fn namespaces(view: &View) -> Vec<String> {
    let mut names: Vec<String> = vec![EVENTS.to_owned()];
    for table in view.tables.values() {
        if !names.contains(&table.namespace) {
            names.push(table.namespace.clone());
        }
    }
    names.sort_unstable();
    names
}

fn known(view: &View, namespace: &str) -> Result<(), CatalogError> {
    let is_known = namespace == EVENTS
        || view
            .tables
            .values()
            .any(|table| table.namespace == namespace);
    match is_known {
        true => Ok(()),
        false => Err(CatalogError::NoSuchNamespace(namespace.to_owned())),
    }
}

/// A table that has a metadata file, and that file.
fn find<'v>(
    view: &'v View,
    namespace: &str,
    name: &str,
) -> Result<(&'v Table, &'v str), CatalogError> {
    let missing = || CatalogError::NoSuchTable(format!("{namespace}.{name}"));
    let table = view.table_named(namespace, name).ok_or_else(missing)?;
    let pointer = table.pointer.as_deref().ok_or_else(missing)?;
    Ok((table, pointer))
}

/// Changes with what `load_table` answers: with the metadata file, with the columns, which come and
/// grow wider between two of them, and with what was asked for.
fn tag(table: &Table, pointer: &str, every_snapshot: bool) -> String {
    let file = pointer.rsplit('/').next().unwrap_or(pointer);
    // Columns change with a registered schema, and with nothing else.
    let kind = if every_snapshot { "all" } else { "refs" };
    format!("\"{file}-{}-{kind}\"", table.schemas.len())
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*")
}

fn json_body(body: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
