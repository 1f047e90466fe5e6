//! Tables: of topics, plain ones and views. Where their metadata lies, which columns they have, and how far
//! those of topics hold their topics.

mod commit_tables;
mod create_table;
mod detach;
mod drop_table;
mod index;
mod invariants;
mod of_topic;
mod refusal;
mod report_table;
mod section;
mod types;

pub use index::TableName;
pub use of_topic::{Counters, EventTime, TopicTable};
pub use refusal::TableRefusal;
pub(crate) use section::SECTIONS;
pub use types::{PlainTable, SqlView, Table, TableKind};
pub(crate) use types::{check_event_time, short_reason};

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::commit_tables::{
        CommitTables, HIDDEN_TIMESTAMPS_MAX, HiddenTimestamp, LastIds, MaterializedChange,
        MaterializedStep, SchemaChange, TableCommit,
    };
    pub use super::create_table::{CreateTable, NewTable};
    pub use super::drop_table::DropTable;
    pub use super::report_table::ReportTable;
}
