//! The compactor of a process: looks at the board, and runs what its tasks say is due. Knows no task.
//!
//! Holds: at most one run per task and key in this process, at most `settings.tables_at_once` in all;
//! what fails is tried again ever more slowly without holding up the others; what still runs some time
//! after the process was told to stop is dropped.

use std::sync::Arc;
use std::time::Duration;

use tarn_replica::{Node, View};
use tarn_runtime::Scope;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::settings::CompactorSettings;
use crate::task::{Due, Ran, Setback, Task};
use crate::turns::{Permit, Turn, Turns};

/// Losing against another process is answered by looking again soon.
const MOVED_PAUSE: Duration = Duration::from_millis(500);
/// How long a run may go on after the process was told to stop.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Starts the compactor of this node with these tasks. It stops with the node's scope.
pub fn start(
    node: &Node,
    settings: CompactorSettings,
    tasks: Vec<Arc<dyn Task>>,
) -> CompactorHandle {
    let scope = node.scope.child("compactor");
    let service = Service {
        places: Arc::new(Semaphore::new(settings.tables_at_once.max(1))),
        turns: Arc::default(),
        tasks: tasks.into(),
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

/// For who makes a task work now, without waiting until the board says so.
#[derive(Debug, Clone)]
pub struct CompactorHandle {
    service: Service,
}

impl CompactorHandle {
    /// A permit like those that tasks run with, as soon as there is one.
    pub async fn permit(&self, task: &'static str, key: &str) -> Permit {
        let turn = self.service.turns.wait(task, key).await;
        self.service.permit(turn).await
    }
}

#[derive(Debug, Clone)]
struct Service {
    node: Node,
    scope: Scope,
    settings: CompactorSettings,
    tasks: Arc<[Arc<dyn Task>]>,
    places: Arc<Semaphore>,
    turns: Arc<Turns>,
}

impl Service {
    /// Looks at the board until the scope stops. Runs go beside it.
    async fn run(self) {
        let stopped = self.scope.stopped();
        tokio::pin!(stopped);
        loop {
            self.look(&self.node.metastore.view());
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = sleep(self.settings.tick) => {}
            }
        }
    }

    /// Starts a run for everything that is due.
    fn look(&self, view: &View) {
        for task in self.tasks.iter() {
            let due = task.due(view);
            let keys = due.iter().map(|due| due.key.as_str()).collect();
            self.turns.keep(task.name(), &keys);
            for due in due {
                if self.scope.is_stopping() {
                    return;
                }
                if let Some(turn) = self.turns.take(task.name(), &due.key) {
                    let (service, task) = (self.clone(), Arc::clone(task));
                    drop(self.scope.spawn(task.name(), async move {
                        service.work(task.as_ref(), &due, turn).await;
                    }));
                }
            }
        }
    }

    /// Runs until no more waits than the next look may find, or one fails.
    async fn work(&self, task: &dyn Task, due: &Due, turn: Turn) {
        let mut turn = Some(turn);
        loop {
            let ran = tokio::select! {
                ran = self.once(task, due, turn.take()) => ran,
                // A run may be dropped anywhere.
                () = self.out_of_time() => return,
            };
            match ran {
                Ok(Ran::More) if !self.scope.is_stopping() => {}
                Ok(_) => {
                    let failures = self.turns.succeeded(task.name(), &due.key);
                    if failures > 0 {
                        info!(
                            task = task.name(),
                            of = due.name,
                            failures,
                            "the task is done again"
                        );
                    }
                    return;
                }
                Err(setback) => {
                    self.set_back(task, due, &setback);
                    return;
                }
            }
        }
    }

    async fn once(&self, task: &dyn Task, due: &Due, turn: Option<Turn>) -> Result<Ran, Setback> {
        let turn = match turn {
            Some(turn) => turn,
            None => self.turns.wait(task.name(), &due.key).await,
        };
        let permit = self.permit(turn).await;
        task.run(due, permit).await
    }

    async fn permit(&self, turn: Turn) -> Permit {
        let place = Arc::clone(&self.places).acquire_owned().await;
        Permit {
            _turn: turn,
            _place: place.expect("the semaphore is never closed"),
        }
    }

    /// Resolves some time after the scope was told to stop.
    async fn out_of_time(&self) {
        self.scope.stopped().await;
        sleep(DRAIN_GRACE).await;
    }

    fn set_back(&self, task: &dyn Task, due: &Due, setback: &Setback) {
        let random = self.node.runtime.random();
        let (name, of) = (task.name(), &due.name);
        match setback {
            Setback::Moved(error) => {
                let pause = random.jitter(MOVED_PAUSE);
                self.turns.pause(name, &due.key, pause);
                debug!(task = name, of, %error, "another process did it");
            }
            Setback::Left(error) => debug!(task = name, of, %error, "left alone"),
            Setback::Failed { kind, error } => {
                let failures = self
                    .turns
                    .failed(name, &due.key, |pause| random.jitter(pause));
                if failures == 1 {
                    warn!(task = name, of, ?kind, %error, "a background task failed, trying again");
                } else {
                    debug!(task = name, of, failures, %error, "a background task still fails");
                }
            }
        }
    }
}
