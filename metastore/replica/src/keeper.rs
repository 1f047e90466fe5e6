//! Whose work archive, snapshots and trim are: one claimed task, of the process that has it.
//!
//! Holds: a process has the task until it ends, falls silent, or makes no progress for a while: then
//! another takes it, so one that cannot write to the store stops neither archive nor trim. Progress is
//! what the archive covers, as long as no snapshot fails. Nothing rests on there being one process at it:
//! what is written has names and contents of its own, and the log compares before it trims.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tarn_runtime::Scope;
use tarn_state::commands::{ClaimTask, RenewClaim};
use tarn_state::{Claim, Command, State};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use crate::metastore::Metastore;
use crate::session::Identity;
use crate::shared::Shared;

/// The name of the task.
pub const LOG_TASK: &str = "log";
/// Pause between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Without progress for so long another takes the task. Entries that are nothing but ticks are archived
/// once a minute.
const PATIENCE: Duration = Duration::from_secs(180);
/// Progress is told no more often.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// How long a claim, or a step of progress, is proposed.
const PROPOSE_WITHIN: Duration = Duration::from_secs(10);

/// Takes the task when nobody does it, and keeps it while it goes on.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
}

impl Keeper {
    pub(crate) async fn run(self, scope: Scope) {
        let stopped = Arc::clone(&self.shared).when_stopped();
        tokio::select! {
            biased;
            () = scope.stopped() => {}
            _ = stopped => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        let metastore = Metastore::new(Arc::clone(&self.shared));
        loop {
            let identity = *self.shared.identity.borrow();
            if let Some(identity) = identity
                && let Some(command) = self.next(&self.shared.view(), identity)
            {
                let claims = matches!(command, Command::ClaimTask(_));
                let deadline = Instant::now() + PROPOSE_WITHIN;
                match metastore.propose(vec![command], deadline).await {
                    Ok(_) if claims => {
                        info!("this process archives and trims the log from here on")
                    }
                    Ok(_) => {}
                    // Another was first, or the log does not answer: the next look knows.
                    Err(error) => debug!(%error, "the claim on the log was not made"),
                }
            }
            sleep(INTERVAL).await;
        }
    }

    /// What is to be proposed now.
    fn next(&self, view: &State, identity: Identity) -> Option<Command> {
        let patience_ms = u32::try_from(PATIENCE.as_millis()).expect("minutes");
        match view.claim(LOG_TASK) {
            Some(claim) if claim.node == identity.node => self.step(view, claim),
            _ if view.is_claimable(LOG_TASK, identity.node) => {
                Some(Command::ClaimTask(ClaimTask {
                    task: LOG_TASK.to_owned(),
                    patience_ms,
                }))
            }
            _ => None,
        }
    }

    fn step(&self, view: &State, claim: &Claim) -> Option<Command> {
        let progress = *self.shared.archived.borrow();
        let left = claim.deadline.since(view.liveness_time);
        let is_time = left + RENEW_AFTER <= claim.patience();
        let goes_on = !self.shared.snapshot_fails.load(Ordering::Relaxed);
        (is_time && goes_on && progress > claim.progress).then(|| {
            Command::RenewClaim(RenewClaim {
                task: LOG_TASK.to_owned(),
                epoch: claim.epoch,
                progress,
            })
        })
    }
}

/// Is the work on the log this process's?
pub(crate) fn minds_the_log(view: &State, identity: Identity) -> bool {
    view.claim(LOG_TASK)
        .is_some_and(|claim| claim.node == identity.node)
}
