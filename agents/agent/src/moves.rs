//! Who waits for which partitions to move: a view wakes the fetches that it concerns, and no others.
//!
//! One task compares each view with the one before, which costs what changed between them since they
//! share the rest. Whoever waits lists its partitions first and then looks at the newest view itself:
//! what moved in between is seen by one of the two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use imbl::ordmap::DiffItem;
use tarn_model::TopicPartition;
use tarn_replica::{Metastore, View};
use tarn_runtime::Scope;
use tokio::sync::Notify;

use crate::metrics::{AgentMetrics, TopicLabel};

/// Those who wait, by partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moves {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_partition: BTreeMap<TopicPartition, BTreeMap<u64, Arc<Notify>>>,
    next: u64,
}

/// A place on the list; left when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    moves: Moves,
    id: u64,
    partitions: Vec<TopicPartition>,
    moved: Arc<Notify>,
}

impl Moves {
    /// Waits for these from now on.
    pub(crate) fn wait_for(&self, partitions: Vec<TopicPartition>) -> Waiter {
        let moved = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().expect("nobody panics while holding it");
        let id = waiting.next;
        waiting.next += 1;
        for at in &partitions {
            let waiters = waiting.by_partition.entry(*at).or_default();
            waiters.insert(id, Arc::clone(&moved));
        }
        drop(waiting);
        Waiter {
            moves: self.clone(),
            id,
            partitions,
            moved,
        }
    }

    fn moved(&self, partitions: impl Iterator<Item = TopicPartition>) {
        let waiting = self.waiting.lock().expect("nobody panics while holding it");
        for at in partitions {
            let waiters = waiting.by_partition.get(&at).into_iter().flatten();
            waiters.for_each(|(_, moved)| moved.notify_one());
        }
    }
}

impl Waiter {
    /// Resolves when one of the partitions has moved since the last time.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self
            .moves
            .waiting
            .lock()
            .expect("nobody panics while holding it");
        for at in &self.partitions {
            if let Some(waiters) = waiting.by_partition.get_mut(at) {
                waiters.remove(&self.id);
                if waiters.is_empty() {
                    waiting.by_partition.remove(at);
                }
            }
        }
    }
}

/// Follows the views as long as the agent runs.
pub(crate) async fn watch(moves: Moves, metastore: Metastore, metrics: AgentMetrics, scope: Scope) {
    let mut views = metastore.watch();
    let mut last: View = views.borrow_and_update().clone();
    let mut stopped = std::pin::pin!(scope.stopped());
    loop {
        tokio::select! {
            () = &mut stopped => return,
            changed = views.changed() => if changed.is_err() {
                return;
            },
        }
        let view = views.borrow_and_update().clone();
        moves.moved(changed(&last, &view));
        forget_topics(&metrics, &last, &view);
        last = view;
    }
}

/// The partitions that are not the same in both.
fn changed<'v>(before: &'v View, after: &'v View) -> impl Iterator<Item = TopicPartition> + 'v {
    let changes = (!before.partitions.ptr_eq(&after.partitions))
        .then(|| before.partitions.diff(&after.partitions));
    changes.into_iter().flatten().map(|change| match change {
        DiffItem::Add(at, _) | DiffItem::Remove(at, _) => *at,
        DiffItem::Update { new: (at, _), .. } => *at,
    })
}

/// What was counted of topics that are gone is not told for ever.
fn forget_topics(metrics: &AgentMetrics, before: &View, after: &View) {
    if before.topics.ptr_eq(&after.topics) {
        return;
    }
    for change in before.topics.diff(&after.topics) {
        if let DiffItem::Remove(_, topic) = change
            && !after.topic_names.contains_key(&topic.name)
        {
            let label = TopicLabel {
                topic: topic.name.clone(),
            };
            metrics.produce_records.remove(&label);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tarn_model::{ClusterId, Offset, PartitionId, TopicId};
    use tarn_state::{Partition, State};

    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new(TopicId::from_u128(1), PartitionId(partition))
    }

    #[test]
    fn a_view_wakes_those_whose_partitions_moved_and_nobody_else() {
        let mut state = State::new(ClusterId::from_u128(1));
        for partition in 0..100 {
            let empty = Arc::new(Partition::empty());
            state.partitions.insert(at(partition), empty);
        }
        let before: View = Arc::new(state.clone());
        let partition = Partition {
            high_watermark: Offset(1),
            ..Partition::empty()
        };
        state.partitions.insert(at(7), Arc::new(partition));
        state.partitions.remove(&at(9));
        let after: View = Arc::new(state);

        let moves = Moves::default();
        let waiters: Vec<Waiter> = [vec![at(7), at(8)], vec![at(8)], vec![at(9)], vec![at(7)]]
            .into_iter()
            .map(|partitions| moves.wait_for(partitions))
            .collect();
        moves.moved(changed(&before, &after));
        let woken: Vec<bool> = waiters
            .iter()
            .map(|waiter| waiter.moved().now_or_never().is_some())
            .collect();
        assert_eq!(woken, [true, false, true, true]);
        moves.moved(changed(&after, &after));
        assert!(waiters[0].moved().now_or_never().is_none());
        drop(waiters);
        let waiting = moves
            .waiting
            .lock()
            .expect("nobody panics while holding it");
        assert!(waiting.by_partition.is_empty());
    }
}
