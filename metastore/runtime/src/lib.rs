//! The seams between Tarn and the machine: clock, chance, tasks, network, bytes in flight, metrics
//! and crash steps. Each has a simulated twin, so that a cluster runs from a seed in one process; what goes
//! wrong with the services around it is drawn in [`faults`].
//!
//! A process makes one [`Runtime`] and hands clones of it to its parts; nothing here is global.
//! Clippy refuses the standard library's and tokio's own doors everywhere else (`clippy.toml`).

mod budget;
mod clock;
pub mod faults;
pub mod http;
pub mod listen;
mod metrics;
mod net;
mod pool;
mod random;
mod scope;
mod simulated;
mod step;

pub use budget::{Budget, BudgetError, Permit};
pub use clock::Clock;
pub use metrics::{Metrics, gauge};
pub use net::{Listener, Net, Stream};
pub use pool::Pool;
pub use random::Random;
pub use scope::{Scope, Task, TaskError};
pub use simulated::SimulatedHost;

use std::sync::Arc;

/// Everything a process takes from its machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    random: Random,
    net: Net,
    metrics: Metrics,
    host: Option<SimulatedHost>,
}

impl Runtime {
    /// The machine this process runs on.
    pub fn real() -> Runtime {
        Runtime {
            inner: Arc::new(Inner {
                clock: Clock::real(),
                random: Random::from_os(),
                net: Net::real(),
                metrics: Metrics::default(),
                host: None,
            }),
        }
    }

    /// A simulated machine. Called at each start of the host: what the host remembers over a crash
    /// (clock faults, armed crash steps) lives in [`SimulatedHost`], the rest starts anew.
    pub fn simulated(host: &SimulatedHost) -> Runtime {
        Runtime {
            inner: Arc::new(Inner {
                clock: Clock::simulated(host.clone()),
                random: Random::seeded(host.next_seed()),
                net: Net::simulated(),
                metrics: Metrics::default(),
                host: Some(host.clone()),
            }),
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub fn random(&self) -> &Random {
        &self.inner.random
    }

    pub fn net(&self) -> &Net {
        &self.inner.net
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub fn is_simulated(&self) -> bool {
        self.inner.host.is_some()
    }

    /// The root of this process's tasks.
    pub fn root_scope(&self, name: &'static str) -> Scope {
        Scope::root(name, self.is_simulated())
    }

    /// Passes the crash step of this name: at once on a real machine; in simulation it is counted,
    /// and a process that was told to crash here goes no further. Use the `step!` macro.
    pub async fn pass_step(&self, name: &'static str) {
        if let Some(host) = &self.inner.host {
            host.pass_step(name).await;
        }
    }
}
