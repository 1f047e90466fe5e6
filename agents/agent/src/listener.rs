//! Lets Kafka clients in, as many as the settings allow.

use std::sync::Arc;
use std::time::Duration;

use tarn_model::defect;
use tarn_runtime::Listener;
use tarn_runtime::listen::{Counts, Door};
use tarn_state::Session;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::connection;

/// Runs until its door closes. The connections that it accepted go on until it is their turn.
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
    if defect("advertise-before-serving") {
        let mut views = agent.metastore.watch();
        let this = agent.metastore.session();
        let is_named = |session: &Session| session.agent.is_some();
        let named = views.wait_for(|view| view.sessions.get(&this).is_some_and(is_named));
        drop(named.await);
        sleep(Duration::from_secs(6)).await;
    }
    tokio::select! {
        () = agent.door.stopped() => {}
        never = door.accept(&listener, &agent.connections, serve) => match never {},
    }
}
