//! `system.tables`: `namespace`, `name`, `table_uuid`, `topic` (null once it is deleted), `typed` (does
//! the topic have a schema?), `columns` (of the payload), `rows`, `undecodable` and `deleted` (what
//! became of the offsets below M), `table_snapshot`, `metadata_location`, `committed_at`.

use std::sync::Arc;

use datafusion::arrow::array::{
    BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_state::State;

use super::{Described, bigint, boolean, count, int, micros, number, text, time};

pub(super) const TABLES: Described = Described {
    name: "tables",
    columns,
    rows,
};

fn columns() -> Vec<Field> {
    vec![
        text("namespace"),
        text("name"),
        text("table_uuid"),
        text("topic"),
        boolean("typed"),
        int("columns"),
        bigint("rows"),
        bigint("undecodable"),
        bigint("deleted"),
        bigint("table_snapshot"),
        text("metadata_location"),
        time("committed_at"),
    ]
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut texts: [StringBuilder; 5] = std::array::from_fn(|_| StringBuilder::new());
    let mut numbers: [Int64Builder; 4] = std::array::from_fn(|_| Int64Builder::new());
    let (mut typed, mut width) = (BooleanBuilder::new(), Int32Builder::new());
    let mut committed = TimestampMicrosecondBuilder::new().with_timezone("+00:00");
    for (id, table) in &state.tables {
        let topic = state.topic(*id).filter(|_| !table.detached);
        let row = [
            Some(table.namespace.clone()),
            Some(table.name.clone()),
            Some(table.uuid.uuid().to_string()),
            topic.map(|topic| topic.name.clone()),
            table.pointer.clone(),
        ];
        for (column, value) in texts.iter_mut().zip(row) {
            column.append_option(value);
        }
        let sum = |count: fn(&tarn_state::Counters) -> u64| {
            Some(number(
                table
                    .counters
                    .values()
                    .map(count)
                    .fold(0, u64::saturating_add),
            ))
        };
        let row = [
            sum(|counters| counters.rows),
            sum(|counters| counters.undecodable),
            sum(|counters| counters.deleted),
            table.table_snapshot,
        ];
        for (column, value) in numbers.iter_mut().zip(row) {
            column.append_option(value);
        }
        typed.append_value(table.typed);
        width.append_value(count(table.columns.len()));
        committed.append_option(table.committed.map(micros));
    }
    let [namespace, name, uuid, topic, pointer] = texts.map(|mut column| Arc::new(column.finish()));
    let [rows, undecodable, deleted, snapshot] =
        numbers.map(|mut column| Arc::new(column.finish()));
    RecordBatch::try_new(
        schema,
        vec![
            namespace,
            name,
            uuid,
            topic,
            Arc::new(typed.finish()),
            Arc::new(width.finish()),
            rows,
            undecodable,
            deleted,
            snapshot,
            pointer,
            Arc::new(committed.finish()),
        ],
    )
}
