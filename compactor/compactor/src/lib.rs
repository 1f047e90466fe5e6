//! Background work of a cluster: today the materializer, which turns topics into table files.
//!
//! Any number of processes may run it. Who does what is advice ([`board`]); the pointer compare and
//! the M compare in `apply` decide. So two that work on one table waste work and nothing else.

mod backlog;
mod board;
mod materialize;
mod metrics;
mod progress;
mod service;
mod settings;

pub use materialize::MaterializeError;
pub use service::{CompactorHandle, start};
pub use settings::CompactorSettings;

#[cfg(test)]
mod tests;
