//! `system.partitions`: `topic`, `partition`, `log_start`, `high_watermark`, `last_stable_offset`,
//! `materialized_offset` (below it the table is complete; null without a table), `extents`, `bytes`.

use std::sync::Arc;

use datafusion::arrow::array::{Int32Builder, Int64Builder, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_model::PartitionId;
use tarn_state::State;

use super::{Described, bigint, int, number, text};

pub(super) const PARTITIONS: Described = Described {
    name: "partitions",
    columns,
    rows,
};

fn columns() -> Vec<Field> {
    vec![
        text("topic"),
        int("partition"),
        bigint("log_start"),
        bigint("high_watermark"),
        bigint("last_stable_offset"),
        bigint("materialized_offset"),
        bigint("extents"),
        bigint("bytes"),
    ]
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let (mut topics, mut partitions) = (StringBuilder::new(), Int32Builder::new());
    let mut numbers: [Int64Builder; 6] = std::array::from_fn(|_| Int64Builder::new());
    for id in state.topic_names.values() {
        let Some(topic) = state.topic(*id) else {
            continue;
        };
        let table = state.table(*id);
        for partition in (0..topic.partitions).map(PartitionId) {
            let Some(held) = state.partition(*id, partition) else {
                continue;
            };
            topics.append_value(&topic.name);
            partitions.append_value(partition.0);
            let materialized = table.map(|table| table.materialized(partition).max(held.log_start));
            let row = [
                Some(held.log_start.to_wire()),
                Some(held.high_watermark.to_wire()),
                Some(held.last_stable().to_wire()),
                materialized.map(tarn_model::Offset::to_wire),
                Some(number(held.extents.len() as u64)),
                Some(number(held.bytes)),
            ];
            for (column, value) in numbers.iter_mut().zip(row) {
                column.append_option(value);
            }
        }
    }
    let [
        log_start,
        high_watermark,
        last_stable,
        materialized,
        extents,
        bytes,
    ] = numbers.map(|mut column| Arc::new(column.finish()));
    RecordBatch::try_new(
        schema,
        vec![
            Arc::new(topics.finish()),
            Arc::new(partitions.finish()),
            log_start,
            high_watermark,
            last_stable,
            materialized,
            extents,
            bytes,
        ],
    )
}
