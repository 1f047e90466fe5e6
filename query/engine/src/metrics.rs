//! Metrics of queries.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;
use tarn_runtime::Metrics;
use tokio::time::Instant;

use crate::QueryError;
use crate::statement::Class;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct EngineMetrics {
    seconds: Family<ClassLabel, Histogram>,
    failures: Family<ReasonLabel, Counter>,
    running: Gauge,
    rows: Counter,
}

/// From 1 ms to 65 s.
fn query_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl EngineMetrics {
    pub(crate) fn register(metrics: &Metrics) -> EngineMetrics {
        let all = EngineMetrics {
            seconds: Family::new_with_constructor(query_histogram),
            failures: Family::default(),
            running: Gauge::default(),
            rows: Counter::default(),
        };
        metrics.register(|registry| {
            let text = "Time from a query's arrival to its last row or its failure";
            registry.register_with_unit("query_duration", text, Unit::Seconds, all.seconds.clone());
            registry.register(
                "query_failures",
                "Queries that failed, by reason",
                all.failures.clone(),
            );
            registry.register(
                "queries_running",
                "Queries that have begun and not ended",
                all.running.clone(),
            );
            registry.register("query_rows", "Rows of answers", all.rows.clone());
        });
        all
    }

    pub(crate) fn begin(&self) -> Measured {
        self.running.inc();
        Measured {
            metrics: self.clone(),
            started: Instant::now(),
            class: None,
        }
    }
}

/// One query: counted as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Measured {
    metrics: EngineMetrics,
    started: Instant,
    class: Option<Class>,
}

impl Measured {
    pub(crate) fn class(&mut self, class: Class) {
        self.class = Some(class);
    }

    pub(crate) fn rows(&self, rows: usize) {
        self.metrics.rows.inc_by(rows as u64);
    }

    pub(crate) fn failed(&self, error: &QueryError) {
        self.metrics
            .failures
            .get_or_create(&ReasonLabel {
                reason: error.label(),
            })
            .inc();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.running.dec();
        let class = self.class.map_or("unknown", Class::label);
        self.metrics
            .seconds
            .get_or_create(&ClassLabel { class })
            .observe(self.started.elapsed().as_secs_f64());
    }
}
