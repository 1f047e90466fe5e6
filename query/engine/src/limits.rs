//! Memory and time of queries.
//!
//! Memory is what DataFusion counts, bounded by one budget that all queries share. DataFusion asks
//! before an operator grows and fails the query that gets nothing. Nothing is spilled to disk, so the
//! limit is one on memory and not on patience. Functions do not ask: `functions::guard` asks for them.
//!
//! A query ends from outside only where it looks whether it shall: functions do, while it is planned, too,
//! and what makes the batches of a running plan (`watch`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation,
};
use tarn_model::ByteSize;
use tarn_runtime::Budget;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::QueryError;

/// The share of the memory of all queries that column chunks of table files get.
const SCAN_SHARE: u64 = 4;
/// The share of the memory of all queries that a function may need for a call with many rows: what needs more is
/// divided.
const PIECE_SHARE: u64 = 16;
/// Bytes of a row that memory is divided by: where there is little of it, batches are short.
const ROW_BYTES: u64 = 256;
/// No value is larger, whatever the memory: the offsets of most arrays have 31 bits.
const VALUE_BYTES_MAX: u64 = 1 << 30;

/// The memory of all queries of a process.
#[derive(Clone)]
pub(crate) struct QueryMemory {
    /// What operators and functions may take.
    pub(crate) total: ByteSize,
    pool: Arc<GreedyMemoryPool>,
    /// For column chunks of table files, which wait for each other instead of failing.
    pub(crate) scans: Budget,
}

impl QueryMemory {
    pub(crate) fn new(all: ByteSize) -> QueryMemory {
        let scans = ByteSize(all.0 / SCAN_SHARE);
        let total = ByteSize(all.0 - scans.0);
        QueryMemory {
            total,
            pool: Arc::new(GreedyMemoryPool::new(total.as_usize())),
            scans: Budget::new(scans),
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

/// What one query may take, for the code that DataFusion does not watch: its functions.
#[derive(Debug)]
pub(crate) struct QueryLimits {
    pool: Arc<dyn MemoryPool>,
    total: ByteSize,
    time_limit: Duration,
    deadline: Instant,
    cancel: CancellationToken,
    runs: AtomicBool,
    widest: AtomicU64,
}

impl QueryLimits {
    pub(crate) fn new(
        memory: &QueryMemory,
        time_limit: Duration,
        deadline: Instant,
        cancel: CancellationToken,
    ) -> Arc<QueryLimits> {
        Arc::new(QueryLimits {
            pool: memory.pool(),
            total: memory.total,
            time_limit,
            deadline,
            cancel,
            runs: AtomicBool::new(false),
            widest: AtomicU64::new(0),
        })
    }

    /// Is there time left, and somebody who waits?
    pub(crate) fn check(&self) -> Result<(), DataFusionError> {
        if self.cancel.is_cancelled() {
            return Err(QueryError::Cancelled.into());
        }
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(QueryError::TimeLimit {
                limit: self.time_limit,
            }
            .into()),
        }
    }

    /// Takes bytes at once for `function`, until the reservation is dropped.
    pub(crate) fn reserve(
        &self,
        function: &str,
        bytes: u64,
    ) -> Result<MemoryReservation, DataFusionError> {
        let reservation = MemoryConsumer::new(function).register(&self.pool);
        match bytes > VALUE_BYTES_MAX {
            true => Err(self.refused(function, bytes)),
            false => self.grow(&reservation, bytes).map(|()| reservation),
        }
    }

    /// Takes more for a function that has some.
    pub(crate) fn grow(
        &self,
        reservation: &MemoryReservation,
        bytes: u64,
    ) -> Result<(), DataFusionError> {
        let function = reservation.consumer().name();
        // The pool adds what it is asked for to what it has: huge numbers must not come to it.
        if bytes > self.total.0 {
            return Err(self.refused(function, bytes));
        }
        let bytes_asked = usize::try_from(bytes).map_err(|_| self.refused(function, bytes))?;
        let grown = reservation.try_grow(bytes_asked);
        grown.map_err(|_| self.refused(function, bytes))
    }

    fn refused(&self, function: &str, bytes: u64) -> DataFusionError {
        let free = self.total.0.saturating_sub(self.pool.reserved() as u64);
        let free = ByteSize(free.min(VALUE_BYTES_MAX));
        DataFusionError::ResourcesExhausted(format!(
            "{function}() can need {bytes} bytes at once, and {free} can be had"
        ))
    }

    /// Bytes that a call with several rows may need.
    pub(crate) fn piece(&self) -> u64 {
        (self.total.0 / PIECE_SHARE).min(VALUE_BYTES_MAX / PIECE_SHARE)
    }

    /// Is the plan complete? Before that, functions are called only to replace constant expressions.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }

    pub(crate) fn run(&self) {
        self.runs.store(true, Ordering::Relaxed);
    }

    /// Notes a value that stands beside each row of a batch.
    pub(crate) fn has_constant(&self, bytes: u64) {
        self.widest.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn forget_constants(&self) {
        self.widest.store(0, Ordering::Relaxed);
    }

    /// Rows of a batch so that each of them may have the widest constant.
    pub(crate) fn batch_rows(&self, rows_max: usize) -> usize {
        let rows = self.piece() / self.widest.load(Ordering::Relaxed).max(ROW_BYTES);
        usize::try_from(rows).map_or(rows_max, |rows| rows.clamp(1, rows_max))
    }
}
