//! Lets Kafka clients in, as many as the settings allow.

use std::sync::Arc;

use tarn_runtime::Listener;
use tarn_runtime::listen::{Counts, Door};

use crate::agent::Agent;
use crate::connection;

/// Runs until the process drains. The connections that it accepted go on until it is their turn: no client
/// comes to a process that others wait for.
pub(crate) async fn run(agent: Arc<Agent>, listener: Listener) {
    let counts = Counts {
        open: agent.metrics.connections.clone(),
        closed: agent.metrics.connections_closed.clone(),
    };
    // Kafka has no word for it: the connection is closed.
    let door = Door::new(
        "kafka connection",
        agent.settings.connections_max,
        b"",
        counts,
    );
    let serve = |stream, address| connection::serve(Arc::clone(&agent), stream, address);
    tokio::select! {
        () = agent.connections.draining() => {}
        never = door.accept(&listener, &agent.connections, serve) => match never {},
    }
}
