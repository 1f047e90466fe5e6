//! Metrics of the hot tier.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tarn_runtime::Metrics;

#[derive(Debug, Clone, Default)]
pub(crate) struct HotMetrics {
    pub(crate) bytes: Gauge,
    pub(crate) rows: Gauge,
    pub(crate) followed_rows: Counter,
    pub(crate) evicted_rows: Counter,
    pub(crate) reread_rows: Counter,
}

impl HotMetrics {
    pub(crate) fn register(metrics: &Metrics) -> HotMetrics {
        let hot = HotMetrics::default();
        metrics.register(|registry| {
            registry.register(
                "hot_tier_bytes",
                "Bytes of rows kept in memory",
                hot.bytes.clone(),
            );
            registry.register("hot_tier_rows", "Rows kept in memory", hot.rows.clone());
            let text = "Rows decoded because they were new";
            registry.register("hot_tier_followed_rows", text, hot.followed_rows.clone());
            let text = "Rows dropped from memory before they were in their table";
            registry.register("hot_tier_evicted_rows", text, hot.evicted_rows.clone());
            let text = "Rows that a query had to read from segments";
            registry.register("hot_tier_reread_rows", text, hot.reread_rows.clone());
        });
        hot
    }
}
