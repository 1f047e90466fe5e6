//! The writing half: batches in, offsets out.
//!
//! ```text
//! append ─▶ accumulator ─▶ upload ─▶ commit ─▶ answer
//!   door ──▶ open segment    put       propose
//! ```
//!
//! Holds:
//! - a batch is answered with an offset only if `apply` gave it that offset, after its segment was
//!   durable;
//! - batches of one partition are committed in the order of the calls to [`Writer::append`], apart
//!   from those that waited at the door for their predecessor;
//! - every batch gets exactly one answer, at its deadline at the latest; what a client no longer
//!   waits for is finished all the same;
//! - bytes are paid for by permits: one is given back when its batches are settled, which an answer at
//!   the deadline does not do. What fails because a batch before it failed is settled at once, though
//!   its segment may still be going up.
//!
//! Leaves to others: whether a client may write, and what a batch's records say.

mod accumulator;
mod commit;
mod parts;
mod stage;
mod upload;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tarn_kafka::ValidBatch;
use tarn_model::{
    ByteSize, ClusterTime, Fate, Kind, Offset, PartitionId, ProducerEpoch, TopicId, TopicPartition,
};
use tarn_replica::Node;
use tarn_runtime::Permit;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::WriterSettings;
use crate::metrics::{AnswerLabel, BatchResult, WriterMetrics};
use accumulator::Accumulator;
use parts::Parts;
pub use stage::Staged;

/// Calls of `append` that may wait for the accumulator. It only moves slices, so the queue is short;
/// the bytes in it are bounded by their permits.
const QUEUE: usize = 16 << 10;
/// Refused batches that are remembered until a call is taken.
const REFUSED_MAX: usize = 64 << 10;

/// A batch to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    pub topic: TopicId,
    pub partition: PartitionId,
    pub batch: ValidBatch,
}

impl NewBatch {
    pub fn at(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }
}

/// Where a batch stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base: Offset,
    /// The partition's log start when this was answered.
    pub log_start: Offset,
    /// Cluster time of the commit; `None` if the batch was taken before and is only answered again.
    pub committed_time: Option<ClusterTime>,
}

/// Why a batch has no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the producer's next sequence in this partition is {expected}")]
    OutOfOrder { expected: i32 },
    #[error("the producer's epoch in this partition is {current}, a newer one")]
    FencedEpoch { current: ProducerEpoch },
    /// The batch is in the log.
    #[error("the batch was taken before, too long ago to know where")]
    DuplicateForgotten,
    #[error("there is no such partition")]
    NoSuchPartition,
    #[error("a batch of {bytes} fits into no segment; at most {max}")]
    TooLarge { bytes: ByteSize, max: ByteSize },
    /// It is not in the log and never will be by this call.
    #[error("the batch was not appended: {why}")]
    NotDone { why: &'static str },
    /// It may be in the log, or may still come.
    #[error("it is not known whether the batch was appended: {why}")]
    Unknown { why: &'static str },
    /// `apply` refused the whole segment, which only a defect of ours explains.
    #[error("the segment was refused: {why}")]
    Refused { why: &'static str },
}

impl AppendError {
    pub fn kind(&self) -> Kind {
        match self {
            AppendError::OutOfOrder { .. } | AppendError::DuplicateForgotten => Kind::Conflict,
            AppendError::FencedEpoch { .. } => Kind::Fenced,
            AppendError::NoSuchPartition => Kind::NotFound,
            AppendError::TooLarge { .. } => Kind::Invalid,
            AppendError::NotDone { .. } | AppendError::Unknown { .. } => Kind::Unavailable,
            AppendError::Refused { .. } => Kind::Internal,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            // That batch happened, by an earlier call.
            AppendError::Unknown { .. } | AppendError::DuplicateForgotten => Fate::Unknown,
            AppendError::OutOfOrder { .. }
            | AppendError::FencedEpoch { .. }
            | AppendError::NoSuchPartition
            | AppendError::TooLarge { .. }
            | AppendError::NotDone { .. }
            | AppendError::Refused { .. } => Fate::NotDone,
        }
    }
}

/// What became of one batch.
pub type AppendResult = Result<Appended, AppendError>;

/// Appends batches. Clones share one open segment.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<accumulator::Message>,
    /// Batches that the queue had no room for, for the next call that finds some.
    refused: Arc<Mutex<Vec<accumulator::Stamp>>>,
    parts: Parts,
}

impl Writer {
    /// Starts the writer of a process in a scope of its own. It drains by itself: when the scope
    /// stops, what was appended is flushed and committed, and what comes later is refused.
    pub fn start(node: &Node, settings: WriterSettings) -> Writer {
        let parts = Parts::new(node, settings);
        let (queue, received) = mpsc::channel(QUEUE);
        let accumulator = Accumulator::new(parts.clone());
        drop(parts.scope.spawn("writer", accumulator.run(received)));
        Writer {
            queue,
            refused: Arc::default(),
            parts,
        }
    }

    /// Appends batches, each for itself. **The order of the calls is the order of the batches**, so
    /// this does not wait; the answer does.
    ///
    /// At the deadline what has no answer yet is answered with [`AppendError::Unknown`], and goes on.
    pub fn append(&self, batches: Vec<NewBatch>, permit: Permit, deadline: Instant) -> Appending {
        let (done, answered) = oneshot::channel();
        let request = Arc::new(Request {
            answers: Mutex::new(Answers {
                results: vec![None; batches.len()],
                missing: batches.len(),
                done: None,
            }),
            metrics: self.parts.metrics.clone(),
            _permit: permit,
        });
        let mut pending = Vec::with_capacity(batches.len());
        for (index, batch) in batches.into_iter().enumerate() {
            let ticket = Ticket {
                request: Some(Arc::clone(&request)),
                index,
            };
            pending.push(accumulator::Pending {
                at: batch.at(),
                batch: batch.batch,
                ticket,
            });
        }
        if pending.is_empty() {
            let _ = done.send(());
        } else {
            request.with(|answers| answers.done = Some(done));
            self.send(pending);
        }
        Appending {
            request,
            answered,
            deadline: Box::pin(sleep_until(deadline)),
            over: false,
        }
    }
}

impl Writer {
    /// Uploads batches as a segment that is committed as a part of a proposal, all or none.
    pub async fn stage(&self, batches: Vec<NewBatch>) -> Result<Staged, AppendError> {
        stage::stage(&self.parts, batches).await
    }

    /// Hands the batches to the task that owns the open segment, or refuses them.
    fn send(&self, batches: Vec<accumulator::Pending>) {
        let mut refused = self.refused.lock().expect("nobody panics while holding it");
        let message = accumulator::Message {
            refused: std::mem::take(&mut *refused),
            batches,
        };
        let Err(back) = self.queue.try_send(message) else {
            return;
        };
        let why = match &back {
            mpsc::error::TrySendError::Full(_) => "too many requests wait",
            mpsc::error::TrySendError::Closed(_) => "this process is stopping",
        };
        let message = back.into_inner();
        *refused = message.refused;
        for pending in message.batches {
            // Beyond it `apply` alone decides.
            if refused.len() < REFUSED_MAX {
                refused.extend(pending.stamp());
            }
            pending.ticket.answer(Err(AppendError::NotDone { why }));
        }
    }
}

/// The answers of one call of [`Writer::append`], to come, in the order of its batches. Dropping it
/// stops nothing.
pub struct Appending {
    request: Arc<Request>,
    answered: oneshot::Receiver<()>,
    deadline: Pin<Box<Sleep>>,
    over: bool,
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appending")
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl Future for Appending {
    type Output = Vec<AppendResult>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<AppendResult>> {
        assert!(!self.over, "polled after it was ready");
        let answered = Pin::new(&mut self.answered).poll(cx).is_ready();
        if !answered && self.deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.over = true;
        let late = Err(AppendError::Unknown {
            why: "its deadline came first",
        });
        let results = self.request.with(|answers| {
            answers
                .results
                .iter()
                .map(|result| result.unwrap_or(late))
                .collect()
        });
        Poll::Ready(results)
    }
}

/// One call of `append`: it lives until its answer was taken and its last batch is settled.
#[derive(Debug)]
struct Request {
    answers: Mutex<Answers>,
    metrics: WriterMetrics,
    _permit: Permit,
}

#[derive(Debug)]
struct Answers {
    results: Vec<Option<AppendResult>>,
    missing: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Request {
    fn with<T>(&self, f: impl FnOnce(&mut Answers) -> T) -> T {
        f(&mut self.answers.lock().expect("nobody panics while holding it"))
    }
}

/// The duty to answer one batch. Dropped without an answer it says that it does not know.
#[derive(Debug)]
struct Ticket {
    request: Option<Arc<Request>>,
    index: usize,
}

impl Ticket {
    fn answer(mut self, result: AppendResult) {
        self.settle(result);
    }

    fn settle(&mut self, result: AppendResult) {
        let Some(request) = self.request.take() else {
            return;
        };
        let label = match &result {
            Ok(Appended {
                committed_time: Some(_),
                ..
            }) => BatchResult::Appended,
            Ok(_) => BatchResult::Duplicate,
            Err(AppendError::NotDone { .. }) => BatchResult::NotDone,
            Err(AppendError::Unknown { .. }) => BatchResult::Unknown,
            Err(_) => BatchResult::Refused,
        };
        request
            .metrics
            .batches
            .get_or_create(&AnswerLabel { result: label })
            .inc();
        let done = request.with(|answers| {
            if let Some(slot @ None) = answers.results.get_mut(self.index) {
                *slot = Some(result);
                answers.missing -= 1;
            }
            if answers.missing == 0 {
                answers.done.take()
            } else {
                None
            }
        });
        if let Some(done) = done {
            // Nobody waits any more after the deadline.
            let _ = done.send(());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Err(AppendError::Unknown {
            why: "the writer ended without an answer",
        }));
    }
}

#[cfg(test)]
mod tests;
