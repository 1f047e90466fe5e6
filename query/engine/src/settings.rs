//! Settings of the SQL engine. The doc comments are the manual.

use std::time::Duration;

use tarn_model::{ByteSize, settings};

settings! {
    /// What queries may take.
    pub struct EngineSettings {
        /// Most memory that all queries take together: what DataFusion counts (sorts, aggregates, joins), what
        /// functions make, and, a quarter of it, column chunks of table files. A query that is alone may take all
        /// of it; one that gets no more fails, nothing is spilled. Three sixteenths of `memory.budget` if 0.
        pub memory_limit: ByteSize = ByteSize::gib(1);
        /// Longest that a query runs, from its arrival to its last row.
        #[serde(with = "tarn_model::duration_text")]
        pub time_limit: Duration = Duration::from_secs(60), within Duration::from_millis(1)..;
        /// Most rows of an answer.
        pub row_limit: usize = 1_000_000;
        /// Queries that run at the same time; more wait within their time limit.
        #[serde(skip)]
        pub queries_at_once: usize = 16;
        /// Tasks that one query is divided into. The number of cores if 0.
        #[serde(skip)]
        pub parallelism: usize = 0;
        /// Memory for footers of table files that were read lately.
        #[serde(skip)]
        pub footer_cache: ByteSize = ByteSize::mib(32);
    }
}
