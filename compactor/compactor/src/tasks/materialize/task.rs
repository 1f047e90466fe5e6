//! The materializer as a task: which tables are due, and one round for one of them.
//!
//! A table is due once per interval: when its oldest waiting record has waited for this process's
//! patience, or sooner when much waits. One that nothing can be written to is not, until it is another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tarn_model::{ClusterTime, Offset, PartitionId, TopicId};
use tarn_replica::{Node, View};
use tarn_state::{Table, Topic, TopicTable};
use tarn_tables::Catalog;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::backlog::{Backlog, Behind};
use super::metrics::{CompactorMetrics, RoundOutcome};
use super::seen::Seen;
use super::{DAYS_MAX, MaterializeError, Materializer, Round, waiting};
use crate::board;
use crate::service::{CompactorHandle, start};
use crate::settings::CompactorSettings;
use crate::task::{Due, Ran, Setback, Task};
use crate::turns::Permit;

const NAME: &str = "materialize";
/// How often `materialize_now` plans anew because another process was first.
const REPLANS_MAX: usize = 20;
/// Rows per day that a round should have at least, when days end it.
const ROWS_PER_DAY_MIN: u64 = 128;
const BARRIER_WITHIN: Duration = Duration::from_secs(30);

/// Topics become table files.
#[derive(Debug)]
pub(crate) struct Materialize {
    node: Node,
    materializer: Materializer,
    metrics: CompactorMetrics,
    backlog: Mutex<Backlog>,
    seen: Seen,
    /// Much waits when it is more than this.
    much: u64,
}

/// For tests and benchmarks: a compactor with this task alone, which can be made to work now.
pub fn start_materializer(
    node: &Node,
    catalog: &Catalog,
    settings: CompactorSettings,
) -> MaterializerHandle {
    let task = Arc::new(Materialize::new(node, catalog, &settings));
    MaterializerHandle {
        compactor: start(node, settings, vec![task.clone()]),
        task,
    }
}

/// Makes the materializer work now.
#[derive(Debug, Clone)]
pub struct MaterializerHandle {
    compactor: CompactorHandle,
    task: Arc<Materialize>,
}

impl MaterializerHandle {
    /// Materializes everything that was committed to the topic before this call, and returns when it
    /// is in the table's files.
    pub async fn materialize_now(&self, topic: TopicId) -> Result<View, MaterializeError> {
        let metastore = &self.task.node.metastore;
        let newest = || metastore.barrier(Instant::now() + BARRIER_WITHIN);
        let mut view = newest().await?;
        let wanted: Vec<(PartitionId, Offset)> = waiting(&view, of_topic(&view, topic)?)
            .iter()
            .map(|waiting| (waiting.partition, waiting.readable.end))
            .collect();
        let (mut moved, mut days_max) = (0, DAYS_MAX);
        loop {
            let table = of_topic(&view, topic)?;
            let is_in = |(at, end): &(PartitionId, Offset)| table.materialized(*at) >= *end;
            if wanted.iter().all(is_in) {
                return Ok(view);
            }
            let permit = self.compactor.permit(NAME, &topic.to_string()).await;
            let round = self.task.round(&metastore.view(), topic, days_max).await;
            drop(permit);
            match round {
                Ok(Some(round)) => {
                    days_max = days_next(&round, days_max);
                    view = round.committed.view;
                }
                Ok(None) => return Ok(metastore.view()),
                Err(error) if error.is_moved() && moved < REPLANS_MAX => {
                    moved += 1;
                    view = newest().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Task for Materialize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn due(&self, view: &View) -> Vec<Due> {
        let mut backlog = self.backlog.lock().expect("nobody panics while holding it");
        for topic in backlog.update(view) {
            self.seen.nothing_waits(&self.metrics, view, topic);
        }
        let mut due = Vec::new();
        for (topic, behind) in backlog.tables() {
            if let Some(table) = view.table_of(topic)
                && let Some(topic) = topic_of(view, topic, table)
                && self.is_due(view, table, &topic, behind)
                && self.seen.is_hopeful(view, topic.id)
            {
                due.push(Due {
                    key: topic.id.to_string(),
                    name: topic.name.clone(),
                });
            }
        }
        due
    }

    fn run<'a>(&'a self, due: &'a Due, permit: Permit) -> BoxFuture<'a, Result<Ran, Setback>> {
        let topic = due.key.parse().expect("`due` wrote a topic's id");
        self.go(topic, &due.name, permit).boxed()
    }
}

impl Materialize {
    pub(crate) fn new(node: &Node, catalog: &Catalog, settings: &CompactorSettings) -> Materialize {
        let metrics = node.runtime.metrics().register(CompactorMetrics::register);
        let scope = node.scope.child(NAME);
        Materialize {
            materializer: Materializer::new(node, catalog, &scope, &metrics, settings),
            metrics,
            backlog: Mutex::default(),
            seen: Seen::default(),
            much: settings.commit_memory.0 / 4,
            node: node.clone(),
        }
    }

    fn is_due(&self, view: &View, table: &Table, topic: &Topic, behind: &Behind) -> bool {
        // SUBTLE: cluster time may stand still for hours, while nobody's wall clock can be trusted.
        // What waits must become a table all the same.
        let waited = self.seen.waited(topic.id, table);
        let since = behind.since().unwrap_or(view.cluster_time);
        let lag = view.cluster_time.since(since).max(waited);
        self.seen.show_lag(&self.metrics, topic, lag);
        if !topic.wants_table() {
            return false;
        }
        let interval = topic.table_interval(&self.node.defaults);
        let key = u128::from_be_bytes(topic.id.0);
        let patience = board::patience(view, key, self.node.metastore.node(), interval);
        lag >= patience || behind.bytes() >= self.much
    }

    async fn go(&self, topic: TopicId, name: &str, permit: Permit) -> Result<Ran, Setback> {
        let before = self.node.metastore.view();
        let days_max = self.seen.take_days(topic).unwrap_or(DAYS_MAX);
        match self.round(&before, topic, days_max).await {
            Ok(Some(round)) if round.is_partial => {
                self.seen.set_days(topic, days_next(&round, days_max));
                Ok(Ran::More)
            }
            Ok(_) => {
                if self.seen.was_parked(topic) {
                    info!(topic = name, "the table is written again");
                }
                Ok(Ran::Done)
            }
            Err(error) => {
                // What is left to do holds up nobody.
                drop(permit);
                Err(self.failed(&before, topic, name, error).boxed().await)
            }
        }
    }

    /// One round, counted. `None` if nothing waits.
    async fn round(
        &self,
        view: &View,
        topic: TopicId,
        days_max: usize,
    ) -> Result<Option<Round>, MaterializeError> {
        let done = Box::pin(self.materializer.round(view, topic, days_max)).await;
        match &done {
            Ok(None) => {}
            Ok(Some(round)) => {
                self.metrics.count_round(RoundOutcome::Committed);
                if let Some(table) = view.table_of(topic) {
                    self.count(&table.name, round);
                }
            }
            Err(error) if error.is_moved() => self.metrics.count_round(RoundOutcome::Moved),
            Err(_) if view.table_of(topic).is_some() => {
                self.metrics.count_round(RoundOutcome::Failed);
            }
            Err(_) => {}
        }
        done
    }

    fn count(&self, name: &str, round: &Round) {
        self.metrics
            .count_records(name, round.counted.rows, round.counted.deleted);
        for (reason, records) in &round.reasons {
            self.metrics.count_undecodable(name, reason, *records);
        }
        self.metrics
            .count_hidden_timestamps(name, round.hidden_timestamps);
        self.metrics.count_garbage(round.committed.garbage);
        self.metrics.count_odd(name, round.counted);
        debug!(
            topic = name,
            rows = round.counted.rows,
            undecodable = round.counted.undecodable,
            deleted = round.counted.deleted,
            pointer = round.committed.pointer,
            "materialized"
        );
    }

    /// `before` is a view from before the round.
    async fn failed(
        &self,
        before: &View,
        topic: TopicId,
        name: &str,
        error: MaterializeError,
    ) -> Setback {
        if error.is_moved() {
            return Setback::Moved(error.into());
        }
        if error.is_topic_gone() {
            return Setback::Left(error.into());
        }
        // Whoever is left alone for good must be seen to be.
        let view = self.node.metastore.view();
        let is_told = error.is_lasting() && self.materializer.report(&view, topic, &error).await;
        if error.is_permanent() && is_told {
            self.seen.park(before, topic);
            warn!(topic = name, %error, "the table cannot be written until somebody changes it");
            return Setback::Left(error.into());
        }
        Setback::Failed {
            kind: error.kind(),
            error: error.into(),
        }
    }
}

/// Days that the next round may take after one that might take `days_max`. Records that jump from
/// day to day would make commits of a row a day for ever: then the next may take twice as many,
/// up to all that event times can have.
fn days_next(round: &Round, days_max: usize) -> usize {
    if round.is_full_of_days && round.counted.rows < days_max as u64 * ROWS_PER_DAY_MIN {
        days_max * 2
    } else {
        DAYS_MAX
    }
}

fn of_topic(view: &View, topic: TopicId) -> Result<&TopicTable, MaterializeError> {
    let table = view.table_of(topic).and_then(|table| table.of_topic());
    table.ok_or(MaterializeError::NoTable(topic))
}

/// The topic whose rows the table gets: one that was deleted as long as some of its rows are missing.
fn topic_of(view: &View, topic: TopicId, table: &Table) -> Option<Arc<Topic>> {
    if !table.is_detached() {
        return view.topic(topic).cloned();
    }
    view.has_leftovers(topic).then(|| {
        Arc::new(Topic {
            id: topic,
            name: table.name.clone(),
            partitions: 0,
            configs: BTreeMap::new(),
            created_at: ClusterTime::default(),
            first_producer: tarn_model::ProducerId(1),
        })
    })
}
