//! Who is there, and whether clients are told the truth of it: no Metadata names an agent that does not answer
//! yet, or that leaves (I32); and a name has one node id for ever, over all lives of its process (I33).
//!
//! In every run, whoever is named is named in a view that the agent which names it has, and answers if it lives and
//! can be reached. A killed agent is named for as long as nobody can know of it. How soon one that was told to stop
//! is named no longer is looked at where nothing holds up the log.

use std::collections::{BTreeMap, BTreeSet};
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
    machines: Arc<Mutex<Vec<Machine>>>,
    stops: Arc<Vec<watch::Sender<u64>>>,
    nodes: Arc<Mutex<BTreeMap<String, NodeId>>>,
    asked: Arc<Mutex<u64>>,
}

#[derive(Debug, Clone)]
struct Machine {
    stage: Stage,
    lives: u64,
    /// Nobody reaches it over the network before.
    out_of_reach: Duration,
    /// The addresses that views of its process named, and until when; `None` is still.
    named: BTreeMap<String, Option<Duration>>,
}

/// A life of a process, and when it could last not be reached.
type Life = (u64, Duration);

impl Presence {
    pub(crate) fn new(nodes: usize) -> Presence {
        let machine = Machine {
            stage: Stage::Away,
            lives: 0,
            out_of_reach: Duration::ZERO,
            named: BTreeMap::new(),
        };
        Presence {
            machines: Arc::new(Mutex::new(vec![machine; nodes])),
            stops: Arc::new((0..nodes).map(|_| watch::Sender::new(0)).collect()),
            nodes: Arc::default(),
            asked: Arc::default(),
        }
    }

    fn with<T>(&self, node: usize, f: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machines = self.machines.lock();
        let machines = machines.as_mut().expect("nobody panics while holding it");
        f(&mut machines[node])
    }

    /// Its process was killed, or ended.
    pub(crate) fn went(&self, node: usize) {
        self.with(node, |machine| machine.stage = Stage::Away);
    }

    pub(crate) fn came(&self, node: usize) {
        self.with(node, |machine| {
            machine.stage = Stage::There;
            machine.lives += 1;
        });
    }

    pub(crate) fn is_there(&self, node: usize) -> bool {
        self.with(node, |machine| machine.stage == Stage::There)
    }

    pub(crate) fn is_out_of_reach(&self, node: usize, until: Duration) {
        self.with(node, |machine| {
            machine.out_of_reach = until.max(machine.out_of_reach);
        });
    }

    /// Whoever knocks now is answered.
    fn answers(&self, node: usize) -> Option<Life> {
        self.with(node, |machine| {
            let is_there = machine.stage == Stage::There && machine.out_of_reach <= now();
            is_there.then_some((machine.lives, machine.out_of_reach))
        })
    }

    fn leaves_since(&self, node: usize) -> Option<Duration> {
        self.with(node, |machine| match machine.stage {
            Stage::Leaving(since) => Some(since),
            Stage::Away | Stage::There => None,
        })
    }

    /// SIGTERM.
    pub(crate) fn stop(&self, node: usize, at: Duration) {
        self.with(node, |machine| machine.stage = Stage::Leaving(at));
        self.stops[node].send_modify(|stops| *stops += 1);
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

    /// Agents, names and node ids as this view of this node's process has them.
    pub(crate) fn observed(&self, node: usize, view: &View) -> Result<(), (&'static str, String)> {
        let agents = view
            .sessions
            .values()
            .filter_map(|session| session.agent.as_ref());
        let agents: BTreeSet<String> = agents
            .map(|agent| format!("{}:{}", agent.at.host, agent.at.port))
            .collect();
        self.with(node, |machine| {
            for (_, until) in machine
                .named
                .iter_mut()
                .filter(|(at, _)| !agents.contains(*at))
            {
                until.get_or_insert_with(now);
            }
            machine
                .named
                .extend(agents.into_iter().map(|at| (at, None)));
        });
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

    /// Did a view of this node's process name the address at this time, or since?
    fn has_named(&self, node: usize, address: &str, since: Duration) -> bool {
        self.with(node, |machine| {
            let until = machine.named.get(address);
            until.is_some_and(|until| until.is_none_or(|until| until >= since))
        })
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
    let presence = &cluster.presence;
    while now() < cluster.plan.heal_at {
        for (asker, client) in clients.iter().enumerate() {
            let asked = now();
            let Ok(brokers) = Admin::new(client).brokers().await else {
                continue;
            };
            *presence
                .asked
                .lock()
                .expect("nobody panics while holding it") += 1;
            for broker in brokers {
                let address = &broker.address;
                let told = |what: &str| {
                    let detail =
                        format!("node {asker} named {address} when asked at {asked:?}: {what}");
                    cluster.history.violated("I32", detail);
                };
                if !presence.has_named(asker, address, asked) {
                    told("none of its views did");
                }
                let named = (0..cluster.plan.nodes)
                    .find(|node| cluster.bootstrap()[*node] == *address)
                    .expect("agents advertise what they are reached by");
                if let Some(since) = presence.leaves_since(named)
                    && cluster.plan.is_quiet()
                    && asked >= since + WORD_WITHIN
                {
                    told(&format!("it leaves since {since:?}"));
                }
                let before = presence.answers(named);
                let settings = settings(named);
                match Connection::open(&runtime, &scope, &settings, address).await {
                    Ok(connection) => connection.close(),
                    // It was there when it was named, and all the time since.
                    Err(error) if before.is_some() && presence.answers(named) == before => {
                        told(&error.to_string());
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
