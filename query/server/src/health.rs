//! `/healthz`: the process runs, and does so until it has drained. `/readyz`: it takes new work, which it
//! does until draining begins; tables that somebody has to mend are named, and make no process unready. `/metrics`: OpenMetrics text.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tarn_replica::Node;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn router(node: &Node) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node.clone())
}

async fn ready(State(node): State<Node>) -> Response {
    let not_ready = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if node.scope.is_draining() {
        return not_ready("this process is stopping\n");
    }
    if node.metastore.is_fenced() {
        return not_ready("the commit log has not heard of this process for too long\n");
    }
    let mut answer = "ready\n".to_owned();
    for table in node.metastore.view().tables.values() {
        if let Some(problem) = &table.problem {
            let (namespace, name) = (&table.namespace, &table.name);
            answer += &format!("table {namespace}.{name} is not written: {problem}\n");
        }
    }
    answer.into_response()
}

async fn metrics(State(node): State<Node>) -> Response {
    (
        [(CONTENT_TYPE, OPEN_METRICS)],
        node.runtime.metrics().encode(),
    )
        .into_response()
}
