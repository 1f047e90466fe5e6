//! What takes minutes: expiry, self-fencing, a stalled log, wrong clocks. turmoil gives virtual time.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tarn_commit_log::{
    CommitLog, FaultyLog, LogFaults, MemoryLog, ObjectLog, Settings as ObjectSettings,
};
use tarn_model::{Hash, Lsn, ProducerId, caps};
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_state::commands::CreateTopic;
use tarn_state::{Command, FeatureLevel};
use tarn_store::{FaultyStore, Options, Store, StoreFaults};
use tokio::time::{Instant, sleep, timeout};

use super::harness::{
    Appends, GatedLog, Gates, Kind, SOON, allocate, id_of, metric, settings, soon, take_id, taken,
    until,
};
use crate::{BarrierError, Node, NodeSettings, OpenError, Parts, ProposeError};

/// Machines around one store and one log.
#[derive(Debug)]
pub(super) struct World {
    runtime: Runtime,
    objects: Arc<FaultyStore>,
    kind: Kind,
    memory: MemoryLog,
    /// Over the log in memory.
    pub(super) faults: FaultyLog,
    pub(super) settings: NodeSettings,
    options: Options,
    machines: u64,
}

impl World {
    fn new(kind: Kind, seed: u64) -> World {
        let runtime = Runtime::simulated(&SimulatedHost::new(seed));
        let objects = Store::memory(&runtime).object_store();
        let memory = MemoryLog::new();
        World {
            objects: Arc::new(FaultyStore::new(objects, seed, &runtime)),
            kind,
            faults: FaultyLog::new(Arc::new(memory.reopen()), seed, &runtime),
            memory,
            settings: NodeSettings {
                tick: caps::TICK_INTERVAL,
                ..settings()
            },
            options: Options::default(),
            machines: seed.wrapping_mul(1000),
            runtime,
        }
    }

    pub(super) fn machine(&mut self) -> SimulatedHost {
        self.machines += 1;
        SimulatedHost::new(self.machines)
    }

    pub(super) async fn open(
        &self,
        machine: &SimulatedHost,
    ) -> Result<(Node, GatedLog), OpenError> {
        self.open_up_to(FeatureLevel::NEWEST, machine).await
    }

    pub(super) async fn open_up_to(
        &self,
        level_max: FeatureLevel,
        machine: &SimulatedHost,
    ) -> Result<(Node, GatedLog), OpenError> {
        self.open_over(Arc::clone(&self.objects), level_max, machine)
            .await
    }

    /// A node that reaches the objects through faults of its own.
    pub(super) async fn open_behind(
        &self,
        machine: &SimulatedHost,
    ) -> Result<(Node, FaultyStore), OpenError> {
        let runtime = Runtime::simulated(machine);
        let faults = FaultyStore::new(self.objects.clone(), 1, &runtime);
        let objects = Arc::new(faults.clone());
        let opened = self.open_over(objects, FeatureLevel::NEWEST, machine);
        Ok((opened.await?.0, faults))
    }

    async fn open_over(
        &self,
        objects: Arc<FaultyStore>,
        level_max: FeatureLevel,
        machine: &SimulatedHost,
    ) -> Result<(Node, GatedLog), OpenError> {
        let runtime = Runtime::simulated(machine);
        let store = Store::new(objects, self.options.clone(), &runtime);
        let inner: Arc<dyn CommitLog> = match self.kind {
            Kind::Memory => Arc::new(self.faults.over(Arc::new(self.memory.reopen()))),
            Kind::Object => {
                Arc::new(ObjectLog::open(&store, ObjectSettings::default(), &runtime).await?)
            }
        };
        let log = GatedLog::new(inner);
        let scope = runtime.root_scope("node");
        let parts = Parts {
            runtime,
            store,
            log: Arc::new(log.clone()),
            name: format!("machine-{}", machine.seed()),
        };
        let node = Node::open_up_to(level_max, self.settings.clone(), parts, scope).await?;
        Ok((node, log))
    }
}

pub(super) fn simulate<F: Future<Output = ()> + 'static>(test: impl FnOnce(World) -> F + 'static) {
    simulate_over(Kind::Memory, 1, test);
}

pub(super) fn simulate_over<F: Future<Output = ()> + 'static>(
    kind: Kind,
    seed: u64,
    test: impl FnOnce(World) -> F + 'static,
) {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(7200))
        .rng_seed(seed)
        .build();
    sim.client("cluster", async move {
        test(World::new(kind, seed)).await;
        Ok(())
    });
    sim.run().expect("the test's assertions hold");
}

fn away(gates: &mut Gates) {
    gates.appends = Appends::Hold;
    gates.follow_closed = true;
}

#[test]
fn a_silent_session_is_expired_and_its_process_comes_back_under_a_new_one() {
    simulate(|mut world| async move {
        let (host_a, host_b) = (world.machine(), world.machine());
        let (a, gate) = world.open(&host_a).await.expect("it opens");
        let (b, _) = world.open(&host_b).await.expect("it opens");
        let first = a.metastore.session();
        gate.set(away);
        let waiting = take_id(&a);
        let others = async {
            sleep(caps::SELF_FENCE_AFTER + Duration::from_secs(2)).await;
            assert!(a.metastore.is_fenced(), "before anybody may expire it");
            assert!(b.metastore.view().sessions.contains_key(&first));
            let answer = a
                .metastore
                .barrier(Instant::now() + Duration::from_secs(1))
                .await;
            assert!(matches!(answer, Err(BarrierError::Fenced)), "{answer:?}");
            until(&b, "the silent session is expired", |state| {
                !state.sessions.contains_key(&first)
            })
            .await;
            gate.set(|gates| *gates = Gates::default());
        };
        let (id, ()) = tokio::join!(waiting, others);
        id.expect("it was never applied under the old session, so it went out again");
        assert_ne!(a.metastore.session(), first);
        assert!(!a.metastore.is_fenced());
        assert_eq!(
            taken(&b.metastore.barrier(soon()).await.expect("the log answers")),
            1
        );
        a.drain().await;
        b.drain().await;
    });
}

#[test]
fn a_killed_process_is_expired_though_all_others_are_busy() {
    simulate(|mut world| async move {
        let hosts = [world.machine(), world.machine(), world.machine()];
        let (a, _) = world.open(&hosts[0]).await.expect("it opens");
        let (b, _) = world.open(&hosts[1]).await.expect("it opens");
        let (killed, gate) = world.open(&hosts[2]).await.expect("it opens");
        world.faults.set_faults(LogFaults {
            latency_min: Duration::from_millis(1),
            latency_max: Duration::from_millis(30),
            ..LogFaults::default()
        });
        let session = killed.metastore.session();
        gate.set(away);
        // Without a pause, so that no tick of theirs is ever due.
        let busy = |node: Node| async move {
            loop {
                take_id(&node).await.expect("nothing fails here");
            }
        };
        let (others, more) = (
            futures::future::join(busy(a.clone()), busy(b.clone())),
            futures::future::join(busy(a.clone()), busy(b.clone())),
        );
        let expired = until(&a, "the silent session is expired", |state| {
            !state.sessions.contains_key(&session)
        });
        tokio::select! {
            _ = others => {}
            _ = more => {}
            _ = expired => {}
        }
        a.drain().await;
        b.drain().await;
    });
}

#[test]
fn a_process_starts_beside_a_busy_one() {
    simulate_over(Kind::Object, 3, |mut world| async move {
        world.settings.snapshot_entries = 10;
        let host = world.machine();
        let (busy, _) = world.open(&host).await.expect("it opens");
        world.objects.set_faults(StoreFaults {
            latency_min: Duration::from_millis(30),
            latency_max: Duration::from_millis(120),
            ..StoreFaults::default()
        });
        let proposals = async {
            loop {
                take_id(&busy).await.expect("nothing fails here");
            }
        };
        let starts = async {
            for start in 0..40 {
                let host = world.machine();
                let (node, _) = match world.open(&host).await {
                    Ok(opened) => opened,
                    Err(error) => panic!("start {start}: {error}"),
                };
                node.drain().await;
            }
        };
        tokio::select! {
            () = proposals => {}
            () = starts => {}
        }
        assert!(metric(&busy, "tarn_replica_trims_total") > 0);
        busy.drain().await;
    });
}

#[test]
fn a_large_snapshot_has_the_time_that_it_takes() {
    simulate(|mut world| async move {
        world.settings.snapshot_entries = 20;
        world.options.attempt = Duration::from_millis(200);
        world.options.deadline = Duration::from_secs(1);
        let (host_a, host_b) = (world.machine(), world.machine());
        let (a, log) = world.open(&host_a).await.expect("it opens");
        for n in 1..=8 {
            let create = Command::CreateTopic(CreateTopic {
                id: tarn_model::TopicId::from_u128(n),
                table: tarn_model::TableUuid::from_u128(n),
                name: format!("topic-{n}"),
                partitions: 5_000,
                configs: Default::default(),
            });
            a.metastore
                .propose(vec![create], soon())
                .await
                .expect("it is new");
        }
        world.objects.set_faults(StoreFaults {
            bytes_per_second: 1_200_000,
            ..StoreFaults::default()
        });
        let reached = async {
            while log.floor().await.expect("the log answers").lsn.n < 20 {
                take_id(&a).await.expect("nothing fails here");
                sleep(Duration::from_millis(500)).await;
            }
        };
        timeout(SOON, reached).await.expect("the snapshot is made");
        assert!(metric(&a, "tarn_replica_snapshot_bytes") > 1_000_000);
        let (b, _) = world.open(&host_b).await.expect("it reads the snapshot");
        a.drain().await;
        b.drain().await;
    });
}

#[test]
fn processes_that_end_each_others_sessions_do_not_fill_the_log() {
    simulate(|mut world| async move {
        // Each takes itself for the only one, and closes the other's session with its own opening.
        world.settings.alone = true;
        world.faults.set_faults(LogFaults {
            latency_min: Duration::from_millis(1),
            latency_max: Duration::from_millis(30),
            ..LogFaults::default()
        });
        let (host_a, host_b) = (world.machine(), world.machine());
        let (a, _) = world.open(&host_a).await.expect("it opens");
        let (b, _) = world.open(&host_b).await.expect("it opens");
        sleep(Duration::from_secs(60)).await;
        let opened: u64 = [&a, &b]
            .iter()
            .map(|node| metric(node, "tarn_replica_sessions_opened_total"))
            .sum();
        assert!(opened > 10 && opened < 250, "{opened}");
    });
}

#[test]
fn a_lone_clock_that_is_years_ahead_moves_no_time_until_it_is_accepted() {
    simulate(|mut world| async move {
        const TEN_YEARS: i64 = 315_360_000_000;
        world.settings.alone = true;
        let host = world.machine();
        let (node, _) = world.open(&host).await.expect("it opens");
        take_id(&node).await.expect("nothing fails here");
        let before = node.metastore.view().cluster_time;
        node.drain().await;

        host.step_wall_clock(TEN_YEARS);
        let (node, _) = world.open(&host).await.expect("it opens");
        sleep(Duration::from_secs(60)).await;
        let after = node
            .metastore
            .barrier(soon())
            .await
            .expect("the log answers")
            .cluster_time;
        assert!(after.since(before) < SOON, "{before} became {after}");
        assert_eq!(metric(&node, "tarn_replica_clock_votes"), 0);
        node.drain().await;

        world.settings.accept_clock = true;
        let (node, _) = world.open(&host).await.expect("it opens");
        let after = node
            .metastore
            .barrier(soon())
            .await
            .expect("the log answers")
            .cluster_time;
        assert!(
            after.since(before) > Duration::from_secs(300_000_000),
            "{before} became {after}"
        );
        node.drain().await;
        // Now it is the newest time that the log knows.
        world.settings.accept_clock = false;
        let (node, _) = world.open(&host).await.expect("it opens");
        assert_eq!(metric(&node, "tarn_replica_clock_votes"), 1);
        node.drain().await;
    });
}

#[test]
fn a_clock_that_was_set_has_no_vote_while_the_store_is_away() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, _) = world.open(&host).await.expect("it opens");
        world.objects.set_faults(StoreFaults {
            request_lost: 1000,
            ..StoreFaults::default()
        });
        host.step_wall_clock(600_000);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(metric(&node, "tarn_replica_clock_votes"), 0);
        host.step_wall_clock(-600_000);
        world.objects.set_faults(StoreFaults::default());
        sleep(SOON).await;
        assert_eq!(metric(&node, "tarn_replica_clock_votes"), 1);
        node.drain().await;
    });
}

#[test]
fn a_stalled_log_expires_nobody() {
    simulate(|mut world| async move {
        let (host_a, host_b) = (world.machine(), world.machine());
        let (a, gate_a) = world.open(&host_a).await.expect("it opens");
        let (b, gate_b) = world.open(&host_b).await.expect("it opens");
        let sessions = (a.metastore.session(), b.metastore.session());
        for gate in [&gate_a, &gate_b] {
            gate.set(|gates| gates.appends = Appends::Hold);
        }
        sleep(Duration::from_secs(90)).await;
        assert!(a.metastore.is_fenced() && b.metastore.is_fenced());
        for gate in [&gate_a, &gate_b] {
            gate.set(|gates| gates.appends = Appends::Pass);
        }
        take_id(&a).await.expect("it goes on");
        take_id(&b).await.expect("it goes on");
        sleep(Duration::from_secs(30)).await;
        assert_eq!((a.metastore.session(), b.metastore.session()), sessions);
        assert!(!a.metastore.is_fenced() && !b.metastore.is_fenced());
        a.drain().await;
        b.drain().await;
    });
}

#[test]
fn a_wrong_clock_opens_no_session() {
    simulate(|mut world| async move {
        for (millis, opens) in [
            (600_000, false),
            (-600_000, false),
            (-30_000, true),
            (30_000, true),
        ] {
            let host = world.machine();
            host.step_wall_clock(millis);
            match world.open(&host).await {
                Ok((node, _)) => {
                    assert!(opens, "{millis}");
                    node.drain().await;
                }
                Err(OpenError::Refused(why)) => {
                    assert!(!opens && why.contains("clock is 10m off"), "{why}")
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn a_clock_that_goes_wrong_later_has_no_vote_until_it_is_right_again() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, _) = world.open(&host).await.expect("it opens");
        let session = node.metastore.session();
        let votes = |wanted: bool| {
            let node = node.clone();
            async move {
                let told = until(&node, "its vote changes", |state| {
                    state
                        .sessions
                        .get(&session)
                        .is_some_and(|session| session.votes == wanted)
                });
                timeout(SOON, told).await.expect("within a minute");
            }
        };
        votes(true).await;
        host.step_wall_clock(-600_000);
        votes(false).await;
        host.step_wall_clock(600_000);
        votes(true).await;
        // A machine that slept: both clocks moved on, and the vote stays.
        host.sleep(Duration::from_secs(1800));
        sleep(Duration::from_secs(20)).await;
        node.drain().await;
    });
}

#[test]
fn a_process_drains_though_the_log_does_not_answer() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, gate) = world.open(&host).await.expect("it opens");
        gate.set(away);
        let began = Instant::now();
        let (sent, waits, ()) = tokio::join!(
            take_id(&node),
            async {
                sleep(Duration::from_secs(1)).await;
                take_id(&node).await
            },
            async {
                sleep(Duration::from_secs(2)).await;
                node.drain().await;
            },
        );
        assert!(began.elapsed() < Duration::from_secs(15));
        assert!(
            matches!(sent, Err(ProposeError::Unknown { .. })),
            "{sent:?}"
        );
        assert!(
            matches!(waits, Err(ProposeError::NotDone { .. })),
            "{waits:?}"
        );
    });
}

/// What the proposers of a swarm were told.
#[derive(Debug, Default)]
struct Told {
    applied: Vec<ProducerId>,
    unknown: i64,
    undone: i64,
}

/// Three processes propose while requests and replies get lost, come late or twice, processes are away
/// past trims and sessions expire. In the end everybody agrees, and nobody was told anything untrue.
async fn swarm(mut world: World) -> Trace {
    world.settings = NodeSettings {
        snapshot_entries: 40,
        tick: Duration::from_secs(1),
        ..settings()
    };
    let mut members = Vec::new();
    for _ in 0..3 {
        let host = world.machine();
        members.push(world.open(&host).await.expect("it opens"));
    }
    world.faults.set_faults(LogFaults {
        latency_min: Duration::from_millis(1),
        latency_max: Duration::from_millis(30),
        request_lost: 60,
        reply_lost: 60,
        late: 60,
        late_max: Duration::from_secs(40),
        twice: 60,
        ..LogFaults::default()
    });
    world.objects.set_faults(StoreFaults {
        late: 20,
        twice: 20,
        reply_lost: 20,
        request_lost: 20,
        ..swarm_store()
    });
    let told = Rc::new(RefCell::new(Told::default()));
    let end = Instant::now() + Duration::from_secs(150);
    let proposers = members
        .iter()
        .flat_map(|(node, _)| [node, node])
        .map(|node| {
            let told = Rc::clone(&told);
            async move {
                let random = node.runtime.random();
                while Instant::now() < end {
                    sleep(Duration::from_millis(random.below(1500))).await;
                    let deadline =
                        Instant::now() + Duration::from_millis(200 + random.below(20_000));
                    let result = node.metastore.propose(allocate(), deadline).await;
                    let mut told = told.borrow_mut();
                    match result {
                        Ok(committed) => told.applied.push(id_of(&committed)),
                        Err(ProposeError::Unknown { .. }) => told.unknown += 1,
                        Err(ProposeError::NotDone { .. } | ProposeError::Refused { .. }) => {
                            told.undone += 1
                        }
                        Err(ProposeError::Stopped { why }) => panic!("a process stopped: {why}"),
                    }
                }
            }
        });
    let random = world.runtime.random();
    let trouble = async {
        while Instant::now() < end {
            sleep(Duration::from_millis(random.below(10_000))).await;
            let (_, gate) = &members[usize::try_from(random.below(3)).expect("small")];
            let held = if random.happens(500) {
                Appends::Hold
            } else {
                Appends::LoseReply
            };
            gate.set(|gates| {
                *gates = Gates {
                    appends: held,
                    follow_closed: random.happens(700),
                    ..Gates::default()
                }
            });
            sleep(Duration::from_millis(random.below(25_000))).await;
            gate.set(|gates| *gates = Gates::default());
        }
    };
    tokio::join!(futures::future::join_all(proposers), trouble);

    world.faults.set_faults(LogFaults::default());
    world.objects.set_faults(StoreFaults::default());
    world.faults.land_all().await;
    let (mut views, mut outcomes) = (Vec::new(), BTreeSet::new());
    for (node, _) in &members {
        let id = take_id(node).await.expect("it goes on");
        told.borrow_mut().applied.push(id);
    }
    for (node, _) in &members {
        views.push(
            node.metastore
                .barrier(soon())
                .await
                .expect("the log answers"),
        );
    }
    let at = views.iter().map(|view| view.lsn()).max().expect("three");
    for (node, _) in &members {
        let view = node
            .metastore
            .wait_for(at, soon())
            .await
            .expect("it follows");
        let back = usize::try_from(view.n - at.n).expect("few entries came since");
        outcomes.insert(view.recent_hashes[view.recent_hashes.len() - 1 - back]);
    }
    assert_eq!(outcomes.len(), 1, "replicas computed different outcomes");
    let taken = views.iter().map(|view| taken(view)).max().expect("three");
    let told = told.take();
    let distinct: BTreeSet<_> = told.applied.iter().collect();
    assert_eq!(distinct.len(), told.applied.len(), "an id was told twice");
    let applied = i64::try_from(told.applied.len()).expect("few");
    assert!(applied <= taken, "{applied} were told, {taken} are applied");
    assert!(
        taken <= applied + told.unknown,
        "{taken} are applied, {applied} were told so, {} unknown, {} not done",
        told.unknown,
        told.undone,
    );
    assert!(applied > 50, "the cluster worked: {told:?}");
    let sum = |name: &str| -> u64 { members.iter().map(|(node, _)| metric(node, name)).sum() };
    let trace = Trace {
        jumps: sum("tarn_replica_jumps_total"),
        sessions: sum("tarn_replica_sessions_opened_total"),
        at,
        outcome_hash: outcomes.first().expect("there is one").1,
        told: (applied, told.unknown, told.undone),
    };
    for (node, _) in &members {
        node.drain().await;
    }
    trace
}

/// What a swarm came to: equal for equal seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trace {
    /// How often replicas went on from a snapshot.
    jumps: u64,
    sessions: u64,
    at: Lsn,
    outcome_hash: Hash,
    told: (i64, i64, i64),
}

fn swarm_store() -> StoreFaults {
    StoreFaults {
        late_max: Duration::from_secs(5),
        ..StoreFaults::default()
    }
}

fn run_swarm(kind: Kind, seed: u64) -> Trace {
    let trace = Rc::new(RefCell::new(None));
    let result = Rc::clone(&trace);
    println!("swarm over {kind:?}, seed {seed}");
    simulate_over(kind, seed, move |world| async move {
        let trace = swarm(world).await;
        result.replace(Some(trace));
    });
    trace.take().expect("the simulation ended")
}

#[test]
fn a_swarm_over_memory_tells_nothing_untrue() {
    let traces = [run_swarm(Kind::Memory, 0), run_swarm(Kind::Memory, 1)];
    assert!(
        traces
            .iter()
            .any(|trace| trace.jumps > 0 && trace.sessions > 3),
        "{traces:?}"
    );
    assert_eq!(
        run_swarm(Kind::Memory, 1),
        traces[1],
        "the same seed gives the same trace"
    );
}

#[test]
fn a_swarm_over_objects_tells_nothing_untrue() {
    let traces = [run_swarm(Kind::Object, 0), run_swarm(Kind::Object, 1)];
    assert!(
        traces
            .iter()
            .any(|trace| trace.jumps > 0 && trace.sessions > 3),
        "{traces:?}"
    );
    assert_eq!(
        run_swarm(Kind::Object, 1),
        traces[1],
        "the same seed gives the same trace"
    );
}

/// Every step at which the simulator can make a process of this crate die.
const STEPS: [&str; 8] = [
    "open.cluster-id",
    "open.session",
    "propose.sent",
    "propose.appended",
    "archive.written",
    "snapshot.written",
    "snapshot.verified",
    "snapshot.trimmed",
];

/// A process that dies at a step, and is started again, goes on; nothing it was told is lost, and no
/// more is applied than it was told or was waiting for.
fn dies_at(kind: Kind, step: &'static str, nth: u64) {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(7200))
        .build();
    let mut world = World::new(kind, 7);
    world.settings = NodeSettings {
        snapshot_entries: 10,
        tick: Duration::from_secs(1),
        ..settings()
    };
    let machine = world.machine();
    machine.crash_at(step, nth);
    let world = Rc::new(world);
    // What it was told, and how many proposals were on their way when it died.
    let told = Rc::new(RefCell::new((BTreeSet::new(), 0)));
    let state = Rc::new(RefCell::new(0));
    sim.host("a", {
        let (machine, told, state) = (machine.clone(), Rc::clone(&told), Rc::clone(&state));
        move || {
            let (world, machine, told, state) = (
                Rc::clone(&world),
                machine.clone(),
                Rc::clone(&told),
                Rc::clone(&state),
            );
            async move {
                let (node, _) = world.open(&machine).await?;
                loop {
                    told.borrow_mut().1 += 1;
                    let id = take_id(&node).await?;
                    {
                        let mut told = told.borrow_mut();
                        told.1 -= 1;
                        assert!(told.0.insert(id), "{id} was told twice");
                    }
                    *state.borrow_mut() = taken(&node.metastore.view());
                    sleep(Duration::from_millis(300)).await;
                }
            }
        }
    });
    let mut told_before = None;
    let goes_on = |told_before: Option<usize>| {
        told_before.is_some_and(|before| told.borrow().0.len() > before + 10)
    };
    let passed_all = || {
        STEPS
            .iter()
            .all(|step| machine.steps_passed().contains_key(step))
    };
    while !(goes_on(told_before) && passed_all()) {
        let passed = machine.steps_passed();
        assert!(
            sim.elapsed() < Duration::from_secs(3600),
            "{step}: only passed {passed:?}"
        );
        sim.step().expect("the process goes on");
        if machine.take_crash().is_some() {
            sim.crash("a");
            sim.bounce("a");
            told_before = Some(told.borrow().0.len());
        }
    }
    let told = told.borrow();
    let (applied, waiting) = (i64::try_from(told.0.len()).expect("few"), told.1);
    let taken = *state.borrow();
    assert!(
        applied <= taken && taken <= applied + waiting,
        "{step}: {taken} applied, {applied} told, {waiting} waiting"
    );
}

#[test]
fn a_process_may_die_at_any_step() {
    for kind in [Kind::Memory, Kind::Object] {
        for step in STEPS {
            println!("over {kind:?}: {step}");
            dies_at(kind, step, 1);
        }
    }
}

#[test]
fn a_lone_clock_that_is_days_ahead_moves_time_and_deletes_nothing() {
    simulate(|mut world| async move {
        const THREE_DAYS: i64 = 3 * 86_400_000;
        world.settings.alone = true;
        let host = world.machine();
        let (node, _) = world.open(&host).await.expect("it opens");
        take_id(&node).await.expect("nothing fails here");
        let before = node.metastore.view().cluster_time;
        let id = node.metastore.node();
        node.drain().await;

        host.step_wall_clock(THREE_DAYS);
        let (node, _) = world.open(&host).await.expect("it opens");
        let view = node.metastore.barrier(soon()).await;
        let view = view.expect("the log answers");
        assert!(view.cluster_time.since(before) > 2 * Duration::from_secs(86_400));
        assert!(!view.deletes_by_age());
        assert_eq!(node.metastore.node(), id, "a node outlives its sessions");
        node.drain().await;

        // By now it is the newest time that the log knows.
        let (node, _) = world.open(&host).await.expect("it opens");
        assert!(node.metastore.view().deletes_by_age());
        assert_eq!(node.metastore.node(), id);
        node.drain().await;
    });
}
