//! Metrics of the agent.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tarn_kafka::ApiKey;
use tarn_runtime::listen::ReasonLabel;

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

/// From 0.5 ms to 16 s.
fn request_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

tarn_runtime::metrics! {
    pub(crate) struct AgentMetrics {
        /// Time from a request's last byte to its answer, long polls included
        pub(crate) request_seconds: Family<ApiLabel, Histogram> = "kafka_request_duration" in Seconds, Family::new_with_constructor(request_histogram);
        /// Bytes of requests that are worked on, at the last answer
        pub(crate) request_bytes: Gauge = "kafka_requests_in_flight" in Bytes;
        /// Bytes of answers that are not written yet
        pub(crate) response_bytes: Gauge = "kafka_responses_in_flight" in Bytes;
        /// Open connections of Kafka clients
        pub(crate) connections: Gauge = "kafka_connections";
        /// Connections that were closed from our side, by reason
        pub(crate) connections_closed: Family<ReasonLabel, Counter> = "kafka_connections_closed";
        /// Records that were acknowledged
        pub(crate) produce_records: Family<TopicLabel, Counter> = "produce_records";
        /// Incremental fetch sessions
        pub(crate) fetch_sessions: Gauge = "kafka_fetch_sessions";
        /// Topics that were described for Metadata; a list that is kept is not made again
        pub(crate) topics_described: Counter = "kafka_metadata_topics";
    }
}
