//! Puts proposals into the log, one entry at a time, and learns what became of them.
//!
//! ```text
//!                    ┌── seen applied in follow ────────────────▶ outcomes, with the view that has them
//! queue ─▶ in flight ┼── unknown ──▶ the same bytes again
//!                    ├── session over ──▶ limbo ──▶ closed before it ──▶ queue (it never was applied)
//!                    └── snapshot jump: look         └─ else ──▶ unknown
//! ```
//!
//! Always holds: an outcome is learned only by seeing (session, sequence) applied, in `follow` or in a
//! snapshot, never from the append's answer; one append is in flight, and what waits meanwhile goes out
//! in the next entry; the bytes of an entry that was sent are repeated as they are, and written anew
//! only after a snapshot has shown that the entry is not applied and its session open; a proposal goes
//! out a second time only when it is proven that it never was applied; a waiter hears `NotDone` only of
//! what was never sent.
//! Leaves to others: whether a proposal makes sense. A refusal by this process's own view, which may
//! lag, is no answer; only what would panic or break an invariant is dropped here, and what is above
//! the level of the cluster is never written.

mod flight;
mod learned;
mod namesake;
mod outgoing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tarn_model::NodeId;
use tarn_runtime::Scope;
use tarn_state::{Advertised, ClockTrust};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::follower::Progress;
use crate::outcome::View;
use crate::queue::{Carried, Queued};
use crate::session::Sessions;
use crate::shared::Shared;

use namesake::Namesake;

use flight::{Flight, InFlight, Limbo, append_of, sending};

/// Pause before an append of unknown fate is repeated; it doubles up to the second.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a draining process tries to bring its proposals home and to close its session.
const DRAIN_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No session: the next entry opens one.
    Closed,
    /// The first entry of the current session is in flight.
    Opening,
    Open(NodeId),
    /// This process has closed its session and proposes no more.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Proposer {
    shared: Arc<Shared>,
    progress: mpsc::Receiver<Progress>,
    queue: mpsc::Receiver<Queued>,
    /// Taken from the queue and not sent, in order.
    waiting: VecDeque<Carried>,
    tick: Duration,
    name: String,
    /// Where clients are to be sent.
    agent: watch::Receiver<Option<Advertised>>,
    clock: ClockTrust,
    view: View,
    sessions: Sessions,
    /// Who has the name of this process, while that keeps it from opening a session.
    namesake: Option<Namesake>,
    phase: Phase,
    in_flight: Option<InFlight>,
    limbo: Vec<Limbo>,
    closing: bool,
    pause: Duration,
    /// Before another session is tried: none after one that was used, else it doubles up to the second.
    reopen_pause: Duration,
    paused_until: Instant,
    next_tick: Instant,
    tick_due: bool,
    next_observed: Instant,
    next_expiry: Instant,
    drain_until: Option<Instant>,
    outvoted: bool,
}

/// What a proposer needs to know besides what is shared.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) tick: Duration,
    pub(crate) name: String,
    pub(crate) alone: bool,
    pub(crate) clock: ClockTrust,
    /// Where this process stands: the last view that was not taken from `progress`.
    pub(crate) view: View,
}

impl Proposer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        progress: mpsc::Receiver<Progress>,
        queue: mpsc::Receiver<Queued>,
        settings: Settings,
    ) -> Proposer {
        let now = Instant::now();
        Proposer {
            sessions: Sessions::new(shared.runtime.random().session_id(), settings.alone),
            view: settings.view,
            agent: shared.agent.subscribe(),
            shared,
            progress,
            queue,
            waiting: VecDeque::new(),
            tick: settings.tick,
            name: settings.name,
            namesake: None,
            clock: settings.clock,
            phase: Phase::Closed,
            in_flight: None,
            limbo: Vec::new(),
            closing: false,
            pause: PAUSE,
            reopen_pause: Duration::ZERO,
            paused_until: now,
            next_tick: now + settings.tick,
            tick_due: false,
            next_observed: now,
            next_expiry: now,
            drain_until: None,
            outvoted: false,
        }
    }

    /// Returns when the process has drained or stopped. Dropping what is left answers its waiters, see
    /// `Shared::propose`.
    pub(crate) async fn run(mut self, scope: Scope) {
        let mut stopped = Arc::clone(&self.shared).when_stopped().boxed();
        let mut draining = scope.stopped().boxed();
        loop {
            self.start_next();
            if self.is_done() {
                return;
            }
            let wake = self.next_wake();
            let takes = self.takes_proposals();
            let drains = self.drain_until.is_none();
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                progress = self.progress.recv() => {
                    // The follower ends after the proposer unless it stopped.
                    let Some(progress) = progress else { return };
                    self.take(progress);
                }
                result = append_of(&mut self.in_flight) => self.appended(result),
                queued = self.queue.recv(), if takes => {
                    self.waiting.extend(queued.map(Carried::from));
                }
                // Its sender is shared.
                _ = self.agent.changed() => {}
                () = sleep_until(wake) => self.time_passed(),
                () = &mut draining, if drains => {
                    self.queue.close();
                    self.drain_until = Some(Instant::now() + DRAIN_MAX);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        let nothing_left = self.in_flight.is_none()
            && self.limbo.is_empty()
            && self.waiting.is_empty()
            && self.queue.is_empty()
            && matches!(self.phase, Phase::Closed | Phase::Ended);
        if !nothing_left && Instant::now() >= until {
            warn!("the commit log does not answer: this process ends without closing its session");
            return true;
        }
        nothing_left
    }

    fn may_send(&self) -> bool {
        self.in_flight.is_none() && !self.outvoted && Instant::now() >= self.paused_until
    }

    fn takes_proposals(&self) -> bool {
        self.may_send()
            && matches!(self.phase, Phase::Open(_))
            && self.waiting.is_empty()
            && self.drain_until.is_none()
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let mut wake = self.next_tick;
        if self.paused_until > now {
            wake = wake.min(self.paused_until);
        }
        if let Some(InFlight {
            flight: Flight::Repeat(at),
            ..
        }) = &self.in_flight
        {
            wake = wake.min(*at);
        }
        if let Some(until) = self.drain_until {
            wake = wake.min(until);
        }
        wake
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        if now >= self.next_tick {
            self.tick_due = true;
            self.next_tick = now + self.tick;
            // Looking at the clock now and then keeps the gauge true.
            self.shared.is_fenced();
        }
        if let Some(in_flight) = &mut self.in_flight
            && matches!(in_flight.flight, Flight::Repeat(at) if now >= at)
        {
            self.shared.metrics.appends_repeated.inc();
            in_flight.flight = sending(&self.shared, in_flight.entry.clone());
        }
    }
}
