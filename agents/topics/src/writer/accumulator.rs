//! One task owns the open segment and everything that is on its way.
//!
//! Batches join the open segment; it is closed by size, by time, or at once when nothing is on its
//! way; closed segments go up side by side and are committed in the order in which their uploads
//! began. A later one goes first only if it shares no partition with those before it.

mod commits;
mod door;
mod failure;
mod flight;
mod producers;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tarn_kafka::ValidBatch;
use tarn_model::{ByteSize, ClusterId, Generation, TopicPartition, caps, defect};
use tarn_replica::{BarrierError, View};
use tarn_runtime::{TaskError, gauge, step};
use tarn_state::commands::CommitMode;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::commit::Verdict;
use super::parts::Parts;
use super::upload::{Uploaded, upload};
use super::{AppendError, Ticket};
use crate::metrics::{DoorEnd, DoorLabel, FlushLabel, FlushReason};
use crate::segment::{self, Builder};
use crate::settings::COMMIT_BYTES_MAX;
use door::{Door, Waiting};
use flight::{Flight, Open, Sent, Stage};
pub(super) use producers::Stamp;
use producers::{Judgement, Key, Producers};

/// Messages taken before the task looks at what else happened.
const MESSAGES_AT_ONCE: usize = 256;
/// How long an unknown producer's batch waits to learn whether the log knows the producer.
const BARRIER_WITHIN: Duration = Duration::from_secs(2);

/// One call of `append`.
#[derive(Debug)]
pub(super) struct Message {
    /// Batches of earlier calls that found no room in the queue: what comes behind them must not be
    /// taken before they have come again.
    pub(super) refused: Vec<Stamp>,
    pub(super) batches: Vec<Pending>,
}

/// A batch that is to be answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) at: TopicPartition,
    pub(super) batch: ValidBatch,
    pub(super) ticket: Ticket,
}

impl Pending {
    fn bytes(&self) -> u64 {
        self.batch.bytes().len() as u64
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        Stamp::of(self.at, self.batch.header())
    }
}

/// A task's result.
enum Event {
    Uploaded(u64, Result<Result<Uploaded, AppendError>, TaskError>),
    Committed(Vec<u64>, Result<Vec<(Uploaded, Verdict)>, TaskError>),
    Barrier(Result<View, BarrierError>),
}

pub(super) struct Accumulator {
    parts: Parts,
    cluster: ClusterId,
    generation: Generation,
    views: watch::Receiver<View>,
    view: View,
    open: Open,
    /// Closed, in order; their uploads have not begun.
    ready: VecDeque<Open>,
    /// In the order in which their uploads began.
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    committing: bool,
    /// Something happened that may let a segment be committed.
    may_commit: bool,
    producers: Producers,
    door: Door,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
}

impl Accumulator {
    pub(super) fn new(parts: Parts) -> Accumulator {
        let views = parts.metastore.watch();
        let view = views.borrow().clone();
        Accumulator {
            cluster: view.cluster,
            generation: view.generation,
            parts,
            views,
            view,
            open: Open::default(),
            ready: VecDeque::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
            committing: false,
            may_commit: false,
            producers: Producers::default(),
            door: Door::default(),
            events: FuturesUnordered::new(),
        }
    }

    /// Runs until the scope stops and everything is answered.
    pub(super) async fn run(mut self, mut received: mpsc::Receiver<Message>) {
        let mut stopped: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(self.parts.scope.stopped());
        let mut stopping = false;
        let mut queue_ended = false;
        let mut views_ended = false;
        loop {
            let wake = self.wake_at(stopping);
            tokio::select! {
                // Results first, new work last: a flood of calls delays no answer. Timers need no
                // turn of their own, since what is due is looked at after every one.
                biased;
                Some(event) = self.events.next(), if !self.events.is_empty() => self.handle(event),
                changed = self.views.changed(), if !views_ended => match changed {
                    Ok(()) => self.see_newest_view(),
                    Err(_) => views_ended = true,
                },
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    received.close();
                }
                message = received.recv(), if !queue_ended => match message {
                    Some(message) => {
                        self.accept(message).await;
                        for _ in 1..MESSAGES_AT_ONCE {
                            let Ok(message) = received.try_recv() else { break };
                            self.accept(message).await;
                        }
                    }
                    None => queue_ended = true,
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            self.open_door(stopping);
            self.close_segments(stopping);
            self.start_uploads();
            self.start_commits();
            if stopping && queue_ended && self.is_idle() {
                break;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.open.partitions.is_empty()
            && self.ready.is_empty()
            && self.flights.is_empty()
            && self.door.is_empty()
    }

    /// When something is due by itself.
    fn wake_at(&self, stopping: bool) -> Option<Instant> {
        let can_upload = self.uploading() < self.parts.settings.uploads_max.max(1);
        let linger = self
            .open
            .since
            .filter(|_| can_upload && !stopping)
            .map(|since| since + self.parts.settings.linger);
        match (linger, self.door.next_timeout()) {
            (Some(linger), Some(door)) => Some(linger.min(door)),
            (linger, door) => linger.or(door),
        }
    }

    async fn accept(&mut self, message: Message) {
        self.see_newest_view();
        for stamp in &message.refused {
            self.producers.remember_failure(stamp);
        }
        for pending in message.batches {
            let bytes = ByteSize(pending.bytes());
            if bytes > caps::BATCH_BYTES_MAX {
                pending.ticket.answer(Err(AppendError::TooLarge {
                    bytes,
                    max: caps::BATCH_BYTES_MAX,
                }));
                continue;
            }
            if let Some(stamp) = pending.stamp()
                && (stamp.epoch.0 < 0 || stamp.first_sequence < 0)
            {
                // `apply` would refuse the segment with everybody else's batches.
                pending.ticket.answer(Err(AppendError::Refused {
                    why: "its producer has no epoch or no sequence",
                }));
                continue;
            }
            self.accept_one(pending);
        }
        step!(self.parts.runtime, "produce.accepted");
    }

    fn accept_one(&mut self, pending: Pending) {
        let Some(stamp) = pending.stamp() else {
            self.admit(pending, None);
            return;
        };
        let judgement = self.producers.judge(&stamp, &self.view);
        match judgement {
            Judgement::Admit => {
                self.admit(pending, Some(stamp));
                self.recheck(stamp.key);
            }
            Judgement::Failed => pending.ticket.answer(Err(AppendError::NotDone {
                why: "the batch before it failed",
            })),
            Judgement::Wait | Judgement::Ask => {
                let bytes = pending.bytes();
                if !self
                    .door
                    .has_room(stamp.key, bytes, self.parts.settings.door_bytes.0)
                {
                    self.count_door(DoorEnd::Full);
                    self.admit(pending, Some(stamp));
                    self.recheck(stamp.key);
                    return;
                }
                let until = Instant::now() + self.parts.settings.door_wait;
                let asks = if judgement == Judgement::Ask {
                    Some(self.ask_log())
                } else {
                    None
                };
                self.door.push(Waiting {
                    pending,
                    stamp,
                    until,
                    asks,
                });
                self.parts.metrics.door_bytes.set(gauge(self.door.bytes()));
                // The predecessor may have been committed by another agent a moment ago.
                self.parts.metastore.wake();
            }
        }
    }

    /// The round of the barrier that answers a question asked now.
    fn ask_log(&mut self) -> u64 {
        let (round, start) = self.door.ask();
        if start {
            self.start_barrier();
        }
        round
    }

    fn start_barrier(&mut self) {
        let metastore = self.parts.metastore.clone();
        let task =
            async move { Event::Barrier(metastore.barrier(Instant::now() + BARRIER_WITHIN).await) };
        self.events.push(task.boxed());
    }

    /// Puts a batch into the open segment.
    fn admit(&mut self, pending: Pending, stamp: Option<Stamp>) {
        if let Some(stamp) = stamp {
            self.producers.admit(&stamp);
        }
        let first = !self.open.partitions.contains_key(&pending.at);
        let limit = self
            .parts
            .settings
            .commit_bytes
            .min(COMMIT_BYTES_MAX)
            .0
            .saturating_sub(segment::COMMIT_OVERHEAD_BYTES);
        if self.open.commit_bytes + segment::commit_bytes_of(first) > limit
            && !self.open.partitions.is_empty()
        {
            self.close(FlushReason::Commit);
        }
        let open = &mut self.open;
        let first = !open.partitions.contains_key(&pending.at);
        open.commit_bytes += segment::commit_bytes_of(first);
        open.bytes += pending.bytes();
        open.since.get_or_insert_with(Instant::now);
        open.partitions.entry(pending.at).or_default().push(pending);
        if open.bytes >= self.parts.settings.segment_bytes.0 {
            self.close(FlushReason::Size);
        }
    }

    fn close(&mut self, reason: FlushReason) {
        self.parts
            .metrics
            .flushes
            .get_or_create(&FlushLabel { reason })
            .inc();
        self.ready.push_back(std::mem::take(&mut self.open));
    }

    /// Closes the open segment if it has waited for long enough, or need not wait.
    fn close_segments(&mut self, stopping: bool) {
        let Some(since) = self.open.since else { return };
        let nothing_under_way = self.flights.is_empty() && self.ready.is_empty();
        // While no upload can begin, the open segment had better grow.
        let can_upload =
            self.ready.is_empty() && self.uploading() < self.parts.settings.uploads_max.max(1);
        if stopping {
            self.close(FlushReason::Stop);
        } else if self.parts.settings.eager && nothing_under_way {
            self.close(FlushReason::Idle);
        } else if can_upload && Instant::now() >= since + self.parts.settings.linger {
            self.close(FlushReason::Linger);
        }
    }

    fn uploading(&self) -> usize {
        self.flights
            .values()
            .filter(|flight| matches!(flight.stage, Stage::Uploading))
            .count()
    }

    fn start_uploads(&mut self) {
        while self.uploading() < self.parts.settings.uploads_max.max(1) {
            let Some(closed) = self.ready.pop_front() else {
                return;
            };
            if closed.partitions.is_empty() {
                continue;
            }
            let mut builder = Builder::new(self.cluster, self.generation);
            let mut partitions: BTreeMap<TopicPartition, Vec<Sent>> = BTreeMap::new();
            for (at, batches) in closed.partitions {
                let sent = partitions.entry(at).or_default();
                for pending in batches {
                    let header = pending.batch.header();
                    sent.push(Sent {
                        stamp: pending.stamp(),
                        bytes: pending.bytes(),
                        offsets: u64::try_from(header.offset_count()).unwrap_or(0),
                        ticket: pending.ticket,
                    });
                    builder.push(at.topic, at.partition, pending.batch);
                }
            }
            let number = self.next_flight;
            self.next_flight += 1;
            let commit_bytes = closed.commit_bytes + segment::COMMIT_OVERHEAD_BYTES;
            self.flights.insert(
                number,
                Flight {
                    partitions,
                    commit_bytes,
                    stage: Stage::Uploading,
                },
            );
            let parts = self.parts.clone();
            let task = self.parts.scope.spawn("segment.upload", async move {
                upload(&parts, builder, CommitMode::Each).await
            });
            self.events
                .push(async move { Event::Uploaded(number, task.await) }.boxed());
        }
    }

    fn handle(&mut self, event: Event) {
        if !matches!(event, Event::Barrier(_)) {
            self.may_commit = true;
        }
        match event {
            Event::Uploaded(number, Ok(Ok(uploaded))) => {
                if defect("ack-before-commit") {
                    self.acknowledge_too_early(number);
                }
                if let Some(flight) = self.flights.get_mut(&number) {
                    flight.stage = Stage::Uploaded(uploaded);
                }
                self.drop_empty_flight(number);
            }
            Event::Uploaded(number, Ok(Err(error))) => self.fail_flight(number, error),
            Event::Uploaded(number, Err(error)) => {
                warn!(%error, "an upload ended without a result");
                self.fail_flight(
                    number,
                    AppendError::NotDone {
                        why: "its upload ended without a result",
                    },
                );
            }
            Event::Committed(numbers, Ok(verdicts)) => {
                self.committing = false;
                self.see_newest_view();
                let mut failures = Vec::new();
                for (number, (uploaded, verdict)) in numbers.into_iter().zip(verdicts) {
                    match verdict {
                        Verdict::Settled(results) => self.settle_flight(number, &uploaded, results),
                        Verdict::Failed(error) => failures.push((number, error)),
                        Verdict::Again => {
                            if let Some(flight) = self.flights.get_mut(&number) {
                                flight.stage = Stage::Uploaded(uploaded);
                            }
                        }
                    }
                }
                for (number, error) in failures {
                    self.fail_flight(number, error);
                }
            }
            Event::Committed(numbers, Err(error)) => {
                warn!(%error, "a commit ended without a result");
                self.committing = false;
                for number in numbers {
                    self.fail_flight(
                        number,
                        AppendError::Unknown {
                            why: "its commit ended without a result",
                        },
                    );
                }
            }
            Event::Barrier(answered) => {
                if let Ok(view) = answered {
                    self.see(view);
                }
                // Without an answer `apply` decides, which knows for sure.
                if self.door.answered() {
                    self.start_barrier();
                }
                self.recheck_all();
            }
        }
    }

    fn see_newest_view(&mut self) {
        let view = self.views.borrow_and_update().clone();
        self.see(view);
    }

    fn see(&mut self, view: View) {
        if view.lsn() > self.view.lsn() {
            self.view = view;
            self.recheck_all();
        }
    }

    /// Lets in what waited for too long; sends back everybody when the process stops.
    fn open_door(&mut self, stopping: bool) {
        if stopping {
            for waiting in self.door.take_all() {
                waiting.pending.ticket.answer(Err(AppendError::NotDone {
                    why: "this process is stopping",
                }));
            }
        } else if self
            .door
            .next_timeout()
            .is_some_and(|timeout| timeout <= Instant::now())
        {
            self.recheck_all();
        }
        self.parts.metrics.door_bytes.set(gauge(self.door.bytes()));
    }

    fn recheck_all(&mut self) {
        for key in self.door.keys() {
            self.recheck(key);
        }
    }

    /// Looks at a producer's waiting batches again, first sequence first.
    fn recheck(&mut self, key: Key) {
        while let Some(first) = self.door.first(key) {
            let (stamp, asks) = (first.stamp, first.asks);
            let is_late = self.door.is_late(key);
            let end = match (self.producers.judge(&stamp, &self.view), asks) {
                (Judgement::Admit, _) => DoorEnd::Predecessor,
                // The log does not know the producer either, so it may begin anywhere.
                (Judgement::Ask, Some(round)) if self.door.is_answered(round) => {
                    DoorEnd::Predecessor
                }
                (Judgement::Failed, _) => {
                    if let Some(waiting) = self.door.pop(key) {
                        let why = "the batch before it failed";
                        waiting
                            .pending
                            .ticket
                            .answer(Err(AppendError::NotDone { why }));
                    }
                    continue;
                }
                (Judgement::Wait | Judgement::Ask, _) if is_late => DoorEnd::Timeout,
                (Judgement::Ask, None) => {
                    let round = self.ask_log();
                    self.door.set_asks(key, round);
                    return;
                }
                (Judgement::Wait | Judgement::Ask, _) => return,
            };
            let Some(waiting) = self.door.pop(key) else {
                return;
            };
            self.count_door(end);
            self.admit(waiting.pending, Some(waiting.stamp));
        }
    }

    fn count_door(&self, end: DoorEnd) {
        self.parts
            .metrics
            .door
            .get_or_create(&DoorLabel { end })
            .inc();
    }
}
