//! Metrics of the registry.

use prometheus_client::metrics::counter::Counter;

tarn_runtime::metrics! {
    pub(crate) struct RegistryMetrics {
        /// Requests to the schema registry
        pub(crate) requests: Counter = "registry_requests";
    }
}
