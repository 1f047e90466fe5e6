//! The agent: a stateless server of the Kafka protocol.
//!
//! [`start`] serves one bound listener from one [`tarn_replica::Node`]. Holds: any agent serves any
//! partition; what says *no such, out of range, stale* is said only after a read barrier; no error
//! path invents an offset; and nothing that a client sends makes this process panic, hang or hold
//! more bytes than its budget.
//! Leaves to others: bytes on the wire (`tarn-kafka`), segments (`tarn-topics`), who is in a group
//! (`tarn-coordinator`), and every decision that agents must share (`apply` in `tarn-state`).

mod agent;
mod api;
mod broker_configs;
mod connection;
mod context;
mod dispatch;
mod error_code;
mod fetch_session;
mod frame;
mod intake;
mod listener;
mod metrics;
mod moves;
mod placement;
mod presence;
mod service;
mod settings;

pub use service::{AgentHandle, start};
pub use settings::{AgentSettings, ReplicationFactorSettings, TopicSettings};

#[cfg(test)]
mod tests;
