//! Metrics of the hot tier.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

tarn_runtime::metrics! {
    pub(crate) struct HotMetrics {
        /// Bytes of rows kept in memory
        pub(crate) bytes: Gauge = "hot_tier_bytes";
        /// Rows kept in memory
        pub(crate) rows: Gauge = "hot_tier_rows";
        /// Rows decoded because they were new
        pub(crate) followed_rows: Counter = "hot_tier_followed_rows";
        /// Rows dropped from memory before they were in their table
        pub(crate) evicted_rows: Counter = "hot_tier_evicted_rows";
        /// Rows that a query had to read from segments
        pub(crate) reread_rows: Counter = "hot_tier_reread_rows";
    }
}
