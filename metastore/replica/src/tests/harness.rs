//! A cluster in one test: a store, a log, and nodes that come and go.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tarn_commit_log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, MemoryLog,
    ObjectLog, SnapshotRef,
};
use tarn_model::{ByteSize, Generation, Lsn, ProducerId};
use tarn_runtime::Runtime;
use tarn_state::commands::AllocateProducerId;
use tarn_state::topic_configs::Defaults;
use tarn_state::{Command, Outcome, State};
use tarn_store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::{Committed, Node, NodeSettings, OpenError, Parts, ProposeError, View};

/// Longer than anything here takes: a test that waits for it has failed.
pub(super) const SOON: Duration = Duration::from_secs(60);

pub(super) fn soon() -> Instant {
    Instant::now() + SOON
}

pub(super) fn settings() -> NodeSettings {
    NodeSettings {
        snapshot_bytes: ByteSize::gib(1),
        snapshot_entries: u64::MAX,
        cache_bytes: ByteSize::mib(1),
        memory_budget: ByteSize::mib(16),
        tick: Duration::from_millis(200),
        alone: false,
        accept_clock: false,
        defaults: Defaults::default(),
    }
}

/// Which log a test runs over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Memory,
    Object,
}

/// What every process of a cluster sees.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) store: Store,
    memory: MemoryLog,
    kind: Kind,
}

impl Cluster {
    pub(super) fn new(kind: Kind) -> Cluster {
        Cluster {
            store: Store::memory(&Runtime::real()),
            memory: MemoryLog::new(),
            kind,
        }
    }

    /// The log of one more process, behind gates.
    pub(super) async fn log(&self, runtime: &Runtime) -> GatedLog {
        let inner: Arc<dyn CommitLog> = match self.kind {
            Kind::Memory => Arc::new(self.memory.reopen()),
            Kind::Object => Arc::new(
                ObjectLog::open(&self.store, tarn_commit_log::Settings::default(), runtime)
                    .await
                    .expect("the store answers"),
            ),
        };
        GatedLog::new(inner)
    }

    /// A log in memory that is as new as on the first day.
    pub(super) fn wipe(&mut self) {
        self.memory = MemoryLog::new();
    }

    pub(super) async fn try_open(
        &self,
        settings: NodeSettings,
    ) -> Result<(Node, GatedLog), OpenError> {
        let name = Runtime::real().random().uuid().to_string();
        self.try_open_named(&name, settings).await
    }

    pub(super) async fn try_open_named(
        &self,
        name: &str,
        settings: NodeSettings,
    ) -> Result<(Node, GatedLog), OpenError> {
        let runtime = Runtime::real();
        let log = self.log(&runtime).await;
        let scope = runtime.root_scope("node");
        let parts = Parts {
            name: name.to_owned(),
            runtime,
            store: self.store.clone(),
            log: Arc::new(log.clone()),
        };
        let node = timeout(SOON, Node::open(settings, parts, scope))
            .await
            .expect("a node opens soon")?;
        Ok((node, log))
    }

    pub(super) async fn open(&self, settings: NodeSettings) -> (Node, GatedLog) {
        self.try_open(settings).await.expect("the node opens")
    }
}

/// Applied twice it takes two ids: shows doubled proposals.
pub(super) fn allocate() -> Vec<Command> {
    vec![Command::AllocateProducerId(AllocateProducerId {})]
}

pub(super) async fn take_id(node: &Node) -> Result<ProducerId, ProposeError> {
    node.metastore
        .propose(allocate(), soon())
        .await
        .map(|committed| id_of(&committed))
}

pub(super) fn id_of(committed: &Committed) -> ProducerId {
    match committed.outcomes.as_slice() {
        [Outcome::ProducerId(id)] => *id,
        outcomes => panic!("unexpected outcomes {outcomes:?}"),
    }
}

/// Ids taken so far.
pub(super) fn taken(state: &State) -> i64 {
    state.next_producer.0 - 1
}

/// Waits for a view of which this is true.
pub(super) async fn until(node: &Node, what: &str, holds: impl Fn(&State) -> bool) -> View {
    let mut views = node.metastore.watch();
    let view = timeout(SOON, views.wait_for(|view| holds(view))).await;
    let view = view
        .unwrap_or_else(|_| panic!("never: {what}"))
        .expect("the node lives");
    Arc::clone(&view)
}

/// A number that a node's metrics tell.
pub(super) fn metric(node: &Node, name: &str) -> u64 {
    let text = node.runtime.metrics().encode();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .expect("a whole number")
}

/// What a gated log does with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Appends {
    #[default]
    Pass,
    /// They wait where they are.
    Hold,
    /// They take effect, and nobody is told.
    LoseReply,
    /// They have no effect, and nobody is told.
    LoseRequest,
    /// They are said to be invalid.
    Invalid,
    /// The log is found to be damaged.
    Corrupt,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gates {
    pub(super) appends: Appends,
    pub(super) follow_closed: bool,
    pub(super) end_closed: bool,
    /// Asking for the end is refused.
    pub(super) end_denied: bool,
}

/// A process's way to the log, which a test opens and closes.
#[derive(Clone)]
pub(super) struct GatedLog {
    inner: Arc<dyn CommitLog>,
    gates: Arc<watch::Sender<Gates>>,
}

impl fmt::Debug for GatedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl GatedLog {
    pub(super) fn set(&self, change: impl FnOnce(&mut Gates)) {
        self.gates.send_modify(change);
    }

    async fn wait(gates: &watch::Sender<Gates>, holds: impl Fn(&Gates) -> bool) {
        gates
            .subscribe()
            .wait_for(|gates| holds(gates))
            .await
            .expect("the sender is here");
    }

    pub(super) fn new(inner: Arc<dyn CommitLog>) -> GatedLog {
        GatedLog {
            inner,
            gates: Arc::new(watch::Sender::new(Gates::default())),
        }
    }

    pub(super) fn inner(&self) -> &dyn CommitLog {
        self.inner.as_ref()
    }
}

#[async_trait]
impl CommitLog for GatedLog {
    fn generation(&self) -> Generation {
        self.inner.generation()
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        GatedLog::wait(&self.gates, |gates| gates.appends != Appends::Hold).await;
        let lost = || AppendError::Unknown {
            reason: "the test lost it".to_owned(),
        };
        let appends = self.gates.borrow().appends;
        match appends {
            Appends::Pass => self.inner.append(entry).await,
            Appends::LoseReply => {
                self.inner.append(entry).await?;
                Err(lost())
            }
            Appends::LoseRequest | Appends::Hold => Err(lost()),
            Appends::Invalid => Err(AppendError::Invalid {
                reason: "the test says so".to_owned(),
            }),
            Appends::Corrupt => Err(AppendError::Corrupt {
                reason: "the test says so".to_owned(),
            }),
        }
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(GatedFollower {
            inner: self.inner.follow(after),
            gates: Arc::clone(&self.gates),
        })
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        if self.gates.borrow().end_denied {
            return Err(LogError::Denied {
                reason: "403 (the test says so)".to_owned(),
            });
        }
        let end = self.inner.end().await;
        // The reply is held, not the request: what completes meanwhile is not in it.
        GatedLog::wait(&self.gates, |gates| !gates.end_closed).await;
        end
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        self.inner.trim(floor, snapshot).await
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        self.inner.floor().await
    }

    fn wake(&self) {
        self.inner.wake();
    }
}

struct GatedFollower {
    inner: Box<dyn Follower>,
    gates: Arc<watch::Sender<Gates>>,
}

impl fmt::Debug for GatedFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Follower for GatedFollower {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError> {
        loop {
            GatedLog::wait(&self.gates, |gates| !gates.follow_closed).await;
            tokio::select! {
                biased;
                // What came is yielded after it opens again.
                () = GatedLog::wait(&self.gates, |gates| gates.follow_closed) => {}
                batch = self.inner.next_batch(max) => return batch,
            }
        }
    }

    fn position(&self) -> Lsn {
        self.inner.position()
    }
}
