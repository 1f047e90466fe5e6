//! The task that keeps the hot tier up to date: one partition after the other, one read at a time.
//!
//! Holds: a new view is seen after one read at most, however much is behind. A store that does not
//! answer costs one try per pause and not one per partition; what cannot be read at all is left to
//! queries, which say so.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use tarn_model::{Kind, TopicPartition};
use tarn_replica::View;
use tracing::{debug, warn};

use crate::{HotError, HotTier};

/// Pauses while the store does not answer double from here …
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// … to here.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Partitions that wait to be read, each once, in the order in which they came.
#[derive(Debug, Default)]
struct Behind {
    order: VecDeque<TopicPartition>,
    known: BTreeSet<TopicPartition>,
}

impl Behind {
    fn push(&mut self, at: TopicPartition) {
        if self.known.insert(at) {
            self.order.push_back(at);
        }
    }

    fn pop(&mut self) -> Option<TopicPartition> {
        let at = self.order.pop_front()?;
        self.known.remove(&at);
        Some(at)
    }
}

impl HotTier {
    pub(crate) async fn follow(&self) {
        let mut views = self.inner.metastore.watch();
        let stopped = self.inner.scope.stopped();
        tokio::pin!(stopped);
        let mut seen: Option<View> = None;
        let mut behind = Behind::default();
        let mut pause = PAUSE_MIN;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            if seen.as_ref().is_none_or(|seen| seen.lsn() < view.lsn()) {
                self.note_changes(seen.as_ref(), &view, &mut behind);
                seen = Some(Arc::clone(&view));
            }
            let step = async {
                let Some(at) = behind.pop() else {
                    return views.changed().await.is_ok();
                };
                match self.catch_up_or_skip(&view, at).await {
                    Ok(more) => {
                        pause = PAUSE_MIN;
                        if more {
                            behind.push(at);
                        }
                    }
                    Err(error) => {
                        debug!(%error, "the hot tier waits for the store");
                        behind.push(at);
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
                true
            };
            tokio::select! {
                biased;
                () = &mut stopped => return,
                goes_on = step => if !goes_on { return },
            }
        }
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
                new: (topic, table),
                ..
            } = change
            {
                kept.drop_below(*topic, table);
            }
        }
        self.report(&kept);
    }
}

#[cfg(test)]
mod tests;
