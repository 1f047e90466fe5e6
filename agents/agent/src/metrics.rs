//! Metrics of the agent.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;
use tarn_kafka::ApiKey;
use tarn_runtime::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ApiLabel {
    pub(crate) api: &'static str,
}

impl ApiLabel {
    pub(crate) fn of(api: ApiKey) -> ApiLabel {
        ApiLabel { api: api.name() }
    }
}

/// Bounded by the topics there ever were in this process's life.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TopicLabel {
    pub(crate) topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct AgentMetrics {
    pub(crate) request_seconds: Family<ApiLabel, Histogram>,
    pub(crate) request_bytes: Gauge,
    pub(crate) response_bytes: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_closed: Family<ReasonLabel, Counter>,
    pub(crate) produce_records: Family<TopicLabel, Counter>,
    pub(crate) fetch_sessions: Gauge,
    pub(crate) topics_described: Counter,
}

/// From 0.5 ms to 16 s.
fn request_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl AgentMetrics {
    pub(crate) fn register(metrics: &Metrics) -> AgentMetrics {
        let all = AgentMetrics {
            request_seconds: Family::new_with_constructor(request_histogram),
            request_bytes: Gauge::default(),
            response_bytes: Gauge::default(),
            connections: Gauge::default(),
            connections_closed: Family::default(),
            produce_records: Family::default(),
            fetch_sessions: Gauge::default(),
            topics_described: Counter::default(),
        };
        let AgentMetrics {
            request_seconds,
            request_bytes,
            response_bytes,
            connections,
            connections_closed,
            produce_records,
            fetch_sessions,
            topics_described,
        } = all.clone();
        metrics.register(|registry| {
            registry.register_with_unit(
                "kafka_request_duration",
                "Time from a request's last byte to its answer, long polls included",
                Unit::Seconds,
                request_seconds,
            );
            registry.register_with_unit(
                "kafka_requests_in_flight",
                "Bytes of requests that are worked on, at the last answer",
                Unit::Bytes,
                request_bytes,
            );
            registry.register_with_unit(
                "kafka_responses_in_flight",
                "Bytes of answers that are not written yet",
                Unit::Bytes,
                response_bytes,
            );
            registry.register(
                "kafka_connections",
                "Open connections of Kafka clients",
                connections,
            );
            registry.register(
                "kafka_connections_closed",
                "Connections that were closed from our side, by reason",
                connections_closed,
            );
            registry.register(
                "produce_records",
                "Records that were acknowledged",
                produce_records,
            );
            registry.register(
                "kafka_fetch_sessions",
                "Incremental fetch sessions",
                fetch_sessions,
            );
            registry.register(
                "kafka_metadata_topics",
                "Topics that were described for Metadata; a list that is kept is not made again",
                topics_described,
            );
        });
        all
    }
}
