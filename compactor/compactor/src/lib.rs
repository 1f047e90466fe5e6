//! Background work of a cluster: a list of tasks, and the service that runs them.
//!
//! Any number of processes may run it. Who does what is advice ([`patience`]); what a task's proposal
//! compares decides in `apply`. So two that do one thing waste work and nothing else.

mod board;
mod service;
mod settings;
mod task;
mod tasks;
mod turns;

pub use board::patience;
pub use service::{CompactorHandle, start};
pub use settings::CompactorSettings;
pub use task::{Due, Ran, Setback, Task};
pub use tasks::{MaterializeError, MaterializerHandle, all, start_materializer};
pub use turns::Permit;

#[cfg(test)]
mod tests;
