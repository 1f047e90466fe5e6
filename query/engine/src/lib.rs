//! SQL over topics and tables with DataFusion; the only crate that knows it.
//!
//! ```text
//! prepare ─▶ parse, may it run, which parameters has it?
//! execute ─▶ a place ─▶ barrier ─▶ cut ─▶ catalog at the cut ─▶ plan ─▶ rows
//! ```
//!
//! Holds: a query reads one cut, taken when it starts, of every topic that it names; what is
//! committed or materialized meanwhile changes nothing in its answer. It is bounded in time, memory
//! and rows, and ends when its caller goes away. Nothing can be written through SQL.
//! Leaves to others: where the hot rows come from (`tarn-hot`), what a table's files are
//! (`tarn-tables`), and wire formats (`tarn-server`).

mod catalog;
mod conform;
mod context;
mod engine;
mod error;
mod functions;
mod hot_scan;
mod limits;
mod metrics;
mod names;
mod ranges;
mod running;
mod same_names;
mod scan;
mod semantics;
mod session;
mod settings;
mod stack;
mod statement;
mod system;
mod table;
mod types;
mod watch;

pub use engine::{Engine, QueryCut, SqlSession};
pub use error::{Position, QueryError};
pub use running::{Canceller, Prepared, QueryResult};
pub use settings::EngineSettings;
pub use statement::{Number, Parameter};
pub use types::type_name;

#[cfg(test)]
mod tests;
