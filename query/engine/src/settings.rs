//! Settings of the SQL engine. The doc comments are the manual.

use std::time::Duration;

use tarn_model::ByteSize;

/// What queries may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// Memory of all queries that run together, in what DataFusion counts (sorts, aggregates, joins),
    /// in what functions make, and, a quarter of it, in column chunks of table files. A query that is
    /// alone may take all of it; one that gets no more fails, nothing is spilled.
    pub query_memory: ByteSize,
    /// Longest that a query runs, from its arrival to its last row.
    pub time_limit: Duration,
    /// Most rows of an answer.
    pub row_limit: usize,
    /// Queries that run at the same time; more wait within their time limit.
    pub queries_at_once: usize,
    /// Tasks that one query is divided into. The number of cores if 0.
    pub parallelism: usize,
    /// Memory for footers of table files that were read lately.
    pub footer_cache: ByteSize,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings {
            query_memory: ByteSize::gib(1),
            time_limit: Duration::from_secs(60),
            row_limit: 1_000_000,
            queries_at_once: 16,
            parallelism: 0,
            footer_cache: ByteSize::mib(32),
        }
    }
}
