//! Accepts connections, as many as the settings allow.

use std::sync::Arc;
use std::time::Duration;

use tarn_runtime::Listener;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::agent::Agent;
use crate::connection;
use crate::metrics::ReasonLabel;

/// Runs until the process drains. The connections that it accepted go on until it is their turn: no client
/// comes to a process that others wait for.
pub(crate) async fn run(agent: Arc<Agent>, listener: Listener) {
    let places = Arc::new(Semaphore::new(agent.settings.connections_max));
    let mut draining = std::pin::pin!(agent.connections.draining());
    loop {
        let accepted = tokio::select! {
            () = &mut draining => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer that hung up in between: go on, slowly.
                warn!(%error, "could not accept a Kafka connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            warn!(peer = %address, max = agent.settings.connections_max, "too many connections, closing the newest");
            agent
                .metrics
                .connections_closed
                .get_or_create(&ReasonLabel {
                    reason: "too many connections",
                })
                .inc();
            continue;
        };
        let served = Arc::clone(&agent);
        let connection = async move {
            served.metrics.connections.inc();
            connection::serve(Arc::clone(&served), stream, address).await;
            served.metrics.connections.dec();
            drop(place);
        };
        drop(agent.connections.spawn("kafka connection", connection));
    }
}
