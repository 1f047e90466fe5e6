//! One process's replica of the metastore: it follows the commit log, publishes views, proposes,
//! answers barriers, writes snapshots and the archive, and trims.
//!
//! [`Node::open`] gives a process everything its roles share; [`Metastore`] is the handle they hold.

mod archive;
mod barrier;
mod claim;
mod clock_guard;
mod fold;
mod follower;
mod joint;
mod keeper;
mod metastore;
mod metrics;
mod node;
mod outcome;
mod propose;
mod proposer;
mod queue;
mod session;
mod settings;
mod shared;
mod snapshotter;

#[cfg(test)]
mod tests;

pub use claim::ClaimStep;
pub use joint::{Found, JointError, Landed, Part};
pub use keeper::LOG_TASK;
pub use metastore::Metastore;
pub use node::{Node, OpenError, Parts, health};
pub use outcome::{BarrierError, Committed, ProposeError, View};
pub use settings::{IdentitySettings, NodeSettings};
