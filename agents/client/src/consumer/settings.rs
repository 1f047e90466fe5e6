//! Settings of a consumer. The doc comments are the manual.

use std::time::Duration;

use tarn_kafka::records::Limits;
use tarn_model::{ByteSize, Offset, Timestamp};

use crate::Isolation;

/// Settings of a [`Consumer`](super::Consumer).
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Whose offsets are committed where partitions are assigned by hand.
    pub group: Option<String>,
    pub isolation: Isolation,
    /// How long a server may wait for `bytes_min` before it answers.
    pub wait_max: Duration,
    pub bytes_min: i32,
    /// Most that one answer should bring, over all partitions and per partition. A single batch may
    /// be larger.
    pub bytes_max: ByteSize,
    pub partition_bytes_max: ByteSize,
    /// Where to begin without a committed offset, and where to go on when the position is out of
    /// range; `None` makes the latter an error.
    pub start_at: StartAt,
    pub out_of_range: Option<StartAt>,
    /// Commits what earlier polls returned, this often and before every rebalance.
    pub auto_commit: Option<Duration>,
    /// What the records of one batch may take once decompressed.
    pub limits: Limits,
}

impl Default for ConsumerSettings {
    fn default() -> ConsumerSettings {
        ConsumerSettings {
            group: None,
            isolation: Isolation::default(),
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: ByteSize::mib(16),
            partition_bytes_max: ByteSize::mib(1),
            start_at: StartAt::Earliest,
            out_of_range: Some(StartAt::Earliest),
            auto_commit: None,
            limits: Limits::default(),
        }
    }
}

/// Where to begin reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    Latest,
    Offset(Offset),
    /// The first record at or after this time; the end if there is none.
    Timestamp(Timestamp),
}
