use object_store_of_tests::{bad_day, folder, on_store};
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_store::{FaultyStore, Store};

use super::*;
use crate::{FaultyLog, LogFaults, MemoryLog, ObjectLog, Settings};

/// Subjects over object storage.
mod object_store_of_tests {
    use tarn_store::{Options, StoreFaults};

    use super::*;

    pub(super) fn on_store(store: Store, runtime: &Runtime) -> OnStore {
        OnStore {
            store,
            runtime: runtime.clone(),
            settings: Settings::default(),
        }
    }

    /// A local folder runs in real time, so it polls faster.
    pub(super) fn folder(folder: &tempfile::TempDir, fsync: bool, runtime: &Runtime) -> OnStore {
        let url = format!("file://{}", folder.path().display());
        let store = Store::open(
            &url,
            Options {
                fsync,
                ..Options::default()
            },
            runtime,
        )
        .expect("opens");
        let settings = Settings {
            poll_min: Duration::from_millis(2),
            poll_max: Duration::from_millis(20),
            floor_interval: Duration::from_millis(20),
            ..Settings::default()
        };
        OnStore {
            store,
            runtime: runtime.clone(),
            settings,
        }
    }

    pub(super) fn bad_day(permille: u64) -> StoreFaults {
        StoreFaults {
            latency_min: Duration::from_millis(1),
            latency_max: Duration::from_millis(60),
            request_lost: permille,
            reply_lost: permille,
            unavailable_before: permille,
            unavailable_after: permille,
            late: permille,
            late_max: Duration::from_secs(8),
            twice: permille,
            conflict_before: permille,
            conflict_after: permille,
            truncated: permille,
            cut_short: permille,
            ..StoreFaults::default()
        }
    }
}

struct OnStore {
    store: Store,
    runtime: Runtime,
    settings: Settings,
}

#[async_trait]
impl Subject for OnStore {
    async fn open(&self) -> Arc<dyn CommitLog> {
        loop {
            match ObjectLog::open(&self.store, self.settings.clone(), &self.runtime).await {
                Ok(log) => return Arc::new(log),
                Err(LogError::Unavailable { .. }) => {}
                Err(error) => panic!("open failed: {error}"),
            }
        }
    }
}

struct InMemory(MemoryLog);

#[async_trait]
impl Subject for InMemory {
    async fn open(&self) -> Arc<dyn CommitLog> {
        Arc::new(self.0.reopen())
    }
}

struct Faulty {
    first: FaultyLog,
    memory: MemoryLog,
}

impl Faulty {
    fn new(seed: u64) -> Faulty {
        let memory = MemoryLog::new();
        Faulty {
            first: FaultyLog::new(Arc::new(memory.reopen()), seed, &Runtime::real()),
            memory,
        }
    }
}

#[async_trait]
impl Subject for Faulty {
    async fn open(&self) -> Arc<dyn CommitLog> {
        Arc::new(self.first.over(Arc::new(self.memory.reopen())))
    }
}

fn faulty_store(seed: u64) -> (FaultyStore, OnStore) {
    // Only its chance is simulated here: the time is tokio's, which the test pauses.
    let runtime = Runtime::simulated(&SimulatedHost::new(seed));
    let beneath = Store::memory(&runtime).object_store();
    let faulty = FaultyStore::new(beneath, seed, &Runtime::real());
    let store = Store::new(
        Arc::new(faulty.clone()),
        tarn_store::Options::default(),
        &runtime,
    );
    (faulty, on_store(store, &runtime))
}

fn log_faults() -> LogFaults {
    LogFaults {
        latency_min: Duration::from_millis(1),
        latency_max: Duration::from_millis(40),
        request_lost: 80,
        reply_lost: 80,
        late: 80,
        late_max: Duration::from_secs(8),
        twice: 80,
        ..LogFaults::default()
    }
}

#[tokio::test(start_paused = true)]
async fn memory_holds_the_contract() {
    run(&InMemory(MemoryLog::new())).await;
    for seed in 0..20 {
        history(&InMemory(MemoryLog::new()), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn objects_in_memory_hold_the_contract() {
    let runtime = Runtime::real();
    run(&on_store(Store::memory(&runtime), &runtime)).await;
    for seed in 0..20 {
        history(&on_store(Store::memory(&runtime), &runtime), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_a_local_folder_hold_the_contract() {
    let runtime = Runtime::real();
    for (fsync, seed) in [(false, 1), (true, 2)] {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        run(&folder(&temporary, fsync, &runtime)).await;
        let temporary = tempfile::tempdir().expect("a temporary folder");
        history(&folder(&temporary, fsync, &runtime), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn objects_in_a_faulty_store_hold_the_contract() {
    for seed in 0..4 {
        let (faulty, subject) = faulty_store(seed);
        faulty.set_faults(bad_day(20));
        run(&subject).await;
    }
}

#[tokio::test(start_paused = true)]
async fn objects_in_a_faulty_store_keep_one_history() {
    let mut fired = BTreeSet::new();
    for seed in 0..30 {
        let (faulty, subject) = faulty_store(seed);
        faulty.set_faults(bad_day(10 + seed));
        history(&subject, seed).await;
        fired.extend(faulty.fired().into_keys().map(|(_, fault)| fault));
    }
    assert_eq!(fired.len(), 10, "every fault fired: {fired:?}");
}

#[tokio::test(start_paused = true)]
async fn a_faulty_log_holds_the_contract_and_keeps_one_history() {
    let mut fired = BTreeSet::new();
    for seed in 0..30 {
        let subject = Faulty::new(seed);
        if seed % 2 == 0 {
            subject.first.set_faults(log_faults());
        }
        run(&subject).await;
        let subject = Faulty::new(seed);
        subject.first.set_faults(log_faults());
        let stalls = async {
            sleep(Duration::from_millis(500)).await;
            subject.first.stall(Duration::from_secs(60));
        };
        futures::future::join(history(&subject, seed), stalls).await;
        fired.extend(subject.first.fired().into_keys().map(|(_, fault)| fault));
    }
    assert_eq!(fired.len(), 5, "every fault fired: {fired:?}");
}

/// What was broken in the first of these seeds that breaks, if one does.
fn first_break(seeds: std::ops::Range<u64>, defect: &'static str) -> Option<String> {
    for seed in seeds {
        let broken = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build();
            runtime.expect("a runtime").block_on(async {
                tarn_model::plant_defect(Some(defect));
                let (faulty, subject) = faulty_store(seed);
                faulty.set_faults(bad_day(10 + seed % 30));
                history(&subject, seed).await;
            });
        });
        tarn_model::plant_defect(None);
        if let Err(broken) = broken {
            return Some(broken.downcast_ref::<String>().cloned().unwrap_or_default());
        }
    }
    None
}

#[test]
fn histories_find_every_planted_defect_of_the_object_log() {
    for defect in [
        "skip-floor-after-put",
        "skip-floor-after-read",
        "skip-floor-after-absent",
        "floor-off-by-one",
    ] {
        let broken = first_break(0..300, defect);
        assert!(
            broken.is_some(),
            "{defect} is planted and no history breaks"
        );
    }
}

/// A process's subject, from its runtime.
type SubjectOf = Arc<dyn Fn(&Runtime) -> Box<dyn Subject + Send> + Send + Sync>;

/// A few processes on simulated machines, of which one is killed in the middle and comes back. Gives
/// the order of entries that a new process reads.
fn simulate(seed: u64, subject: SubjectOf) -> Vec<Bytes> {
    let mut simulation = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(Duration::from_secs(600))
        .build();
    let machines: Vec<_> = (0..3)
        .map(|index| SimulatedHost::new(seed * 10 + index))
        .collect();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for (index, machine) in machines.iter().cloned().enumerate() {
        let (subject, acknowledged) = (Arc::clone(&subject), Arc::clone(&acknowledged));
        simulation.host(format!("node-{index}"), move || {
            let (subject, acknowledged, machine) = (
                Arc::clone(&subject),
                Arc::clone(&acknowledged),
                machine.clone(),
            );
            async move {
                let runtime = Runtime::simulated(&machine);
                let log = subject(&runtime).open().await;
                let number = u128::from(runtime.random().u64());
                for sequence in 1.. {
                    append(&*log, entry(number, sequence, 0)).await;
                    acknowledged
                        .lock()
                        .expect("test")
                        .push(entry(number, sequence, 0).bytes);
                    sleep(Duration::from_millis(300)).await;
                }
                Ok(())
            }
        });
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let result = Arc::clone(&order);
    let auditor = SimulatedHost::new(seed * 10 + 9);
    simulation.client("auditor", async move {
        let log = subject(&Runtime::simulated(&auditor)).open().await;
        let mut follower = log.follow(Lsn::START);
        sleep(Duration::from_secs(8)).await;
        let due: Vec<_> = acknowledged.lock().expect("test").clone();
        let to = end(&*log).await;
        let seen = follow_to(&mut *follower, to).await;
        for bytes in due {
            assert!(seen.contains(&bytes), "lost: {bytes:?}");
        }
        *result.lock().expect("test") = seen;
        Ok(())
    });
    let mut steps = 0;
    while !simulation.step().expect("no process fails") {
        steps += 1;
        match steps {
            3_000 => simulation.crash("node-1"),
            4_000 => simulation.bounce("node-1"),
            _ => {}
        }
    }
    order.lock().expect("test").clone()
}

#[test]
fn a_simulated_cluster_over_objects_repeats_its_history() {
    let once = |seed| {
        let service = Runtime::simulated(&SimulatedHost::new(seed));
        let faulty = FaultyStore::new(Store::memory(&service).object_store(), seed, &service);
        faulty.set_faults(bad_day(20));
        let open = move |runtime: &Runtime| -> Box<dyn Subject + Send> {
            let store = Store::new(
                Arc::new(faulty.clone()),
                tarn_store::Options::default(),
                runtime,
            );
            Box::new(on_store(store, runtime))
        };
        simulate(seed, Arc::new(open))
    };
    let first = once(1);
    assert!(first.len() > 10, "{first:?}");
    assert_eq!(first, once(1));
    assert_ne!(first, once(2));
}

#[test]
fn a_simulated_cluster_over_a_faulty_log_repeats_its_history() {
    let once = |seed| {
        let memory = MemoryLog::new();
        let service = Runtime::simulated(&SimulatedHost::new(seed));
        let first = FaultyLog::new(Arc::new(memory.reopen()), seed, &service);
        first.set_faults(log_faults());
        let open = move |_: &Runtime| -> Box<dyn Subject + Send> {
            Box::new(Faulty {
                first: first.clone(),
                memory: memory.clone(),
            })
        };
        simulate(seed, Arc::new(open))
    };
    let first = once(1);
    assert!(first.len() > 10, "{first:?}");
    assert_eq!(first, once(1));
}
