//! Settings of a node. The doc comments are the manual.

use std::time::Duration;

use tarn_model::{ByteSize, caps};
use tarn_state::topic_configs::Defaults;

/// Settings of the parts that every process has.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// A snapshot of the state is written and the log trimmed after this many bytes of entries …
    pub snapshot_bytes: ByteSize,
    /// … or this many entries.
    pub snapshot_entries: u64,
    /// Bytes of object chunks kept in memory.
    pub cache_bytes: ByteSize,
    /// Bytes in flight in the whole process.
    pub memory_budget: ByteSize,
    /// Every process appends at least this often.
    pub tick: Duration,
    /// True under the lock of a local folder: nobody else lives, entry 1 closes every session.
    pub alone: bool,
    /// Trust the wall clock of a process that is alone, though it is more than a day off the newest
    /// cluster time of the commit log. Without it cluster time stands still then, so that nothing is
    /// deleted by age because of a clock that is years ahead.
    pub accept_clock: bool,
    /// Settings that are the defaults of topic configs. Every role of the process has them from here.
    pub defaults: Defaults,
}

impl Default for NodeSettings {
    /// A process of a cluster over the `object` log.
    fn default() -> NodeSettings {
        NodeSettings {
            snapshot_bytes: ByteSize::mib(64),
            snapshot_entries: 10_000,
            cache_bytes: ByteSize::mib(256),
            memory_budget: ByteSize::mib(512),
            tick: caps::TICK_INTERVAL,
            alone: false,
            accept_clock: false,
            defaults: Defaults::default(),
        }
    }
}
