//! Settings of the writer. The doc comments are the manual.

use std::time::Duration;

use tarn_model::{ByteSize, caps};

/// How produced batches become segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterSettings {
    /// A segment is uploaded when it has this many bytes. Larger segments cost fewer requests,
    /// smaller ones are uploaded sooner.
    pub segment_bytes: ByteSize,
    /// A segment is uploaded when its first batch has waited for this long. It is the price of fewer
    /// requests to object storage, paid in latency.
    pub linger: Duration,
    /// Upload at once when nothing is on its way, without waiting for the linger. For stores where
    /// a request costs nothing: a local folder, memory.
    pub eager: bool,
    /// Uploads at the same time. Segments that are ready beyond that wait.
    pub uploads_max: usize,
    /// How long a batch whose predecessor is missing waits for it.
    pub door_wait: Duration,
    /// Bytes of batches that may wait for their predecessors. Beyond that, or beyond a few thousand
    /// batches, they get their verdict at once.
    pub door_bytes: ByteSize,
    /// Largest commit of one segment, encoded; a segment whose commit would be larger is closed
    /// before. Never above what fits into an entry of the commit log.
    pub commit_bytes: ByteSize,
    /// How long an upload or a commit is tried before its batches fail.
    pub give_up_after: Duration,
}

impl WriterSettings {
    /// For object storage over a network, where every request is paid for.
    pub fn remote() -> WriterSettings {
        WriterSettings {
            segment_bytes: ByteSize::mib(8),
            linger: Duration::from_millis(250),
            eager: false,
            uploads_max: 16,
            door_wait: Duration::from_secs(2),
            door_bytes: ByteSize::mib(64),
            commit_bytes: COMMIT_BYTES_MAX,
            give_up_after: Duration::from_secs(30),
        }
    }

    /// For a local folder or memory.
    pub fn local() -> WriterSettings {
        WriterSettings {
            linger: Duration::from_millis(5),
            eager: true,
            uploads_max: 4,
            ..WriterSettings::remote()
        }
    }
}

impl Default for WriterSettings {
    fn default() -> WriterSettings {
        WriterSettings::remote()
    }
}

/// What an entry's own fields may take beside the commands in it.
const ENTRY_OVERHEAD: ByteSize = ByteSize::kib(64);

/// The largest commit that is sure to fit into an entry.
pub(crate) const COMMIT_BYTES_MAX: ByteSize = ByteSize(caps::ENTRY_BYTES_MAX.0 - ENTRY_OVERHEAD.0);
