//! The fold: takes entries in the order of the log, decides whether each counts, and applies it.
//!
//! Holds: an error leaves the state as it was; an entry that does not count changes nothing but the
//! Lsn and the two hashes; a proposal is applied whole or not at all. Whatever a command does, also
//! panic, all replicas do alike.

mod agreement;
mod clocks;
mod in_place;
mod read;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use minicbor::Encode;
use sha2::{Digest, Sha256};
use tarn_model::{
    ClusterTime, DecodeError, Hash, LivenessTime, Lsn, NodeId, SessionId, caps, defect,
};

use crate::commands::OpenSession;
use crate::{
    BrokenInvariant, Command, Context, Entry, FeatureLevel, Outcome, Proposal, ProposalOutcome,
    Refusal, SessionContext, SessionRefusal, State,
};

pub use agreement::Agreement;
pub use in_place::Spoiled;

/// What an entry did.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub session: SessionId,
    pub sequence: u64,
    /// An outcome per proposal, or why the whole entry is a no-op (alike for every replica).
    pub outcomes: Result<Vec<ProposalOutcome>, Ignored>,
}

/// Why an entry is a no-op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("its session is not open")]
    NoSession,
    #[error("its sequence is not the next one")]
    Sequence,
    #[error("its session is open or was closed before")]
    SessionKnown,
    #[error("its proposer was too far behind")]
    Lag,
}

impl Ignored {
    /// As it goes into the outcome hash.
    fn number(self) -> u8 {
        match self {
            Ignored::NoSession => 1,
            Ignored::Sequence => 2,
            Ignored::SessionKnown => 3,
            Ignored::Lag => 4,
        }
    }
}

/// Why this process must stop: it cannot or must not go on applying.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("entry {lsn} cannot be read by this version: {source}")]
    Unreadable { lsn: Lsn, source: DecodeError },
    #[error("entry {lsn} needs level {needs}, this version applies up to {newest}")]
    Level { lsn: Lsn, needs: u16, newest: u16 },
    #[error("entry {lsn} belongs to another cluster or generation")]
    Foreign { lsn: Lsn },
    #[error("after {have} came {lsn}: entries are missing")]
    Hole { have: Lsn, lsn: Lsn },
    #[error(
        "entry {lsn} was written on another history: at {at} its proposer had log hash {theirs}, here it is {ours}"
    )]
    OtherHistory {
        lsn: Lsn,
        at: u64,
        theirs: Hash,
        ours: Hash,
    },
    #[error("entry {lsn} was written on another history: its proposer had applied {applied}")]
    FromTheFuture { lsn: Lsn, applied: u64 },
    #[error(
        "entry {lsn} was written on another history: before it session {session} had written {theirs}, here it is {ours}"
    )]
    OtherPrevious {
        lsn: Lsn,
        session: SessionId,
        theirs: Hash,
        ours: Hash,
    },
    #[error(
        "replicas disagree: {differ} of the others computed other outcomes than this one, {agree} the same"
    )]
    Diverged { differ: usize, agree: usize },
    #[error("applying entry {lsn} broke an invariant: {broken}")]
    Broken { lsn: Lsn, broken: BrokenInvariant },
}

/// What a proposal that panics is refused with. A fixed text, since outcomes are compared.
const PANICKED: &str = "it panicked";
/// What the proposer's own trial answers when a proposal would break an invariant.
const WOULD_BREAK: &str = "it would break an invariant";
/// And one that replicas would stop at.
const UNREADABLE: &str = "its columns nest too deep to be read";
/// Tombstones are looked through once in so many entries. One that stays longer does no harm.
const TOMBSTONE_SWEEP_INTERVAL: u64 = 1_024;

/// What the outcome hash rolls over.
#[derive(Encode)]
struct Happened<'a> {
    #[n(0)]
    ignored: Option<u8>,
    #[n(1)]
    outcomes: &'a [ProposalOutcome],
    #[n(2)]
    cluster_time: ClusterTime,
    #[n(3)]
    liveness_time: LivenessTime,
}

/// How an entry that counts stands to its session.
enum Admission<'e> {
    Opens(&'e OpenSession),
    Continues,
}

impl State {
    /// Applies one entry, given as its bytes. On an error the state is as it was.
    pub fn apply(&mut self, lsn: Lsn, bytes: &[u8]) -> Result<Applied, ApplyError> {
        self.apply_up_to(FeatureLevel::NEWEST, lsn, bytes)
    }

    /// The same by a binary that applies up to this level: tests have older and newer ones than this.
    pub fn apply_up_to(
        &mut self,
        level_max: FeatureLevel,
        lsn: Lsn,
        bytes: &[u8],
    ) -> Result<Applied, ApplyError> {
        let entry = match self.read_next(level_max, lsn, bytes) {
            Err(ApplyError::Unreadable { .. }) if defect("skip-unknown-command") => {
                return Ok(self.pass_over(lsn, bytes));
            }
            read => read?,
        };
        let admission = self.admit(lsn, &entry)?;
        let mut next = self.clone();
        let decide =
            |state: &mut State, proposal: &Proposal, ctx: &Context| state.decide(proposal, ctx);
        let applied = next.go_on(level_max, lsn, bytes, &entry, admission, decide)?;
        if cfg!(debug_assertions) {
            State::check_step(self, &next).map_err(|broken| ApplyError::Broken { lsn, broken })?;
        }
        *self = next;
        Ok(applied)
    }

    /// Moves to the entry's Lsn. After an error the state is not to be used.
    fn go_on(
        &mut self,
        level_max: FeatureLevel,
        lsn: Lsn,
        bytes: &[u8],
        entry: &Entry,
        admission: Result<Admission<'_>, Ignored>,
        decide: impl FnMut(&mut State, &Proposal, &Context) -> ProposalOutcome,
    ) -> Result<Applied, ApplyError> {
        self.n = lsn.n;
        self.log_hash = roll(self.log_hash, bytes);
        let outcomes = admission.map(|admission| {
            let hash = Hash(Sha256::digest(bytes).into());
            self.take(lsn, entry, hash, admission, decide)
        });
        let happened = Happened {
            ignored: outcomes.as_ref().err().map(|ignored| ignored.number()),
            outcomes: outcomes.as_deref().unwrap_or(&[]),
            cluster_time: self.cluster_time,
            liveness_time: self.liveness_time,
        };
        self.outcome_hash = roll(self.outcome_hash, &tarn_model::encode(&happened));
        self.recent_hashes
            .push_back((self.log_hash, self.outcome_hash));
        while self.recent_hashes.len() as u64 > caps::LOG_HASHES_KEPT {
            self.recent_hashes.pop_front();
        }
        if self.level > level_max {
            return Err(ApplyError::Level {
                lsn,
                needs: self.level.0,
                newest: level_max.0,
            });
        }
        if outcomes.is_ok() && entry.observed.is_some() {
            self.check_divergence()?;
        }
        Ok(Applied {
            session: entry.session,
            sequence: entry.sequence,
            outcomes,
        })
    }

    /// What `apply` must never do with an entry that it cannot read; for the planted defect only.
    fn pass_over(&mut self, lsn: Lsn, bytes: &[u8]) -> Applied {
        self.n = lsn.n;
        self.log_hash = roll(self.log_hash, bytes);
        self.recent_hashes
            .push_back((self.log_hash, self.outcome_hash));
        Applied {
            session: SessionId::from_u128(0),
            sequence: 0,
            outcomes: Err(Ignored::NoSession),
        }
    }

    /// What a proposal would do as the next entry, by this view. The proposer drops one that is
    /// refused as a defect ([`Refusal::is_defect`]) or needs a higher level than the cluster's
    /// ([`Refusal::is_above_level`]) before it can harm anybody; every other refusal is only this view's
    /// opinion, the log decides.
    pub fn try_proposal(&self, proposal: &Proposal, by: SessionContext) -> ProposalOutcome {
        let ctx = Context {
            lsn: self.lsn().next(),
            session: by.session,
            node: by.node,
            cluster_time: self.cluster_time,
            liveness_time: self.liveness_time,
        };
        if let Some(command) = proposal.commands.iter().position(Command::is_unreadable) {
            let command = u32::try_from(command).unwrap_or(u32::MAX);
            return ProposalOutcome::Refused {
                command,
                refusal: Refusal::Panicked(UNREADABLE.into()),
            };
        }
        match self.run(proposal, &ctx) {
            Ok((after, outcomes)) => match State::check_step(self, &after) {
                Ok(()) => ProposalOutcome::Applied(outcomes),
                Err(broken) => {
                    tracing::error!(%broken, "a proposal of ours would break an invariant");
                    ProposalOutcome::Refused {
                        command: 0,
                        refusal: Refusal::Panicked(WOULD_BREAK.into()),
                    }
                }
            },
            Err((command, refusal)) => ProposalOutcome::Refused { command, refusal },
        }
    }

    /// Does the entry count?
    fn admit<'e>(
        &self,
        lsn: Lsn,
        entry: &'e Entry,
    ) -> Result<Result<Admission<'e>, Ignored>, ApplyError> {
        if lsn.n.saturating_sub(entry.applied) > caps::PROPOSER_LAG_MAX {
            return Ok(Err(Ignored::Lag));
        }
        let session = self.sessions.get(&entry.session);
        if entry.sequence == 1 {
            if session.is_some() || self.tombstones.contains_key(&entry.session) {
                return Ok(Err(Ignored::SessionKnown));
            }
            // The opening stands alone: nothing else of this entry could be judged by a session.
            return Ok(match entry.proposals.as_slice() {
                [Proposal { commands }] if entry.previous == Hash::ZERO => {
                    match commands.as_slice() {
                        [Command::OpenSession(open)] => Ok(Admission::Opens(open)),
                        _ => Err(Ignored::NoSession),
                    }
                }
                _ => Err(Ignored::NoSession),
            });
        }
        let Some(session) = session else {
            return Ok(Err(Ignored::NoSession));
        };
        if defect("ignore-session-sequence") {
            return Ok(Ok(Admission::Continues));
        }
        if session.sequence.checked_add(1) != Some(entry.sequence) {
            return Ok(Err(Ignored::Sequence));
        }
        if session.entry_hash != entry.previous {
            return Err(ApplyError::OtherPrevious {
                lsn,
                session: entry.session,
                theirs: entry.previous,
                ours: session.entry_hash,
            });
        }
        Ok(Ok(Admission::Continues))
    }

    /// Applies an entry that counts.
    fn take(
        &mut self,
        lsn: Lsn,
        entry: &Entry,
        entry_hash: Hash,
        admission: Admission<'_>,
        mut decide: impl FnMut(&mut State, &Proposal, &Context) -> ProposalOutcome,
    ) -> Vec<ProposalOutcome> {
        let outcomes = match admission {
            Admission::Opens(open) => vec![open.decide(self, entry, entry_hash)],
            Admission::Continues => {
                let node = self.hear(entry, entry_hash);
                self.advance_cluster_time();
                let ctx = Context {
                    lsn,
                    session: entry.session,
                    node,
                    cluster_time: self.cluster_time,
                    liveness_time: self.liveness_time,
                };
                entry
                    .proposals
                    .iter()
                    .map(|proposal| decide(self, proposal, &ctx))
                    .collect()
            }
        };
        self.work_off();
        if lsn.n.is_multiple_of(TOMBSTONE_SWEEP_INTERVAL) {
            self.sweep_tombstones();
        }
        outcomes
    }

    /// Applies a proposal to a clone that replaces the state on success.
    fn decide(&mut self, proposal: &Proposal, ctx: &Context) -> ProposalOutcome {
        if !self.sessions.contains_key(&ctx.session) {
            // An earlier proposal of this entry closed the session.
            return ProposalOutcome::Refused {
                command: 0,
                refusal: Refusal::Session(SessionRefusal::NoSuchSession(ctx.session)),
            };
        }
        match self.run(proposal, ctx) {
            Ok((after, outcomes)) => {
                *self = after;
                ProposalOutcome::Applied(outcomes)
            }
            Err((command, refusal)) => ProposalOutcome::Refused { command, refusal },
        }
    }

    /// Can every replica of the cluster read the command? A proposer asks this of its own trial, and never
    /// writes what they could not; `apply` asks again, of what a proposer did that is broken.
    fn check_level(&self, command: &Command) -> Result<(), Refusal> {
        let kind = command.kind();
        if kind.since > self.level {
            return Err(Refusal::AboveLevel {
                command: kind.name.to_owned(),
                needs: kind.since,
                level: self.level,
            });
        }
        Ok(())
    }

    fn run(
        &self,
        proposal: &Proposal,
        ctx: &Context,
    ) -> Result<(State, Vec<Outcome>), (u32, Refusal)> {
        let current = Cell::new(0u32);
        // Nothing that a panic leaves half done is ever looked at: the clone is dropped.
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut after = self.clone();
            let mut outcomes = Vec::with_capacity(proposal.commands.len());
            for command in &proposal.commands {
                self.check_level(command)?;
                outcomes.push(command.apply(&mut after, ctx)?);
                current.set(current.get().saturating_add(1));
            }
            Ok((after, outcomes))
        }));
        match result {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(refusal)) => Err((current.get(), refusal)),
            Err(_) => {
                tracing::error!(lsn = %ctx.lsn, command = current.get(), "a command panicked and was refused");
                Err((current.get(), Refusal::Panicked(PANICKED.into())))
            }
        }
    }

    /// Takes note of a session's next entry, and moves liveness time by what it lived through.
    fn hear(&mut self, entry: &Entry, entry_hash: Hash) -> NodeId {
        let open = self.sessions.get(&entry.session);
        let open = open.expect("only an open session's entry is taken");
        self.live_on(open.seen, open.wall, open.monotonic, entry);
        self.note_agent_heard_again(entry.session);
        let session = self.sessions.get_mut(&entry.session);
        let session = session.expect("it was just found");
        session.seen = self.liveness_time;
        session.sequence = entry.sequence;
        session.entry_hash = entry_hash;
        session.wall = entry.wall;
        session.monotonic = entry.monotonic;
        session.votes = entry.votes;
        if entry.observed.is_some() {
            session.observed = entry.observed;
        }
        session.node
    }
}

/// The hash of everything up to here: SHA-256 over the hash before and these bytes.
fn roll(before: Hash, bytes: &[u8]) -> Hash {
    Hash(
        Sha256::new()
            .chain_update(before.0)
            .chain_update(bytes)
            .finalize()
            .into(),
    )
}

#[cfg(test)]
mod tests;
