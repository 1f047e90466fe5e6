//! The days of event time that the rows of a round have: each is a file of its own at least.
//!
//! Event times make sense beside their appends, so that no table has more than about 400 days in
//! flight; still a backlog may touch all of them. A round takes [`DAYS_MAX`] and leaves the rest for
//! the next one.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use tarn_model::Offset;
use tarn_schema::{EVENT_TIME, OFFSET};

/// Days of one commit.
pub(crate) const DAYS_MAX: usize = 64;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Days since 1970, at most a number of them.
#[derive(Debug, Default)]
pub(super) struct Days {
    max: usize,
    seen: BTreeSet<i64>,
    is_full: bool,
}

impl Days {
    pub(super) fn new(max: usize) -> Days {
        Days {
            max,
            ..Days::default()
        }
    }

    /// Has a row been left out because of its day?
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Adds the days of rows that follow each other in one partition, up to the first one that would
    /// be too many: the offset of its row is the answer, and what comes before it is added.
    pub(super) fn add<'b>(
        &mut self,
        batches: impl IntoIterator<Item = &'b RecordBatch>,
    ) -> Option<Offset> {
        let mut last = None;
        for batch in batches {
            let times = column(batch, EVENT_TIME).as_primitive::<TimestampMicrosecondType>();
            for (row, time) in times.values().iter().enumerate() {
                let day = time.div_euclid(MICROS_PER_DAY);
                if last == Some(day) {
                    continue;
                }
                last = Some(day);
                if self.seen.contains(&day) {
                    continue;
                }
                if self.seen.len() >= self.max {
                    self.is_full = true;
                    let offsets = column(batch, OFFSET).as_primitive::<Int64Type>();
                    return Offset::from_wire(offsets.value(row));
                }
                self.seen.insert(day);
            }
        }
        None
    }
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> &'b dyn Array {
    let column = batch.column_by_name(name);
    column.expect("every decoded batch has the metadata columns")
}
