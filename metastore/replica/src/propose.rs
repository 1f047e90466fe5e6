//! The way into the proposer: who proposes waits here, with a deadline.
//!
//! Holds: proposals that wait are bounded in number and in bytes, from before they are queued until
//! they are answered; and `NotDone` at a deadline is told only of what was withdrawn before it was sent.

use std::sync::Arc;

use tarn_model::encode;
use tarn_state::{Command, Proposal};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::metastore::Metastore;
use crate::outcome::{Committed, ProposeError};
use crate::queue::{BODY_MAX, Queued, Stage, Waiter};

const DRAINING: &str = "this process is stopping";

impl Metastore {
    /// Proposes commands, all or none, and waits until a view contains their outcome.
    ///
    /// At the deadline it answers `NotDone` if the proposal never went out, else `Unknown`. Dropping
    /// the future withdraws a proposal that has not gone out, and leaves the fate of another unknown.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Committed, ProposeError> {
        let began = Instant::now();
        let result = self.enqueue(commands, deadline).await;
        self.shared.metrics.proposed(began.elapsed());
        match &result {
            Ok(_) => {}
            Err(ProposeError::Refused { .. }) => {
                self.shared.metrics.propose_refused.inc();
            }
            Err(ProposeError::NotDone { .. }) => {
                self.shared.metrics.propose_not_done.inc();
            }
            Err(ProposeError::Unknown { .. } | ProposeError::Stopped { .. }) => {
                self.shared.metrics.propose_unknown.inc();
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
        let not_queued = || match self.shared.why_stopped() {
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
        let permit = match timeout_at(deadline, self.shared.queued_bytes.acquire(bytes)).await {
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
            self.shared.queue.send(Queued {
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
        answered.unwrap_or_else(|| match self.shared.why_stopped() {
            Some(why) => Err(ProposeError::Stopped { why }),
            None if stage.withdraw() => Err(ProposeError::NotDone { why: DRAINING }),
            None => Err(ProposeError::Unknown { why: DRAINING }),
        })
    }
}
