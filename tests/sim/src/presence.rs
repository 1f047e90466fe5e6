//! Who is there, and whether clients are told the truth of it: no Metadata names an agent that does not answer
//! yet, or that leaves (I32); and a name has one node id for ever, over all lives of its process (I33).
//!
//! A killed agent is named for as long as nobody can know of it, so that only those that live are looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarn_client::{Admin, Client, ClientSettings, Connection};
use tarn_model::NodeId;
use tarn_replica::View;
use tarn_runtime::{Runtime, SimulatedHost};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::workload::now;

/// A process that was told to stop may need so long until the log has its word: what it waits at most, and
/// a second for the way.
const WORD_WITHIN: Duration = Duration::from_secs(6);
/// Who is named answers within this time.
const ANSWERS_WITHIN: Duration = Duration::from_millis(1_500);

/// What the harness knows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Killed, or it has not opened its session.
    Away,
    /// Its session is open: nobody but itself is meant by its name.
    There,
    /// It was told to stop, then.
    Leaving(Duration),
}

/// Shared by processes and harness.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    stages: Arc<Mutex<Vec<Stage>>>,
    stops: Arc<Vec<watch::Sender<u64>>>,
    nodes: Arc<Mutex<BTreeMap<String, NodeId>>>,
    asked: Arc<Mutex<u64>>,
}

impl Presence {
    pub(crate) fn new(nodes: usize) -> Presence {
        Presence {
            stages: Arc::new(Mutex::new(vec![Stage::Away; nodes])),
            stops: Arc::new((0..nodes).map(|_| watch::Sender::new(0)).collect()),
            nodes: Arc::default(),
            asked: Arc::default(),
        }
    }

    fn stage(&self, node: usize) -> Stage {
        self.stages.lock().expect("nobody panics while holding it")[node]
    }

    fn set(&self, node: usize, stage: Stage) {
        self.stages.lock().expect("nobody panics while holding it")[node] = stage;
    }

    pub(crate) fn is_away(&self, node: usize) {
        self.set(node, Stage::Away);
    }

    pub(crate) fn is_there(&self, node: usize) {
        self.set(node, Stage::There);
    }

    /// SIGTERM.
    pub(crate) fn stop(&self, node: usize, at: Duration) {
        if self.stage(node) == Stage::There {
            self.set(node, Stage::Leaving(at));
            self.stops[node].send_modify(|stops| *stops += 1);
        }
    }

    /// Resolves when the process is told to stop.
    pub(crate) async fn told_to_stop(&self, node: usize) {
        let mut stops = self.stops[node].subscribe();
        // The sender is here.
        let _ = stops.changed().await;
    }

    /// Metadata answers that were looked at.
    pub(crate) fn asked(&self) -> u64 {
        *self.asked.lock().expect("nobody panics while holding it")
    }

    /// Names and node ids as this view has them.
    pub(crate) fn check(&self, view: &View) -> Result<(), (&'static str, String)> {
        let mut nodes = self.nodes.lock().expect("nobody panics while holding it");
        for session in view.sessions.values() {
            let known = *nodes.entry(session.name.clone()).or_insert(session.node);
            if known != session.node {
                let detail = format!(
                    "{:?} was node {known} and is node {} at {}",
                    session.name,
                    session.node,
                    view.lsn()
                );
                return Err(("I33", detail));
            }
        }
        Ok(())
    }
}

/// Asks every agent again and again where clients should go, and looks there.
pub(crate) async fn watch(cluster: Cluster) -> turmoil::Result {
    let runtime = Runtime::simulated(&SimulatedHost::new(cluster.plan.seed ^ 0x09e5));
    let scope = runtime.root_scope("presence");
    let settings = |node: usize| {
        let mut settings = ClientSettings::new([cluster.bootstrap()[node].clone()]);
        settings.connect_timeout = ANSWERS_WITHIN;
        settings.request_timeout = ANSWERS_WITHIN;
        settings.operation_timeout = ANSWERS_WITHIN;
        settings
    };
    let nodes = 0..cluster.plan.nodes;
    let clients: Vec<Client> = nodes
        .map(|node| Client::new(&runtime, &scope, settings(node)))
        .collect();
    while now() < cluster.plan.heal_at {
        for client in &clients {
            let asked = now();
            let Ok(brokers) = Admin::new(client).brokers().await else {
                continue;
            };
            *cluster
                .presence
                .asked
                .lock()
                .expect("nobody panics while holding it") += 1;
            for broker in brokers {
                let named = (0..cluster.plan.nodes)
                    .find(|node| cluster.bootstrap()[*node] == broker.address)
                    .expect("agents advertise what they are reached by");
                let before = cluster.presence.stage(named);
                if let Stage::Leaving(since) = before
                    && asked >= since + WORD_WITHIN
                {
                    let detail = format!("{} was named and leaves since {since:?}", broker.address);
                    cluster.history.violated("I32", detail);
                }
                let settings = settings(named);
                let opened = Connection::open(&runtime, &scope, &settings, &broker.address).await;
                match opened {
                    Ok(connection) => connection.close(),
                    // It was there when it was named, and all the time since.
                    Err(error)
                        if before == Stage::There && cluster.presence.stage(named) == before =>
                    {
                        let detail = format!("{} was named: {error}", broker.address);
                        cluster.history.violated("I32", detail);
                    }
                    Err(_) => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    scope.drain().await;
    Ok(())
}
