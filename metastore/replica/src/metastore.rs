//! The handle that every role holds: look, wait, propose (`propose.rs`), and say where clients are to be sent.
//!
//! Holds: a view never goes back; and what it does not show may still be there, unless a barrier was waited for.

use std::sync::Arc;
use std::time::Duration;

use tarn_model::{ByteSize, Lsn, NodeId, SessionId, encode};
use tarn_state::{Advertised, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::outcome::{BarrierError, View};
use crate::session::Identity;
use crate::shared::Shared;

/// The metastore as one process sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metastore {
    pub(crate) shared: Arc<Shared>,
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

    pub(crate) fn jitter(&self, pause: Duration) -> Duration {
        self.shared.runtime.random().jitter(pause)
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

    /// Clients are to be sent to this process's agent from now on, in whatever session. Returns when the view
    /// says so: to be called when the agent answers.
    pub async fn advertise(&self, at: Advertised) {
        self.send_clients_to(Some(at)).await;
    }

    /// No client is to be sent here any more. Returns when the view says so: to be called before the agent
    /// stops to answer.
    pub async fn withdraw(&self) {
        self.send_clients_to(None).await;
    }

    async fn send_clients_to(&self, agent: Option<Advertised>) {
        self.shared.agent.send_replace(agent.clone());
        let mut views = self.watch();
        let is_told = |view: &View| {
            let session = view.sessions.get(&self.session());
            let told = session.and_then(|session| session.agent.as_ref());
            told.map(|told| &told.at) == agent.as_ref()
        };
        // The sender lives as long as this handle.
        let _ = views.wait_for(is_told).await;
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
