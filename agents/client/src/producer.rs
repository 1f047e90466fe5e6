//! Writes records: batched per partition, in order, and once each if idempotent.
//!
//! A record waits in its partition's worker until the batch is full or has lingered; the worker
//! keeps a few requests in flight and repeats what failed in the same order and with the same
//! sequence numbers.
//!
//! Holds: memory is bounded by [`ProducerSettings::buffer_bytes`], a permit of which travels with
//! each record until its fate is known. Every record that was accepted gets an answer: its place,
//! an error with [`tarn_model::Fate::NotDone`], or one that says it is unknown.
//! Leaves to others: transactions.

mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::messages::InitProducerIdRequest;
use tarn_kafka::{Compression, RecordHeader};
use tarn_model::{ByteSize, Offset, Timestamp};
use tarn_runtime::{Budget, BudgetError, Permit, Scope};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::partitioner::partition_of_key;
use crate::{AdminError, Client, ProduceError, Refused};
use worker::Worker;

/// What a batch waits for before it counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Nothing: sent is delivered, and the offset stays unknown.
    None,
    /// The leader; for Tarn the same as `All`.
    Leader,
    /// Durable.
    #[default]
    All,
}

impl Acks {
    fn wire(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// Settings of a [`Producer`].
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// How long a batch waits for company. Zero sends at once.
    pub linger: Duration,
    /// A batch holds no more bytes than this before compression, unless one record alone does, and
    /// waits no longer once the next record does not fit.
    pub batch_bytes: ByteSize,
    pub compression: Compression,
    pub acks: Acks,
    /// With sequence numbers a repetition is recognized, so a lost answer can be asked for again.
    /// Without them a batch whose fate is unknown is reported so, never sent twice. Needs
    /// [`Acks::All`].
    pub idempotent: bool,
    /// Requests in flight per partition; more than five are too many for idempotence.
    pub in_flight_max: usize,
    /// From the moment a record is accepted, attempts are begun for so long; the last one may take
    /// the client's request timeout.
    pub delivery_timeout: Duration,
    /// How long to look for a topic before it counts as missing.
    pub metadata_timeout: Duration,
    /// Bytes of records whose fate is open; a record beyond them waits to be accepted.
    pub buffer_bytes: ByteSize,
}

impl Default for ProducerSettings {
    fn default() -> ProducerSettings {
        ProducerSettings {
            linger: Duration::from_millis(5),
            batch_bytes: ByteSize::mib(1),
            compression: Compression::None,
            acks: Acks::All,
            idempotent: true,
            in_flight_max: 5,
            delivery_timeout: Duration::from_secs(120),
            metadata_timeout: Duration::from_secs(10),
            buffer_bytes: ByteSize::mib(64),
        }
    }
}

/// A record to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerRecord {
    pub topic: String,
    /// Without one, the key decides as in Kafka; without a key, chance does.
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
    /// Without one, the client's clock at the moment of acceptance.
    pub timestamp: Option<Timestamp>,
}

impl ProducerRecord {
    pub fn new(topic: impl Into<String>, value: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord {
            topic: topic.into(),
            value: Some(value.into()),
            ..ProducerRecord::default()
        }
    }

    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> ProducerRecord {
        self.key = Some(key.into());
        self
    }

    #[must_use]
    pub fn partition(mut self, partition: i32) -> ProducerRecord {
        self.partition = Some(partition);
        self
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> ProducerRecord {
        self.headers
            .push(RecordHeader::new(name, Some(value.into())));
        self
    }

    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> ProducerRecord {
        self.timestamp = Some(timestamp);
        self
    }

    /// What the record takes of a batch at most: its bytes, and the numbers around them at their
    /// longest.
    fn encoded_bytes_max(&self) -> u64 {
        const NUMBERS: usize = 40;
        let headers: usize = self
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len) + 16)
            .sum();
        let bytes =
            self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len);
        u64::try_from(bytes + headers + NUMBERS).unwrap_or(u64::MAX)
    }

    /// What the record takes of the buffer: its bytes and its bookkeeping.
    fn buffer_bytes(&self) -> u64 {
        const BOOKKEEPING: u64 = 88;
        self.encoded_bytes_max().saturating_add(BOOKKEEPING)
    }
}

/// Where a record went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub partition: i32,
    /// `None` with [`Acks::None`], and where the server only says that it has the batch already.
    pub offset: Option<Offset>,
    pub timestamp: Timestamp,
}

/// The fate of an accepted record, to come. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Delivered, ProduceError>>);

impl Future for Delivery {
    type Output = Result<Delivered, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A worker that ended without an answer was dropped with its process.
        let gone = ProduceError::Unknown {
            last: "the producer ended".to_owned(),
        };
        self.0
            .poll_unpin(cx)
            .map(|answer| answer.unwrap_or(Err(gone)))
    }
}

/// What a worker is told.
enum Message {
    Record(Pending),
    /// Send what is there, and answer when the fate of all of it is known.
    Flush(oneshot::Sender<()>),
}

/// A record whose fate is open.
struct Pending {
    record: ProducerRecord,
    timestamp: Timestamp,
    accepted: Instant,
    reply: oneshot::Sender<Result<Delivered, ProduceError>>,
    permit: Permit,
}

/// Records that may queue up before a worker; the buffer bounds their bytes.
const INBOX_RECORDS: usize = 1024;

/// Writes records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    workers: Mutex<BTreeMap<(String, i32), mpsc::Sender<Message>>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// What the workers of a producer share.
struct Shared {
    client: Client,
    settings: ProducerSettings,
    scope: Scope,
    buffer: Budget,
    identity: tokio::sync::Mutex<Option<Identity>>,
}

/// Who an idempotent producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    id: i64,
    epoch: i16,
}

impl Shared {
    /// The identity that all partitions begin with.
    async fn identity(&self, deadline: Instant) -> Result<Identity, ProduceError> {
        let mut identity = self.identity.lock().await;
        if let Some(identity) = *identity {
            return Ok(identity);
        }
        let fresh = self.fresh_identity(deadline).await?;
        *identity = Some(fresh);
        Ok(fresh)
    }

    /// An identity that nobody had before. Asking twice wastes a number and nothing else.
    async fn fresh_identity(&self, deadline: Instant) -> Result<Identity, ProduceError> {
        let mut retry = self.client.retry(deadline);
        loop {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000);
            let response = self.client.ask_any(&request, deadline).await?;
            match Refused::check(|| "a producer id".to_owned(), response.error_code, None) {
                Ok(()) => {
                    return Ok(Identity {
                        id: response.producer_id.0,
                        epoch: response.producer_epoch,
                    });
                }
                Err(refused) => {
                    if !refused.error_code().is_retriable() || !retry.pause().await {
                        return Err(refused.into());
                    }
                }
            }
        }
    }
}

impl Producer {
    /// Makes a producer. Its tasks live in a child of the client's scope.
    pub fn new(client: &Client, settings: ProducerSettings) -> Producer {
        let settings = ProducerSettings {
            // Anything else could not honor the promise.
            acks: if settings.idempotent {
                Acks::All
            } else {
                settings.acks
            },
            in_flight_max: settings
                .in_flight_max
                .clamp(1, if settings.idempotent { 5 } else { 1024 }),
            ..settings
        };
        let client = client.fork("producer");
        let shared = Shared {
            // Below the connections, so that the workers drain while there still are any.
            scope: client.scope().child("workers"),
            client,
            buffer: Budget::new(settings.buffer_bytes),
            identity: tokio::sync::Mutex::default(),
            settings,
        };
        Producer {
            handle: Arc::new(Handle {
                shared: Arc::new(shared),
                workers: Mutex::default(),
            }),
        }
    }

    /// Writes a record and waits for its fate.
    pub async fn produce(&self, record: ProducerRecord) -> Result<Delivered, ProduceError> {
        self.send(record).await?.await
    }

    /// Accepts a record, as soon as the buffer has room; the delivery tells its fate. Records that
    /// one task sends to one partition keep their order.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        let shared = &self.handle.shared;
        let bytes = record.buffer_bytes();
        let permit = shared
            .buffer
            .acquire(bytes)
            .await
            .map_err(|error| match error {
                BudgetError::TooLarge { total, .. } => ProduceError::TooLarge {
                    bytes,
                    max: total.0,
                },
                BudgetError::Exhausted { .. } => ProduceError::TooLarge {
                    bytes,
                    max: shared.buffer.total().0,
                },
            })?;
        let partition = self.choose_partition(&record).await?;
        let timestamp = record
            .timestamp
            .unwrap_or_else(|| shared.client.runtime().clock().wall());
        let worker = self.worker(&record.topic, partition)?;
        let (reply, delivery) = oneshot::channel();
        let pending = Pending {
            record,
            timestamp,
            accepted: Instant::now(),
            reply,
            permit,
        };
        worker
            .send(Message::Record(pending))
            .await
            .map_err(|_| ProduceError::Closed)?;
        Ok(Delivery(delivery))
    }

    /// Sends everything accepted so far without lingering, and waits until its fate is known.
    pub async fn flush(&self) {
        let workers: Vec<_> = {
            let workers = self
                .handle
                .workers
                .lock()
                .expect("nobody panics while holding it");
            workers.values().cloned().collect()
        };
        let mut flushed = Vec::with_capacity(workers.len());
        for worker in workers {
            let (done, wait) = oneshot::channel();
            if worker.send(Message::Flush(done)).await.is_ok() {
                flushed.push(wait);
            }
        }
        for wait in flushed {
            // A worker that is gone has nothing left to flush.
            let _ = wait.await;
        }
    }

    /// Flushes and ends. Records sent afterwards, through other clones, are refused.
    pub async fn close(&self) {
        self.flush().await;
        self.handle
            .workers
            .lock()
            .expect("nobody panics while holding it")
            .clear();
        self.handle.shared.client.scope().drain().await;
    }

    async fn choose_partition(&self, record: &ProducerRecord) -> Result<i32, ProduceError> {
        if let Some(partition) = record.partition {
            return Ok(partition);
        }
        let shared = &self.handle.shared;
        let deadline = Instant::now() + shared.settings.metadata_timeout;
        let count = shared
            .client
            .partition_count(&record.topic, deadline)
            .await
            .map_err(|error| match error {
                AdminError::Request(error) => ProduceError::Request(error),
                AdminError::Refused(refused) => ProduceError::Refused(refused),
                AdminError::NoAnswer(what) => ProduceError::Timeout {
                    timeout: shared.settings.metadata_timeout,
                    last: what,
                },
            })?;
        if let Some(key) = &record.key {
            return Ok(partition_of_key(key, count));
        }
        let bound = u64::try_from(count).unwrap_or(1);
        let drawn = shared.client.runtime().random().below(bound);
        Ok(i32::try_from(drawn).expect("smaller than the number of partitions"))
    }

    fn worker(&self, topic: &str, partition: i32) -> Result<mpsc::Sender<Message>, ProduceError> {
        let shared = &self.handle.shared;
        if shared.scope.is_stopping() {
            return Err(ProduceError::Closed);
        }
        let mut workers = self
            .handle
            .workers
            .lock()
            .expect("nobody panics while holding it");
        if let Some(worker) = workers.get(&(topic.to_owned(), partition)) {
            return Ok(worker.clone());
        }
        let (sender, inbox) = mpsc::channel(INBOX_RECORDS);
        let worker = Worker::new(Arc::clone(shared), topic.to_owned(), partition, inbox);
        drop(shared.scope.spawn("client.produce", worker.run()));
        workers.insert((topic.to_owned(), partition), sender.clone());
        Ok(sender)
    }
}

#[cfg(test)]
mod tests;
