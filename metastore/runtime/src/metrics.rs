//! The metrics of one process, in Prometheus' text form. Each crate registers its own in its
//! `metrics.rs`; there is no global registry.

use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;

/// The registry of one process.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics(Arc::new(Mutex::new(Registry::with_prefix("tarn"))))
    }
}

impl Metrics {
    /// Registers a crate's metrics.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().expect("registering does not panic"))
    }

    /// What `/metrics` answers.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().expect("registering does not panic");
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a String cannot fail");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
