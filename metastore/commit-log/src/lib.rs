//! The ordered commit log: one trait, its implementations, and the contract suite they all pass.
//!
//! It carries bytes and knows no command. [`ObjectLog`] is the embedded default (entries are objects,
//! up to three processes), [`MemoryLog`] appends like etcd within one process, and [`FaultyLog`] wraps
//! either for the simulator. [`open`] chooses by a URL.

pub mod contract;
mod faulty;
mod log;
mod memory;
mod object;
mod open;

pub use faulty::{FaultyLog, LogFaults};
pub use log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, SnapshotRef,
};
pub use memory::MemoryLog;
pub use object::{ObjectLog, Settings};
pub use open::{OpenError, open};
