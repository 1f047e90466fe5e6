//! What a process tells about its replica.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tarn_runtime::Runtime;

/// Clones share the numbers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) applied: Gauge,
    pub(crate) view_lag: Gauge,
    pub(crate) entries: Counter,
    pub(crate) entry_bytes: Counter,
    pub(crate) views: Counter,
    pub(crate) jumps: Counter,
    pub(crate) fenced: Gauge,
    pub(crate) votes: Gauge,
    pub(crate) sessions_opened: Counter,
    pub(crate) propose_seconds: Histogram,
    pub(crate) propose_unknown: Counter,
    pub(crate) propose_not_done: Counter,
    pub(crate) propose_refused: Counter,
    pub(crate) appends_repeated: Counter,
    pub(crate) barriers: Counter,
    pub(crate) barrier_calls: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) snapshot_failures: Counter,
    pub(crate) snapshot_bytes: Gauge<u64, AtomicU64>,
    pub(crate) snapshot_garbage: Gauge,
    pub(crate) trims: Counter,
    pub(crate) archived: Gauge,
    pub(crate) archive_objects: Counter,
    pub(crate) archive_failures: Counter,
}

impl Metrics {
    pub(crate) fn register(runtime: &Runtime) -> Metrics {
        let metrics = Metrics {
            applied: Gauge::default(),
            view_lag: Gauge::default(),
            entries: Counter::default(),
            entry_bytes: Counter::default(),
            views: Counter::default(),
            jumps: Counter::default(),
            fenced: Gauge::default(),
            votes: Gauge::default(),
            sessions_opened: Counter::default(),
            propose_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            propose_unknown: Counter::default(),
            propose_not_done: Counter::default(),
            propose_refused: Counter::default(),
            appends_repeated: Counter::default(),
            barriers: Counter::default(),
            barrier_calls: Counter::default(),
            snapshots: Counter::default(),
            snapshot_failures: Counter::default(),
            snapshot_bytes: Gauge::default(),
            snapshot_garbage: Gauge::default(),
            trims: Counter::default(),
            archived: Gauge::default(),
            archive_objects: Counter::default(),
            archive_failures: Counter::default(),
        };
        let m = metrics.clone();
        runtime.metrics().register(move |registry| {
            let registry = registry.sub_registry_with_prefix("replica");
            registry.register("applied_n", "n of the last entry applied", m.applied);
            registry.register(
                "view_lag_entries",
                "Entries behind the log's end at the last barrier",
                m.view_lag,
            );
            registry.register("entries", "Entries applied", m.entries);
            registry.register("entry_bytes", "Bytes of entries applied", m.entry_bytes);
            registry.register("views", "Views published", m.views);
            registry.register(
                "jumps",
                "Times the log was trimmed past this replica",
                m.jumps,
            );
            registry.register(
                "fenced",
                "1 while the log has not heard of this process for too long",
                m.fenced,
            );
            registry.register(
                "clock_votes",
                "0 while this process found its own wall clock wrong",
                m.votes,
            );
            registry.register(
                "sessions_opened",
                "Node sessions opened by this process",
                m.sessions_opened,
            );
            registry.register(
                "propose_seconds",
                "From propose to its answer",
                m.propose_seconds,
            );
            registry.register(
                "propose_unknown",
                "Proposals whose fate was not learned in time",
                m.propose_unknown,
            );
            registry.register(
                "propose_not_done",
                "Proposals that were not made",
                m.propose_not_done,
            );
            registry.register(
                "propose_refused",
                "Proposals that every replica refused",
                m.propose_refused,
            );
            registry.register(
                "appends_repeated",
                "Appends sent again because of an unknown fate",
                m.appends_repeated,
            );
            registry.register("barriers", "Read barriers asked for", m.barriers);
            registry.register(
                "barrier_calls",
                "Calls to the log's end that answered them",
                m.barrier_calls,
            );
            registry.register(
                "snapshots",
                "State snapshots written and verified",
                m.snapshots,
            );
            registry.register(
                "snapshot_failures",
                "State snapshots or trims that failed",
                m.snapshot_failures,
            );
            registry.register(
                "snapshot_bytes",
                "Bytes of the last state snapshot",
                m.snapshot_bytes,
            );
            registry.register(
                "snapshot_garbage",
                "State snapshots older than the three kept",
                m.snapshot_garbage,
            );
            registry.register("trims", "Trims of the log", m.trims);
            registry.register(
                "archived_n",
                "n of the last entry known to be archived",
                m.archived,
            );
            registry.register(
                "archive_objects",
                "Archive objects written",
                m.archive_objects,
            );
            registry.register(
                "archive_failures",
                "Archive objects that could not be written",
                m.archive_failures,
            );
        });
        metrics.votes.set(1);
        metrics
    }

    pub(crate) fn proposed(&self, took: Duration) {
        self.propose_seconds.observe(took.as_secs_f64());
    }
}

/// A number of entries as a gauge takes it.
pub(crate) fn gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
