//! What this process has seen of the tables that it writes: since when something waits, what the metrics
//! say, and which of them nothing can be written to.
//!
//! Holds: a table that nothing can be written to is left alone until it, its spec or its topic is another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tarn_model::TopicId;
use tarn_replica::View;
use tarn_runtime::gauge;
use tarn_state::{Table, Topic};
use tokio::time::Instant;

use super::metrics::CompactorMetrics;

/// The tables for which something waited.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    tables: Mutex<BTreeMap<TopicId, Progress>>,
}

#[derive(Debug)]
struct Progress {
    /// What nothing can be written to.
    parked: Option<Parked>,
    /// It was parked, and not written since.
    was_parked: bool,
    /// How many days of event time the next of several rounds may take.
    days_next: Option<usize>,
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

impl Seen {
    fn tables(&self) -> MutexGuard<'_, BTreeMap<TopicId, Progress>> {
        self.tables.lock().expect("nobody panics while holding it")
    }

    /// Could something be written to it?
    pub(crate) fn is_hopeful(&self, view: &View, topic: TopicId) -> bool {
        let mut tables = self.tables();
        let progress = tables.entry(topic).or_insert_with(Progress::new);
        let now = Parked::at(view, topic);
        match &mut progress.parked {
            Some(parked) if parked.is_like(&now) => {
                *parked = now;
                false
            }
            parked => {
                *parked = None;
                true
            }
        }
    }

    /// How long this process has seen something wait for the table's next snapshot.
    pub(crate) fn waited(&self, topic: TopicId, table: &Table) -> Duration {
        let mut tables = self.tables();
        let progress = tables.entry(topic).or_insert_with(Progress::new);
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

    /// Leaves the table alone until it is another than in this view.
    pub(crate) fn park(&self, view: &View, topic: TopicId) {
        self.change(topic, |progress| {
            progress.parked = Some(Parked::at(view, topic));
            progress.was_parked = true;
        });
    }

    /// Was it parked before it was written now?
    pub(crate) fn was_parked(&self, topic: TopicId) -> bool {
        self.change(topic, |progress| std::mem::take(&mut progress.was_parked))
            .unwrap_or(false)
    }

    pub(crate) fn set_days(&self, topic: TopicId, days: usize) {
        self.change(topic, |progress| progress.days_next = Some(days));
    }

    pub(crate) fn take_days(&self, topic: TopicId) -> Option<usize> {
        self.change(topic, |progress| progress.days_next.take())
            .flatten()
    }

    fn change<T>(&self, topic: TopicId, change: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        self.tables().get_mut(&topic).map(change)
    }
}

impl Parked {
    fn at(view: &View, topic: TopicId) -> Parked {
        Parked {
            table: view.table_of(topic).cloned(),
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
                        && one.is_detached() == other.is_detached()
            }
            (one, other) => one.is_none() && other.is_none(),
        };
        table && self.topic == other.topic
    }
}

impl Progress {
    fn new() -> Progress {
        Progress {
            parked: None,
            was_parked: false,
            days_next: None,
            waits: None,
            lag_shown: None,
        }
    }
}
