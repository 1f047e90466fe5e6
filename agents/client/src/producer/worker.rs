//! One partition's records on their way out.
//!
//! ```text
//! inbox → open batch → ready (closed, in order) → in flight → fate
//!                        ↑______ repeated, in order ______|
//! ```
//!
//! Holds: batches leave in the order in which they were closed. When one must be repeated, those
//! behind it are awaited first and follow it again. A batch keeps its sequence numbers over all
//! repetitions; only when a batch failed for good do the ones behind it, which the server then
//! cannot accept, get a fresh producer id and new numbers.
//!
//! SUBTLE: a batch of which some attempt has an unknown fate never gets new numbers, because it
//! could then appear twice. It is repeated under its old ones or reported as unknown.

use std::collections::VecDeque;
use std::sync::Arc;

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use tarn_kafka::{BatchBuilder, ErrorCode, add_to_sequence};
use tarn_model::{Fate, Offset};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::{Acks, Delivered, Identity, Message, Pending, Shared};
use crate::client::{LeaderError, topic_name};
use crate::connection::Answer;
use crate::{ProduceError, Refused, RequestError};

/// Closed batches that wait for a free place in flight before the inbox is left alone.
const READY_MAX: usize = 2;

pub(super) struct Worker {
    shared: Arc<Shared>,
    topic: String,
    partition: i32,
    inbox: mpsc::Receiver<Message>,
    open: Option<Batch>,
    ready: VecDeque<Batch>,
    in_flight: VecDeque<(Batch, Attempt)>,
    flushes: Vec<oneshot::Sender<()>>,
    identity: Option<Identity>,
    needs_fresh_identity: bool,
    next_sequence: i32,
    closing: bool,
}

/// Records that travel together.
struct Batch {
    builder: BatchBuilder,
    records: Vec<Waiter>,
    deadline: Instant,
    linger_until: Instant,
    numbers: Option<Numbers>,
    /// An earlier attempt may have been carried out.
    maybe_done: bool,
    /// Others were under way before it when it was sent.
    was_behind: bool,
    last_failure: String,
}

/// What makes a batch recognizable.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    identity: Identity,
    base_sequence: i32,
}

struct Waiter {
    reply: oneshot::Sender<Result<Delivered, ProduceError>>,
    timestamp: tarn_model::Timestamp,
    _permit: tarn_runtime::Permit,
}

/// An attempt in flight.
enum Attempt {
    Answer(Box<Answer<ProduceRequest>>),
    /// It failed before it could leave, but its turn has not come.
    Failed(ProduceError),
    /// It needs no answer.
    Sent,
}

/// What became of an attempt.
enum Outcome {
    Done(Option<Offset>),
    /// Try again; the fate says whether the attempt may have been carried out.
    Again(ProduceError),
    /// Trying again would not help.
    Never(ProduceError),
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        topic: String,
        partition: i32,
        inbox: mpsc::Receiver<Message>,
    ) -> Worker {
        Worker {
            shared,
            topic,
            partition,
            inbox,
            open: None,
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            flushes: Vec::new(),
            identity: None,
            needs_fresh_identity: false,
            next_sequence: 0,
            closing: false,
        }
    }

    pub(super) async fn run(mut self) {
        let stopped = self.shared.scope.stopped();
        tokio::pin!(stopped);
        loop {
            while self.may_send()
                && let Some(batch) = self.ready.pop_front()
            {
                self.send(batch).await;
            }
            if self.open.is_none() && self.in_flight.is_empty() {
                for done in self.flushes.drain(..) {
                    let _ = done.send(());
                }
                if self.closing {
                    return;
                }
            }
            let linger_until = self.open.as_ref().map(|open| open.linger_until);
            tokio::select! {
                biased;
                message = self.inbox.recv(), if !self.closing && self.ready.len() < READY_MAX => match message {
                    Some(Message::Record(pending)) => self.accept(pending),
                    Some(Message::Flush(done)) => {
                        self.close_open();
                        self.flushes.push(done);
                    }
                    None => {
                        self.close_open();
                        self.closing = true;
                    }
                },
                () = sleep_until(linger_until.unwrap_or_else(Instant::now)), if linger_until.is_some() => {
                    self.close_open();
                }
                outcome = front(&mut self.in_flight), if !self.in_flight.is_empty() => self.settle(outcome).await,
                () = &mut stopped, if !self.closing => {
                    // What was accepted is still sent; what is still in the inbox was not.
                    self.inbox.close();
                    while let Ok(message) = self.inbox.try_recv() {
                        match message {
                            Message::Record(pending) => self.accept(pending),
                            Message::Flush(done) => self.flushes.push(done),
                        }
                    }
                    self.close_open();
                    self.closing = true;
                }
            }
        }
    }

    /// Behind a batch that could not even leave, the next one would overtake it.
    fn may_send(&self) -> bool {
        let blocked = matches!(self.in_flight.back(), Some((_, Attempt::Failed(_))));
        !blocked && self.in_flight.len() < self.shared.settings.in_flight_max
    }

    fn accept(&mut self, pending: Pending) {
        // Before the record that would not fit: a topic refuses a batch above its limit.
        let bytes = usize::try_from(pending.record.encoded_bytes_max()).unwrap_or(usize::MAX);
        let bytes_max = self.shared.settings.batch_bytes.as_usize();
        if let Some(open) = &self.open
            && open.builder.size_bytes().saturating_add(bytes) > bytes_max
        {
            self.close_open();
        }
        let settings = &self.shared.settings;
        let Pending {
            record,
            timestamp,
            accepted,
            reply,
            permit,
        } = pending;
        let mut batch = self.open.take().unwrap_or_else(|| Batch {
            builder: BatchBuilder::new(settings.compression),
            records: Vec::new(),
            deadline: accepted + settings.delivery_timeout,
            linger_until: Instant::now() + settings.linger,
            numbers: None,
            maybe_done: false,
            was_behind: false,
            last_failure: String::new(),
        });
        let pushed = batch.builder.push(
            timestamp.0,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
        );
        match pushed {
            Ok(()) => batch.records.push(Waiter {
                reply,
                timestamp,
                _permit: permit,
            }),
            Err(error) => {
                let _ = reply.send(Err(error.into()));
            }
        }
        if batch.records.is_empty() {
            return;
        }
        let full = batch.builder.size_bytes() >= settings.batch_bytes.as_usize();
        // Without linger, records that are already here still share a batch.
        let alone = settings.linger.is_zero() && self.inbox.is_empty();
        self.open = Some(batch);
        if full || alone {
            self.close_open();
        }
    }

    fn close_open(&mut self) {
        self.ready.extend(self.open.take());
    }

    /// Puts one batch on its way. Whatever goes wrong is settled when its turn comes.
    async fn send(&mut self, mut batch: Batch) {
        batch.was_behind = !self.in_flight.is_empty();
        let attempt = match self.attempt(&mut batch).await {
            Ok(attempt) => attempt,
            Err(error) => Attempt::Failed(error),
        };
        self.in_flight.push_back((batch, attempt));
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Result<Attempt, ProduceError> {
        let shared = Arc::clone(&self.shared);
        if Instant::now() >= batch.deadline {
            let last = batch.last_failure.clone();
            return Err(ProduceError::Timeout {
                timeout: shared.settings.delivery_timeout,
                last,
            });
        }
        if shared.settings.idempotent && batch.numbers.is_none() {
            let identity = match self.identity {
                Some(identity) => identity,
                // The shared identity's numbers are used up for this partition.
                None if self.needs_fresh_identity => shared.fresh_identity(batch.deadline).await?,
                None => shared.identity(batch.deadline).await?,
            };
            self.identity = Some(identity);
            batch.numbers = Some(Numbers {
                identity,
                base_sequence: self.next_sequence,
            });
            self.next_sequence = add_to_sequence(self.next_sequence, batch.builder.record_count());
        }
        let leader = shared
            .client
            .leader(&self.topic, self.partition, batch.deadline)
            .await;
        let connection = leader.map_err(|error| match error {
            LeaderError::Request(error) => ProduceError::Request(error),
            LeaderError::Refused(refused) => ProduceError::Refused(refused),
        })?;
        let mut builder = batch.builder.clone();
        if let Some(Numbers {
            identity,
            base_sequence,
        }) = batch.numbers
        {
            builder.set_producer(tarn_kafka::Producer {
                id: identity.id,
                epoch: identity.epoch,
                base_sequence,
            });
        }
        let bytes = builder.build()?.into_bytes();
        // Not shortened by the batch's deadline: giving up on an answer that is under way would only
        // make the fate unknown.
        let deadline = Instant::now() + shared.client.settings().request_timeout;
        let left = deadline.saturating_duration_since(Instant::now());
        let data = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(bytes));
        let topic = TopicProduceData::default()
            .with_name(topic_name(&self.topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(shared.settings.acks.wire())
            .with_timeout_ms(i32::try_from(left.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(vec![topic]);
        if shared.settings.acks == Acks::None {
            connection.tell(&request, deadline).await?;
            return Ok(Attempt::Sent);
        }
        Ok(Attempt::Answer(Box::new(
            connection.start(&request, deadline).await?,
        )))
    }

    /// Deals with the outcome of the oldest batch in flight.
    async fn settle(&mut self, outcome: Result<Outcome, RequestError>) {
        let Some((batch, _)) = self.in_flight.pop_front() else {
            return;
        };
        let error = match self.verdict(outcome) {
            Outcome::Done(offset) => return self.delivered(batch, offset),
            Outcome::Again(error) => {
                let mut batch = batch;
                batch.note(&error);
                return self.repeat(batch).await;
            }
            // It may only have come to its partition before its predecessor, through another agent.
            Outcome::Never(error) if batch.was_behind && is_out_of_order(&error) => {
                let mut batch = batch;
                batch.note(&error);
                return self.repeat(batch).await;
            }
            Outcome::Never(error) => error,
        };
        // The batches behind it carry sequence numbers that the server cannot accept any more.
        let behind = self.await_all().await;
        batch.fail(error);
        self.renumber(behind);
    }

    /// Without sequence numbers a batch that may have been written is never sent again.
    fn verdict(&self, outcome: Result<Outcome, RequestError>) -> Outcome {
        match outcome.unwrap_or_else(|error| Outcome::Again(error.into())) {
            Outcome::Again(error)
                if !self.shared.settings.idempotent && error.fate() == Fate::Unknown =>
            {
                Outcome::Never(error)
            }
            outcome => outcome,
        }
    }

    /// Repeats the oldest batch, and those behind it that failed too.
    async fn repeat(&mut self, first: Batch) {
        let mut again = vec![first];
        again.extend(self.await_all().await);
        self.shared.client.forget_topic(&self.topic);

        let now = Instant::now();
        let expired = again
            .iter()
            .take_while(|batch| batch.deadline <= now)
            .count();
        if expired > 0 {
            let behind = again.split_off(expired);
            for batch in again {
                batch.expire(self.shared.settings.delivery_timeout);
            }
            return self.renumber(behind);
        }
        let Some(deadline) = again.first().map(|batch| batch.deadline) else {
            return;
        };
        debug!(topic = %self.topic, partition = self.partition, batches = again.len(), "repeating");
        let settings = self.shared.client.settings();
        let pause = self
            .shared
            .client
            .runtime()
            .random()
            .jitter(settings.retry_backoff_max.min(settings.retry_backoff * 4));
        sleep_until((now + pause).min(deadline)).await;
        for batch in again.into_iter().rev() {
            self.ready.push_front(batch);
        }
    }

    /// Waits for everything in flight; returns the batches that were not delivered, in order.
    async fn await_all(&mut self) -> Vec<Batch> {
        let mut again = Vec::new();
        while !self.in_flight.is_empty() {
            let outcome = front(&mut self.in_flight).await;
            let Some((mut batch, _)) = self.in_flight.pop_front() else {
                break;
            };
            match self.verdict(outcome) {
                Outcome::Done(offset) => self.delivered(batch, offset),
                Outcome::Never(error) if !self.shared.settings.idempotent => batch.fail(error),
                // Behind a batch that failed, even what looks final may only be its consequence:
                // a gap in the sequence. The next attempt will tell.
                Outcome::Again(error) | Outcome::Never(error) => {
                    batch.note(&error);
                    again.push(batch);
                }
            }
        }
        again
    }

    /// Sends batches that were not delivered under a fresh identity, with those that follow.
    fn renumber(&mut self, behind: Vec<Batch>) {
        let idempotent = self.shared.settings.idempotent;
        let waiting = std::mem::take(&mut self.ready);
        for mut batch in behind.into_iter().chain(waiting) {
            if idempotent && batch.maybe_done {
                batch.fail_unknown();
            } else {
                batch.numbers = None;
                self.ready.push_back(batch);
            }
        }
        self.identity = None;
        self.needs_fresh_identity = true;
        self.next_sequence = 0;
    }

    fn delivered(&self, batch: Batch, base: Option<Offset>) {
        for (at, waiter) in (0u64..).zip(batch.records) {
            let delivered = Delivered {
                partition: self.partition,
                offset: base.map(|base| base.advance(at)),
                timestamp: waiter.timestamp,
            };
            let _ = waiter.reply.send(Ok(delivered));
        }
    }
}

impl Batch {
    fn note(&mut self, error: &ProduceError) {
        self.maybe_done |= error.fate() == Fate::Unknown;
        self.last_failure = error.to_string();
    }

    fn fail(self, error: ProduceError) {
        let maybe_done = self.maybe_done || error.fate() == Fate::Unknown;
        let error = match error {
            error if !maybe_done => error,
            error @ ProduceError::Unknown { .. } => error,
            error => ProduceError::Unknown {
                last: error.to_string(),
            },
        };
        for waiter in self.records {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    fn fail_unknown(self) {
        let last = self.last_failure.clone();
        self.fail(ProduceError::Unknown { last });
    }

    fn expire(self, timeout: std::time::Duration) {
        let last = self.last_failure.clone();
        self.fail(ProduceError::Timeout { timeout, last });
    }
}

/// Waits for the oldest attempt without taking it out, so that the wait can be given up.
async fn front(in_flight: &mut VecDeque<(Batch, Attempt)>) -> Result<Outcome, RequestError> {
    let Some((_, attempt)) = in_flight.front_mut() else {
        return std::future::pending().await;
    };
    match attempt {
        Attempt::Sent => Ok(Outcome::Done(None)),
        Attempt::Failed(error) => Ok(judge(error.clone())),
        Attempt::Answer(answer) => {
            let response = answer.wait_mut().await?;
            let partition = response
                .responses
                .into_iter()
                .flat_map(|topic| topic.partition_responses)
                .next();
            let Some(partition) = partition else {
                let detail = "the response has no partition".to_owned();
                return Err(RequestError::Decode {
                    address: answer.address().to_owned(),
                    detail,
                });
            };
            let what = || format!("partition {}", partition.index);
            let message = partition.error_message.as_ref().map(|text| text.as_str());
            Ok(match Refused::check(what, partition.error_code, message) {
                Ok(()) => Outcome::Done(Offset::from_wire(partition.base_offset)),
                // The server has the batch, but forgot where.
                Err(refused) if refused.error_code() == ErrorCode::DuplicateSequenceNumber => {
                    Outcome::Done(None)
                }
                Err(refused) => judge(refused.into()),
            })
        }
    }
}

fn is_out_of_order(error: &ProduceError) -> bool {
    matches!(error, ProduceError::Refused(refused)
        if refused.error_code() == ErrorCode::OutOfOrderSequenceNumber)
}

/// Whether another attempt may help.
fn judge(error: ProduceError) -> Outcome {
    let again = match &error {
        ProduceError::Request(error) => {
            error.kind().is_retriable() || error.fate() == Fate::Unknown
        }
        ProduceError::Refused(refused) => {
            refused.error_code().is_retriable() || refused.fate() == Fate::Unknown
        }
        ProduceError::Timeout { .. }
        | ProduceError::Unknown { .. }
        | ProduceError::TooLarge { .. }
        | ProduceError::Batch(_)
        | ProduceError::Closed => false,
    };
    if again {
        Outcome::Again(error)
    } else {
        Outcome::Never(error)
    }
}
