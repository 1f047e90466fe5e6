//! What a process tells about its replica.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

tarn_runtime::metrics! {
    /// Clones share the numbers.
    pub(crate) struct Metrics {
        /// n of the last entry applied
        pub(crate) applied: Gauge = "replica_applied_n";
        /// Entries behind the log's end at the last barrier
        pub(crate) view_lag: Gauge = "replica_view_lag_entries";
        /// Entries applied
        pub(crate) entries: Counter = "replica_entries";
        /// Bytes of entries applied
        pub(crate) entry_bytes: Counter = "replica_entry_bytes";
        /// Views published
        pub(crate) views: Counter = "replica_views";
        /// Times the log was trimmed past this replica
        pub(crate) jumps: Counter = "replica_jumps";
        /// 1 while the log has not heard of this process for too long
        pub(crate) fenced: Gauge = "replica_fenced";
        /// 0 while this process found its own wall clock wrong
        pub(crate) votes: Gauge = "replica_clock_votes";
        /// Node sessions opened by this process
        pub(crate) sessions_opened: Counter = "replica_sessions_opened";
        /// From propose to its answer
        pub(crate) propose_seconds: Histogram = "replica_propose_seconds", Histogram::new(exponential_buckets(0.001, 2.0, 16));
        /// Proposals whose fate was not learned in time
        pub(crate) propose_unknown: Counter = "replica_propose_unknown";
        /// Proposals that were not made
        pub(crate) propose_not_done: Counter = "replica_propose_not_done";
        /// Proposals that every replica refused
        pub(crate) propose_refused: Counter = "replica_propose_refused";
        /// Appends sent again because of an unknown fate
        pub(crate) appends_repeated: Counter = "replica_appends_repeated";
        /// Read barriers asked for
        pub(crate) barriers: Counter = "replica_barriers";
        /// Calls to the log's end that answered them
        pub(crate) barrier_calls: Counter = "replica_barrier_calls";
        /// State snapshots written and verified
        pub(crate) snapshots: Counter = "replica_snapshots";
        /// State snapshots or trims that failed
        pub(crate) snapshot_failures: Counter = "replica_snapshot_failures";
        /// Bytes of the last state snapshot
        pub(crate) snapshot_bytes: Gauge<u64, AtomicU64> = "replica_snapshot_bytes";
        /// State snapshots older than the three kept
        pub(crate) snapshot_garbage: Gauge = "replica_snapshot_garbage";
        /// Trims of the log
        pub(crate) trims: Counter = "replica_trims";
        /// n of the last entry known to be archived
        pub(crate) archived: Gauge = "replica_archived_n";
        /// Archive objects written
        pub(crate) archive_objects: Counter = "replica_archive_objects";
        /// Archive objects that could not be written
        pub(crate) archive_failures: Counter = "replica_archive_failures";
    }
}

impl Metrics {
    pub(crate) fn proposed(&self, took: Duration) {
        self.propose_seconds.observe(took.as_secs_f64());
    }
}
