//! Metrics of the writer and the reader.
//!
//! Holds: labels come from lists that are closed here, so that no client adds a series.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
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
pub(crate) struct FlushLabel {
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
pub(crate) struct AnswerLabel {
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
pub(crate) struct DoorLabel {
    pub(crate) end: DoorEnd,
}

/// From 1 ms to 32 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

pub(crate) fn seconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

tarn_runtime::metrics! {
    pub(crate) struct WriterMetrics {
        /// Bytes of batches that were committed
        pub(crate) bytes: Counter = "produce" in Bytes;
        /// Records that were committed
        pub(crate) records: Counter = "segment_records";
        /// Batches that were answered, by what became of them
        pub(crate) batches: Family<AnswerLabel, Counter> = "produce_batches";
        /// Segments that were committed
        pub(crate) segments: Counter = "segments";
        /// Bytes of segments that were uploaded
        pub(crate) segment_bytes: Counter = "segment" in Bytes;
        /// Segments that were closed, by reason
        pub(crate) flushes: Family<FlushLabel, Counter> = "segment_flushes";
        /// Time of an upload
        pub(crate) upload_seconds: Histogram = "segment_upload" in Seconds, seconds();
        /// Time from the end of a segment's upload to its commit
        pub(crate) commit_seconds: Histogram = "segment_commit" in Seconds, seconds();
        /// Uploads under way
        pub(crate) uploads: Gauge = "segment_uploads";
        /// Batches that came before their predecessor, by how that ended
        pub(crate) door: Family<DoorLabel, Counter> = "produce_door";
        /// Bytes of batches that wait for their predecessor
        pub(crate) door_bytes: Gauge = "produce_door" in Bytes;
    }
}

tarn_runtime::metrics! {
    #[derive(Default)]
    pub(crate) struct ReaderMetrics {
        /// Bytes of batches that were read
        pub(crate) bytes: Counter = "fetch" in Bytes;
        /// Batches that were read
        pub(crate) batches: Counter = "fetch_batches";
        /// Reads that met a deleted segment and were planned again
        pub(crate) replans: Counter = "fetch_replans";
    }
}
