//! The handle that every role holds: look, wait, propose.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tarn_commit_log::CommitLog;
use tarn_model::{
    ByteSize, Fate, Generation, Kind, Lsn, Monotonic, NodeId, SessionId, caps, encode,
};
use tarn_runtime::{Budget, Runtime};
use tarn_state::{Command, Outcome, Refusal, State};
use tarn_store::{Store, paths};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::error;

use crate::barrier::Waiter;
use crate::metrics::Metrics;
use crate::queue::Queued;
use crate::session::Identity;

/// An immutable state at an Lsn. Anyone may hold it for as long as they like.
pub type View = Arc<State>;

/// The metastore as one process sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metastore {
    shared: Arc<Shared>,
}

/// A proposal that was applied.
#[derive(Debug, Clone)]
pub struct Committed {
    pub lsn: Lsn,
    /// One per command.
    pub outcomes: Vec<Outcome>,
    /// A view that contains it, published before this is returned.
    pub view: View,
}

/// A proposal that did not become real, or of which that is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Every replica refused it: it did not happen.
    #[error("command {command} was refused: {refusal}")]
    Refused { command: u32, refusal: Refusal },
    /// It did not go out, or provably never took effect.
    #[error("the proposal was not made: {why}")]
    NotDone { why: &'static str },
    /// It may have happened, or may still. Look before acting on either.
    #[error("the commit log did not say what became of the proposal: {why}")]
    Unknown { why: &'static str },
    /// The process is stopping or its log has gone back.
    #[error("this process has stopped: {why}")]
    Stopped { why: String },
}

impl ProposeError {
    pub fn kind(&self) -> Kind {
        match self {
            ProposeError::Refused { .. } => Kind::Conflict,
            ProposeError::NotDone { .. }
            | ProposeError::Unknown { .. }
            | ProposeError::Stopped { .. } => Kind::Unavailable,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            ProposeError::Refused { .. } | ProposeError::NotDone { .. } => Fate::NotDone,
            ProposeError::Unknown { .. } | ProposeError::Stopped { .. } => Fate::Unknown,
        }
    }
}

/// The view could not be shown to be as new as the log's end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BarrierError {
    #[error("the commit log did not answer in time")]
    Deadline,
    #[error("this process has not been heard by the log for too long")]
    Fenced,
    #[error("this process has stopped: {why}")]
    Stopped { why: String },
}

/// What the tasks of a replica and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn CommitLog>,
    pub(crate) metrics: Metrics,
    pub(crate) views: watch::Sender<View>,
    pub(crate) queue: mpsc::Sender<Queued>,
    /// Bytes of proposals that wait or are on their way.
    pub(crate) queued_bytes: Budget,
    pub(crate) barriers: mpsc::Sender<Waiter>,
    /// `None` until the first node session is open.
    pub(crate) identity: watch::Sender<Option<Identity>>,
    /// Sessions whose entries may stand in the log: the follower reports what becomes of those.
    pub(crate) own: Mutex<BTreeSet<SessionId>>,
    /// When the newest own entry that was applied was written, on the monotonic clock.
    heard: AtomicU64,
    /// False while the guard finds the wall clock wrong.
    pub(crate) votes: AtomicBool,
    pub(crate) stopped: watch::Sender<Option<Arc<str>>>,
    /// Where the last trim that this process knows of stands, for the snapshotter.
    pub(crate) trimmed: Mutex<Trimmed>,
    /// Bytes of all entries that this process applied.
    pub(crate) entry_bytes: AtomicU64,
    /// n of the last entry that is known to be archived.
    pub(crate) archived: watch::Sender<u64>,
}

/// The floor, and how many bytes of entries had been applied when it was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trimmed {
    pub(crate) n: u64,
    pub(crate) entry_bytes: u64,
}

/// The receiving ends of what [`Shared`] sends.
#[derive(Debug)]
pub(crate) struct Receivers {
    pub(crate) queue: mpsc::Receiver<Queued>,
    pub(crate) barriers: mpsc::Receiver<Waiter>,
}

/// Proposals in the queue: as many as their bytes allow, this only bounds tiny ones.
const QUEUE_MAX: usize = 4096;

impl Shared {
    pub(crate) fn new(
        runtime: Runtime,
        store: Store,
        log: Arc<dyn CommitLog>,
        state: State,
        queued_bytes: Budget,
    ) -> (Arc<Shared>, Receivers) {
        let (queue, queue_end) = mpsc::channel(QUEUE_MAX);
        let (barriers, barriers_end) = mpsc::channel(crate::barrier::WAITERS_MAX);
        let shared = Shared {
            metrics: Metrics::register(&runtime),
            heard: AtomicU64::new(runtime.clock().monotonic().0),
            runtime,
            store,
            log,
            trimmed: Mutex::new(Trimmed {
                n: state.n,
                entry_bytes: 0,
            }),
            archived: watch::Sender::new(state.n),
            views: watch::Sender::new(Arc::new(state)),
            queue,
            queued_bytes,
            barriers,
            identity: watch::Sender::new(None),
            own: Mutex::default(),
            votes: AtomicBool::new(true),
            stopped: watch::Sender::new(None),
            entry_bytes: AtomicU64::new(0),
        };
        (
            Arc::new(shared),
            Receivers {
                queue: queue_end,
                barriers: barriers_end,
            },
        )
    }

    pub(crate) fn view(&self) -> View {
        Arc::clone(&self.views.borrow())
    }

    /// An own entry that was written at `sent` has been applied.
    pub(crate) fn heard(&self, sent: Monotonic) {
        self.heard.fetch_max(sent.0, Ordering::Relaxed);
        self.is_fenced();
    }

    pub(crate) fn is_fenced(&self) -> bool {
        let heard = Monotonic(self.heard.load(Ordering::Relaxed));
        let fenced = self.runtime.clock().monotonic().since(heard) > caps::SELF_FENCE_AFTER;
        self.metrics.fenced.set(i64::from(fenced));
        fenced
    }

    /// This process must not go on. The first reason stays.
    pub(crate) fn stop(&self, why: String) {
        self.stopped.send_if_modified(|stopped| {
            if stopped.is_some() {
                return false;
            }
            error!(reason = why, "this process stops");
            *stopped = Some(why.into());
            true
        });
    }

    /// The log lost entries that were seen: stops, and says where they may be.
    pub(crate) fn log_went_back(&self, error: &dyn fmt::Display) {
        self.stop(with_places(error, self.log.generation()));
    }

    pub(crate) fn why_stopped(&self) -> Option<String> {
        self.stopped.borrow().as_deref().map(str::to_owned)
    }

    /// Resolves with the reason to stop.
    pub(crate) async fn when_stopped(self: Arc<Shared>) -> String {
        let mut stopped = self.stopped.subscribe();
        let why = stopped
            .wait_for(Option::is_some)
            .await
            .expect("`self` holds the sender");
        why.as_deref().expect("waited for Some").to_owned()
    }
}

/// What is known beside the log, for somebody who has to recover it.
pub(crate) fn with_places(error: &dyn fmt::Display, generation: Generation) -> String {
    let (archive, snapshots) = (paths::archive(generation), paths::snapshots(generation));
    format!(
        "{error}; archived entries lie in {archive}, state snapshots in {snapshots}: keep them, for there is no command \
         yet that recovers a log from them"
    )
}

impl Metastore {
    pub(crate) fn new(shared: Arc<Shared>) -> Metastore {
        Metastore { shared }
    }

    /// The newest view. May lag: it is no ground for a negative answer.
    pub fn view(&self) -> View {
        self.shared.view()
    }

    /// Tells of every new view. Views may be skipped, never reordered.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.shared.views.subscribe()
    }

    /// A view that contains everything that was complete in the log before this call.
    pub async fn barrier(&self, deadline: Instant) -> Result<View, BarrierError> {
        self.shared.barrier(deadline).await
    }

    /// Waits until the view is at least at `lsn`.
    pub async fn wait_for(&self, lsn: Lsn, deadline: Instant) -> Result<View, BarrierError> {
        self.shared.wait_for(lsn, deadline).await
    }

    /// Proposes commands, all or none, and waits until a view contains their outcome.
    ///
    /// At the deadline it answers `NotDone` if the proposal never went out, else `Unknown`. Dropping
    /// the future withdraws a proposal that has not gone out, and leaves the fate of another unknown.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Committed, ProposeError> {
        self.shared.propose(commands, deadline).await
    }

    /// This process's node id. It survives the node session.
    pub fn node(&self) -> NodeId {
        self.identity().node
    }

    pub fn session(&self) -> SessionId {
        self.identity().session
    }

    fn identity(&self) -> Identity {
        self.shared
            .identity
            .borrow()
            .expect("Node::open returns when the first session is open")
    }

    /// True when the log has not heard of this process for `caps::SELF_FENCE_AFTER`: it answers no
    /// heartbeat, no coordinator request, no barrier.
    pub fn is_fenced(&self) -> bool {
        self.shared.is_fenced()
    }

    /// Resolves when this process must stop, with what is known: the log went back, replicas
    /// diverged, an entry cannot be read.
    pub async fn stopped(&self) -> String {
        Arc::clone(&self.shared).when_stopped().await
    }

    /// Asks the follower to look at the log now rather than at its next poll.
    pub fn wake(&self) {
        self.shared.log.wake();
    }

    /// Largest encoded proposal; a larger one is `NotDone`. A flush that would exceed it is split.
    pub const PROPOSAL_BYTES_MAX: ByteSize = crate::queue::BODY_MAX;

    /// Does this command fit into an entry of the log, alone?
    pub fn fits(command: &Command) -> bool {
        /// What stands around a command in its entry.
        const AROUND: u64 = 256;
        encode(command).len() as u64 + AROUND <= Metastore::PROPOSAL_BYTES_MAX.0
    }
}
