//! The compactor of a process: looks at the board, and materializes what is due.
//!
//! Holds: at most one round per table runs in this process, at most
//! `settings.tables_at_once` in all, and a table that fails is tried again ever more slowly without
//! holding up the others. A look costs what moved since the one before, and what waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tarn_model::{ClusterTime, Offset, PartitionId, TopicId};
use tarn_replica::{Node, View};
use tarn_runtime::Scope;
use tarn_state::{Table, Topic};
use tarn_tables::Catalog;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::backlog::{Backlog, Behind};
use crate::board;
use crate::materialize::{DAYS_MAX, MaterializeError, Materializer, waiting};
use crate::metrics::{CompactorMetrics, RoundOutcome};
use crate::progress::Known;
use crate::settings::CompactorSettings;

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
        materializer: Materializer::new(node, catalog, &scope, &metrics, &settings),
        metrics,
        at_once: Arc::new(Semaphore::new(settings.tables_at_once.max(1))),
        known: Arc::default(),
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
    known: Arc<Known>,
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
        let mut backlog = Backlog::default();
        loop {
            let view = self.node.metastore.view();
            for topic in backlog.update(&view) {
                self.known.nothing_waits(&self.metrics, &view, topic);
            }
            self.look(&view, &backlog);
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = sleep(self.settings.tick) => {}
            }
        }
    }

    /// Starts a round for every table that is due.
    fn look(&self, view: &View, backlog: &Backlog) {
        for (topic, behind) in backlog.tables() {
            let table = view.tables.get(&topic);
            if let Some(table) = table
                && let Some(topic) = topic_of(view, table)
                && self.is_due(view, table, &topic, behind)
                && self.known.is_free(view, topic.id)
            {
                let service = self.clone();
                drop(self.scope.spawn(
                    "materialize",
                    async move { service.materialize(&topic).await },
                ));
            }
        }
    }

    fn is_due(&self, view: &View, table: &Table, topic: &Topic, behind: &Behind) -> bool {
        // SUBTLE: cluster time may stand still for hours, while nobody's wall clock can be trusted.
        // What waits must become a table all the same.
        let waited = self.known.waited(table);
        let since = behind.since().unwrap_or(view.cluster_time);
        let lag = view.cluster_time.since(since).max(waited);
        self.known.show_lag(&self.metrics, topic, lag);
        if !topic.wants_table() || self.scope.is_stopping() {
            return false;
        }
        let patience =
            board::patience(view, topic, self.node.metastore.node(), &self.node.defaults);
        lag >= patience || behind.bytes() >= self.settings.commit_memory.0 / 4
    }

    /// Rounds until no more waits than the next interval may take, or one fails.
    async fn materialize(&self, topic: &Topic) {
        let mut days_max = DAYS_MAX;
        loop {
            let before = self.node.metastore.view();
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
                    self.failed(&before, topic, &error).boxed().await;
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
        let turn = self.known.turn(topic);
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
        let failures = self.known.succeeded(topic.id);
        if failures > 0 {
            info!(topic = topic.name, failures, "the table is written again");
        }
    }

    /// `before` is a view from before the round.
    async fn failed(&self, before: &View, topic: &Topic, error: &MaterializeError) {
        let random = self.node.runtime.random();
        if error.is_moved() {
            self.known.pause(topic.id, random.jitter(MOVED_PAUSE));
            debug!(topic = topic.name, %error, "another process wrote the table");
            return;
        }
        if error.is_topic_gone() {
            debug!(topic = topic.name, %error, "the topic was deleted while its table was written");
            return;
        }
        // Whoever is left alone for good must be seen to be.
        let view = self.node.metastore.view();
        let is_told = error.is_lasting() && self.materializer.report(&view, topic.id, error).await;
        if error.is_permanent() && is_told {
            self.known.park(before, topic.id);
            warn!(topic = topic.name, %error, "the table cannot be written until somebody changes it");
            return;
        }
        let failures = self.known.failed(topic.id, |pause| random.jitter(pause));
        if failures == Some(1) {
            warn!(topic = topic.name, kind = ?error.kind(), %error, "the table could not be written, trying again");
        } else {
            debug!(topic = topic.name, failures, %error, "the table could still not be written");
        }
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
            first_producer: tarn_model::ProducerId(1),
        })
    })
}
