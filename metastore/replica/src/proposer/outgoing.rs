//! What goes out: the next entry from what waits, and what the log's answer to its append means.
//!
//! Holds: a proposal that would panic or break an invariant here goes out in no entry; and only an entry of
//! which no attempt may have reached the log is taken apart again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tarn_commit_log::{AppendError, LogEntry};
use tarn_model::{Hash, Monotonic, NodeId, defect, encode};
use tarn_state::commands::{Advertise, CloseSession, ExpireSession, OpenSession, Withdraw};
use tarn_state::{Command, Entry, Observed, Proposal, ProposalOutcome, SessionContext};
use tokio::time::Instant;
use tracing::{debug, error};

use crate::follower::JumpError;
use crate::outcome::ProposeError;
use crate::queue::{BODY_MAX, Carried};

use super::flight::{Flight, InFlight, sending};
use super::{PAUSE, PAUSE_MAX, Phase, Proposer};

/// Proposals in one entry: bounds what one trial and one batch of answers costs.
const PROPOSALS_MAX: usize = 1024;
/// Silent sessions whose expiry goes into one entry.
const EXPIRIES_MAX: usize = 16;

impl Proposer {
    pub(super) fn start_next(&mut self) {
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
            name: self.name.clone(),
            level_max: self.shared.level_max,
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
        carried.extend(self.advice().map(Carried::own));
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
                // Not every replica could read it, and they would stop. Levels only rise, so that a newer
                // view can allow it, and never forbid what this one allows.
                ProposalOutcome::Refused { refusal, command }
                    if refusal.is_above_level() && !defect("propose-above-level") =>
                {
                    next.answer(Err(ProposeError::Refused { command, refusal }));
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

    /// What tells the state where clients are to be sent, if it says otherwise.
    fn advice(&self) -> Option<Command> {
        let session = self.view.sessions.get(&self.sessions.current)?;
        let told = session.agent.as_ref().map(|agent| &agent.at);
        match &*self.agent.borrow() {
            Some(at) if told == Some(at) => None,
            Some(at) => Some(Command::Advertise(Advertise { at: at.clone() })),
            None => told.map(|_| Command::Withdraw(Withdraw {})),
        }
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
    pub(super) fn write(
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

    pub(super) fn appended(&mut self, result: Result<(), AppendError>) {
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
                    let superseded = JumpError::Superseded {
                        generation: floor.lsn.generation,
                        at: self.view.lsn(),
                    };
                    self.shared.stop(superseded.to_string());
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
    pub(super) fn take_back(&mut self, refused: Option<&'static str>) {
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
    pub(super) fn requeue(&mut self, carried: Vec<Carried>) {
        for carried in carried.into_iter().rev() {
            if let Some(waiter) = &carried.waiter
                && !carried.is_abandoned()
            {
                waiter.stage.requeue();
                self.waiting.push_front(carried);
            }
        }
    }
}
