//! Proposals between who makes them and the proposer.
//!
//! Holds: whether a proposal went out is agreed upon by who waits for it and who sends it ([`Stage`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tarn_model::{ByteSize, caps};
use tarn_runtime::Permit;
use tarn_state::{Command, Proposal};
use tokio::sync::oneshot;

use crate::outcome::{Committed, ProposeError};

/// Bytes of proposals that wait or are on their way, in the whole process.
pub(crate) const QUEUED_BYTES: ByteSize = ByteSize::mib(64);
/// Bytes of proposals in one entry: the rest is for what an entry carries beside them.
pub(crate) const BODY_MAX: ByteSize = ByteSize::bytes(caps::ENTRY_BYTES_MAX.0 - 4096);

/// Whether a proposal went out: agreed upon by who waits for it and who sends it.
#[derive(Debug, Default)]
pub(crate) struct Stage(AtomicU8);

impl Stage {
    const QUEUED: u8 = 0;
    const SENT: u8 = 1;
    const WITHDRAWN: u8 = 2;

    fn swap(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// False if it was withdrawn.
    pub(crate) fn send(&self) -> bool {
        self.swap(Stage::QUEUED, Stage::SENT)
    }

    /// False if it was sent.
    pub(crate) fn withdraw(&self) -> bool {
        self.swap(Stage::QUEUED, Stage::WITHDRAWN)
    }

    /// It is proven that it was never applied and never will be.
    pub(crate) fn requeue(&self) {
        self.swap(Stage::SENT, Stage::QUEUED);
    }
}

/// A proposal of somebody who waits for it.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) proposal: Proposal,
    pub(crate) bytes: u64,
    pub(crate) waiter: Waiter,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) reply: oneshot::Sender<Result<Committed, ProposeError>>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) _permit: Permit,
}

/// A proposal on its way. Nobody waits for this process's own.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) proposal: Proposal,
    pub(crate) bytes: u64,
    pub(crate) waiter: Option<Waiter>,
}

impl Carried {
    pub(crate) fn own(command: Command) -> Carried {
        Carried {
            proposal: Proposal::of(vec![command]),
            bytes: 0,
            waiter: None,
        }
    }

    pub(crate) fn answer(self, reply: Result<Committed, ProposeError>) {
        if let Some(waiter) = self.waiter {
            // Who has gone away needs no answer.
            let _ = waiter.reply.send(reply);
        }
    }

    /// Has who waited for it gone away?
    pub(crate) fn is_abandoned(&self) -> bool {
        self.waiter
            .as_ref()
            .is_none_or(|waiter| waiter.reply.is_closed())
    }
}

impl From<Queued> for Carried {
    fn from(
        Queued {
            proposal,
            bytes,
            waiter,
        }: Queued,
    ) -> Carried {
        Carried {
            proposal,
            bytes,
            waiter: Some(waiter),
        }
    }
}
