//! Tables: where their metadata lies, how far they hold their topics, and which columns they have.

mod columns;
mod commit_table;
mod invariants;
mod refusal;
mod report_table;
mod section;
mod types;

#[cfg(test)]
pub(crate) use columns::DEPTH_MAX;
pub(crate) use columns::{Columns, check_columns, is_deeper_than};
pub use refusal::TableRefusal;
pub(crate) use section::SECTIONS;
pub use types::{Counters, EventTime, FIRST_PAYLOAD_FIELD_ID, Table, TableColumnsError};
pub(crate) use types::{check_event_time, short_reason};

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::commit_table::{
        CommitTable, HIDDEN_TIMESTAMPS_MAX, HiddenTimestamp, MaterializedStep,
    };
    pub use super::report_table::ReportTable;
}
