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
//! lag, is no answer; only what would panic or break an invariant is dropped here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use tarn_commit_log::{AppendError, LogEntry};
use tarn_model::{Hash, Lsn, Monotonic, NodeId, SessionId, defect, encode};
use tarn_runtime::{Scope, step};
use tarn_state::commands::{CloseSession, ExpireSession, OpenSession};
use tarn_state::{
    Advertised, Applied, ClockTrust, Command, Entry, FeatureLevel, Observed, Outcome, Proposal,
    ProposalOutcome, SessionContext,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::follower::{Progress, superseded};
use crate::metastore::{Committed, ProposeError, Shared, View};
use crate::queue::{BODY_MAX, Carried, Queued};
use crate::session::{Identity, Look, Sessions, look};

/// Proposals in one entry: bounds what one trial and one batch of answers costs.
const PROPOSALS_MAX: usize = 1024;
/// Silent sessions whose expiry goes into one entry.
const EXPIRIES_MAX: usize = 16;
/// Pause before an append of unknown fate is repeated; it doubles up to the second.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Sessions in a row that this process tried to open in vain before it stops.
const TRIED_MAX: usize = 256;
/// How long a draining process tries to bring its proposals home and to close its session.
const DRAIN_MAX: Duration = Duration::from_secs(10);

const OUTCOME_NOT_SEEN: &str = "it was applied, but its outcome passed while this process was away";
const FORGOTTEN: &str = "the log no longer knows the session that proposed it";

/// An entry whose fate is not known yet.
struct InFlight {
    session: SessionId,
    sequence: u64,
    carried: Vec<Carried>,
    entry: LogEntry,
    /// When it was first written: what self-fencing counts from.
    sent: Monotonic,
    /// Some attempt may have reached the log.
    maybe_sent: bool,
    flight: Flight,
}

enum Flight {
    Sending(BoxFuture<'static, Result<(), AppendError>>),
    /// Its fate is unknown: to be repeated then.
    Repeat(Instant),
    /// In the order; to be seen in `follow`.
    Appended,
    /// The log was trimmed past where it may stand: to be looked for in a view at least this new.
    Trimmed(Lsn),
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({}, {})", self.session, self.sequence)
    }
}

/// Proposals of a session that is over, until a view tells whether they were applied.
#[derive(Debug)]
struct Limbo {
    session: SessionId,
    sequence: u64,
    carried: Vec<Carried>,
}

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
    agent: Option<Advertised>,
    clock: ClockTrust,
    view: View,
    sessions: Sessions,
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
    pub(crate) agent: Option<Advertised>,
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
            shared,
            progress,
            queue,
            waiting: VecDeque::new(),
            tick: settings.tick,
            agent: settings.agent,
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
                           progress = self.progress.recv() => match progress {
                               Some(progress) => self.take(progress),
                               // The follower ends after the proposer unless it stopped.
                               None => return,
                           },
                           result = append_of(&mut self.in_flight) => self.appended(result),
                           queued = self.queue.recv(), if takes => {
                               if let Some(queued) = queued {
            self.waiting.push_back(queued.into());
            }
                           }
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

    // ---- what goes out ----

    fn start_next(&mut self) {
        if !self.may_send() {
            return;
        }
        match self.phase {
            // A draining process opens another session only for those who still wait.
            Phase::Closed
                if self.drain_until.is_none()
                    || !self.limbo.is_empty()
                    || !self.waiting.is_empty()
                    || !self.queue.is_empty() =>
            {
                self.open();
            }
            Phase::Open(node) => self.send(node),
            Phase::Closed | Phase::Opening | Phase::Ended => {}
        }
    }

    fn open(&mut self) {
        let session = self.sessions.current;
        self.shared
            .own
            .lock()
            .expect("nobody panics while holding it")
            .insert(session);
        let open = OpenSession {
            closes: self.sessions.closes(),
            agent: self.agent.clone(),
            level_max: FeatureLevel::NEWEST,
            clock: self.clock,
        };
        self.phase = Phase::Opening;
        self.launch(
            1,
            Hash::ZERO,
            vec![Carried::own(Command::OpenSession(open))],
        );
    }

    fn send(&mut self, node: NodeId) {
        let by = SessionContext {
            session: self.sessions.current,
            node,
        };
        let mut carried = Vec::new();
        let now = Instant::now();
        // Not at ticks alone: a busy process has none.
        if now >= self.next_expiry {
            self.next_expiry = now + self.tick;
            let silent = self
                .view
                .silent_sessions()
                .filter(|session| *session != by.session)
                .take(EXPIRIES_MAX);
            carried
                .extend(silent.map(|session| {
                    Carried::own(Command::ExpireSession(ExpireSession { session }))
                }));
        }
        let mut bytes = 0;
        while carried.len() < PROPOSALS_MAX {
            let Some(next) = self.next_waiting() else {
                break;
            };
            if bytes > 0 && bytes + next.bytes > BODY_MAX.0 {
                self.waiting.push_front(next);
                break;
            }
            if next.is_abandoned() {
                continue;
            }
            match self.view.try_proposal(&next.proposal, by) {
                ProposalOutcome::Refused { refusal, command } if refusal.is_defect() => {
                    error!(%refusal, command, "a proposal was dropped: this process would not survive it");
                    next.answer(Err(ProposeError::NotDone {
                        why: "applying it would fail",
                    }));
                    continue;
                }
                ProposalOutcome::Applied(_) | ProposalOutcome::Refused { .. } => {}
            }
            if next
                .waiter
                .as_ref()
                .is_some_and(|waiter| !waiter.stage.send())
            {
                continue;
            }
            bytes += next.bytes;
            carried.push(next);
        }
        if carried.is_empty() && self.drain_until.is_some() && self.limbo.is_empty() {
            carried.push(Carried::own(Command::CloseSession(CloseSession {})));
            self.closing = true;
        }
        if carried.is_empty() && !self.tick_due {
            return;
        }
        let session = self
            .view
            .sessions
            .get(&by.session)
            .expect("an open phase is checked with every view");
        let (sequence, previous) = (session.sequence + 1, session.entry_hash);
        self.launch(sequence, previous, carried);
    }

    fn next_waiting(&mut self) -> Option<Carried> {
        if let Some(next) = self.waiting.pop_front() {
            return Some(next);
        }
        self.queue.try_recv().ok().map(Carried::from)
    }

    fn launch(&mut self, sequence: u64, previous: Hash, mut carried: Vec<Carried>) {
        let (entry, sent) = self.write(sequence, previous, &mut carried);
        let now = Instant::now();
        self.tick_due = false;
        self.next_tick = now + self.tick;
        self.in_flight = Some(InFlight {
            session: self.sessions.current,
            sequence,
            carried,
            flight: sending(&self.shared, entry.clone()),
            entry,
            sent,
            maybe_sent: false,
        });
    }

    /// The bytes of an entry, by the newest view and the clocks as they are now.
    fn write(
        &mut self,
        sequence: u64,
        previous: Hash,
        carried: &mut [Carried],
    ) -> (LogEntry, Monotonic) {
        let clock = self.shared.runtime.clock();
        let now = Instant::now();
        let observed = (now >= self.next_observed && self.view.n > 0).then(|| {
            self.next_observed = now + self.tick;
            Observed {
                n: self.view.n,
                outcome_hash: self.view.outcome_hash,
            }
        });
        let sent = clock.monotonic();
        let entry = Entry {
            cluster: self.view.cluster,
            generation: self.view.generation,
            session: self.sessions.current,
            sequence,
            previous,
            applied: self.view.n,
            applied_hash: self.view.log_hash,
            wall: clock.wall(),
            monotonic: sent,
            votes: self.shared.votes.load(Ordering::Relaxed),
            level: self.view.level,
            observed,
            // Lent for the encoding, and given back below.
            proposals: carried
                .iter_mut()
                .map(|carried| std::mem::replace(&mut carried.proposal, Proposal::of(vec![])))
                .collect(),
        };
        let log_entry = LogEntry {
            session: entry.session,
            sequence,
            applied_n: entry.applied,
            bytes: encode(&entry).into(),
        };
        for (carried, proposal) in carried.iter_mut().zip(entry.proposals) {
            carried.proposal = proposal;
        }
        (log_entry, sent)
    }

    // ---- what the log answers ----

    fn appended(&mut self, result: Result<(), AppendError>) {
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        let again = match result {
            Ok(()) => {
                self.pause = PAUSE;
                in_flight.maybe_sent = true;
                in_flight.flight = Flight::Appended;
                return;
            }
            Err(AppendError::NotSent { reason } | AppendError::Invalid { reason })
                if in_flight.maybe_sent =>
            {
                reason
            }
            Err(AppendError::Unknown { reason }) => {
                in_flight.maybe_sent = true;
                reason
            }
            Err(AppendError::NotSent { reason }) => {
                debug!(reason, "an entry was not sent");
                self.take_back(None);
                return;
            }
            Err(AppendError::Invalid { reason }) => {
                error!(reason, "the commit log does not take an entry");
                self.take_back(Some("the commit log does not take the entry"));
                return;
            }
            Err(AppendError::Trimmed { floor }) => {
                if floor.lsn.generation != self.view.generation {
                    self.shared.stop(superseded(&floor, self.view.lsn()));
                    return;
                }
                in_flight.maybe_sent = true;
                in_flight.flight = Flight::Trimmed(floor.lsn);
                self.shared.log.wake();
                self.look_where_trimmed();
                return;
            }
            Err(error @ AppendError::WentBack { .. }) => {
                self.shared.log_went_back(&error);
                return;
            }
            Err(error @ AppendError::Corrupt { .. }) => {
                self.shared.stop(error.to_string());
                return;
            }
        };
        debug!(
            reason = again,
            ?in_flight,
            "the fate of an entry is unknown, appending it again"
        );
        let pause = self.back_off();
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.flight = Flight::Repeat(Instant::now() + pause);
        }
    }

    fn back_off(&mut self) -> Duration {
        let pause = self.shared.runtime.random().jitter(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        pause
    }

    /// An entry that was never sent: its proposals wait again, or are refused for good.
    fn take_back(&mut self, refused: Option<&'static str>) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        self.paused_until = Instant::now() + self.back_off();
        self.tick_due = true;
        self.closing = false;
        if self.phase == Phase::Opening {
            self.phase = Phase::Closed;
        }
        match refused {
            None => self.requeue(in_flight.carried),
            Some(why) => {
                for carried in in_flight.carried {
                    carried.answer(Err(ProposeError::NotDone { why }));
                }
            }
        }
    }

    /// These were never applied and never will be as they were: they go out again, before the others.
    fn requeue(&mut self, carried: Vec<Carried>) {
        for carried in carried.into_iter().rev() {
            if let Some(waiter) = &carried.waiter
                && !carried.is_abandoned()
            {
                waiter.stage.requeue();
                self.waiting.push_front(carried);
            }
        }
    }

    // ---- what the views tell ----

    fn take(&mut self, progress: Progress) {
        let Progress { view, own, jumped } = progress;
        self.view = view;
        self.weigh();
        // What was applied first: a copy that passed as a no-op may stand before or behind it.
        let (applied, ignored): (Vec<_>, Vec<_>) = own
            .into_iter()
            .partition(|(_, applied)| applied.outcomes.is_ok());
        for (
            lsn,
            Applied {
                session,
                sequence,
                outcomes,
            },
        ) in applied
        {
            self.applied(lsn, session, sequence, outcomes.unwrap_or_default());
        }
        for (
            _,
            Applied {
                session, sequence, ..
            },
        ) in ignored
        {
            self.ignored(session, sequence);
        }
        if jumped {
            self.look_after_jump();
        } else {
            self.look_where_trimmed();
        }
        self.check_session();
        self.resolve_limbo();
    }

    /// Do at least as many replicas compute other outcomes than this one as compute the same? Then it
    /// stops writing; when there are more of the others, `apply` stops it.
    fn weigh(&mut self) {
        let agreement = self.view.agreement();
        let session = self.view.sessions.get(&self.sessions.current);
        let published = session.is_some_and(|session| session.observed.is_some());
        let agree = agreement.agree + usize::from(!published);
        let outvoted = agreement.differ > 0 && agreement.differ >= agree;
        if outvoted && !self.outvoted {
            error!(
                agree,
                differ = agreement.differ,
                "replicas compute different outcomes: this process stops writing"
            );
        }
        self.outvoted = outvoted;
    }

    /// An own entry counts.
    fn applied(
        &mut self,
        lsn: Lsn,
        session: SessionId,
        sequence: u64,
        outcomes: Vec<ProposalOutcome>,
    ) {
        if let Some(in_flight) = self
            .in_flight
            .take_if(|in_flight| in_flight.session == session && in_flight.sequence == sequence)
        {
            self.landed(&in_flight, outcomes.first());
            self.answer(lsn, in_flight.carried, outcomes);
        } else if let Some(at) = self
            .limbo
            .iter()
            .position(|limbo| limbo.session == session && limbo.sequence == sequence)
        {
            let limbo = self.limbo.swap_remove(at);
            self.answer(lsn, limbo.carried, outcomes);
        }
    }

    /// The entry in flight is in the order and was applied; `outcome` is its first one, if it was seen.
    fn landed(&mut self, in_flight: &InFlight, outcome: Option<&ProposalOutcome>) {
        self.pause = PAUSE;
        self.shared.heard(in_flight.sent);
        if in_flight.sequence == 1 {
            let node = match outcome {
                Some(ProposalOutcome::Applied(outcomes)) => {
                    outcomes.iter().find_map(|outcome| match outcome {
                        Outcome::SessionOpened(node) => Some(*node),
                        _ => None,
                    })
                }
                Some(ProposalOutcome::Refused { .. }) => None,
                None => self
                    .view
                    .sessions
                    .get(&in_flight.session)
                    .map(|session| session.node),
            };
            match node {
                Some(node) => self.opened(node),
                None => self.session_over("its opening was refused"),
            }
        } else {
            self.reopen_pause = Duration::ZERO;
        }
        if self.closing {
            self.closing = false;
            self.phase = Phase::Ended;
        }
    }

    fn opened(&mut self, node: NodeId) {
        let session = self.sessions.current;
        info!(%session, %node, "a node session is open");
        self.phase = Phase::Open(node);
        self.sessions.opened();
        self.shared.metrics.sessions_opened.inc();
        self.shared
            .identity
            .send_replace(Some(Identity { session, node }));
        let mut own = self
            .shared
            .own
            .lock()
            .expect("nobody panics while holding it");
        own.retain(|id| *id == session || self.limbo.iter().any(|limbo| limbo.session == *id));
    }

    fn answer(&self, lsn: Lsn, carried: Vec<Carried>, outcomes: Vec<ProposalOutcome>) {
        let mut outcomes = outcomes.into_iter();
        for carried in carried {
            carried.answer(match outcomes.next() {
                Some(ProposalOutcome::Applied(outcomes)) => Ok(Committed {
                    lsn,
                    outcomes,
                    view: Arc::clone(&self.view),
                }),
                Some(ProposalOutcome::Refused { command, refusal }) => {
                    Err(ProposeError::Refused { command, refusal })
                }
                None => Err(ProposeError::Unknown {
                    why: "the entry gave no outcome for it",
                }),
            });
        }
    }

    /// An own entry passed as a no-op: it was applied earlier, or its session is over.
    fn ignored(&mut self, session: SessionId, sequence: u64) {
        let is_in_flight =
            |in_flight: &InFlight| in_flight.session == session && in_flight.sequence == sequence;
        if !self.in_flight.as_ref().is_some_and(is_in_flight) {
            return;
        }
        match look(&self.view, session, sequence) {
            Look::Applied => self.applied_unseen(),
            Look::Open | Look::Never | Look::NoSession => {
                self.session_over("its entry did not count")
            }
        }
    }

    /// The view came from a snapshot, which tells what became of the entry in flight but not with
    /// which outcomes.
    fn look_after_jump(&mut self) {
        let Some(in_flight) = &self.in_flight else {
            return;
        };
        match look(&self.view, in_flight.session, in_flight.sequence) {
            Look::Applied => self.applied_unseen(),
            Look::Open if defect("not-done-after-jump") => {
                self.take_back(Some("this process went on from a snapshot"));
            }
            Look::Open => self.append_anew(),
            // An opening that no replica has seen; every other entry's session was open here before.
            Look::NoSession if in_flight.sequence == 1 => self.append_anew(),
            Look::Never | Look::NoSession => {
                self.session_over("it was closed while this process was away")
            }
        }
    }

    /// The append said that only a snapshot can tell, and the view is new enough.
    fn look_where_trimmed(&mut self) {
        let view = self.view.lsn();
        let trimmed = |in_flight: &InFlight| matches!(in_flight.flight, Flight::Trimmed(floor) if view >= floor);
        if self.in_flight.as_ref().is_some_and(trimmed) {
            self.look_after_jump();
        }
    }

    /// The entry in flight was applied; nobody saw its outcomes.
    fn applied_unseen(&mut self) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        self.landed(&in_flight, None);
        for carried in in_flight.carried {
            carried.answer(Err(ProposeError::Unknown {
                why: OUTCOME_NOT_SEEN,
            }));
        }
    }

    /// The same proposals under the same sequence, written anew: not applied in the view, and a copy
    /// that still comes by makes the other one a no-op.
    fn append_anew(&mut self) {
        let Some(mut in_flight) = self.in_flight.take() else {
            return;
        };
        let previous = match self.view.sessions.get(&in_flight.session) {
            Some(session) => session.entry_hash,
            None => Hash::ZERO,
        };
        // `sent` stays: the log may have taken the first copy, and that is when it heard of us.
        let (entry, _) = self.write(in_flight.sequence, previous, &mut in_flight.carried);
        in_flight.flight = sending(&self.shared, entry.clone());
        in_flight.entry = entry;
        in_flight.maybe_sent = true;
        self.in_flight = Some(in_flight);
    }

    /// Is the current session still what this process takes it for?
    fn check_session(&mut self) {
        let current = self.sessions.current;
        match self.phase {
            Phase::Open(_) if !self.view.sessions.contains_key(&current) => {
                self.session_over("it was closed");
            }
            Phase::Opening if self.view.tombstones.contains_key(&current) => {
                self.session_over("it was closed before it was open");
            }
            Phase::Open(_) | Phase::Opening | Phase::Closed | Phase::Ended => {}
        }
    }

    /// What is in flight under the current session waits until a view tells its fate; the next entry
    /// opens another session and closes this one.
    fn session_over(&mut self, why: &'static str) {
        warn!(session = %self.sessions.current, why, "the node session is over");
        if let Some(InFlight {
            session,
            sequence,
            carried,
            ..
        }) = self.in_flight.take()
            && carried.iter().any(|carried| carried.waiter.is_some())
        {
            self.limbo.push(Limbo {
                session,
                sequence,
                carried,
            });
        }
        self.closing = false;
        self.phase = Phase::Closed;
        let random = self.shared.runtime.random();
        self.sessions.take_new(random.session_id());
        if self.sessions.tried() > TRIED_MAX {
            self.shared.stop(format!(
                "no node session could be opened in {TRIED_MAX} attempts; the last one is over because {why}"
            ));
        }
        // Whatever ends sessions as soon as they are open must not fill the log with openings.
        let pause = random.jitter(self.reopen_pause);
        self.paused_until = self.paused_until.max(Instant::now() + pause);
        self.reopen_pause = (self.reopen_pause * 2).clamp(PAUSE, PAUSE_MAX);
    }

    fn resolve_limbo(&mut self) {
        // From the newest on, so that the oldest comes first in the queue.
        for at in (0..self.limbo.len()).rev() {
            let why = match look(&self.view, self.limbo[at].session, self.limbo[at].sequence) {
                // The session is still open here, and the entry that closes it is not applied yet.
                Look::Open => continue,
                Look::Never => {
                    let limbo = self.limbo.remove(at);
                    self.requeue(limbo.carried);
                    continue;
                }
                Look::Applied => OUTCOME_NOT_SEEN,
                Look::NoSession => FORGOTTEN,
            };
            for carried in self.limbo.remove(at).carried {
                carried.answer(Err(ProposeError::Unknown { why }));
            }
        }
    }
}

/// The append's answer; never, if nothing is being sent.
async fn append_of(in_flight: &mut Option<InFlight>) -> Result<(), AppendError> {
    match in_flight {
        Some(InFlight {
            flight: Flight::Sending(append),
            ..
        }) => append.await,
        _ => pending().await,
    }
}

fn sending(shared: &Arc<Shared>, entry: LogEntry) -> Flight {
    let (log, runtime) = (Arc::clone(&shared.log), shared.runtime.clone());
    Flight::Sending(Box::pin(async move {
        step!(runtime, "propose.sent");
        log.append(entry).await?;
        step!(runtime, "propose.appended");
        Ok(())
    }))
}
