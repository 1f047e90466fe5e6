//! `system.topics`: `name`, `topic_id`, `partitions`, `records` (between log start and high
//! watermark), `bytes` (of their batches), `has_table`, `created_at`.

use std::sync::Arc;

use datafusion::arrow::array::{
    BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_model::PartitionId;
use tarn_state::State;

use super::{Described, bigint, boolean, int, micros, number, text, time};

pub(super) const TOPICS: Described = Described {
    name: "topics",
    columns,
    rows,
};

fn columns() -> Vec<Field> {
    vec![
        text("name"),
        text("topic_id"),
        int("partitions"),
        bigint("records"),
        bigint("bytes"),
        boolean("has_table"),
        time("created_at"),
    ]
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let (mut names, mut ids) = (StringBuilder::new(), StringBuilder::new());
    let (mut partitions, mut records, mut bytes) = (
        Int32Builder::new(),
        Int64Builder::new(),
        Int64Builder::new(),
    );
    let mut has_table = BooleanBuilder::new();
    let mut created = TimestampMicrosecondBuilder::new().with_timezone("+00:00");
    for id in state.topic_names.values() {
        let Some(topic) = state.topic(*id) else {
            continue;
        };
        let (mut topic_records, mut topic_bytes) = (0, 0);
        for partition in (0..topic.partitions).map(PartitionId) {
            let Some(partition) = state.partition(*id, partition) else {
                continue;
            };
            topic_records += partition.offsets().len();
            topic_bytes += partition.bytes;
        }
        names.append_value(&topic.name);
        ids.append_value(topic.id.uuid().to_string());
        partitions.append_value(topic.partitions);
        records.append_value(number(topic_records));
        bytes.append_value(number(topic_bytes));
        has_table.append_value(state.table(*id).is_some());
        created.append_value(micros(topic.created_at));
    }
    RecordBatch::try_new(
        schema,
        vec![
            Arc::new(names.finish()),
            Arc::new(ids.finish()),
            Arc::new(partitions.finish()),
            Arc::new(records.finish()),
            Arc::new(bytes.finish()),
            Arc::new(has_table.finish()),
            Arc::new(created.finish()),
        ],
    )
}
