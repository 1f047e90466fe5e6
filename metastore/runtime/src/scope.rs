//! A tree of tasks. Nobody spawns outside of it, so that a process drains in reverse order of
//! start, no task outlives its owner, and a panic is noticed.
//!
//! Leaves to others: what a task does when it shall stop; it asks its scope.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error};

/// A node of the tree: it owns tasks and child scopes.
#[derive(Debug, Clone)]
pub struct Scope {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    /// Cancelled when this scope or one above it begins to drain, …
    draining: CancellationToken,
    /// … and when it is this scope's turn.
    stop: CancellationToken,
    tasks: TaskTracker,
    children: Mutex<Vec<Scope>>,
    /// Name of the first task that panicked anywhere in the tree.
    panicked: watch::Sender<Option<&'static str>>,
    inline: bool,
}

/// A task did not give its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task {name} ended without a result: it panicked or was dropped with its process")]
pub struct TaskError {
    pub name: &'static str,
}

/// The value of a task, to come. Dropping it does not stop the task.
pub struct Task<T> {
    name: &'static str,
    handle: tokio::task::JoinHandle<Option<T>>,
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<T> Task<T> {
    pub(crate) fn of(name: &'static str, handle: tokio::task::JoinHandle<Option<T>>) -> Task<T> {
        Task { name, handle }
    }

    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Drops the task's future at its next await.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        self.handle
            .poll_unpin(cx)
            .map(|joined| joined.ok().flatten().ok_or(TaskError { name }))
    }
}

impl Scope {
    pub(crate) fn root(name: &'static str, inline: bool) -> Scope {
        Scope::new(
            name,
            CancellationToken::new(),
            watch::Sender::new(None),
            inline,
        )
    }

    fn new(
        name: &'static str,
        draining: CancellationToken,
        panicked: watch::Sender<Option<&'static str>>,
        inline: bool,
    ) -> Scope {
        Scope {
            inner: Arc::new(Inner {
                name,
                draining,
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
                children: Mutex::default(),
                panicked,
                inline,
            }),
        }
    }

    /// A part of this scope that stops before it: the youngest child stops first.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Scope {
        // `stop` is not a child token: a parent that stops lets its children drain in order, see `drain`.
        let child = Scope::new(
            name,
            self.inner.draining.child_token(),
            self.inner.panicked.clone(),
            self.inner.inline,
        );
        let mut children = self
            .inner
            .children
            .lock()
            .expect("the list is only pushed and taken");
        children.retain(|child| !child.inner.stop.is_cancelled());
        children.push(child.clone());
        child
    }

    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Runs a future as a task of this scope. It should watch [`Scope::stopped`]; when the scope
    /// drains, its owner waits for it.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let panicked = self.inner.panicked.clone();
        let guarded = async move {
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(value) => Some(value),
                Err(panic) => {
                    report(name, panic.as_ref(), &panicked);
                    None
                }
            }
        };
        let (tasks, traced) = (&self.inner.tasks, guarded.in_current_span());
        // SUBTLE: when a process is killed, tokio drops its tasks by their ids modulo a small number,
        // and its connections end in that order. Ids are counted over the whole test binary, so two
        // simulations of one seed would part. A local set drops them in the order of their start.
        let handle = if self.inner.inline && turmoil::sim_elapsed().is_some() {
            tasks.spawn_local(traced)
        } else {
            tasks.spawn(traced)
        };
        Task { name, handle }
    }

    /// Runs work that computes or blocks off the async threads; inline in simulation.
    pub async fn blocking<F, T>(&self, name: &'static str, work: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.inner.inline {
            return Ok(work());
        }
        let panicked = self.inner.panicked.clone();
        let handle = self.inner.tasks.spawn_blocking(move || {
            match std::panic::catch_unwind(AssertUnwindSafe(work)) {
                Ok(value) => Some(value),
                Err(panic) => {
                    report(name, panic.as_ref(), &panicked);
                    None
                }
            }
        });
        handle.await.ok().flatten().ok_or(TaskError { name })
    }

    /// Resolves when this scope, or one that it is part of, begins to drain: accept nothing new. What is
    /// in flight still has everything that it stands on, until [`Scope::stopped`].
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.draining.clone().cancelled_owned()
    }

    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Resolves when the scope was told to stop: finish what is in flight.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.stop.clone().cancelled_owned()
    }

    pub fn is_stopping(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// Stops the children, youngest first, then this scope's own tasks, and waits for each.
    pub fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.inner.draining.cancel();
            loop {
                let youngest = self
                    .inner
                    .children
                    .lock()
                    .expect("the list is only pushed and taken")
                    .pop();
                match youngest {
                    Some(child) => child.drain().await,
                    None => break,
                }
            }
            self.inner.stop.cancel();
            self.inner.tasks.close();
            self.inner.tasks.wait().await;
        })
    }

    /// Resolves with the name of the first task in the whole tree that panicked.
    pub async fn panicked(&self) -> &'static str {
        let mut panicked = self.inner.panicked.subscribe();
        let name = panicked
            .wait_for(Option::is_some)
            .await
            .expect("this scope holds the sender");
        name.expect("waited for Some")
    }
}

fn report(
    name: &'static str,
    panic: &(dyn Any + Send),
    panicked: &watch::Sender<Option<&'static str>>,
) {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    error!(task = name, message, "a task panicked");
    panicked.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(name);
        is_first
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn children_drain_youngest_first_and_before_their_parent() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let root = Scope::root("root", false);
        let (old, young) = (root.child("old"), root.child("young"));
        for (scope, name) in [(&root, "root"), (&old, "old"), (&young, "young")] {
            let (order, stopped) = (Arc::clone(&order), scope.stopped());
            drop(scope.spawn(name, async move {
                stopped.await;
                order.lock().expect("test").push(name);
            }));
        }
        root.drain().await;
        assert_eq!(*order.lock().expect("test"), ["young", "old", "root"]);
    }

    #[tokio::test]
    async fn all_parts_hear_at_once_that_draining_begins() {
        let root = Scope::root("root", false);
        let (old, young) = (root.child("old"), root.child("young"));
        let (heard, stopped) = (old.draining(), young.stopped());
        let seen = old.clone();
        drop(young.spawn("young", async move {
            stopped.await;
            heard.await;
            assert!(seen.is_draining() && !seen.is_stopping());
        }));
        young.child("part").drain().await;
        assert!(!young.is_draining());
        root.drain().await;
        assert!(old.is_stopping());
        assert_eq!(*root.inner.panicked.borrow(), None);
    }

    #[tokio::test]
    async fn a_panic_is_noticed_by_the_root_and_by_who_waits() {
        let root = Scope::root("root", false);
        let task = root
            .child("part")
            .spawn("fragile", async { panic!("planted") });
        assert_eq!(task.await, Err(TaskError { name: "fragile" }));
        assert_eq!(root.panicked().await, "fragile");
    }
}
