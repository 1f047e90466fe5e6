//! `system.groups`: `name`, `generation` (of the last completed rebalance), `protocol_type`,
//! `protocol`, `members`, `partitions` (with a committed offset), `lag` (records behind, summed over
//! them), `changed_at`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_state::State;

use super::group_offsets::lag;
use super::{Described, bigint, count, int, micros, number, text, time};

pub(super) const GROUPS: Described = Described {
    name: "groups",
    columns,
    rows,
};

fn columns() -> Vec<Field> {
    vec![
        text("name"),
        int("generation"),
        text("protocol_type"),
        text("protocol"),
        int("members"),
        int("partitions"),
        bigint("lag"),
        time("changed_at"),
    ]
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let (mut names, mut types, mut protocols) = (
        StringBuilder::new(),
        StringBuilder::new(),
        StringBuilder::new(),
    );
    let (mut generations, mut members, mut partitions) = (
        Int32Builder::new(),
        Int32Builder::new(),
        Int32Builder::new(),
    );
    let mut lags = Int64Builder::new();
    let mut changed = TimestampMicrosecondBuilder::new().with_timezone("+00:00");
    for (name, group) in &state.groups {
        names.append_value(name);
        generations.append_value(group.generation);
        types.append_value(&group.protocol_type);
        protocols.append_value(&group.protocol);
        members.append_value(count(group.members.len()));
        partitions.append_value(count(group.offsets.len()));
        let behind: u64 = group
            .offsets
            .iter()
            .filter_map(|(at, committed)| lag(state, *at, committed))
            .sum();
        lags.append_value(number(behind));
        changed.append_value(micros(group.changed));
    }
    RecordBatch::try_new(
        schema,
        vec![
            Arc::new(names.finish()),
            Arc::new(generations.finish()),
            Arc::new(types.finish()),
            Arc::new(protocols.finish()),
            Arc::new(members.finish()),
            Arc::new(partitions.finish()),
            Arc::new(lags.finish()),
            Arc::new(changed.finish()),
        ],
    )
}
