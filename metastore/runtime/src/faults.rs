//! Bad days of a service, from a seed: dice, clock, what is under way, stalls, and how often which fault
//! struck which operation. A double of a service (store, log) says what its operations can suffer and what
//! their callers hear; the rest is here, once.
//!
//! One [`World`] stands for the service, so all processes of a simulation share it and it outlives their
//! crashes: what is to land late waits in it, and any later call, by anybody, lets in what is due. A call
//! suffers at most one fault. Faults may be set anew at any time; equal seeds and calls have equal fates.
//! The doubles' own tests show it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use strum::VariantArray;
use tokio::time::{Instant, sleep, timeout};

use crate::{Random, Runtime};

/// An operation and a fault that it can suffer, by their names.
pub type FaultPair = (&'static str, &'static str);

/// An effect that is still under way. Nobody waits for its answer.
pub struct Late(BoxFuture<'static, ()>);

impl Late {
    pub fn new<T: 'static>(effect: impl Future<Output = T> + Send + 'static) -> Late {
        Late(effect.map(drop).boxed())
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Late").finish_non_exhaustive()
    }
}

/// An enum whose variants have names.
pub trait Named: Copy + PartialEq + VariantArray + Into<&'static str> {}

impl<T: Copy + PartialEq + VariantArray + Into<&'static str>> Named for T {}

/// What may go wrong with one kind of service, and how often.
pub trait Faults: Clone + Default + Send + 'static {
    type Op: Named;
    /// In the order in which they are drawn.
    type Fault: Named;

    /// What a call suffers when the service stalls for longer than it has patience; without, it waits.
    const STALLED: Option<(Self::Fault, Duration)> = None;

    fn can_strike(fault: Self::Fault, op: Self::Op) -> bool;

    /// In permille of calls; the sum is at most 1000.
    fn rate(&self, fault: Self::Fault) -> u64;

    /// The least and the most that a call takes, half of it before its effect and half after.
    fn latency(&self) -> (Duration, Duration);

    /// What lands late does so within this time.
    fn late_max(&self) -> Duration;

    /// One pair besides, so that also rare ones fire: the first call of its operation suffers it, and
    /// then so many in a thousand.
    fn often(&self) -> Option<(FaultPair, u64)>;
}

/// What becomes of a call that a fault strikes; the caller hears the error, if there is one.
#[derive(Debug)]
pub enum Course<E> {
    /// It takes effect and is answered. What the fault damages is the double's business.
    Answered,
    /// It never arrives.
    Lost(E),
    /// It takes effect.
    Unheard(E),
    /// It takes effect when the caller has long heard of it.
    Late(E, Late),
    /// It takes effect, is answered, and takes effect again later.
    Twice(Late),
}

/// A service on its bad days, beneath all handles of its double.
pub struct World<F: Faults> {
    runtime: Runtime,
    random: Random,
    started: Instant,
    state: Mutex<State<F>>,
}

#[derive(Default)]
struct State<F> {
    faults: F,
    stalled_until: Duration,
    /// By when it lands.
    late: BTreeMap<(Duration, u64), Late>,
    queued: u64,
    asked: BTreeMap<&'static str, u64>,
    fired: BTreeMap<FaultPair, u64>,
}

impl<F: Faults> fmt::Debug for World<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl<F: Faults> World<F> {
    /// No faults until [`World::set_faults`]. `runtime` gives it its clock.
    pub fn new(seed: u64, runtime: &Runtime) -> World<F> {
        World {
            runtime: runtime.clone(),
            random: Random::seeded(seed),
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    pub fn set_faults(&self, faults: F) {
        self.with(|state| state.faults = faults);
    }

    pub fn faults(&self) -> F {
        self.with(|state| state.faults.clone())
    }

    /// The service answers nobody from now on for so long. Called from within the simulation, or with
    /// tokio's clock.
    pub fn stall(&self, duration: Duration) {
        let until = self.now() + duration;
        self.with(|state| state.stalled_until = state.stalled_until.max(until));
    }

    /// Every operation with every fault that it can suffer.
    pub fn pairs() -> Vec<FaultPair> {
        let of = |op: &F::Op| {
            let op = *op;
            possible::<F>(op).map(move |fault| (op.into(), fault.into()))
        };
        F::Op::VARIANTS.iter().flat_map(of).collect()
    }

    /// How often each fault fired, by operation and fault.
    pub fn fired(&self) -> BTreeMap<FaultPair, u64> {
        self.with(|state| state.fired.clone())
    }

    /// How often each operation was asked for.
    pub fn asked(&self) -> BTreeMap<&'static str, u64> {
        self.with(|state| state.asked.clone())
    }

    /// The dice, for what a double has to choose.
    pub fn random(&self) -> &Random {
        &self.random
    }

    /// Makes a call: waits as long as it takes, strikes it if the dice say so, and counts. `course` says
    /// what the fault does to it.
    pub async fn call<T, E>(
        &self,
        op: F::Op,
        course: impl FnOnce(F::Fault) -> Course<E>,
        effect: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let fault = self.begin(op).await;
        let half = self.latency() / 2;
        pass(half).await;
        let result = match fault.map_or(Course::Answered, course) {
            Course::Answered => effect.await,
            Course::Lost(error) => Err(error),
            Course::Unheard(error) => {
                drop(effect.await);
                Err(error)
            }
            Course::Late(error, late) => {
                self.queue(late);
                Err(error)
            }
            Course::Twice(late) => {
                self.queue(late);
                effect.await
            }
        };
        pass(half).await;
        result
    }

    /// Waits as long as a call takes.
    pub async fn take_time(&self) {
        pass(self.latency()).await;
    }

    /// Lets in what is due, and waits until the service does not stall.
    pub async fn stall_over(&self) {
        self.land(Some(self.now())).await;
        self.outwait().await;
        self.land(Some(self.now())).await;
    }

    /// Lets in everything that is still under way.
    pub async fn land_all(&self) {
        self.land(None).await;
    }

    fn with<T>(&self, f: impl FnOnce(&mut State<F>) -> T) -> T {
        f(&mut self.state.lock().expect("nobody panics while holding it"))
    }

    /// Time runs while calls come: simulated, or tokio's when that is paused.
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

    async fn outwait(&self) {
        loop {
            let left = self.stall_left();
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn up_to(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.below(micros.saturating_add(1)))
    }

    fn latency(&self) -> Duration {
        let (least, most) = self.with(|state| state.faults.latency());
        least + self.up_to(most.saturating_sub(least))
    }

    /// Begins a call: what was due has landed, and the service does not stall, or patience ran out.
    async fn begin(&self, op: F::Op) -> Option<F::Fault> {
        let is_first = self.with(|state| {
            let asked = state.asked.entry(op.into()).or_default();
            *asked += 1;
            *asked == 1
        });
        self.land(Some(self.now())).await;
        let stalled = match F::STALLED {
            Some((fault, patience)) => timeout(patience, self.outwait()).await.err().map(|_| fault),
            None => {
                self.outwait().await;
                None
            }
        };
        self.land(Some(self.now())).await;
        let fault = stalled.or_else(|| self.with(|state| self.draw(&state.faults, op, is_first)));
        if let Some(fault) = fault {
            let pair = (op.into(), fault.into());
            self.with(|state| *state.fired.entry(pair).or_default() += 1);
        }
        fault
    }

    fn draw(&self, faults: &F, op: F::Op, is_first: bool) -> Option<F::Fault> {
        if let Some(((name, fault), rate)) = faults.often()
            && name == op.into()
            && (is_first || self.random.happens(rate))
        {
            return possible::<F>(op).find(|possible| fault == (*possible).into());
        }
        let mut roll = self.random.below(1000);
        for fault in F::Fault::VARIANTS.iter().copied() {
            let rate = faults.rate(fault);
            if roll < rate {
                return F::can_strike(fault, op).then_some(fault);
            }
            roll -= rate;
        }
        None
    }

    /// It lands some time from now, after a stall if there is one.
    fn queue(&self, late: Late) {
        let now = self.now() + self.stall_left();
        self.with(|state| {
            let due = now + self.up_to(state.faults.late_max());
            state.queued += 1;
            state.late.insert((due, state.queued), late);
        });
    }

    /// Lets in what is due by `until`, or everything.
    async fn land(&self, until: Option<Duration>) {
        loop {
            let next = self.with(|state| {
                let (due, _) = *state.late.first_key_value()?.0;
                if until.is_some_and(|until| due > until) {
                    return None;
                }
                state.late.pop_first().map(|(_, late)| late)
            });
            let Some(late) = next else { return };
            late.0.await;
        }
    }
}

fn possible<F: Faults>(op: F::Op) -> impl Iterator<Item = F::Fault> {
    let faults = F::Fault::VARIANTS.iter().copied();
    faults.filter(move |fault| F::can_strike(*fault, op))
}

/// Lets time pass, if it is any.
pub async fn pass(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
