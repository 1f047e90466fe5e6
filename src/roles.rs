//! The roles of a process: each is started on its node, in the order in which they stand on each other, and
//! drains in reverse.
//!
//! Leaves to others: what a role does; here it gets its settings and its listener.

use tarn_agent::AgentSettings;
use tarn_compactor::CompactorSettings;
use tarn_engine::{Engine, EngineSettings};
use tarn_hot::{HotSettings, HotTier};
use tarn_model::{ByteSize, Kind};
use tarn_registry::{Registry, RegistrySettings};
use tarn_replica::Node;
use tarn_runtime::{Listener, http};
use tarn_server::Places;
use tarn_state::Advertised;
use tarn_tables::Catalog;

use crate::cli::Failure;
use crate::settings::Settings;

/// Where the roles of a process are reached.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) kafka: Listener,
    /// Where Kafka clients are told that they reach it.
    pub(crate) agent: Advertised,
    pub(crate) registry: Listener,
    pub(crate) http: Listener,
}

/// Starts every role on a node.
pub(crate) async fn start(
    settings: &Settings,
    node: &Node,
    places: Places,
    doors: Doors,
) -> Result<(), Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(Kind::Internal, error);
    tarn_agent::start(node, agent_settings(settings), doors.kafka, doors.agent)
        .map_err(|error| internal(&error))?;
    let schemas = Registry::new(node, RegistrySettings::default());
    let tables = Catalog::new(node, settings.memory.table_metadata());
    let compactor = compactor_settings();
    let tasks = tarn_compactor::all(node, &tables, &compactor);
    tarn_compactor::start(node, compactor, tasks);
    let hot = HotTier::start(
        node,
        HotSettings {
            bytes: settings.memory.hot_tier(),
        },
    );
    let engine = Engine::start(
        node,
        &tables,
        hot,
        EngineSettings {
            memory_limit: match settings.sql.memory_limit {
                ByteSize(0) => settings.memory.queries(),
                limit => limit,
            },
            ..settings.sql.clone()
        },
    );
    let router = tarn_server::router(node, engine)
        .merge(tarn_server::home(node, places))
        .merge(tarn_registry::v1_schemas(schemas.clone()));
    let listeners = node.scope.child("http");
    let server = http::Server::new(node.runtime.metrics());
    server.serve(&listeners, doors.http, router);
    server.serve(
        &listeners,
        doors.registry,
        tarn_registry::confluent(schemas),
    );
    Ok(())
}

fn compactor_settings() -> CompactorSettings {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    CompactorSettings {
        tables_at_once: (2 * cores).max(4),
        cores,
        ..CompactorSettings::default()
    }
}

fn agent_settings(settings: &Settings) -> AgentSettings {
    AgentSettings {
        topics: settings.topics.clone(),
        replication_factor: settings.replication_factor.clone(),
        writer: settings.writer.clone(),
        small_request_bytes: settings.memory.small_requests(),
        response_bytes: settings.memory.responses(),
        ..AgentSettings::default()
    }
}
