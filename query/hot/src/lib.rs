//! The hot tier and the cut: the rows of a topic that are not in its table yet, and the line that
//! divides the two.
//!
//! Holds: for any cut, [`HotTier::rows`] gives each record of `[M, H)` that decodes exactly once, in
//! offset order, whether it was kept in memory or has to be read from segments again. What is kept
//! is a cache: dropping all of it changes no answer.
//! Leaves to others: rows below M (the table), SQL (`tarn-engine`; there is no DataFusion here, so that
//! every simulation seed checks the cut).

mod cut;
mod follow;
mod kept;
mod metrics;
mod rows;
mod tail;
#[cfg(test)]
mod testing;
mod tier;

pub use cut::{Cut, CutError, PartitionCut, TableCut};
pub use rows::HotRows;
pub use tail::{Extremes, Times};
pub use tier::{HotError, HotSettings, HotTier};
