//! `system.tables`: `namespace`, `name`, `table_uuid`, `topic` (null once it is deleted), `typed` (does
//! the topic have a schema?), `columns` (of the payload), `rows`, `undecodable` and `deleted` (what
//! became of the offsets below M), `append_timed` (of the rows, those whose event time is that of their
//! append, since they claim none or an absurd one), `nulled_values` (null because their column's type
//! does not have them), `table_snapshot`, `metadata_location`, `committed_at`, `event_time` (the column
//! that says when an event happened) and `event_time_since` (records committed after it; null if it
//! always was), `problem` (what somebody has to mend: why nothing is written, why no event says its
//! time, which schemas' records have no rows; null if there is nothing).

use std::sync::Arc;

use datafusion::arrow::array::{
    BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_schema::TIMESTAMP;
use tarn_state::topic_configs::EVENT_TIME;
use tarn_state::{State, Table};

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
        bigint("append_timed"),
        bigint("nulled_values"),
        bigint("table_snapshot"),
        text("metadata_location"),
        time("committed_at"),
        text("event_time"),
        time("event_time_since"),
        text("problem"),
    ]
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut texts: [StringBuilder; 7] = std::array::from_fn(|_| StringBuilder::new());
    let mut numbers: [Int64Builder; 6] = std::array::from_fn(|_| Int64Builder::new());
    let (mut typed, mut width) = (BooleanBuilder::new(), Int32Builder::new());
    let [mut committed, mut since] =
        std::array::from_fn(|_| TimestampMicrosecondBuilder::new().with_timezone("+00:00"));
    for table in state.tables.values() {
        let topic = table.topic().and_then(|id| state.topic(id));
        let row = [
            Some(table.namespace.clone()),
            Some(table.name.clone()),
            Some(table.uuid.uuid().to_string()),
            topic.map(|topic| topic.name.clone()),
            table.pointer.clone(),
            event_time(table),
            problems(table),
        ];
        for (column, value) in texts.iter_mut().zip(row) {
            column.append_option(value);
        }
        let sum = |count: fn(&tarn_state::Counters) -> u64| {
            let counters = table.of_topic()?.counters.values();
            Some(number(counters.map(count).fold(0, u64::saturating_add)))
        };
        let row = [
            sum(|counters| counters.rows),
            sum(|counters| counters.undecodable),
            sum(|counters| counters.deleted),
            sum(|counters| counters.append_timed),
            sum(|counters| counters.nulled),
            table.table_snapshot,
        ];
        for (column, value) in numbers.iter_mut().zip(row) {
            column.append_option(value);
        }
        typed.append_option(table.of_topic().map(|of| of.typed));
        width.append_value(count(table.columns.len()));
        committed.append_option(table.committed.map(micros));
        since.append_option(table.event_time().map(|named| micros(named.since_time)));
    }
    let [namespace, name, uuid, topic, pointer, event_time, problem] =
        texts.map(|mut column| Arc::new(column.finish()));
    let [rows, undecodable, deleted, append_timed, nulled, snapshot] =
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
            append_timed,
            nulled,
            snapshot,
            pointer,
            Arc::new(committed.finish()),
            event_time,
            Arc::new(since.finish()),
            problem,
        ],
    )
}

/// The column with the time of an event, of a topic's table.
fn event_time(table: &Table) -> Option<String> {
    let named = table.of_topic()?.event_times.last();
    let named = named.and_then(|named| named.column.clone());
    Some(named.unwrap_or_else(|| TIMESTAMP.to_owned()))
}

/// All that keeps rows out of the table, or out of their day.
fn problems(table: &Table) -> Option<String> {
    let mut problems: Vec<String> = table.problem.iter().cloned().collect();
    if let Some(why) = table.event_time_problem() {
        problems.push(format!("{}: {why}", EVENT_TIME.name));
    }
    let unfit = table.of_topic().into_iter().flat_map(|of| &of.unfit);
    problems.extend(unfit.map(|(id, why)| format!("schema {id}: {why}")));
    (!problems.is_empty()).then(|| problems.join("; "))
}
