//! The way into the proposer: who proposes waits here, with a deadline.
//!
//! Holds: proposals that wait are bounded in number and in bytes, from before they are queued until
//! they are answered; whether a proposal went out is agreed upon by who waits for it and who sends it,
//! so that `NotDone` at a deadline is told only of what was withdrawn before it was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tarn_model::{ByteSize, caps, encode};
use tarn_runtime::Permit;
use tarn_state::{Command, Proposal};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::metastore::{Committed, ProposeError, Shared};

/// Bytes of proposals that wait or are on their way, in the whole process.
pub(crate) const QUEUED_BYTES: ByteSize = ByteSize::mib(64);
/// Bytes of proposals in one entry: the rest is for what an entry carries beside them.
pub(crate) const BODY_MAX: ByteSize = ByteSize::bytes(caps::ENTRY_BYTES_MAX.0 - 4096);

const DRAINING: &str = "this process is stopping";

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
    fn withdraw(&self) -> bool {
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
    proposal: Proposal,
    bytes: u64,
    waiter: Waiter,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    reply: oneshot::Sender<Result<Committed, ProposeError>>,
    pub(crate) stage: Arc<Stage>,
    _permit: Permit,
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

impl Shared {
    /// See `Metastore::propose`.
    pub(crate) async fn propose(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Committed, ProposeError> {
        let began = Instant::now();
        let result = self.enqueue(commands, deadline).await;
        self.metrics.proposed(began.elapsed());
        match &result {
            Ok(_) => {}
            Err(ProposeError::Refused { .. }) => {
                self.metrics.propose_refused.inc();
            }
            Err(ProposeError::NotDone { .. }) => {
                self.metrics.propose_not_done.inc();
            }
            Err(ProposeError::Unknown { .. } | ProposeError::Stopped { .. }) => {
                self.metrics.propose_unknown.inc();
            }
        }
        result
    }

    async fn enqueue(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Committed, ProposeError> {
        const FULL: ProposeError = ProposeError::NotDone {
            why: "too many proposals wait for the commit log",
        };
        let not_queued = || match self.why_stopped() {
            Some(why) => ProposeError::Stopped { why },
            None => ProposeError::NotDone { why: DRAINING },
        };
        let proposal = Proposal::of(commands);
        let bytes = encode(&proposal).len() as u64;
        if bytes > BODY_MAX.0 {
            return Err(ProposeError::NotDone {
                why: "it does not fit into an entry",
            });
        }
        let permit = match timeout_at(deadline, self.queued_bytes.acquire(bytes)).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(FULL),
        };
        let (reply, mut answer) = oneshot::channel();
        let stage = Arc::new(Stage::default());
        let waiter = Waiter {
            reply,
            stage: Arc::clone(&stage),
            _permit: permit,
        };
        match timeout_at(
            deadline,
            self.queue.send(Queued {
                proposal,
                bytes,
                waiter,
            }),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(not_queued()),
            Err(_) => return Err(FULL),
        }
        let answered = match timeout_at(deadline, &mut answer).await {
            Ok(answered) => answered.ok(),
            Err(_) if stage.withdraw() => {
                return Err(ProposeError::NotDone {
                    why: "the commit log took nothing until the deadline",
                });
            }
            // It may have come at this very moment.
            Err(_) => match answer.try_recv() {
                Ok(answered) => Some(answered),
                Err(oneshot::error::TryRecvError::Empty) => {
                    return Err(ProposeError::Unknown {
                        why: "it was not seen applied until the deadline",
                    });
                }
                Err(oneshot::error::TryRecvError::Closed) => None,
            },
        };
        // Without an answer the proposer is gone: the process stopped or drained.
        answered.unwrap_or_else(|| match self.why_stopped() {
            Some(why) => Err(ProposeError::Stopped { why }),
            None if stage.withdraw() => Err(ProposeError::NotDone { why: DRAINING }),
            None => Err(ProposeError::Unknown { why: DRAINING }),
        })
    }
}
