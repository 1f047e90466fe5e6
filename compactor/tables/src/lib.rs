//! Iceberg's one door: how a topic's table is kept in files, and how its pointer moves.
//!
//! ```text
//! state::Table ──▶ Catalog::load ──▶ Loaded ──▶ FileWriter ──▶ upload        ──▶ Committer::prepare
//!  pointer, M        metadata          │            rows to files                    manifests, snapshot,
//!  columns           in memory         └── scans of the query engine                 metadata, a part of a proposal
//! ```
//!
//! Always holds: the pointer moves only in the commit log, in the same proposal as M; names of files,
//! ids and times are ours, never the `iceberg` crate's, so that equal seeds give equal traces; a
//! column exists for readers as soon as `apply` gave it its id, whether or not a file says so yet.
//! Leaves to others: which records become rows and when (`tarn-compactor`), how rows are scanned (the
//! query engine, on [`Loaded::table`]), and deleting files that nothing refers to any more.

mod catalog;
mod columns;
mod commit;
mod entries;
mod evolve;
mod facts;
mod known;
mod manifests;
mod parquet_file;
mod plan;
mod storage;
mod summary;

pub use catalog::{Catalog, LoadError, Loaded};
pub use columns::{EVENT_DATE, all_columns, table_schema};
pub use commit::append::Append;
pub use commit::{CommitError, Committed, Committer, Garbage, Prepared, schema_change};
pub use parquet_file::{FILE_BYTES_TARGET, FileWriter, ParquetError, ParquetFile};
pub use plan::{Plan, PlannedFile};
pub use storage::{StoreStorage, StoreStorageFactory, file_io};
pub use summary::{MATERIALIZED_OFFSETS, materialized_of};

#[cfg(test)]
mod tests;
