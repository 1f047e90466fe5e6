//! How a store behaves.

use std::time::Duration;

/// How a store behaves. The defaults are the product's.
#[derive(Debug, Clone)]
pub struct Options {
    /// Local folder only: make every write durable before answering. Off where nothing has to outlive
    /// the machine: in an ephemeral folder, in tests.
    pub fsync: bool,
    /// How long one call may retry.
    pub deadline: Duration,
    /// How long one attempt may take before it counts as lost.
    pub attempt: Duration,
    /// The pause after the first failure; it doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fsync: true,
            deadline: Duration::from_secs(30),
            // A 64 MiB object at 5 MB/s.
            attempt: Duration::from_secs(15),
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}
