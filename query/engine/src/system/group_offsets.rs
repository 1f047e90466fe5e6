//! `system.group_offsets`: `group_name`, `topic`, `partition`, `committed_offset`, `lag` (records
//! between it and the last stable offset; null if the topic is gone or the offset is negative), `metadata`, `committed_at`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_model::TopicPartition;
use tarn_state::{CommittedOffset, State};

use super::{Described, bigint, int, micros, number, text, time};

pub(super) const GROUP_OFFSETS: Described = Described {
    name: "group_offsets",
    columns,
    rows,
};

fn columns() -> Vec<Field> {
    vec![
        text("group_name"),
        text("topic"),
        int("partition"),
        bigint("committed_offset"),
        bigint("lag"),
        text("metadata"),
        time("committed_at"),
    ]
}

/// Records that the group has still to read; what retention took is not among them. `None` where a
/// client committed a negative offset, which says nothing.
pub(super) fn lag(state: &State, at: TopicPartition, committed: &CommittedOffset) -> Option<u64> {
    let partition = state.partition(at.topic, at.partition)?;
    let next = committed.next()?.max(partition.log_start);
    Some(partition.last_stable().0.saturating_sub(next.0))
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let (mut groups, mut topics, mut metadata) = (
        StringBuilder::new(),
        StringBuilder::new(),
        StringBuilder::new(),
    );
    let (mut partitions, mut offsets, mut lags) = (
        Int32Builder::new(),
        Int64Builder::new(),
        Int64Builder::new(),
    );
    let mut committed_at = TimestampMicrosecondBuilder::new().with_timezone("+00:00");
    for (name, group) in &state.groups {
        // Those of deleted topics go one by one and are shown no more.
        let there = |at: &TopicPartition| state.partitions.contains_key(at);
        for (at, committed) in group.offsets.iter().filter(|(at, _)| there(at)) {
            groups.append_value(name);
            topics.append_option(state.topic(at.topic).map(|topic| &topic.name));
            partitions.append_value(at.partition.0);
            offsets.append_value(committed.offset);
            lags.append_option(lag(state, *at, committed).map(number));
            metadata.append_value(&committed.metadata);
            committed_at.append_value(micros(committed.committed));
        }
    }
    RecordBatch::try_new(
        schema,
        vec![
            Arc::new(groups.finish()),
            Arc::new(topics.finish()),
            Arc::new(partitions.finish()),
            Arc::new(offsets.finish()),
            Arc::new(lags.finish()),
            Arc::new(metadata.finish()),
            Arc::new(committed_at.finish()),
        ],
    )
}
