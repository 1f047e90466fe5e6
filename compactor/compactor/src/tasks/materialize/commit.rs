//! How far M moves, and the count of what lies behind it.

use tarn_model::{Offset, defect};
use tarn_state::Counters;
use tarn_state::commands::MaterializedStep;

use super::read::Progress;

/// A step per partition that moved, and their sum.
pub(super) fn steps(partitions: Vec<Progress>) -> (Vec<MaterializedStep>, Counters) {
    let mut sum = Counters::default();
    let mut steps = Vec::with_capacity(partitions.len());
    for Progress {
        partition,
        from,
        mut to,
        mut counted,
    } in partitions
    {
        if defect("materialized-off-by-one") && counted.rows > 0 {
            to = Offset(to.0 - 1);
            counted.rows -= 1;
        }
        if from < to {
            debug_assert_eq!(
                counted.rows + counted.undecodable + counted.deleted,
                to.0 - from.0
            );
            steps.push(MaterializedStep {
                partition,
                from,
                to,
                counted,
            });
        }
        sum.rows += counted.rows;
        sum.undecodable += counted.undecodable;
        sum.deleted += counted.deleted;
        sum.append_timed += counted.append_timed;
        sum.nulled += counted.nulled;
    }
    steps.sort_by_key(|step| step.partition);
    (steps, sum)
}
