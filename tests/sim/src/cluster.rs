//! The worlds that outlive processes: object store, commit log, machines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tarn_commit_log::{CommitLog, FaultyLog, Floor, MemoryLog, ObjectLog};
use tarn_model::{SchemaId, decode};
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_store::{FaultyStore, Options, Store, StoreFaults, paths};

use crate::ages::Ages;
use crate::claims::Claims;
use crate::dead_end::DeadEnd;
use crate::gate::{Gate, GatedLog, GatedStore};
use crate::joint::Joint;
use crate::presence::Presence;
use crate::{History, LogKind, Plan};

/// Port of every agent; a host has its own address.
pub(crate) const KAFKA_PORT: u16 = 9092;
/// A topic without a schema: its table has the values as they came.
pub(crate) const EVENTS: &str = "events";
/// A topic with an Avro schema; some of its records do not decode.
pub(crate) const ORDERS: &str = "orders";
pub(crate) const TOPICS: [&str; 2] = [EVENTS, ORDERS];

/// Everything that processes and harness share. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) plan: Arc<Plan>,
    pub(crate) objects: FaultyStore,
    memory: MemoryLog,
    faulty: FaultyLog,
    pub(crate) history: History,
    pub(crate) dead_end: DeadEnd,
    pub(crate) joint: Joint,
    pub(crate) claims: Claims,
    pub(crate) ages: Ages,
    pub(crate) presence: Presence,
    pub(crate) machines: Arc<Vec<Machine>>,
    /// The services have a machine of their own, whose clock is right.
    pub(crate) service: Runtime,
    /// The schema of [`ORDERS`], once it is registered.
    schema: Arc<Mutex<Option<SchemaId>>>,
    objects_gone: Arc<AtomicBool>,
}

/// A machine and its way to the services.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) host: SimulatedHost,
    pub(crate) gate: Gate,
}

impl Cluster {
    pub(crate) fn new(plan: &Plan) -> Cluster {
        let service = Runtime::simulated(&SimulatedHost::new(plan.seed ^ 0x5e41));
        let memory = MemoryLog::new();
        let faulty = FaultyLog::new(Arc::new(memory.clone()), plan.seed ^ 0x106, &service);
        let machine = |node: usize| Machine {
            host: SimulatedHost::new(plan.seed ^ (1000 + node as u64)),
            gate: Gate::default(),
        };
        Cluster {
            plan: Arc::new(plan.clone()),
            objects: FaultyStore::new(Arc::new(InMemory::new()), plan.seed ^ 0x0b1ec7, &service),
            memory,
            faulty,
            history: History::default(),
            dead_end: DeadEnd::default(),
            joint: Joint::default(),
            claims: Claims::default(),
            ages: Ages::default(),
            presence: Presence::new(plan.nodes),
            machines: Arc::new((0..plan.nodes).map(machine).collect()),
            service,
            schema: Arc::default(),
            objects_gone: Arc::default(),
        }
    }

    pub(crate) fn host_name(node: usize) -> String {
        format!("node-{node}")
    }

    pub(crate) fn bootstrap(&self) -> Vec<String> {
        (0..self.plan.nodes)
            .map(|node| format!("{}:{KAFKA_PORT}", Cluster::host_name(node)))
            .collect()
    }

    /// A process's door to the object store.
    pub(crate) fn store(&self, node: usize, runtime: &Runtime) -> Store {
        let gated = GatedStore {
            store: self.objects.clone(),
            gate: self.machines[node].gate.clone(),
            history: self.history.clone(),
        };
        Store::new(Arc::new(gated), Options::default(), runtime)
    }

    /// A process's handle of the commit log.
    pub(crate) async fn log(
        &self,
        node: usize,
        store: &Store,
        runtime: &Runtime,
    ) -> Result<Arc<dyn CommitLog>, String> {
        let log = self.open_log(store, runtime).await?;
        match self.plan.log {
            LogKind::Memory => Ok(Arc::new(GatedLog {
                log,
                gate: self.machines[node].gate.clone(),
            })),
            // Its store has a gate.
            LogKind::Object => Ok(log),
        }
    }

    /// A handle of the commit log that no machine's gate stands before.
    pub(crate) async fn open_log(
        &self,
        store: &Store,
        runtime: &Runtime,
    ) -> Result<Arc<dyn CommitLog>, String> {
        match self.plan.log {
            LogKind::Memory => {
                let log = self.faulty.over(Arc::new(self.memory.reopen()));
                Ok(Arc::new(log))
            }
            LogKind::Object => {
                ObjectLog::open(store, tarn_commit_log::Settings::default(), runtime)
                    .await
                    .map(|log| Arc::new(log) as Arc<dyn CommitLog>)
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// The floor as the service has it, at the end of a run.
    pub(crate) async fn floor(&self) -> Result<Floor, String> {
        match self.plan.log {
            LogKind::Memory => self.memory.floor().await.map_err(|error| error.to_string()),
            LogKind::Object => {
                let store = Store::new(self.objects.objects(), Options::default(), &self.service);
                match store.get(&paths::log_floor()).await {
                    Ok(bytes) => decode(&bytes).map_err(|error| error.to_string()),
                    Err(tarn_store::StoreError::NotFound { .. }) => Ok(Floor::START),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }

    pub(crate) fn stall_log(&self, duration: Duration) {
        self.faulty.stall(duration);
    }

    pub(crate) fn schema(&self) -> Option<SchemaId> {
        *self.schema.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn set_schema(&self, id: SchemaId) {
        *self.schema.lock().expect("nobody panics while holding it") = Some(id);
    }

    /// Takes away every segment and every file of a table, as nobody ever may.
    pub(crate) fn lose_objects(&self) {
        let objects = self.objects.objects();
        for folder in [paths::segments(), paths::tables()] {
            let listed = objects.list(Some(&folder)).map_ok(|meta| meta.location);
            let lost = objects
                .delete_stream(listed.boxed())
                .try_collect::<Vec<_>>();
            futures::executor::block_on(lost).expect("memory deletes");
        }
        self.objects_gone.store(true, Ordering::Relaxed);
    }

    pub(crate) fn are_objects_gone(&self) -> bool {
        self.objects_gone.load(Ordering::Relaxed)
    }

    /// By how much a machine's wall clock is off the services', either way.
    pub(crate) fn skew(&self, runtime: &Runtime) -> Duration {
        let off = runtime
            .clock()
            .wall()
            .0
            .abs_diff(self.service.clock().wall().0);
        Duration::from_millis(off)
    }

    /// The object store answers nobody.
    pub(crate) fn store_down(&self) {
        self.objects.set_faults(StoreFaults {
            request_lost: 1000,
            ..StoreFaults::default()
        });
    }

    /// The object store answers again, as well as the plan lets it.
    pub(crate) fn store_up(&self, healed: bool) {
        if healed {
            self.objects.set_faults(StoreFaults::default());
        } else {
            self.objects.set_faults(self.store_faults());
        }
    }

    fn store_faults(&self) -> StoreFaults {
        let faults = &self.plan.faults;
        StoreFaults {
            latency_min: Duration::from_millis(1),
            latency_max: Duration::from_millis(30),
            request_lost: faults.store_lost,
            reply_lost: faults.store_lost,
            unavailable_before: faults.store_unavailable / 2,
            unavailable_after: faults.store_unavailable / 2,
            late: faults.store_late,
            late_max: Duration::from_secs(8),
            twice: faults.store_twice,
            conflict_before: faults.store_conflict / 2,
            conflict_after: faults.store_conflict,
            truncated: faults.store_truncated,
            cut_short: faults.store_truncated / 2,
            often: faults.store_often,
            ..StoreFaults::default()
        }
    }

    /// Turns the plan's faults on.
    pub(crate) fn trouble(&self) {
        self.faulty.set_faults(self.plan.faults.log.clone());
        self.store_up(false);
    }

    /// Turns the commit log's faults off, and the store's unless it is down.
    pub(crate) fn heal(&self, store_is_up: bool) {
        self.faulty
            .set_faults(tarn_commit_log::LogFaults::default());
        if store_is_up {
            self.store_up(true);
        }
        for machine in self.machines.iter() {
            machine.host.disarm();
            machine.host.set_right();
        }
    }

    /// Faults that fired, by world, operation and fault.
    pub(crate) fn fired(&self) -> BTreeMap<String, u64> {
        let name = |world, ((op, fault), count)| (format!("{world}.{op}.{fault}"), count);
        let log = self.faulty.fired().into_iter();
        let store = self.objects.fired().into_iter();
        log.map(|fired| name("log", fired))
            .chain(store.map(|fired| name("store", fired)))
            .collect()
    }

    /// What was asked of log and store, by world and operation.
    pub(crate) fn asked(&self) -> BTreeMap<String, u64> {
        let name = |world, (op, count)| (format!("{world}.{op}"), count);
        let log = self.faulty.asked().into_iter();
        let store = self.objects.asked().into_iter();
        log.map(|asked| name("log", asked))
            .chain(store.map(|asked| name("store", asked)))
            .collect()
    }
}
