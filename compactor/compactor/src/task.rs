//! What a background task is.

use std::error::Error;
use std::fmt;

use futures::future::BoxFuture;
use tarn_model::Kind;
use tarn_replica::View;

use crate::turns::Permit;

/// Work that nobody waits for: it says what is due, and does it. Everything else (whose turn it is,
/// how much runs at once, what is tried again when, the end of the process) is the service's.
///
/// What a task promises:
/// - **A run may be dropped anywhere**, by a crash or by the end of the process.
/// - **It leaves only garbage** until its one proposal: files that nothing refers to, and no other trace.
/// - **It is idempotent**: its proposal compares what it was made from, so that of two runs for one
///   thing, in one process or in two, at most one counts. The other is [`Setback::Moved`].
///
/// In return one process runs it at most once for one key at a time.
pub trait Task: fmt::Debug + Send + Sync + 'static {
    /// In logs, and the first half of what the service remembers failures by. Unique in a process.
    fn name(&self) -> &'static str;

    /// What is due for this process, judged by the view. Asked at every look at the board, so it costs
    /// what moved since the one before and what waits, not what there is.
    fn due(&self, view: &View) -> Vec<Due>;

    /// Does one of them, as far as one go takes, on the newest view. The permit is its turn and its
    /// place among all that runs: held during the work, given back when no more is to be done.
    fn run<'a>(&'a self, due: &'a Due, permit: Permit) -> BoxFuture<'a, Result<Ran, Setback>>;
}

/// One thing that a task should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The same for the same thing, in all processes: a topic's id, a part of a pipeline.
    pub key: String,
    /// For people: a topic's name.
    pub name: String,
}

/// A run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// Nothing more waits than the next look may find.
    Done,
    /// More waits than one go takes: it is run again at once.
    More,
}

/// A run did not do what was due.
#[derive(Debug, thiserror::Error)]
pub enum Setback {
    /// Another process was first. There is nothing to worry about: looked at again soon.
    #[error("{0}")]
    Moved(Box<dyn Error + Send + Sync>),
    /// Tried again, ever more slowly.
    #[error("{error}")]
    Failed {
        kind: Kind,
        error: Box<dyn Error + Send + Sync>,
    },
    /// What it was about is gone, or the task itself leaves it alone until that is another.
    #[error("{0}")]
    Left(Box<dyn Error + Send + Sync>),
}
