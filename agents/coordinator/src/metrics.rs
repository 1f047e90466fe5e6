//! Metrics of the coordinators.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone)]
pub(crate) struct CoordinatorMetrics {
    pub(crate) groups: Gauge,
    pub(crate) rebalances: Counter,
}

impl CoordinatorMetrics {
    pub(crate) fn register(registry: &mut Registry) -> CoordinatorMetrics {
        let all = CoordinatorMetrics {
            groups: Gauge::default(),
            rebalances: Counter::default(),
        };
        registry.register(
            "kafka_groups",
            "Consumer groups that this agent coordinates and has in memory",
            all.groups.clone(),
        );
        registry.register(
            "kafka_rebalances",
            "Rebalances that were completed here",
            all.rebalances.clone(),
        );
        all
    }
}
