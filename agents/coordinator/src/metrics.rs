//! Metrics of the coordinators.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

tarn_runtime::metrics! {
    pub(crate) struct CoordinatorMetrics {
        /// Consumer groups that this agent coordinates and has in memory
        pub(crate) groups: Gauge = "kafka_groups";
        /// Rebalances that were completed here
        pub(crate) rebalances: Counter = "kafka_rebalances";
    }
}
