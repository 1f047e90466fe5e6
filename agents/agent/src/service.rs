//! Starts an agent on a node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tarn_coordinator::Coordinators;
use tarn_model::ByteSize;
use tarn_replica::Node;
use tarn_runtime::{Budget, Listener};
use tarn_state::Advertised;
use tarn_topics::{Reader, SEARCH_BYTES, Writer};
use tracing::info;

use crate::AgentSettings;
use crate::agent::Agent;
use crate::api::AllTopics;
use crate::fetch_session::FetchSessions;
use crate::intake::Intake;
use crate::listener;
use crate::metrics::AgentMetrics;
use crate::moves::{self, Moves};
use crate::presence;

/// Searches by timestamp that are under way at the same time.
const SEARCHES_AT_ONCE: u64 = 2;

/// What batches may take together while they are opened: for milliseconds, and one of the largest fits.
const OPENED_BYTES: ByteSize = ByteSize::mib(128);

/// A running agent. It stops with the node's scope: it is withdrawn and serves on, then stop the groups, then
/// the connections, then the writer, which flushes what it has.
#[derive(Debug)]
pub struct AgentHandle {
    /// Where it listens, with the port that was really taken.
    pub kafka_address: SocketAddr,
}

/// Serves Kafka clients on `kafka`, a listener that is bound already, so that a taken port is the
/// caller's error.
///
/// Clients are told of `at` once it accepts them, and until it drains.
pub fn start(
    node: &Node,
    settings: AgentSettings,
    kafka: Listener,
    at: Advertised,
) -> io::Result<AgentHandle> {
    let kafka_address = kafka.local_address()?;
    // Scopes stop youngest first: the presence, which closes the door; the groups, so that who waits for others is told to look elsewhere;
    // then the connections, which answer what is in flight; then the writer.
    let writer = Writer::start(node, settings.writer.clone());
    let scope = node.scope.child("agent");
    let metrics = node.runtime.metrics().register(AgentMetrics::register);
    let connections = scope.child("kafka connections");
    let door = scope.child("kafka listener");
    let coordinators =
        Coordinators::start(node, &settings.groups, scope.child("group coordinator"));
    let moves = Moves::default();
    let agent = Arc::new(Agent {
        runtime: node.runtime.clone(),
        metastore: node.metastore.clone(),
        defaults: node.defaults.clone(),
        intake: Intake::new(node.budget.clone(), settings.small_request_bytes),
        responses: Budget::new(settings.response_bytes),
        opened: Budget::new(OPENED_BYTES),
        searches: Budget::new(ByteSize(SEARCHES_AT_ONCE * SEARCH_BYTES)),
        moves: moves.clone(),
        writer,
        reader: Reader::metered(node),
        coordinators,
        fetch_sessions: FetchSessions::new(
            settings.fetch_sessions_max,
            metrics.fetch_sessions.clone(),
        ),
        all_topics: AllTopics::default(),
        metrics,
        settings,
        connections,
        door: door.clone(),
    });
    let watch = moves::watch(
        moves,
        node.metastore.clone(),
        agent.metrics.clone(),
        scope.clone(),
    );
    drop(scope.spawn("partition moves", watch));
    drop(door.spawn("kafka listener", listener::run(Arc::clone(&agent), kafka)));
    let presence = scope.child("presence");
    drop(presence.spawn("presence", presence::run(agent, at, presence.clone())));
    info!(address = %kafka_address, "serving Kafka clients");
    Ok(AgentHandle { kafka_address })
}
