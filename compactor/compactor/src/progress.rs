//! What this process remembers of the tables that it writes: whose turn it is, what failed, and what
//! the metrics say.
//!
//! Holds: a table that failed is left alone ever longer; one that nothing can be written to is left
//! alone until it, its spec or its topic is another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tarn_model::TopicId;
use tarn_replica::View;
use tarn_runtime::gauge;
use tarn_state::{Table, Topic};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::metrics::CompactorMetrics;

/// Pauses after failures double from here …
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// … to here.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The tables for which something waited.
#[derive(Debug, Default)]
pub(crate) struct Known {
    tables: Mutex<BTreeMap<TopicId, Progress>>,
}

#[derive(Debug)]
struct Progress {
    /// Held during a round.
    turn: Arc<Semaphore>,
    /// Not before this.
    not_before: Instant,
    failures: u32,
    /// What nothing can be written to.
    parked: Option<Parked>,
    /// Since when something waits for the table snapshot after this one.
    waits: Option<(Option<i64>, Instant)>,
    /// The topic's name and the lag that the metrics say, in seconds.
    lag_shown: Option<(String, i64)>,
}

/// A table as it was when a round found that it cannot be written.
#[derive(Debug)]
struct Parked {
    table: Option<Arc<Table>>,
    topic: Option<Arc<Topic>>,
}

impl Known {
    fn tables(&self) -> MutexGuard<'_, BTreeMap<TopicId, Progress>> {
        self.tables.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn turn(&self, topic: TopicId) -> Arc<Semaphore> {
        let mut tables = self.tables();
        Arc::clone(&tables.entry(topic).or_insert_with(Progress::new).turn)
    }

    /// Is nobody at it, and is there hope?
    pub(crate) fn is_free(&self, view: &View, topic: TopicId) -> bool {
        let mut tables = self.tables();
        let progress = tables.entry(topic).or_insert_with(Progress::new);
        let now = Parked::at(view, topic);
        match &mut progress.parked {
            Some(parked) if parked.is_like(&now) => {
                *parked = now;
                return false;
            }
            parked => *parked = None,
        }
        progress.not_before <= Instant::now() && progress.turn.available_permits() > 0
    }

    /// How long this process has seen something wait for the table's next snapshot.
    pub(crate) fn waited(&self, table: &Table) -> Duration {
        let mut tables = self.tables();
        let progress = tables.entry(table.topic).or_insert_with(Progress::new);
        let now = Instant::now();
        match progress.waits {
            Some((snapshot, since)) if snapshot == table.table_snapshot => now - since,
            _ => {
                progress.waits = Some((table.table_snapshot, now));
                Duration::ZERO
            }
        }
    }

    /// The lag of a topic that is behind.
    pub(crate) fn show_lag(&self, metrics: &CompactorMetrics, topic: &Topic, lag: Duration) {
        let mut tables = self.tables();
        let progress = tables.entry(topic.id).or_insert_with(Progress::new);
        let seconds = gauge(lag.as_secs());
        let shown = &mut progress.lag_shown;
        if shown.as_ref().is_none_or(|(_, before)| *before != seconds) {
            metrics.set_lag(&topic.name, seconds);
            *shown = Some((topic.name.clone(), seconds));
        }
    }

    /// Nothing waits any more; a topic that is gone is forgotten.
    pub(crate) fn nothing_waits(&self, metrics: &CompactorMetrics, view: &View, topic: TopicId) {
        let mut tables = self.tables();
        let Some(progress) = tables.get_mut(&topic) else {
            return;
        };
        progress.waits = None;
        let lives = view.topic(topic).is_some() || view.has_leftovers(topic);
        if let Some((name, seconds)) = &mut progress.lag_shown {
            match lives {
                true => metrics.set_lag(name, 0),
                false => metrics.forget(name),
            }
            *seconds = 0;
        }
        if !lives {
            tables.remove(&topic);
        }
    }

    /// How many failures came before.
    pub(crate) fn succeeded(&self, topic: TopicId) -> u32 {
        self.change(topic, |progress| {
            progress.not_before = Instant::now();
            std::mem::take(&mut progress.failures)
        })
        .unwrap_or(0)
    }

    pub(crate) fn pause(&self, topic: TopicId, pause: Duration) {
        self.change(topic, |progress| {
            progress.not_before = Instant::now() + pause
        });
    }

    /// Leaves the table alone for a while, longer each time. How many failures there were.
    pub(crate) fn failed(
        &self,
        topic: TopicId,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Option<u32> {
        self.change(topic, |progress| {
            let pause = BACKOFF_MIN
                .saturating_mul(1 << progress.failures.min(10))
                .min(BACKOFF_MAX);
            progress.not_before = Instant::now() + jitter(pause);
            progress.failures += 1;
            progress.failures
        })
    }

    /// Leaves the table alone until it is another than in this view.
    pub(crate) fn park(&self, view: &View, topic: TopicId) {
        self.change(topic, |progress| {
            progress.parked = Some(Parked::at(view, topic));
            progress.failures += 1;
        });
    }

    fn change<T>(&self, topic: TopicId, change: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        self.tables().get_mut(&topic).map(change)
    }
}

impl Parked {
    fn at(view: &View, topic: TopicId) -> Parked {
        Parked {
            table: view.tables.get(&topic).cloned(),
            topic: view.topic(topic).cloned(),
        }
    }

    /// In all that may make it writable: its metadata with the spec, its columns, its topic's configs.
    fn is_like(&self, other: &Parked) -> bool {
        let table = match (&self.table, &other.table) {
            (Some(one), Some(other)) => {
                Arc::ptr_eq(one, other)
                    || one.pointer == other.pointer
                        && one.columns == other.columns
                        && one.with_value == other.with_value
                        && one.detached == other.detached
            }
            (one, other) => one.is_none() && other.is_none(),
        };
        table && self.topic == other.topic
    }
}

impl Progress {
    fn new() -> Progress {
        Progress {
            turn: Arc::new(Semaphore::new(1)),
            not_before: Instant::now(),
            failures: 0,
            parked: None,
            waits: None,
            lag_shown: None,
        }
    }
}
