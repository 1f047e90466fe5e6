//! A whole cluster in one process, from a seed: agents, materializer, hot tier and cut, readers and
//! writers, over a commit log and an object store that lose, delay and repeat.
//!
//! [`run`] gives a [`Report`] or the first [`Violation`] of an invariant; equal plans give equal
//! traces. The code under test is the code that ships; only clock, chance, network, object store and
//! log are simulated (`docs/adr/0003-simulation.md`).

mod ages;
mod claims;
mod cluster;
mod coverage;
mod cut_check;
mod dead_end;
mod gate;
pub mod histories;
mod history;
mod joint;
mod newer;
mod orders;
mod plan;
mod presence;
mod process;
mod rows;
mod run;
mod workload;

pub use claims::ClaimCounts;
pub use coverage::Coverage;
pub use history::{Counts, History, Violation};
pub use newer::Newer;
pub use plan::{Event, Faults, LogKind, Plan};
pub use run::{Report, run, run_with_defect};
pub use tarn_commit_log::LogFaults;
