//! Settings of the process itself: what no crate below knows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tarn_model::{ByteSize, settings};

settings! {
    /// Outside of any section.
    pub(crate) struct ProcessSettings {
        /// Folder for everything that `tarn dev` keeps.
        pub(crate) data_dir: PathBuf = PathBuf::from("./tarn-data");
        /// Keep everything in a temporary folder, which other engines can read, and remove it at the end; what a
        /// killed process left goes with the next ephemeral start.
        pub(crate) ephemeral: bool = false;
        /// Address that all listeners bind: `0.0.0.0` or `::` for every one that the machine has.
        pub(crate) host: String = "127.0.0.1".to_owned();
    }
}

settings! {
    /// A listener.
    pub(crate) struct PortSettings {
        /// 0 takes a free one. PostgreSQL's is accepted and not served yet.
        pub(crate) port: u16 = 0;
    }
}

settings! {
    /// The listener of Kafka clients.
    pub(crate) struct KafkaSettings {
        /// 0 takes a free one.
        pub(crate) port: u16 = 9092;
        /// Host that Kafka clients are told to connect to, without a port. `host` if nothing is said, or the
        /// machine's name if that means every address. The flag is `--advertised-host`.
        pub(crate) advertised_host: String = String::new();
    }
}

settings! {
    /// Memory of the process.
    pub(crate) struct MemorySettings {
        /// Bytes that the process may hold; half of the machine's memory if nothing is said. In sixteenths: 6
        /// requests in flight and tables being written, 2 answers to fetches, 2 chunks of segments and, at most
        /// half of it, of table files, 2 hot rows, 3 queries, half of one metadata of tables; a quarter of one is
        /// for heartbeats and other small requests, which no backlog of batches keeps out.
        pub(crate) budget: ByteSize = half_of_memory(), within ByteSize::mib(64)..;
    }
}

settings! {
    /// What the process says, on standard error.
    pub(crate) struct LoggingSettings {
        /// `human` or `json`.
        pub(crate) format: LogFormat = LogFormat::Human;
        /// As in `RUST_LOG`: `info`, `tarn_agent=debug`.
        pub(crate) level: String = "info".to_owned();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// The parts of `memory.budget`, in sixteenths of it. What is left is for the state and for the
/// code itself.
impl MemorySettings {
    /// Requests in flight, and what the materializer works on.
    pub(crate) fn in_flight(&self) -> ByteSize {
        self.sixteenths(6)
    }

    /// Heartbeats and other small requests, which no backlog of batches keeps out: a quarter of the
    /// sixteenth that is left.
    pub(crate) fn small_requests(&self) -> ByteSize {
        ByteSize(self.budget.0 / 64)
    }

    /// Fetched records on their way to clients.
    pub(crate) fn responses(&self) -> ByteSize {
        self.sixteenths(2)
    }

    /// Chunks of segments and, at most half of it, of table files.
    pub(crate) fn chunk_cache(&self) -> ByteSize {
        self.sixteenths(2)
    }

    /// Rows that are in no table file yet.
    pub(crate) fn hot_tier(&self) -> ByteSize {
        self.sixteenths(2)
    }

    /// Manifests and metadata of tables, decoded.
    pub(crate) fn table_metadata(&self) -> ByteSize {
        ByteSize(self.budget.0 / 32)
    }

    /// All queries together, unless `sql.memory_limit` says otherwise.
    pub(crate) fn queries(&self) -> ByteSize {
        self.sixteenths(3)
    }

    fn sixteenths(&self, parts: u64) -> ByteSize {
        ByteSize(self.budget.0 / 16 * parts)
    }
}

/// Half of the machine's memory, or of the control group's if that is smaller.
fn half_of_memory() -> ByteSize {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        });
    let group: Option<u64> = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let total = machine.unwrap_or(4 << 30).min(group.unwrap_or(u64::MAX));
    // In whole MiB, so that it prints as people write it.
    ByteSize::mib((total / 2) >> 20)
}
