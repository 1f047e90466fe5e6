//! Settings of a node. The doc comments are the manual.

use std::time::Duration;

use tarn_model::{ByteSize, caps, settings};
use tarn_state::topic_configs::Defaults;

settings! {
    /// Who a process is.
    pub struct IdentitySettings {
        /// Name of this process in its cluster. Under it the process keeps its node id, Kafka's broker id, over
        /// restarts and whatever its address is; no other process that lives may have it. If nothing is said, the
        /// address that Kafka clients are told, or, without an agent, that of the HTTP port, which every process
        /// has to itself; and `local` on a folder of its own, where nobody else can be.
        pub name: String = String::new();
    }
}

settings! {
    /// Settings of the parts that every process has.
    pub struct NodeSettings {
        /// A snapshot of the state is written and the log trimmed after this many bytes of entries …
        pub snapshot_bytes: ByteSize = ByteSize::mib(64), within ByteSize::kib(64)..;
        /// … or this many entries.
        pub snapshot_entries: u64 = 10_000, within 1..;
        /// Bytes of object chunks kept in memory.
        #[serde(skip)]
        pub cache_bytes: ByteSize = ByteSize::mib(256);
        /// Bytes in flight in the whole process.
        #[serde(skip)]
        pub memory_budget: ByteSize = ByteSize::mib(512);
        /// Every process appends at least this often.
        #[serde(skip)]
        pub tick: Duration = caps::TICK_INTERVAL;
        /// True under the lock of a local folder: nobody else lives, entry 1 closes every session.
        #[serde(skip)]
        pub alone: bool = false;
        /// Trust the wall clock of a process that is alone, though it is more than a day off the newest
        /// cluster time of the commit log. Without it cluster time stands still then, so that nothing is
        /// deleted by age because of a clock that is years ahead.
        #[serde(skip)]
        pub accept_clock: bool = false;
        /// Settings that are the defaults of topic configs. Every role of the process has them from here.
        #[serde(skip)]
        pub defaults: Defaults = Defaults::default();
    }
}
