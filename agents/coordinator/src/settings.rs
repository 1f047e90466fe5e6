//! Settings of the coordinators. The doc comments are the manual.

use std::time::Duration;

use tarn_model::ByteSize;

/// How an agent coordinates groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorSettings {
    /// How long the first rebalance of an empty group waits for more members, Kafka's
    /// `group.initial.rebalance.delay.ms`. Zero is best for development, 3 s for large groups.
    pub initial_delay: Duration,
    /// What the members of all groups that an agent coordinates may bring and be assigned together, in
    /// memory. Whoever would bring more gets GROUP_MAX_SIZE_REACHED, and the log says so.
    pub bytes: ByteSize,
    /// Shortest session timeout that a member may choose.
    pub session_timeout_min: Duration,
    /// Longest session timeout that a member may choose.
    pub session_timeout_max: Duration,
}

impl Default for CoordinatorSettings {
    fn default() -> CoordinatorSettings {
        CoordinatorSettings {
            initial_delay: Duration::ZERO,
            bytes: ByteSize::mib(256),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1800),
        }
    }
}
