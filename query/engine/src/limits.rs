//! Memory of queries: what DataFusion counts, bounded by one budget that all queries share.
//!
//! DataFusion asks before an operator grows and fails the query that gets nothing. Nothing is spilled
//! to disk, so the limit is one on memory and not on patience.

use std::fmt;
use std::sync::Arc;

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use tarn_model::ByteSize;

/// The memory of all queries of a process.
#[derive(Clone)]
pub(crate) struct QueryMemory {
    pub(crate) total: ByteSize,
    pool: Arc<GreedyMemoryPool>,
}

impl QueryMemory {
    pub(crate) fn new(total: ByteSize) -> QueryMemory {
        QueryMemory {
            total,
            pool: Arc::new(GreedyMemoryPool::new(total.as_usize())),
        }
    }

    pub(crate) fn pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(&self.pool) as Arc<dyn MemoryPool>
    }

    pub(crate) fn reserved(&self) -> usize {
        self.pool.reserved()
    }
}

impl fmt::Debug for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "QueryMemory({} of {})",
            ByteSize(self.reserved() as u64),
            self.total
        )
    }
}
