//! Iceberg's REST catalog, the reading half: DuckDB, PyIceberg, Spark and Trino find the tables here
//! and read their files themselves.
//!
//! What it offers stands in `endpoints` of `/v1/config`, and only that; what the specification has besides
//! is refused in its form. Every topic with a table is one from the first moment on: without a metadata
//! file as long as nothing was committed. Its schema is the newest, as soon as a column was registered.
//! Listings come in pages to who asks for them.

mod error;
mod names;
mod tokens;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Deserialize;
use serde_json::{Value, json};
use tarn_engine::Engine;
use tarn_replica::{Metastore, Node, View};
use tarn_state::topic_names::EVENTS_NAMESPACE;
use tarn_state::{Table, TableKind};
use tarn_tables::Catalog;
use tokio::time::Instant;

use error::CatalogError;
use names::{Names, Parameters};

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
        // There are no views, and a client may ask for one before it asks for a table.
        .route("/v1/namespaces/{namespace}/views", get(list_views))
        .route("/v1/namespaces/{namespace}/views/{view}", get(no_view))
        .route("/v1/oauth/tokens", tokens::route())
        .merge(refused())
        .method_not_allowed_fallback(not_allowed)
        .fallback(unknown)
        .with_state(service)
}

/// What the specification has and this catalog does not offer.
fn refused() -> Router<CatalogService> {
    const PATHS: [&str; 10] = [
        "/v1/namespaces/{namespace}/properties",
        "/v1/namespaces/{namespace}/register",
        "/v1/namespaces/{namespace}/register-view",
        "/v1/namespaces/{namespace}/tables/{table}/credentials",
        "/v1/namespaces/{namespace}/tables/{table}/metrics",
        "/v1/namespaces/{namespace}/tables/{table}/plan",
        "/v1/namespaces/{namespace}/tables/{table}/tasks",
        "/v1/tables/rename",
        "/v1/transactions/commit",
        "/v1/views/rename",
    ];
    PATHS.into_iter().fold(Router::new(), |router, path| {
        router.route(path, any(not_allowed))
    })
}

async fn config() -> Response {
    json_body(&json!({ "defaults": {}, "overrides": {}, "endpoints": ENDPOINTS }))
}

/// Which table snapshots a client wants to see: all, or those that a branch or a tag names.
#[derive(Debug, Deserialize)]
struct Snapshots {
    snapshots: Option<String>,
}

/// Parameters of listings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    parent: Option<String>,
    /// Asks for pages; empty for the first.
    page_token: Option<String>,
    page_size: Option<String>,
}

impl Listing {
    /// What of the sorted names is asked for, and the token of the next page: the last name of this one.
    fn page<'n>(&self, names: &[&'n str]) -> Result<(Vec<&'n str>, Option<&'n str>), CatalogError> {
        let size = match self.page_size.as_deref().map(str::parse) {
            None => names.len(),
            Some(Ok(0)) | Some(Err(_)) => {
                let why = "pageSize is no positive number";
                return Err(CatalogError::BadRequest(why.to_owned()));
            }
            Some(Ok(size)) => size,
        };
        let Some(after) = &self.page_token else {
            return Ok((names.to_vec(), None));
        };
        let first = names.partition_point(|name| *name <= after.as_str());
        let rest = names.get(first..).unwrap_or_default();
        let page: Vec<&str> = rest.iter().take(size).copied().collect();
        let next = page.last().filter(|_| page.len() < rest.len()).copied();
        Ok((page, next))
    }
}

async fn list_namespaces(
    State(service): State<CatalogService>,
    Parameters(listing): Parameters<Listing>,
) -> Result<Response, CatalogError> {
    let view = service.view().await?;
    let all = match listing
        .parent
        .as_deref()
        .filter(|parent| !parent.is_empty())
    {
        None => namespaces(&view),
        // Namespaces have one level.
        Some(parent) => {
            known(&view, parent)?;
            BTreeSet::new()
        }
    };
    let all: Vec<&str> = all.into_iter().collect();
    let (page, next) = listing.page(&all)?;
    let namespaces: Vec<Value> = page.into_iter().map(|name| json!([name])).collect();
    Ok(json_body(&with_token(
        json!({ "namespaces": namespaces }),
        next,
    )))
}

/// A page with the token of the next one, if there is one.
fn with_token(mut page: Value, next: Option<&str>) -> Value {
    if let Some(token) = next {
        page["next-page-token"] = json!(token);
    }
    page
}

async fn namespace(
    State(service): State<CatalogService>,
    Names(namespace): Names<String>,
) -> Result<Response, CatalogError> {
    known(&service.view().await?, &namespace)?;
    Ok(json_body(
        &json!({ "namespace": [namespace], "properties": {} }),
    ))
}

async fn has_namespace(
    State(service): State<CatalogService>,
    Names(namespace): Names<String>,
) -> Result<StatusCode, CatalogError> {
    known(&service.view().await?, &namespace)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_tables(
    State(service): State<CatalogService>,
    Names(namespace): Names<String>,
    Parameters(listing): Parameters<Listing>,
) -> Result<Response, CatalogError> {
    let view = service.view().await?;
    known(&view, &namespace)?;
    let mut names: Vec<&str> = view
        .tables_in(&namespace)
        .filter(|table| is_shown(table))
        .map(|table| table.name.as_str())
        .collect();
    names.sort_unstable();
    let (page, next) = listing.page(&names)?;
    let identifiers: Vec<Value> = page
        .into_iter()
        .map(|name| json!({ "namespace": [namespace], "name": name }))
        .collect();
    Ok(json_body(&with_token(
        json!({ "identifiers": identifiers }),
        next,
    )))
}

async fn load_table(
    State(service): State<CatalogService>,
    Names((namespace, name)): Names<(String, String)>,
    Parameters(Snapshots { snapshots }): Parameters<Snapshots>,
    headers: HeaderMap,
) -> Result<Response, CatalogError> {
    let every_snapshot = match snapshots.as_deref() {
        None | Some("all" | "") => true,
        Some("refs") => false,
        Some(other) => {
            let why = format!("snapshots={other} means nothing: it is all or refs");
            return Err(CatalogError::BadRequest(why));
        }
    };
    let view = service.view().await?;
    let table = find(&view, &namespace, &name)?;
    let tag = tag(table, every_snapshot);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let loaded = Box::pin(service.tables.load(table))
        .await
        .map_err(CatalogError::Load)?;
    let mut body = json!({
        "metadata": loaded.metadata_json(every_snapshot),
        // Clients bring their own way to the files: no credentials are handed out.
        "config": {},
    });
    // Nothing was committed yet: no file has the metadata.
    if let Some(pointer) = &table.pointer {
        body["metadata-location"] = json!(pointer);
    }
    Ok(([(ETAG, tag)], json_body(&body)).into_response())
}

async fn has_table(
    State(service): State<CatalogService>,
    Names((namespace, name)): Names<(String, String)>,
) -> Result<StatusCode, CatalogError> {
    find(&service.view().await?, &namespace, &name)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_views(
    State(service): State<CatalogService>,
    Names(namespace): Names<String>,
) -> Result<Response, CatalogError> {
    known(&service.view().await?, &namespace)?;
    Ok(json_body(&json!({ "identifiers": [] })))
}

async fn no_view(Names((namespace, name)): Names<(String, String)>) -> CatalogError {
    CatalogError::NoSuchView(format!("{namespace}.{name}"))
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

fn namespaces(view: &View) -> BTreeSet<&str> {
    view.table_namespaces().chain([EVENTS_NAMESPACE]).collect()
}

fn known(view: &View, namespace: &str) -> Result<(), CatalogError> {
    let has_tables = || view.tables_in(namespace).next().is_some();
    match namespace == EVENTS_NAMESPACE || has_tables() {
        true => Ok(()),
        false => Err(CatalogError::NoSuchNamespace(namespace.to_owned())),
    }
}

/// A table, or what was kept of the one of a deleted topic.
fn is_shown(table: &Table) -> bool {
    match &table.kind {
        TableKind::Topic(of) => of.detached.is_none() || table.pointer.is_some(),
        TableKind::Plain(_) => true,
        TableKind::View(_) => false,
    }
}

fn find<'v>(view: &'v View, namespace: &str, name: &str) -> Result<&'v Table, CatalogError> {
    view.table_named(namespace, name)
        .filter(|table| is_shown(table))
        .map(|table| &**table)
        .ok_or_else(|| CatalogError::NoSuchTable(format!("{namespace}.{name}")))
}

/// Changes with what `load_table` answers: with the metadata file, with the columns, which come and
/// grow wider between two of them, and with what was asked for.
fn tag(table: &Table, every_snapshot: bool) -> String {
    let pointer = table.pointer.as_deref().unwrap_or_default();
    let file = pointer.rsplit('/').next().unwrap_or(pointer);
    let kind = if every_snapshot { "all" } else { "refs" };
    format!("\"{}-{file}-{}-{kind}\"", table.uuid, table.schema_id)
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
