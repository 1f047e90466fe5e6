//! The task that keeps the hot tier up to date: some partitions at the same time, one read of each at
//! a time.
//!
//! Holds: a new view is seen at once, however much is behind, and no partition waits for a slow read of
//! another while there is room. A store that does not answer costs one try per pause and not one per
//! partition; what cannot be read at all is left to queries, which say so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use imbl::ordmap::DiffItem;
use tarn_model::{Kind, TopicPartition};
use tarn_replica::View;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::{HotError, HotTier};

/// Pauses while the store does not answer double from here …
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// … to here.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Partitions that are read at the same time. Each read holds memory of the node's budget.
const READS_AT_ONCE: usize = 8;

/// Partitions that wait to be read, each once, in the order in which they came.
#[derive(Debug, Default)]
struct Behind {
    order: VecDeque<TopicPartition>,
    known: BTreeSet<TopicPartition>,
    /// Those that are read now, and whether something came meanwhile.
    reading: BTreeMap<TopicPartition, bool>,
}

impl Behind {
    fn push(&mut self, at: TopicPartition) {
        if let Some(is_more) = self.reading.get_mut(&at) {
            *is_more = true;
        } else if self.known.insert(at) {
            self.order.push_back(at);
        }
    }

    /// The next one to read.
    fn begin(&mut self) -> Option<TopicPartition> {
        let at = self.order.pop_front()?;
        self.known.remove(&at);
        self.reading.insert(at, false);
        Some(at)
    }

    fn end(&mut self, at: TopicPartition, is_more: bool) {
        let came = self.reading.remove(&at).unwrap_or(false);
        if is_more || came {
            self.push(at);
        }
    }
}

/// How the store answers.
struct Health {
    /// Nothing is read before this.
    pause_until: Option<Instant>,
    pause: Duration,
}

impl Health {
    fn fine() -> Health {
        Health {
            pause_until: None,
            pause: PAUSE_MIN,
        }
    }

    fn reads_at_once(&self) -> usize {
        match self.pause_until {
            None => READS_AT_ONCE,
            Some(until) if until <= Instant::now() => 1,
            Some(_) => 0,
        }
    }

    /// Reads that were under way together fail together: that is one failure.
    fn fails(&mut self) {
        let now = Instant::now();
        if self.pause_until.is_none_or(|until| until <= now) {
            self.pause_until = Some(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }
}

impl HotTier {
    pub(crate) async fn follow(&self) {
        let mut views = self.inner.metastore.watch();
        let stopped = self.inner.scope.stopped();
        tokio::pin!(stopped);
        let mut seen: Option<View> = None;
        let mut behind = Behind::default();
        let mut health = Health::fine();
        let mut reads = FuturesUnordered::new();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            if seen.as_ref().is_none_or(|seen| seen.lsn() < view.lsn()) {
                self.note_changes(seen.as_ref(), &view, &mut behind);
                seen = Some(Arc::clone(&view));
            }
            while reads.len() < health.reads_at_once()
                && let Some(at) = behind.begin()
            {
                reads.push(self.read_of(&view, at));
            }
            let resumes = health.pause_until.filter(|until| *until > Instant::now());
            tokio::select! {
                biased;
                () = &mut stopped => return,
                Some((at, done)) = reads.next() => match done {
                    Ok(is_more) => {
                        health = Health::fine();
                        behind.end(at, is_more);
                    }
                    Err(error) => {
                        debug!(%error, "the hot tier waits for the store");
                        health.fails();
                        behind.end(at, true);
                    }
                },
                changed = views.changed() => if changed.is_err() { return },
                () = sleep_until(resumes.unwrap_or_else(Instant::now)), if resumes.is_some() => {}
            }
        }
    }

    fn read_of(
        &self,
        view: &View,
        at: TopicPartition,
    ) -> BoxFuture<'_, (TopicPartition, Result<bool, HotError>)> {
        let view = Arc::clone(view);
        async move { (at, self.catch_up_or_skip(&view, at).await) }.boxed()
    }

    /// One read of a partition. Is there more? Fails only if the store does not answer.
    async fn catch_up_or_skip(&self, view: &View, at: TopicPartition) -> Result<bool, HotError> {
        let Some(partition) = view.readable(at) else {
            return Ok(false);
        };
        match self.catch_up(view, at, partition).await {
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Overloaded) => {
                Err(error)
            }
            Err(error) => {
                warn!(%at, %error, "the hot tier cannot take new rows: queries will read them from segments");
                self.skip(at, partition);
                Ok(false)
            }
            Ok(more) => Ok(more),
        }
    }

    /// Partitions that have something new are behind; what tables have by now, and partitions that
    /// are gone, are let go of.
    fn note_changes(&self, seen: Option<&View>, view: &View, behind: &mut Behind) {
        let Some(seen) = seen else {
            let readable = view.partitions.keys().chain(view.leftovers.keys());
            readable.for_each(|at| behind.push(*at));
            return;
        };
        let mut kept = self.kept();
        let living = seen.partitions.diff(&view.partitions);
        for change in living.chain(seen.leftovers.diff(&view.leftovers)) {
            match change {
                DiffItem::Add(at, _) | DiffItem::Update { new: (at, _), .. } => behind.push(*at),
                DiffItem::Remove(at, _) if view.readable(*at).is_none() => kept.forget(*at),
                DiffItem::Remove(..) => {}
            }
        }
        for change in seen.tables.diff(&view.tables) {
            if let DiffItem::Update {
                new: (_, table), ..
            } = change
                && let Some(of) = table.of_topic()
            {
                kept.drop_below(of);
            }
        }
        self.report(&kept);
    }
}

#[cfg(test)]
mod tests;
