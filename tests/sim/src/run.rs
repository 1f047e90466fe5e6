//! One run: builds the simulation, lets the plan's events happen, heals, and judges.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tarn_model::NodeId;
use tarn_replica::LOG_TASK;
use tracing::info;
use turmoil::Sim;

use crate::claims::ClaimCounts;
use crate::cluster::Cluster;
use crate::history::{Counts, Violation};
use crate::plan::{Event, LogKind, Plan};
use crate::{ages, cut_check, dead_end, newer, presence, process, workload};

/// Virtual time after which a run that has not come to its end is stuck (I26).
const STUCK: Duration = Duration::from_secs(600);
/// Virtual time between two looks at every host. A shorter one costs more and finds no more.
const TICK: Duration = Duration::from_millis(4);
/// A crashed process is started again after this long.
const DOWN: Duration = Duration::from_secs(2);
const YEAR_MILLIS: i64 = 365 * 24 * 3600 * 1000;

/// What a clean run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Every write in its order, the log's and the outcomes' hash at the end, and the names and lengths
    /// of all objects: equal for equal seeds.
    pub trace: Vec<String>,
    pub counts: Counts,
    pub claims: ClaimCounts,
    /// Who archived and trimmed the log, one after the other.
    pub keepers: Vec<NodeId>,
    /// How often each machine's process trimmed it.
    pub trims: Vec<u64>,
    /// How often a command above the cluster's level was refused, and taken once the level had risen.
    pub above_level: (u64, u64),
    /// Where processes were crashed: a step, or "" for anywhere.
    pub crashes: Vec<&'static str>,
    /// How often each crash step was passed, over all machines.
    pub steps: BTreeMap<&'static str, u64>,
    /// Events that happened, by their names.
    pub events: BTreeMap<&'static str, u64>,
    /// What was asked of log and store, by world and operation.
    pub asked: BTreeMap<String, u64>,
    /// Faults that fired, by world, operation and fault.
    pub faults: BTreeMap<String, u64>,
    /// What processes said that stopped or did not start because of a newer version.
    pub stops: Vec<String>,
    pub virtual_time: Duration,
    /// Node sessions that were ever opened anew.
    pub node_ids: i32,
    /// Metadata answers of which each agent that they named was looked at.
    pub metadata_checked: u64,
    /// By how much cluster time is off the services' clock at the end.
    pub cluster_time_off: i64,
}

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    run_with_defect(plan, None)
}

/// Runs a plan with a planted defect. A panic of the code under test is a finding as well.
pub fn run_with_defect(plan: &Plan, defect: Option<&str>) -> Result<Report, Violation> {
    tarn_model::plant_defect(defect);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Run::new(plan).finish()));
    tarn_model::plant_defect(None);
    match caught {
        Ok(report) => report,
        Err(panic) if defect.is_some() => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Violation {
                invariant: "no panic",
                detail: text.unwrap_or_default(),
            })
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A machine that is down or away comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    Bounce(usize),
    Repair(usize),
    Release(usize),
    StoreUp,
}

type Verdict = Rc<RefCell<Option<Result<(), Violation>>>>;

struct Run<'a> {
    plan: &'a Plan,
    cluster: Cluster,
    sim: Sim<'a>,
    clients: Vec<String>,
    finished: Rc<Cell<usize>>,
    returns: Vec<(Duration, Return)>,
    crashes: Vec<&'static str>,
    events: BTreeMap<&'static str, u64>,
    healed: bool,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Run<'a> {
        let sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .simulation_duration(STUCK)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(20))
            .tcp_capacity(4096)
            .build();
        Run {
            plan,
            cluster: Cluster::new(plan),
            sim,
            clients: Vec::new(),
            finished: Rc::default(),
            returns: Vec::new(),
            crashes: Vec::new(),
            events: BTreeMap::new(),
            healed: false,
        }
    }

    /// A client that the run waits for. The simulation ends when every client has; the harness decides
    /// when, so they wait at their end.
    fn client(&mut self, name: String, work: impl Future<Output = turmoil::Result> + 'static) {
        let finished = Rc::clone(&self.finished);
        self.sim.client(name.as_str(), async move {
            work.await?;
            finished.set(finished.get() + 1);
            std::future::pending::<turmoil::Result>().await
        });
        self.clients.push(name);
    }

    fn finish(mut self) -> Result<Report, Violation> {
        for node in 0..self.plan.nodes {
            let cluster = self.cluster.clone();
            self.sim.host(Cluster::host_name(node), move || {
                process::run(cluster.clone(), node)
            });
        }
        for number in 0..self.plan.writers {
            let writer = workload::writer(self.cluster.clone(), number);
            self.client(format!("writer-{number}"), writer);
        }
        for number in 0..self.plan.members {
            let member = workload::member(self.cluster.clone(), number);
            self.client(format!("member-{number}"), member);
        }
        let newer = |event: &(Duration, Event)| matches!(event.1, Event::NewerVersion { .. });
        // Then every process stops by itself.
        if !self.plan.events.iter().any(newer) {
            let watch = presence::watch(self.cluster.clone());
            self.client("presence".to_owned(), watch);
        }
        let reader = workload::reader(self.cluster.clone());
        self.client("reader".to_owned(), reader);
        self.cluster.trouble();

        let mut events = self.plan.events.iter().peekable();
        let mut settling: Option<u64> = None;
        let mut verdict: Option<Verdict> = None;
        loop {
            while let Some((_, event)) =
                events.next_if(|(at, _)| *at <= self.sim.elapsed() && !self.healed)
            {
                self.happens(*event);
            }
            self.step(settling.is_some())?;
            self.crash_who_wants();
            self.come_back();
            if !self.healed && self.sim.elapsed() >= self.plan.heal_at {
                info!("healing");
                self.healed = true;
                self.cluster.heal(!self.is_store_down());
            }
            if verdict.is_none() && self.is_over(&mut settling) {
                verdict = Some(self.judge());
            }
            if let Some(judged) = verdict.as_ref().and_then(|slot| slot.borrow_mut().take()) {
                judged?;
                let mut report = self.report();
                if !self.cluster.dead_end.is_expected() {
                    self.take_objects_away()?;
                    report.counts = self.cluster.history.counts();
                }
                return Ok(report);
            }
        }
    }

    /// The last thing of a run: cuts that are still held are read without their objects (I23).
    fn take_objects_away(&mut self) -> Result<(), Violation> {
        let until = self.sim.elapsed() + Duration::from_secs(60);
        self.cluster.lose_objects();
        while !self.cluster.history.all_missed(self.plan.nodes) {
            if self.sim.elapsed() > until {
                let detail = "cuts whose objects are gone neither show nor say anything";
                return Err(violation("I23", detail.to_owned()));
            }
            self.step(true)?;
            self.come_back();
        }
        Ok(())
    }

    /// Is there nothing more to come? `settling` is the n at which every table has to be complete.
    fn is_over(&self, settling: &mut Option<u64>) -> bool {
        if self.cluster.dead_end.is_expected() {
            return self.cluster.dead_end.is_final(self.plan.nodes);
        }
        let done =
            self.healed && self.returns.is_empty() && self.finished.get() == self.clients.len();
        if done && settling.is_none() {
            // Everybody is done: every node has to see every table complete as of now.
            *settling = Some(self.cluster.history.newest().map_or(0, |view| view.n));
        }
        // The upgrade, and whoever works at a task, have gone on since.
        settling.is_some_and(|n| {
            self.cluster.claims.has_gone_on_since(n)
                && self.cluster.ages.is_settled(self.plan)
                && self.cluster.history.all_complete(self.plan.nodes, n)
        })
    }

    fn step(&mut self, settling: bool) -> Result<(), Violation> {
        self.sim
            .step()
            .map_err(|error| violation("I26", format!("the simulation ended: {error}")))?;
        if let Some(violation) = self.cluster.history.violation() {
            return Err(violation);
        }
        if let Some(detail) = self.cluster.dead_end.overdue(self.sim.elapsed()) {
            return Err(violation("I12", detail));
        }
        if self.sim.elapsed() + Duration::from_secs(1) > STUCK {
            let detail = if settling {
                format!(
                    "the tables were not complete, nobody worked at the task (I30), or the level did not \
                     rise (I31) within {STUCK:?}"
                )
            } else {
                format!(
                    "{} of {} clients finished within {STUCK:?}",
                    self.finished.get(),
                    self.clients.len()
                )
            };
            return Err(violation("I26", detail));
        }
        Ok(())
    }

    /// One more client judges what the run left.
    fn judge(&mut self) -> Verdict {
        let verdict = Verdict::default();
        let (cluster, slot) = (self.cluster.clone(), Rc::clone(&verdict));
        self.sim.client("judge", async move {
            let mut judged = if cluster.dead_end.is_expected() {
                dead_end::judge(&cluster).await
            } else {
                judge(&cluster).await
            };
            if judged.is_ok() {
                judged = cut_check::references(&cluster, &cluster.history)
                    .map_err(|detail| violation("I8", detail));
            }
            *slot.borrow_mut() = Some(judged);
            std::future::pending::<turmoil::Result>().await
        });
        verdict
    }

    fn is_down(&self, node: usize) -> bool {
        self.returns
            .iter()
            .any(|(_, back)| *back == Return::Bounce(node))
    }

    /// Only one thing at a time happens to a machine's links.
    fn is_away(&self, node: usize) -> bool {
        self.returns.iter().any(|(_, back)| matches!(back, Return::Repair(away) | Return::Release(away) if *away == node))
    }

    fn is_store_down(&self) -> bool {
        self.returns
            .iter()
            .any(|(_, back)| *back == Return::StoreUp)
    }

    fn back_in(&mut self, after: Duration, back: Return) {
        self.returns.push((self.sim.elapsed() + after, back));
    }

    fn crash(&mut self, node: usize, step: &'static str) {
        if !self.is_down(node) {
            info!(node, step, "crash");
            self.crashes.push(step);
            self.cluster.presence.went(node);
            self.sim.crash(Cluster::host_name(node));
            self.back_in(DOWN, Return::Bounce(node));
        }
    }

    fn crash_who_wants(&mut self) {
        for node in 0..self.plan.nodes {
            if let Some(step) = self.cluster.machines[node].host.take_crash() {
                self.crash(node, step);
            }
        }
    }

    fn come_back(&mut self) {
        let now = self.sim.elapsed();
        let (due, later): (Vec<_>, Vec<_>) = self.returns.drain(..).partition(|(at, _)| *at <= now);
        self.returns = later;
        for (_, back) in due {
            info!(?back, ?now, "back");
            match back {
                Return::Bounce(node) => self.sim.bounce(Cluster::host_name(node)),
                Return::Repair(node) => {
                    self.each_other(node, |sim, node, other| sim.repair(node, other))
                }
                Return::Release(node) => {
                    self.each_other(node, |sim, node, other| sim.release(node, other))
                }
                Return::StoreUp => self.cluster.store_up(self.healed),
            }
        }
    }

    fn happens(&mut self, event: Event) {
        let now = self.sim.elapsed();
        let takes_effect = self.takes_effect(event);
        info!(?event, ?now, takes_effect, "event");
        if takes_effect {
            *self.events.entry(event.name()).or_default() += 1;
            self.let_happen(event);
        }
    }

    /// Not if the same thing is already the case.
    fn takes_effect(&self, event: Event) -> bool {
        match event {
            Event::Kill { node } => !self.is_down(node),
            Event::Restart { node } => self.cluster.presence.is_there(node),
            Event::CutOff { node, .. } => !self.is_away(node),
            Event::StoreDown { .. } => !self.is_store_down(),
            Event::KillAll => (0..self.plan.nodes).any(|node| !self.is_down(node)),
            // A log of objects stalls when the store does.
            Event::StallLog { .. } => self.plan.log == LogKind::Memory,
            Event::Upgrade => self.plan.is_mixed && !self.cluster.ages.is_upgraded(),
            Event::KeeperOnlyReads { .. } => self.keeper().is_some(),
            Event::NewerVersion { .. } => !self.cluster.dead_end.is_expected(),
            Event::KillAtStep { .. }
            | Event::Pause { .. }
            | Event::Lag { .. }
            | Event::StepClock { .. }
            | Event::RaceClock { .. }
            | Event::WrongClock { .. } => true,
        }
    }

    fn let_happen(&mut self, event: Event) {
        let now = self.sim.elapsed();
        match event {
            Event::Kill { node } => self.crash(node, ""),
            Event::Restart { node } => self.cluster.presence.stop(node, now),
            Event::KillAtStep { node, step, nth } => {
                self.cluster.machines[node]
                    .host
                    .crash_at(Plan::STEPS[step], nth);
            }
            Event::CutOff { node, millis } => {
                let until = now + Duration::from_millis(millis);
                self.cluster.presence.is_out_of_reach(node, until);
                self.each_other(node, |sim, node, other| sim.partition(node, other));
                self.back_in(Duration::from_millis(millis), Return::Repair(node));
            }
            Event::Pause { node, millis } => {
                let span = Duration::from_millis(millis);
                self.cluster.machines[node].gate.close_until(now + span);
                self.cluster.presence.is_out_of_reach(node, now + span);
                if !self.is_away(node) {
                    self.each_other(node, |sim, node, other| sim.hold(node, other));
                    self.back_in(span, Return::Release(node));
                }
            }
            Event::Lag { node, millis } => {
                self.cluster.machines[node]
                    .gate
                    .close_until(now + Duration::from_millis(millis));
            }
            Event::StepClock { node, millis } => {
                self.cluster.machines[node].host.step_wall_clock(millis)
            }
            Event::RaceClock {
                node,
                millis_per_second,
            } => {
                self.cluster.machines[node]
                    .host
                    .race_wall_clock(millis_per_second);
            }
            Event::WrongClock { node, years } => {
                self.crash(node, "");
                self.cluster.machines[node]
                    .host
                    .step_wall_clock(years * YEAR_MILLIS);
            }
            Event::StallLog { millis } => self.cluster.stall_log(Duration::from_millis(millis)),
            Event::StoreDown { millis } => {
                self.cluster.store_down();
                self.back_in(Duration::from_millis(millis), Return::StoreUp);
            }
            Event::KeeperOnlyReads { millis } => {
                let keeper = self.keeper().expect("it takes effect");
                let until = now + Duration::from_millis(millis);
                self.cluster.machines[keeper]
                    .gate
                    .refuse_writes_until(until);
            }
            Event::KillAll => {
                for node in 0..self.plan.nodes {
                    self.crash(node, "");
                }
            }
            Event::Upgrade => {
                self.cluster.ages.upgrade();
                self.crash(ages::OLD_NODE, "");
            }
            Event::NewerVersion { leaves } => {
                self.cluster.dead_end.expect(leaves);
                self.sim
                    .client("newer", newer::leave(self.cluster.clone(), leaves));
            }
        }
    }

    /// The machine whose process archives and trims the log.
    fn keeper(&self) -> Option<usize> {
        let view = self.cluster.history.newest()?;
        let keeper = view.claim(LOG_TASK)?.node;
        let mut sessions = view.sessions.values();
        let name = &sessions.find(|session| session.node == keeper)?.name;
        (0..self.plan.nodes).find(|node| Cluster::host_name(*node) == *name)
    }

    /// Calls `f` with this node's name and that of every other host.
    fn each_other(&mut self, node: usize, f: impl Fn(&Sim<'a>, String, String)) {
        let nodes = (0..self.plan.nodes)
            .filter(|other| *other != node)
            .map(Cluster::host_name);
        for other in nodes.chain(self.clients.iter().cloned()) {
            f(&self.sim, Cluster::host_name(node), other);
        }
    }

    fn report(&self) -> Report {
        let mut steps = BTreeMap::new();
        let mut trims = Vec::new();
        for machine in self.cluster.machines.iter() {
            let passed = machine.host.steps_passed();
            trims.push(passed.get("snapshot.trimmed").copied().unwrap_or_default());
            for (step, count) in passed {
                *steps.entry(step).or_default() += count;
            }
        }
        let newest = self.cluster.history.newest();
        let wall = self.cluster.service.clock().wall().0;
        Report {
            trace: trace(&self.cluster),
            counts: self.cluster.history.counts(),
            claims: self.cluster.claims.counts(),
            trims,
            keepers: self.cluster.claims.keepers(),
            above_level: self.cluster.ages.counts(),
            crashes: self.crashes.clone(),
            steps,
            events: self.events.clone(),
            asked: self.cluster.asked(),
            faults: self.cluster.fired(),
            stops: self.cluster.dead_end.stops(),
            virtual_time: self.sim.elapsed(),
            node_ids: newest.as_ref().map_or(0, |view| view.next_node.0 - 1),
            metadata_checked: self.cluster.presence.asked(),
            cluster_time_off: newest.map_or(0, |view| view.cluster_time.0 - wall),
        }
    }
}

fn violation(invariant: &'static str, detail: String) -> Violation {
    Violation { invariant, detail }
}

/// Reads everything, as a client does, and compares it with the history.
async fn judge(cluster: &Cluster) -> Result<(), Violation> {
    let topics = workload::read_all(cluster).await;
    let topics = topics.map_err(|detail| violation("I26", detail))?;
    cluster.history.check(&topics)
}

/// Everything the run left behind: what was written in which order, what was decided, what is there.
fn trace(cluster: &Cluster) -> Vec<String> {
    use futures::TryStreamExt;
    use object_store::ObjectStore;
    let objects = cluster.objects.objects();
    let listed = futures::executor::block_on(objects.list(None).try_collect::<Vec<_>>())
        .expect("memory lists");
    let mut names: Vec<String> = listed
        .into_iter()
        .map(|meta| format!("object {} {}", meta.location, meta.size))
        .collect();
    names.sort();
    let mut trace = cluster.history.trace();
    trace.append(&mut names);
    trace
}
