//! A commit log on a bad day, from a seed: it wraps another one (memory first) for the simulator and
//! the contract suite.
//!
//! Requests and replies get lost; an append lands late, after its proposer gave up, crashed, or its key
//! was trimmed; it lands twice; and the log stalls for a while. All handles of one simulation share the
//! faults, the same chance and one queue of appends under way, which outlives whoever sent them: any later
//! call, by anybody, lets in what is due. Rates may change at any time; calls and the faults that fired
//! are counted, and [`FaultyLog::pairs`] says which faults there are.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tarn_model::{Generation, Lsn};
use tarn_runtime::{Random, Runtime};
use tarn_store::FaultPair;
use tokio::time::{Instant, sleep};

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
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    random: Random,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: LogFaults,
    stalled_until: Duration,
    /// What is under way, by when it lands.
    late: BTreeMap<(Duration, u64), (Arc<dyn CommitLog>, Request)>,
    queued: u64,
    asked: BTreeMap<&'static str, u64>,
    fired: BTreeMap<FaultPair, u64>,
}

#[derive(Debug, Clone)]
enum Request {
    Append(LogEntry),
    Trim(Lsn, SnapshotRef),
}

/// What a call asks for. Followers suffer latency and stalls only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Append,
    Trim,
    End,
    Floor,
}

impl Op {
    const ALL: [Op; 4] = [Op::Append, Op::Trim, Op::End, Op::Floor];

    fn name(self) -> &'static str {
        match self {
            Op::Append => "append",
            Op::Trim => "trim",
            Op::End => "end",
            Op::Floor => "floor",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    RequestLost,
    ReplyLost,
    Late,
    Twice,
    /// It was sent into a stall and lands when that ends.
    Stalled,
}

impl Fault {
    /// In the order in which they are drawn.
    const ALL: [Fault; 5] = [
        Fault::RequestLost,
        Fault::ReplyLost,
        Fault::Late,
        Fault::Twice,
        Fault::Stalled,
    ];

    fn can_strike(self, op: Op) -> bool {
        match self {
            Fault::RequestLost | Fault::ReplyLost | Fault::Stalled => true,
            Fault::Late => matches!(op, Op::Append | Op::Trim),
            Fault::Twice => op == Op::Append,
        }
    }

    fn rate(self, faults: &LogFaults) -> u64 {
        match self {
            Fault::RequestLost => faults.request_lost,
            Fault::ReplyLost => faults.reply_lost,
            Fault::Late => faults.late,
            Fault::Twice => faults.twice,
            // It is no matter of chance.
            Fault::Stalled => 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Fault::RequestLost => "request_lost",
            Fault::ReplyLost => "reply_lost",
            Fault::Late => "late",
            Fault::Twice => "twice",
            Fault::Stalled => "stalled",
        }
    }
}

impl fmt::Debug for FaultyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyLog").field(&self.log).finish()
    }
}

impl FaultyLog {
    /// A log without faults until [`FaultyLog::set_faults`]. `runtime` gives it its clock.
    pub fn new(log: Arc<dyn CommitLog>, seed: u64, runtime: &Runtime) -> FaultyLog {
        let shared = Shared {
            runtime: runtime.clone(),
            random: Random::seeded(seed),
            started: Instant::now(),
            state: Mutex::default(),
        };
        FaultyLog {
            log,
            shared: Arc::new(shared),
        }
    }

    /// Another process's handle: its own view of the log, the same faults.
    #[must_use]
    pub fn over(&self, log: Arc<dyn CommitLog>) -> FaultyLog {
        FaultyLog {
            log,
            shared: Arc::clone(&self.shared),
        }
    }

    pub fn set_faults(&self, faults: LogFaults) {
        self.shared.with(|state| state.faults = faults);
    }

    pub fn faults(&self) -> LogFaults {
        self.shared.with(|state| state.faults.clone())
    }

    /// The log answers nobody from now on for so long. Called from within the simulation, or with
    /// tokio's clock.
    pub fn stall(&self, duration: Duration) {
        let until = self.shared.now() + duration;
        self.shared
            .with(|state| state.stalled_until = state.stalled_until.max(until));
    }

    /// Every operation with every fault that it can suffer.
    pub fn pairs() -> Vec<FaultPair> {
        let of = |op: Op| {
            Fault::ALL
                .into_iter()
                .filter(move |fault| fault.can_strike(op))
                .map(move |fault| (op.name(), fault.name()))
        };
        Op::ALL.into_iter().flat_map(of).collect()
    }

    /// How often each fault fired, by operation and fault.
    pub fn fired(&self) -> BTreeMap<FaultPair, u64> {
        self.shared.with(|state| state.fired.clone())
    }

    /// How often each operation was asked for.
    pub fn asked(&self) -> BTreeMap<&'static str, u64> {
        self.shared.with(|state| state.asked.clone())
    }

    /// Lets in everything that is still under way.
    pub async fn land_all(&self) {
        self.shared.land(None).await;
    }

    /// Begins a call: what was due has landed; the log is not stalling, or patience ran out.
    async fn begin(&self, op: Op) -> Option<Fault> {
        let shared = &self.shared;
        let is_first = shared.with(|state| {
            let asked = state.asked.entry(op.name()).or_default();
            *asked += 1;
            *asked == 1
        });
        shared.land(Some(shared.now())).await;
        let stall = shared.stall_left();
        if !stall.is_zero() {
            sleep(stall.min(PATIENCE)).await;
            if stall > PATIENCE {
                shared.count(op, Fault::Stalled);
                return Some(Fault::Stalled);
            }
            shared.land(Some(shared.now())).await;
        }
        let (fault, latency) = shared.with(|state| {
            let faults = &state.faults;
            let latency = faults.latency_min
                + shared.up_to(faults.latency_max.saturating_sub(faults.latency_min));
            (shared.draw(faults, op, is_first), latency)
        });
        if let Some(fault) = fault {
            shared.count(op, fault);
        }
        if !latency.is_zero() {
            sleep(latency).await;
        }
        fault
    }

    /// Queues a request that lands some time from now, after a stall if there is one.
    fn queue(&self, request: Request) {
        let shared = &self.shared;
        let now = shared.now() + shared.stall_left();
        shared.with(|state| {
            let due = now + shared.up_to(state.faults.late_max);
            state.queued += 1;
            state
                .late
                .insert((due, state.queued), (Arc::clone(&self.log), request));
        });
    }
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().expect("nobody panics while holding it"))
    }

    fn now(&self) -> Duration {
        if self.runtime.is_simulated() {
            Duration::from_millis(self.runtime.clock().monotonic().0)
        } else {
            Instant::now().saturating_duration_since(self.started)
        }
    }

    fn stall_left(&self) -> Duration {
        let now = self.now();
        self.with(|state| state.stalled_until.saturating_sub(now))
    }

    fn up_to(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.below(micros.saturating_add(1)))
    }

    fn draw(&self, faults: &LogFaults, op: Op, is_first: bool) -> Option<Fault> {
        let mut possible = Fault::ALL.into_iter().filter(|fault| fault.can_strike(op));
        if let Some(((name, fault), rate)) = faults.often
            && name == op.name()
            && (is_first || self.random.happens(rate))
        {
            return possible.find(|possible| possible.name() == fault);
        }
        let mut roll = self.random.below(1000);
        for fault in Fault::ALL {
            let rate = fault.rate(faults);
            if roll < rate {
                return fault.can_strike(op).then_some(fault);
            }
            roll -= rate;
        }
        None
    }

    fn count(&self, op: Op, fault: Fault) {
        self.with(|state| *state.fired.entry((op.name(), fault.name())).or_default() += 1);
    }

    /// Lets in what is due by `until`, or everything.
    async fn land(&self, until: Option<Duration>) {
        loop {
            let next = self.with(|state| {
                let (due, _) = *state.late.first_key_value()?.0;
                if until.is_some_and(|until| due > until) {
                    return None;
                }
                state.late.pop_first().map(|(_, request)| request)
            });
            let Some((log, request)) = next else { return };
            // Nobody waits for these answers any more.
            match request {
                Request::Append(entry) => drop(log.append(entry).await),
                Request::Trim(floor, snapshot) => drop(log.trim(floor, snapshot).await),
            }
        }
    }

    /// Waits until the log does not stall.
    async fn stall_over(&self) {
        loop {
            let left = self.stall_left();
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

#[async_trait]
impl CommitLog for FaultyLog {
    fn generation(&self) -> Generation {
        self.log.generation()
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        let unknown = |reason: &str| {
            Err(AppendError::Unknown {
                reason: format!("{reason} (planted)"),
            })
        };
        match self.begin(Op::Append).await {
            None => self.log.append(entry).await,
            Some(Fault::RequestLost) => unknown("connection broken"),
            Some(Fault::ReplyLost) => {
                self.log.append(entry).await?;
                unknown("connection broken")
            }
            Some(Fault::Late) => {
                self.queue(Request::Append(entry));
                unknown("connection broken")
            }
            Some(Fault::Twice) => {
                self.queue(Request::Append(entry.clone()));
                self.log.append(entry).await
            }
            Some(Fault::Stalled) => {
                if self.shared.random.happens(500) {
                    self.queue(Request::Append(entry));
                }
                unknown("the log stalls")
            }
        }
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(FaultyFollower {
            follower: self.log.follow(after),
            shared: Arc::clone(&self.shared),
            position: after,
            held: VecDeque::new(),
        })
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        match self.begin(Op::End).await {
            None => self.log.end().await,
            Some(_) => Err(LogError::Unavailable {
                reason: "connection broken (planted)".to_owned(),
            }),
        }
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        let broken = Err(LogError::Unavailable {
            reason: "connection broken (planted)".to_owned(),
        });
        match self.begin(Op::Trim).await {
            None | Some(Fault::Twice) => self.log.trim(floor, snapshot).await,
            Some(Fault::RequestLost | Fault::Stalled) => broken,
            Some(Fault::ReplyLost) => {
                self.log.trim(floor, snapshot).await?;
                broken
            }
            Some(Fault::Late) => {
                self.queue(Request::Trim(floor, snapshot));
                broken
            }
        }
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        match self.begin(Op::Floor).await {
            None => self.log.floor().await,
            Some(_) => Err(LogError::Unavailable {
                reason: "connection broken (planted)".to_owned(),
            }),
        }
    }

    fn wake(&self) {
        self.log.wake();
    }
}

struct FaultyFollower {
    follower: Box<dyn Follower>,
    shared: Arc<Shared>,
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
        self.shared.land(Some(self.shared.now())).await;
        self.shared.stall_over().await;
        if self.held.is_empty() {
            let batch = self.follower.next_batch(max).await?;
            self.held.extend(batch);
            let latency = self.shared.with(|state| {
                let faults = &state.faults;
                faults.latency_min
                    + self
                        .shared
                        .up_to(faults.latency_max.saturating_sub(faults.latency_min))
            });
            if !latency.is_zero() {
                sleep(latency).await;
            }
            self.shared.stall_over().await;
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
