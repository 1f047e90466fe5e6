//! Settings of the writer. The doc comments are the manual.

use std::time::Duration;

use tarn_model::{ByteSize, caps, settings};

settings! {
    /// How produced batches become segments.
    pub struct WriterSettings {
        /// A segment is uploaded when it has this many bytes. Larger segments cost fewer requests,
        /// smaller ones are uploaded sooner.
        pub segment_bytes: ByteSize = ByteSize::mib(8), within ByteSize::kib(64)..=ByteSize::mib(64);
        /// A segment is uploaded when its first batch has waited for this long. It is the price of fewer
        /// requests to object storage, paid in latency.
        #[serde(with = "tarn_model::duration_text")]
        pub linger: Duration = Duration::from_millis(250), within ..=Duration::from_secs(10);
        /// Upload at once when nothing is on its way, without waiting for the linger. For stores where
        /// a request costs nothing: a local folder, memory.
        pub eager: bool = false;
        /// Uploads at the same time. Segments that are ready beyond that wait.
        pub uploads_max: usize = 16, within 1..=256;
        /// How long a batch whose predecessor is missing waits for it.
        #[serde(skip)]
        pub door_wait: Duration = Duration::from_secs(2);
        /// Bytes of batches that may wait for their predecessors. Beyond that, or beyond a few thousand
        /// batches, they get their verdict at once.
        #[serde(skip)]
        pub door_bytes: ByteSize = ByteSize::mib(64);
        /// Largest commit of one segment, encoded; a segment whose commit would be larger is closed
        /// before. Never above what fits into an entry of the commit log.
        #[serde(skip)]
        pub commit_bytes: ByteSize = COMMIT_BYTES_MAX;
        /// How long an upload or a commit is tried before its batches fail.
        #[serde(skip)]
        pub give_up_after: Duration = Duration::from_secs(30);
    }
}

impl WriterSettings {
    /// For object storage over a network, where every request is paid for.
    pub fn remote() -> WriterSettings {
        WriterSettings::default()
    }

    /// For a local folder or memory.
    pub fn local() -> WriterSettings {
        WriterSettings {
            linger: Duration::from_millis(5),
            eager: true,
            uploads_max: 4,
            ..WriterSettings::default()
        }
    }
}

/// What an entry's own fields may take beside the commands in it.
const ENTRY_OVERHEAD: ByteSize = ByteSize::kib(64);

/// The largest commit that is sure to fit into an entry.
pub(crate) const COMMIT_BYTES_MAX: ByteSize = ByteSize(caps::ENTRY_BYTES_MAX.0 - ENTRY_OVERHEAD.0);
