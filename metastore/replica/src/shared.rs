//! What the tasks of one replica and its handles share.
//!
//! Holds: every channel is bounded where it is made, a view is published here and nowhere else, and the first
//! reason to stop stays the reason.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tarn_commit_log::CommitLog;
use tarn_model::{Generation, Lsn, Monotonic, SessionId, caps};
use tarn_runtime::{Budget, Runtime};
use tarn_state::{Advertised, FeatureLevel, State};
use tarn_store::{Store, paths};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use crate::metrics::Metrics;
use crate::outcome::View;
use crate::queue::Queued;
use crate::session::Identity;

/// What the tasks of a replica and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The newest level that this process can apply.
    pub(crate) level_max: FeatureLevel,
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn CommitLog>,
    pub(crate) metrics: Metrics,
    pub(crate) views: watch::Sender<View>,
    pub(crate) queue: mpsc::Sender<Queued>,
    /// Bytes of proposals that wait or are on their way.
    pub(crate) queued_bytes: Budget,
    pub(crate) barriers: mpsc::Sender<Waiter>,
    /// Where clients are to be sent; the proposer sees to it that the state says so.
    pub(crate) agent: watch::Sender<Option<Advertised>>,
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
    /// The last attempt to make a snapshot failed.
    pub(crate) snapshot_fails: AtomicBool,
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

/// Somebody who waits to be told an end of the log.
pub(crate) type Waiter = oneshot::Sender<Lsn>;

/// Waiters of one gathering: beyond it callers wait for room until their deadlines.
pub(crate) const WAITERS_MAX: usize = 4096;
/// Proposals in the queue: as many as their bytes allow, this only bounds tiny ones.
const QUEUE_MAX: usize = 4096;

impl Shared {
    pub(crate) fn new(
        runtime: Runtime,
        store: Store,
        log: Arc<dyn CommitLog>,
        state: State,
        queued_bytes: Budget,
        level_max: FeatureLevel,
    ) -> (Arc<Shared>, Receivers) {
        let (queue, queue_end) = mpsc::channel(QUEUE_MAX);
        let (barriers, barriers_end) = mpsc::channel(WAITERS_MAX);
        let metrics = runtime.metrics().register(Metrics::register);
        // Until the clock guard finds it wrong.
        metrics.votes.set(1);
        let shared = Shared {
            level_max,
            metrics,
            heard: AtomicU64::new(runtime.clock().monotonic().0),
            runtime,
            store,
            log,
            trimmed: Mutex::new(Trimmed {
                n: state.n,
                entry_bytes: 0,
            }),
            snapshot_fails: AtomicBool::new(false),
            archived: watch::Sender::new(state.n),
            views: watch::Sender::new(Arc::new(state)),
            queue,
            queued_bytes,
            barriers,
            agent: watch::Sender::new(None),
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
