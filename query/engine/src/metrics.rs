//! Metrics of queries.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
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

/// From 1 ms to 65 s.
fn query_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

tarn_runtime::metrics! {
    pub(crate) struct EngineMetrics {
        /// Time from a query's arrival to its last row or its failure
        seconds: Family<ClassLabel, Histogram> = "query_duration" in Seconds, Family::new_with_constructor(query_histogram);
        /// Queries that failed, by reason
        failures: Family<ReasonLabel, Counter> = "query_failures";
        /// Queries that have begun and not ended
        running: Gauge = "queries_running";
        /// Rows of answers
        rows: Counter = "query_rows";
    }
}

impl EngineMetrics {
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
