//! Metrics of the registry.

use prometheus_client::metrics::counter::Counter;

#[derive(Debug, Clone)]
pub(crate) struct RegistryMetrics {
    pub(crate) requests: Counter,
}

impl RegistryMetrics {
    pub(crate) fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
        let requests = Counter::default();
        registry.register(
            "registry_requests",
            "Requests to the schema registry",
            requests.clone(),
        );
        RegistryMetrics { requests }
    }
}
