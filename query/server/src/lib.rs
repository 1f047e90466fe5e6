//! What the query role answers over HTTP: SQL, the Iceberg REST catalog, health and metrics.
//!
//! | path | |
//! | --- | --- |
//! | `POST /v1/sql` | one statement, rows as JSON ([`sql`]) |
//! | `/catalog/v1/…` | Iceberg's REST catalog, the reading half ([`catalog`]) |
//! | `/` | a page for people: what is here ([`home`]) |
//! | `/healthz`, `/readyz`, `/metrics` | every process has them ([`tarn_replica::health`]) |
//!
//! Holds: an answer that looks complete is complete: one that breaks off in the middle ends its
//! connection instead.
//! Leaves to others: the listener (`tarn_runtime::http`), and all meaning of SQL (`tarn-engine`).

mod catalog;
mod error_code;
mod home;
mod sql;

use axum::Router;
use tarn_engine::Engine;
use tarn_replica::{Node, health};

pub use home::{Places, home};
pub use sql::json_values;

/// The routes of a query process. Made before the listener's scope, so that the listener drains first.
pub fn router(node: &Node, engine: Engine) -> Router {
    let catalog = catalog::router(node, &engine);
    sql::router(node, engine)
        .nest("/catalog", catalog)
        .merge(health(node))
}

#[cfg(test)]
mod tests;
