//! From batches to segments and back.
//!
//! [`Writer`] collects produced batches into segments, uploads them and commits them; [`Reader`]
//! plans from a view which extents hold an offset, reads them through the node's chunk cache and
//! stamps what it found. [`segment`] is the object between the two.
//!
//! Holds: nothing is acknowledged before its segment is durable and its commit was applied, and no
//! error path invents an offset.
//! Leaves to others: the Kafka protocol, who may write, long polls (`tarn-agent`); offsets,
//! duplicates and fencing (`apply` in `tarn-state`).

mod metrics;
pub mod reader;
pub mod segment;
mod settings;
#[cfg(test)]
mod testing;
pub mod writer;

pub use reader::{
    FetchedBatches, Opened, Plan, RangeRead, ReadError, Reader, RecordItem, SEARCH_BYTES,
    StoredBatch, TimedOffset, TopicRecord, Undecodable,
};
pub use settings::WriterSettings;
pub use writer::{AppendError, AppendResult, Appended, Appending, NewBatch, Staged, Writer};
