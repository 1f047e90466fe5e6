//! When clients are sent to this agent: from when it answers until it leaves.
//!
//! ```text
//! accept ─▶ advertise … draining ─▶ withdraw ─▶ serve on ─▶ close the door
//! ```
//!
//! Holds: clients are sent here only while the agent accepts them; one that leaves is accepted and served for
//! [`crate::AgentSettings::serve_on`] after others were told, unless there is nobody else to go to.

use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;
use tarn_model::defect;
use tarn_runtime::Scope;
use tarn_state::{Advertised, State, advice};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::agent::Agent;

/// For so long a log that does not answer keeps an agent from leaving.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(5);

/// Runs in a scope that drains before the agent does.
pub(crate) async fn run(agent: Arc<Agent>, at: Advertised, scope: Scope) {
    tokio::select! {
        biased;
        () = scope.draining() => {}
        () = advertise(&agent, at) => {}
    }
    tokio::select! {
        biased;
        // Nobody hears it any more.
        _ = agent.metastore.stopped() => {}
        () = leave(&agent) => {}
    }
    agent.door.drain().await;
}

async fn advertise(agent: &Agent, at: Advertised) {
    let (host, port) = (at.host.clone(), at.port);
    agent.metastore.advertise(at).await;
    info!(host, port, "clients are sent here");
    pending().await
}

async fn leave(agent: &Agent) {
    let is_named = |view: &State| {
        let session = view.sessions.get(&agent.metastore.session());
        session.is_some_and(|session| session.agent.is_some())
    };
    let was_named = is_named(&agent.metastore.view());
    if !defect("drain-without-withdraw")
        && timeout(WITHDRAW_WITHIN, agent.metastore.withdraw())
            .await
            .is_err()
    {
        warn!("the commit log does not answer: clients are not told that this agent leaves");
        return;
    }
    if !was_named {
        return;
    }
    let mut views = agent.metastore.watch();
    let this = agent.metastore.node();
    let is_last = |view: &State| advice::agents(view).iter().all(|it| it.node == this);
    // Whoever has nowhere to go need not wait; nor need they who went.
    let _ = timeout(
        agent.settings.serve_on,
        views.wait_for(|view| is_last(view)),
    )
    .await;
}
