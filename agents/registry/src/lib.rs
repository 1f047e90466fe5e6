//! The schema registry over HTTP: Confluent's paths, and the brief's `/v1/schemas`.
//!
//! Holds: what says *no such subject, version or schema* is said behind a read barrier only; a schema
//! is answered with its id only after the log has it; bodies are bounded by the settings and by the
//! byte budget.
//! Leaves to others: what a schema means (`tarn-schema`), ids and versions and whether a table can
//! follow (`apply`), and the sockets (the binary).

mod body;
mod confluent;
mod metrics;
mod registry;
mod settings;
mod subjects;
mod v1;

use axum::Router;

pub use registry::Registry;
pub use settings::RegistrySettings;

/// Confluent's paths, as its serializers and tools call them: for a port of their own.
pub fn confluent(registry: Registry) -> Router {
    confluent::router(registry)
}

/// `POST` and `GET /v1/schemas/{topic}`, for the process's HTTP port.
pub fn v1_schemas(registry: Registry) -> Router {
    v1::router(registry)
}

#[cfg(test)]
mod tests;
