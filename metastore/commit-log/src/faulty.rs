//! A commit log on a bad day, from a seed: it wraps another one (memory first) for the simulator and
//! the contract suite.
//!
//! Requests and replies get lost; an append lands late, after its proposer gave up, crashed, or its key
//! was trimmed; it lands twice; and the log stalls for a while. Here is what each call can suffer,
//! [`tarn_runtime::faults`] does the rest.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strum::{IntoStaticStr, VariantArray};
use tarn_model::{Generation, Lsn};
use tarn_runtime::Runtime;
use tarn_runtime::faults::{Course, FaultPair, Faults, Late, World};

use crate::log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, SnapshotRef,
};

/// How long a call waits for a log that stalls before it says that it does not know.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may go wrong. Rates are in permille of calls; their sum is at most 1000.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFaults {
    /// Every call takes between these; followers see an entry so much later.
    pub latency_min: Duration,
    pub latency_max: Duration,
    /// The request never arrives.
    pub request_lost: u64,
    /// It takes effect; the caller does not hear of it.
    pub reply_lost: u64,
    /// An append or trim takes effect up to `late_max` after its caller gave up.
    pub late: u64,
    pub late_max: Duration,
    /// An append is delivered now and again up to `late_max` later.
    pub twice: u64,
    /// One pair besides, so that also rare ones fire: the first call of its operation suffers it, and then
    /// so many in a thousand.
    pub often: Option<(FaultPair, u64)>,
}

/// A faulty log. Clones are the same process's handle; [`FaultyLog::over`] makes another process's.
#[derive(Clone)]
pub struct FaultyLog {
    log: Arc<dyn CommitLog>,
    world: Arc<World<LogFaults>>,
}

/// Its faults, which all processes share.
impl Deref for FaultyLog {
    type Target = World<LogFaults>;

    fn deref(&self) -> &World<LogFaults> {
        &self.world
    }
}

/// What a call asks for. Followers suffer latency and stalls only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Op {
    Append,
    Trim,
    End,
    Floor,
}

/// What it can suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    RequestLost,
    ReplyLost,
    Late,
    Twice,
    /// It was sent into a stall; if it arrives, then when that ends.
    Stalled,
}

impl Faults for LogFaults {
    type Op = Op;
    type Fault = Fault;

    const STALLED: Option<(Fault, Duration)> = Some((Fault::Stalled, PATIENCE));

    fn can_strike(fault: Fault, op: Op) -> bool {
        match fault {
            Fault::RequestLost | Fault::ReplyLost | Fault::Stalled => true,
            Fault::Late => matches!(op, Op::Append | Op::Trim),
            Fault::Twice => op == Op::Append,
        }
    }

    fn rate(&self, fault: Fault) -> u64 {
        match fault {
            Fault::RequestLost => self.request_lost,
            Fault::ReplyLost => self.reply_lost,
            Fault::Late => self.late,
            Fault::Twice => self.twice,
            // It is no matter of chance.
            Fault::Stalled => 0,
        }
    }

    fn latency(&self) -> (Duration, Duration) {
        (self.latency_min, self.latency_max)
    }

    fn late_max(&self) -> Duration {
        self.late_max
    }

    fn often(&self) -> Option<(FaultPair, u64)> {
        self.often
    }
}

impl fmt::Debug for FaultyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyLog").field(&self.log).finish()
    }
}

impl FaultyLog {
    /// A log without faults until [`World::set_faults`]. `runtime` gives it its clock.
    pub fn new(log: Arc<dyn CommitLog>, seed: u64, runtime: &Runtime) -> FaultyLog {
        let world = Arc::new(World::new(seed, runtime));
        FaultyLog { log, world }
    }

    /// Another process's handle: its own view of the log, the same faults.
    #[must_use]
    pub fn over(&self, log: Arc<dyn CommitLog>) -> FaultyLog {
        let world = Arc::clone(&self.world);
        FaultyLog { log, world }
    }

    /// Every operation with every fault that it can suffer.
    pub fn pairs() -> Vec<FaultPair> {
        World::<LogFaults>::pairs()
    }

    /// What becomes of a write, whose caller hears `error` if it hears no answer.
    fn course<E>(&self, fault: Fault, error: E, late: impl FnOnce() -> Late) -> Course<E> {
        match fault {
            Fault::ReplyLost => Course::Unheard(error),
            Fault::Late => Course::Late(error, late()),
            Fault::Twice => Course::Twice(late()),
            Fault::Stalled if self.world.random().happens(500) => Course::Late(error, late()),
            Fault::RequestLost | Fault::Stalled => Course::Lost(error),
        }
    }

    async fn ask<T>(
        &self,
        op: Op,
        request: impl Future<Output = Result<T, LogError>>,
    ) -> Result<T, LogError> {
        self.world
            .call(op, |_| Course::Lost(unavailable()), request)
            .await
    }
}

fn unavailable() -> LogError {
    LogError::Unavailable {
        reason: "connection broken (planted)".to_owned(),
    }
}

#[async_trait]
impl CommitLog for FaultyLog {
    fn generation(&self) -> Generation {
        self.log.generation()
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        let reason = "connection broken (planted)".to_owned();
        let late = || {
            let (log, entry) = (Arc::clone(&self.log), entry.clone());
            Late::new(async move { log.append(entry).await })
        };
        let course = |fault| self.course(fault, AppendError::Unknown { reason }, late);
        let effect = self.log.append(entry.clone());
        self.world.call(Op::Append, course, effect).await
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(FaultyFollower {
            follower: self.log.follow(after),
            world: Arc::clone(&self.world),
            position: after,
            held: VecDeque::new(),
        })
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        self.ask(Op::End, self.log.end()).await
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        let late = || {
            let (log, snapshot) = (Arc::clone(&self.log), snapshot.clone());
            Late::new(async move { log.trim(floor, snapshot).await })
        };
        let course = |fault| self.course(fault, unavailable(), late);
        let effect = self.log.trim(floor, snapshot.clone());
        self.world.call(Op::Trim, course, effect).await
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        self.ask(Op::Floor, self.log.floor()).await
    }

    fn wake(&self) {
        self.log.wake();
    }
}

struct FaultyFollower {
    follower: Box<dyn Follower>,
    world: Arc<World<LogFaults>>,
    position: Lsn,
    /// Taken from the follower beneath, not yet yielded.
    held: VecDeque<Followed>,
}

impl fmt::Debug for FaultyFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyFollower")
            .field(&self.follower)
            .finish()
    }
}

#[async_trait]
impl Follower for FaultyFollower {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError> {
        self.world.stall_over().await;
        if self.held.is_empty() {
            let batch = self.follower.next_batch(max).await?;
            self.held.extend(batch);
            self.world.take_time().await;
            self.world.stall_over().await;
        }
        let count = self.held.len().min(max.max(1));
        let batch: Vec<_> = self.held.drain(..count).collect();
        if let Some(last) = batch.last() {
            self.position = last.lsn;
        }
        Ok(batch)
    }

    fn position(&self) -> Lsn {
        self.position
    }
}

#[cfg(test)]
mod tests;
