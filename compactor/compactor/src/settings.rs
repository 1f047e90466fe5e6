//! Settings of the compactor. The doc comments are the manual.

use std::time::Duration;

use tarn_model::ByteSize;

/// How eagerly topics become tables.
#[derive(Debug, Clone)]
pub struct CompactorSettings {
    /// Memory that one commit may take: records, rows and files together. When more than a quarter
    /// of it waits, the interval is not waited for.
    pub commit_memory: ByteSize,
    /// Tables that are worked on at the same time, as far as the node's memory goes. More than there
    /// are cores: a commit of little is mostly waiting for the store.
    pub tables_at_once: usize,
    /// Threads that decode and encode at the same time, for all tables together.
    pub cores: usize,
    /// How often the board is looked at.
    pub tick: Duration,
}

impl Default for CompactorSettings {
    fn default() -> CompactorSettings {
        CompactorSettings {
            commit_memory: ByteSize::mib(256),
            tables_at_once: 4,
            cores: 2,
            tick: Duration::from_millis(500),
        }
    }
}
