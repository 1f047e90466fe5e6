//! The compactor of a process: looks at the board, and materializes what is due.
//!
//! Holds: at most one round per table runs in this process, at most
//! `settings.tables_at_once` in all, and a table that fails is tried again ever more slowly without
//! holding up the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarn_model::{ClusterTime, Offset, PartitionId, TopicId};
use tarn_replica::{Node, View};
use tarn_runtime::Scope;
use tarn_state::{Table, Topic};
use tarn_tables::Catalog;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::board;
use crate::materialize::{DAYS_MAX, MaterializeError, Materializer, is_large, lag, waiting};
use crate::metrics::{CompactorMetrics, RoundOutcome};
use crate::settings::CompactorSettings;

/// Pauses after failures double from here …
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// … to here.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Losing against another process is answered by looking again soon.
const MOVED_PAUSE: Duration = Duration::from_millis(500);
/// How often `materialize_now` plans anew because another process was first.
const REPLANS_MAX: usize = 20;
/// How long a round may go on after the process was told to stop.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// Rows per day that a round should have at least, when days end it.
const ROWS_PER_DAY_MIN: u64 = 128;
const BARRIER_WITHIN: Duration = Duration::from_secs(30);

/// Starts the compactor of this node. It stops with the node's scope. `catalog` is the process's one.
pub fn start(node: &Node, catalog: &Catalog, settings: CompactorSettings) -> CompactorHandle {
    let scope = node.scope.child("compactor");
    let metrics = node.runtime.metrics().register(CompactorMetrics::register);
    let service = Service {
        materializer: Materializer::new(node, catalog, &scope, &metrics, settings.commit_memory.0),
        metrics,
        at_once: Arc::new(Semaphore::new(settings.tables_at_once.max(1))),
        progress: Arc::default(),
        node: node.clone(),
        scope: scope.clone(),
        settings,
    };
    let handle = CompactorHandle {
        service: service.clone(),
    };
    drop(scope.spawn("board", async move { service.run().await }));
    handle
}

/// For tests and for `tarn`: makes the compactor work now.
#[derive(Debug, Clone)]
pub struct CompactorHandle {
    service: Service,
}

#[derive(Debug, Clone)]
struct Service {
    node: Node,
    scope: Scope,
    settings: CompactorSettings,
    materializer: Materializer,
    metrics: CompactorMetrics,
    at_once: Arc<Semaphore>,
    /// Topics with a table, and what is known of each.
    progress: Arc<Mutex<BTreeMap<TopicId, Progress>>>,
}

/// What this process remembers of a table.
#[derive(Debug)]
struct Progress {
    /// Held during a round.
    turn: Arc<Semaphore>,
    /// Not before this.
    not_before: Instant,
    failures: u32,
    /// Since when something waits for the table snapshot after this one.
    waits: Option<(Option<i64>, Instant)>,
    /// The topic's name and the lag that the metrics say, in seconds.
    lag_shown: Option<(String, i64)>,
}

/// A round that ended with a commit.
#[derive(Debug)]
struct Done {
    view: View,
    is_partial: bool,
    is_full_of_days: bool,
    rows: u64,
}

impl Done {
    /// Days that the next round may take after one that might take `days_max`. Records that jump from
    /// day to day would make commits of a row a day for ever: then the next may take twice as many,
    /// up to all that event times can have.
    fn days_next(&self, days_max: usize) -> usize {
        if self.is_full_of_days && self.rows < days_max as u64 * ROWS_PER_DAY_MIN {
            days_max * 2
        } else {
            DAYS_MAX
        }
    }
}

impl CompactorHandle {
    /// Materializes everything that was committed to the topic before this call, and returns when it
    /// is in the table's files.
    pub async fn materialize_now(&self, topic: TopicId) -> Result<View, MaterializeError> {
        let service = &self.service;
        let mut view = service
            .node
            .metastore
            .barrier(Instant::now() + BARRIER_WITHIN)
            .await?;
        let table = table_of(&view, topic)?;
        let wanted: Vec<(PartitionId, Offset)> = waiting(&view, table)
            .iter()
            .map(|waiting| (waiting.partition, waiting.readable.end))
            .collect();
        let (mut moved, mut days_max) = (0, DAYS_MAX);
        loop {
            let table = table_of(&view, topic)?;
            if wanted
                .iter()
                .all(|(partition, end)| table.materialized(*partition) >= *end)
            {
                return Ok(view);
            }
            match service.round(topic, days_max).await {
                Ok(Some(done)) => {
                    days_max = done.days_next(days_max);
                    view = done.view;
                }
                Ok(None) => return Ok(service.node.metastore.view()),
                Err(error) if error.is_moved() && moved < REPLANS_MAX => {
                    moved += 1;
                    view = service
                        .node
                        .metastore
                        .barrier(Instant::now() + BARRIER_WITHIN)
                        .await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Service {
    /// Looks at the board until the scope stops. Rounds run beside it.
    async fn run(self) {
        let stopped = self.scope.stopped();
        tokio::pin!(stopped);
        loop {
            let view = self.node.metastore.view();
            self.look(&view);
            tokio::select! {
                () = &mut stopped => return,
                () = sleep(self.settings.tick) => {}
            }
        }
    }

    /// Starts a round for every table that is due.
    fn look(&self, view: &View) {
        self.forget_deleted(view);
        for table in view.tables.values() {
            let Some(topic) = topic_of(view, table) else {
                continue;
            };
            let topic = &topic;
            let waiting = waiting(view, table);
            // SUBTLE: cluster time may stand still for hours, while nobody's wall clock can be trusted.
            // What waits must become a table all the same.
            let waited = self.waited(table, !waiting.is_empty());
            let lag = lag(view, &waiting).max(waited);
            self.show_lag(topic, !waiting.is_empty(), lag);
            if waiting.is_empty() || board::is_off(topic) || self.scope.is_stopping() {
                continue;
            }
            let patience = board::patience(view, topic, self.node.metastore.node(), &self.settings);
            let large = self.settings.commit_memory.0 / 4;
            if (lag >= patience || is_large(view, table, &waiting, large)) && self.is_free(topic) {
                let (service, topic) = (self.clone(), Arc::clone(topic));
                drop(self.scope.spawn(
                    "materialize",
                    async move { service.materialize(&topic).await },
                ));
            }
        }
    }

    /// How long this process has seen something wait for the table's next snapshot.
    fn waited(&self, table: &Table, is_waiting: bool) -> Duration {
        let mut progress = self
            .progress
            .lock()
            .expect("nobody panics while holding it");
        if !is_waiting {
            if let Some(progress) = progress.get_mut(&table.topic) {
                progress.waits = None;
            }
            return Duration::ZERO;
        }
        let progress = progress.entry(table.topic).or_insert_with(Progress::new);
        let now = Instant::now();
        match progress.waits {
            Some((snapshot, since)) if snapshot == table.table_snapshot => now - since,
            _ => {
                progress.waits = Some((table.table_snapshot, now));
                Duration::ZERO
            }
        }
    }

    fn is_free(&self, topic: &Topic) -> bool {
        let mut progress = self
            .progress
            .lock()
            .expect("nobody panics while holding it");
        let progress = progress.entry(topic.id).or_insert_with(Progress::new);
        progress.not_before <= Instant::now() && progress.turn.available_permits() > 0
    }

    /// The lag of topics that are, or were, behind.
    fn show_lag(&self, topic: &Topic, is_waiting: bool, lag: Duration) {
        let mut progress = self
            .progress
            .lock()
            .expect("nobody panics while holding it");
        if !is_waiting && !progress.contains_key(&topic.id) {
            return;
        }
        let shown = &mut progress
            .entry(topic.id)
            .or_insert_with(Progress::new)
            .lag_shown;
        let seconds = i64::try_from(lag.as_secs()).unwrap_or(i64::MAX);
        if shown.as_ref().is_none_or(|(_, before)| *before != seconds) {
            self.metrics.set_lag(&topic.name, seconds);
            *shown = Some((topic.name.clone(), seconds));
        }
    }

    fn forget_deleted(&self, view: &View) {
        let mut progress = self
            .progress
            .lock()
            .expect("nobody panics while holding it");
        progress.retain(|topic, progress| {
            let lives = view.topic(*topic).is_some() || view.has_leftovers(*topic);
            if !lives && let Some((name, _)) = &progress.lag_shown {
                self.metrics.forget(name);
            }
            lives
        });
    }

    /// Rounds until no more waits than the next interval may take, or one fails.
    async fn materialize(&self, topic: &Topic) {
        let mut days_max = DAYS_MAX;
        loop {
            let done = tokio::select! {
                done = self.round(topic.id, days_max) => done,
                // A round may be dropped anywhere: what it wrote is nothing that anybody reads.
                () = self.out_of_time() => return,
            };
            match done {
                Ok(Some(done)) if done.is_partial && !self.scope.is_stopping() => {
                    days_max = done.days_next(days_max);
                }
                Ok(_) => {
                    self.succeeded(topic);
                    return;
                }
                Err(error) => {
                    if error.is_lasting() {
                        let view = self.node.metastore.view();
                        self.materializer.report(&view, topic.id, &error).await;
                    }
                    self.failed(topic, &error);
                    return;
                }
            }
        }
    }

    /// Resolves some time after the scope was told to stop.
    async fn out_of_time(&self) {
        self.scope.stopped().await;
        sleep(DRAIN_GRACE).await;
    }

    /// One round on the newest view. `None` if nothing waits.
    async fn round(
        &self,
        topic: TopicId,
        days_max: usize,
    ) -> Result<Option<Done>, MaterializeError> {
        let turn = {
            let mut progress = self
                .progress
                .lock()
                .expect("nobody panics while holding it");
            Arc::clone(&progress.entry(topic).or_insert_with(Progress::new).turn)
        };
        let _turn = turn.acquire().await.expect("the semaphore is never closed");
        let _place = self
            .at_once
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let view = self.node.metastore.view();
        let done = Box::pin(self.materializer.round(&view, topic, days_max)).await;
        let Some(name) = view.tables.get(&topic).map(|table| table.name.as_str()) else {
            return Ok(None);
        };
        match done {
            Ok(None) => Ok(None),
            Ok(Some(round)) => {
                self.metrics.count_round(RoundOutcome::Committed);
                self.metrics
                    .count_records(name, round.counted.rows, round.counted.deleted);
                for (reason, records) in round.reasons {
                    self.metrics.count_undecodable(name, reason, records);
                }
                self.metrics
                    .count_hidden_timestamps(name, round.hidden_timestamps);
                self.metrics.count_garbage(round.committed.garbage);
                debug!(
                    topic = name,
                    rows = round.counted.rows,
                    undecodable = round.counted.undecodable,
                    deleted = round.counted.deleted,
                    pointer = round.committed.pointer,
                    "materialized"
                );
                self.metrics.count_odd(name, round.counted);
                Ok(Some(Done {
                    view: round.committed.view,
                    is_partial: round.is_partial,
                    is_full_of_days: round.is_full_of_days,
                    rows: round.counted.rows,
                }))
            }
            Err(error) => {
                let outcome = if error.is_moved() {
                    RoundOutcome::Moved
                } else {
                    RoundOutcome::Failed
                };
                self.metrics.count_round(outcome);
                Err(error)
            }
        }
    }

    fn succeeded(&self, topic: &Topic) {
        let failures = self.with_progress(topic.id, |progress| {
            progress.not_before = Instant::now();
            std::mem::take(&mut progress.failures)
        });
        if failures.is_some_and(|failures| failures > 0) {
            info!(topic = topic.name, failures, "the table is written again");
        }
    }

    fn failed(&self, topic: &Topic, error: &MaterializeError) {
        let random = self.node.runtime.random();
        if error.is_moved() {
            let pause = random.jitter(MOVED_PAUSE);
            self.with_progress(topic.id, |progress| {
                progress.not_before = Instant::now() + pause
            });
            debug!(topic = topic.name, %error, "another process wrote the table");
            return;
        }
        if error.is_topic_gone() {
            debug!(topic = topic.name, %error, "the topic was deleted while its table was written");
            return;
        }
        let failures = self.with_progress(topic.id, |progress| {
            let pause = BACKOFF_MIN
                .saturating_mul(1 << progress.failures.min(10))
                .min(BACKOFF_MAX);
            progress.not_before = Instant::now() + random.jitter(pause);
            progress.failures += 1;
            progress.failures
        });
        if failures == Some(1) {
            warn!(topic = topic.name, kind = ?error.kind(), %error, "the table could not be written, trying again");
        } else {
            debug!(topic = topic.name, failures, %error, "the table could still not be written");
        }
    }

    fn with_progress<T>(
        &self,
        topic: TopicId,
        change: impl FnOnce(&mut Progress) -> T,
    ) -> Option<T> {
        self.progress
            .lock()
            .expect("nobody panics while holding it")
            .get_mut(&topic)
            .map(change)
    }
}

fn table_of(view: &View, topic: TopicId) -> Result<&Arc<Table>, MaterializeError> {
    let table = view.tables.get(&topic);
    table.ok_or(MaterializeError::NoTable(topic))
}

/// The topic whose rows the table gets: one that was deleted as long as some of its rows are missing.
fn topic_of(view: &View, table: &Table) -> Option<Arc<Topic>> {
    if !table.detached {
        return view.topic(table.topic).cloned();
    }
    view.has_leftovers(table.topic).then(|| {
        Arc::new(Topic {
            id: table.topic,
            name: table.name.clone(),
            partitions: 0,
            configs: BTreeMap::new(),
            created_at: ClusterTime::default(),
            first_producer: None,
        })
    })
}

impl Progress {
    fn new() -> Progress {
        Progress {
            turn: Arc::new(Semaphore::new(1)),
            not_before: Instant::now(),
            failures: 0,
            waits: None,
            lag_shown: None,
        }
    }
}
