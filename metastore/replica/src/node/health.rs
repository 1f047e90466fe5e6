//! `/healthz`: the process runs, and does so until it has drained. `/readyz`: it takes new work, which it
//! does until draining begins; tables that somebody has to mend are named, and make no process unready. `/metrics`: OpenMetrics text.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::Node;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes that every process has, whatever its roles.
pub fn health(node: &Node) -> Router {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tarn_commit_log::MemoryLog;
    use tarn_runtime::Runtime;
    use tarn_store::Store;
    use tower::ServiceExt;

    use super::*;
    use crate::{NodeSettings, Parts};

    /// A node without any role.
    #[tokio::test]
    async fn a_bare_node_tells_how_it_is() {
        let runtime = Runtime::real();
        let parts = Parts {
            runtime: runtime.clone(),
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
        };
        let node = Node::open(NodeSettings::default(), parts, runtime.root_scope("test"));
        let node = node.await.expect("a node in memory opens");
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let answer = health(&node).oneshot(request).await;
            let answer = answer.expect("a router does not fail");
            let status = answer.status().as_u16();
            let body = to_bytes(answer.into_body(), usize::MAX).await;
            let body = body.expect("it is whole").to_vec();
            (status, String::from_utf8(body).expect("text"))
        };
        assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(ask("/readyz").await, (200, "ready\n".to_owned()));
        let (status, metrics) = ask("/metrics").await;
        assert!(status == 200 && metrics.ends_with("# EOF\n"), "{metrics}");
        node.drain().await;
        assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(ask("/readyz").await.0, 503);
    }
}
