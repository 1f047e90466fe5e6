//! A cluster of two ages: one process is a version older than the others, which know a command more.
//! They try it, and try to raise the feature level, all the time. The older one never sees an entry that
//! it cannot apply, so it never stops (I11); once it has been upgraded the level rises, and the command is
//! taken, before the run ends (I31).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tarn_replica::{Node, ProposeError};
use tarn_state::commands::RaiseLevel;
use tarn_state::{Command, FeatureLevel, Rehearse};
use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::cluster::Cluster;

const NEW: FeatureLevel = FeatureLevel::REHEARSAL;
/// The process that is older at first.
pub(crate) const OLD_NODE: usize = 0;

/// How far the upgrade is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ages {
    is_upgraded: Arc<AtomicBool>,
    /// Commands of the new level that were refused, and that were taken.
    refused: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
}

impl Ages {
    /// From its next start on the older process is new.
    pub(crate) fn upgrade(&self) {
        self.is_upgraded.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        self.is_upgraded.load(Ordering::Relaxed)
    }

    /// What a process that starts now can apply.
    pub(crate) fn level_of(&self, plan: &Plan, node: usize) -> FeatureLevel {
        match plan.is_mixed && (node != OLD_NODE || self.is_upgraded()) {
            true => NEW,
            false => FeatureLevel::NEWEST,
        }
    }

    /// A process that is new must not make the cluster: one of the new level has no place for the older.
    pub(crate) fn waits_for_cluster(&self, plan: &Plan, node: usize) -> bool {
        plan.is_mixed && node != OLD_NODE && !self.is_upgraded()
    }

    /// Is there nothing more to come of it?
    pub(crate) fn is_settled(&self, plan: &Plan) -> bool {
        !plan.is_mixed || self.counts().1 > 0
    }

    /// How often the new command was refused, and taken.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let refused = self.refused.load(Ordering::Relaxed);
        (refused, self.taken.load(Ordering::Relaxed))
    }
}

/// What a new process of a mixed cluster does for as long as it lives.
pub(crate) async fn run(cluster: Cluster, node: Node) {
    let random = node.runtime.random();
    loop {
        sleep(Duration::from_millis(300) + random.jitter(Duration::from_secs(3))).await;
        let deadline = Instant::now() + Duration::from_secs(5);
        let view = node.metastore.view();
        let is_old_open = view.sessions.values().any(|open| open.level_max < NEW);
        // Nobody upgrades while an old one is merely away; while it is open it has to be refused.
        let may_try = is_old_open || cluster.ages.is_upgraded();
        if view.level < NEW && may_try && random.happens(500) {
            let raise = vec![Command::RaiseLevel(RaiseLevel { level: NEW })];
            // The view tells what came of it.
            drop(node.metastore.propose(raise, deadline).await);
            continue;
        }
        let rehearse = vec![Command::Rehearse(Rehearse {})];
        match node.metastore.propose(rehearse, deadline).await {
            Ok(committed) if committed.view.level < NEW => {
                let detail = format!("{} was taken below its level", committed.view.lsn());
                cluster.history.violated("I31", detail);
            }
            Ok(_) => drop(cluster.ages.taken.fetch_add(1, Ordering::Relaxed)),
            Err(ProposeError::Refused { refusal, .. }) if refusal.is_above_level() => {
                cluster.ages.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }
}
