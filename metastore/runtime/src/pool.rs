//! Threads of their own for work that may compute for long: whoever else runs in the process keeps
//! answering, whatever the work does with its threads.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tracing::{Instrument, error};

use crate::Task;

/// A pool of threads with a scheduler of its own. Clones share it; with the last one it goes, and what
/// still runs in it is not waited for.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Pool {
    pub fn new(name: &'static str, threads: usize) -> io::Result<Pool> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Pool {
            inner: Arc::new(Inner {
                runtime: Some(runtime),
            }),
        })
    }

    /// Runs a future on the pool's threads, and with it whatever it spawns. A panic ends the task and
    /// nothing else.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guarded = async move {
            let value = AssertUnwindSafe(future).catch_unwind().await;
            if value.is_err() {
                error!(task = name, "a task of a pool panicked");
            }
            value.ok()
        };
        let runtime = self
            .inner
            .runtime
            .as_ref()
            .expect("it is there until it is dropped");
        Task::of(name, runtime.spawn(guarded.in_current_span()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last clone may be dropped by a task, which must not wait for threads.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_blocks_its_thread_blocks_nobody_else() {
        let pool = Pool::new("test", 1).expect("threads");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let blocked = pool.spawn("blocks", async move { wait.recv().is_ok() });
        // This test has one thread: it would never get here if the work were done on it.
        go.send(()).expect("somebody waits");
        assert_eq!(blocked.await, Ok(true));
        let panicked = pool.spawn("panics", async { panic!("planted") });
        assert!(panicked.await.is_err());
    }
}
