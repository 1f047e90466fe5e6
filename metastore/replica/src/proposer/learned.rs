//! What the views tell: which entries counted, with which outcomes, and whether the session still stands.
//!
//! Holds: an outcome is learned only by seeing (session, sequence) applied, in `follow` or in a snapshot; and a
//! proposal goes out a second time only when a view proves that it never was applied.

use std::sync::Arc;
use std::time::Duration;

use tarn_model::{Hash, Lsn, NodeId, SessionId, defect};
use tarn_state::{Applied, Outcome, ProposalOutcome};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::follower::Progress;
use crate::outcome::{Committed, ProposeError};
use crate::queue::Carried;
use crate::session::{Identity, Look, look};

use super::flight::{Flight, InFlight, Limbo, sending};
use super::{PAUSE, PAUSE_MAX, Phase, Proposer};

/// Sessions in a row that this process tried to open in vain before it stops.
const TRIED_MAX: usize = 256;

const OUTCOME_NOT_SEEN: &str = "it was applied, but its outcome passed while this process was away";
const FORGOTTEN: &str = "the log no longer knows the session that proposed it";

impl Proposer {
    pub(super) fn take(&mut self, progress: Progress) {
        let Progress { view, own, jumped } = progress;
        self.view = view;
        self.weigh();
        self.look_for_namesake();
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
                Some(ProposalOutcome::Refused { refusal, .. }) => {
                    self.refused(refusal);
                    return;
                }
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
        self.namesake = None;
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
    pub(super) fn look_where_trimmed(&mut self) {
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
    pub(super) fn session_over(&mut self, why: &'static str) {
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
