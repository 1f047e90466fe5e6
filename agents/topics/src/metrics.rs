//! Metrics of the writer and the reader.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tarn_runtime::Metrics;
use tokio::time::Instant;

/// Why a segment was closed and uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum FlushReason {
    /// It had its bytes.
    Size,
    /// Its first batch had waited for long enough.
    Linger,
    /// Nothing else was on its way.
    Idle,
    /// Its commit would not have fitted into one entry.
    Commit,
    /// The process is stopping.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Flush {
    pub(crate) reason: FlushReason,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum BatchResult {
    Appended,
    Duplicate,
    Refused,
    NotDone,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answer {
    pub(crate) result: BatchResult,
}

/// How a batch left the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum DoorEnd {
    /// Its predecessor came.
    Predecessor,
    /// It waited for as long as anybody may.
    Timeout,
    /// There was no room to wait.
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Door {
    pub(crate) end: DoorEnd,
}

#[derive(Debug, Clone)]
pub(crate) struct WriterMetrics {
    pub(crate) bytes: Counter,
    pub(crate) records: Counter,
    pub(crate) batches: Family<Answer, Counter>,
    pub(crate) segments: Counter,
    pub(crate) segment_bytes: Counter,
    pub(crate) flushes: Family<Flush, Counter>,
    pub(crate) upload_seconds: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) uploads: Gauge,
    pub(crate) door: Family<Door, Counter>,
    pub(crate) door_bytes: Gauge,
}

/// From 1 ms to 32 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

pub(crate) fn seconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

impl WriterMetrics {
    pub(crate) fn register(metrics: &Metrics) -> WriterMetrics {
        metrics.register(WriterMetrics::register_in)
    }

    fn register_in(registry: &mut Registry) -> WriterMetrics {
        let metrics = WriterMetrics {
            bytes: Counter::default(),
            records: Counter::default(),
            batches: Family::default(),
            segments: Counter::default(),
            segment_bytes: Counter::default(),
            flushes: Family::default(),
            upload_seconds: seconds(),
            commit_seconds: seconds(),
            uploads: Gauge::default(),
            door: Family::default(),
            door_bytes: Gauge::default(),
        };
        let WriterMetrics {
            bytes,
            records,
            batches,
            segments,
            segment_bytes,
            flushes,
            upload_seconds,
            commit_seconds,
            uploads,
            door,
            door_bytes,
        } = metrics.clone();
        registry.register_with_unit(
            "produce",
            "Bytes of batches that were committed",
            Unit::Bytes,
            bytes,
        );
        registry.register("segment_records", "Records that were committed", records);
        registry.register(
            "produce_batches",
            "Batches that were answered, by what became of them",
            batches,
        );
        registry.register("segments", "Segments that were committed", segments);
        registry.register_with_unit(
            "segment",
            "Bytes of segments that were uploaded",
            Unit::Bytes,
            segment_bytes,
        );
        registry.register(
            "segment_flushes",
            "Segments that were closed, by reason",
            flushes,
        );
        registry.register_with_unit(
            "segment_upload",
            "Time of an upload",
            Unit::Seconds,
            upload_seconds,
        );
        registry.register_with_unit(
            "segment_commit",
            "Time from the end of a segment's upload to its commit",
            Unit::Seconds,
            commit_seconds,
        );
        registry.register("segment_uploads", "Uploads under way", uploads);
        registry.register(
            "produce_door",
            "Batches that came before their predecessor, by how that ended",
            door,
        );
        registry.register_with_unit(
            "produce_door",
            "Bytes of batches that wait for their predecessor",
            Unit::Bytes,
            door_bytes,
        );
        metrics
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ReaderMetrics {
    pub(crate) bytes: Counter,
    pub(crate) batches: Counter,
    pub(crate) replans: Counter,
}

impl ReaderMetrics {
    pub(crate) fn register(metrics: &Metrics) -> ReaderMetrics {
        metrics.register(|registry| {
            let metrics = ReaderMetrics::default();
            let ReaderMetrics {
                bytes,
                batches,
                replans,
            } = metrics.clone();
            registry.register_with_unit(
                "fetch",
                "Bytes of batches that were read",
                Unit::Bytes,
                bytes,
            );
            registry.register("fetch_batches", "Batches that were read", batches);
            registry.register(
                "fetch_replans",
                "Reads that met a deleted segment and were planned again",
                replans,
            );
            metrics
        })
    }
}
