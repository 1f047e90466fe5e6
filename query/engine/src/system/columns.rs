//! `system.columns`: the columns of every table that is there, in table order: `namespace`, `table`,
//! `column`, `position` (from 1), `type`, `nullable`, `field_id` (Iceberg's), `payload_field` (the
//! payload's field that it comes from, which has another name where the column's is a reserved one;
//! null for the table's own columns), `doc`.

use std::sync::Arc;

use datafusion::arrow::array::{BooleanBuilder, Int32Builder, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_schema::{FIRST_PAYLOAD_FIELD_ID, field_name};
use tarn_state::State;
use tarn_tables::all_columns;

use super::{Described, boolean, count, int, text};

pub(super) const COLUMNS: Described = Described {
    name: "columns",
    columns,
    rows,
};

fn columns() -> Vec<Field> {
    vec![
        text("namespace"),
        text("table"),
        text("column"),
        int("position"),
        text("type"),
        boolean("nullable"),
        int("field_id"),
        text("payload_field"),
        text("doc"),
    ]
}

fn rows(state: &State, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut texts: [StringBuilder; 6] = std::array::from_fn(|_| StringBuilder::new());
    let (mut positions, mut ids) = (Int32Builder::new(), Int32Builder::new());
    let mut nullable = BooleanBuilder::new();
    for table in state.tables.values() {
        let columns = all_columns(table);
        for (before, column) in columns.iter().enumerate() {
            let of_payload = table.topic().is_some() && column.id.0 >= FIRST_PAYLOAD_FIELD_ID;
            let row = [
                Some(table.namespace.as_str()),
                Some(table.name.as_str()),
                Some(column.name.as_str()),
                Some(&column.kind.to_string()),
                of_payload.then(|| field_name(&column.name)),
                column.doc.as_deref(),
            ];
            for (text, value) in texts.iter_mut().zip(row) {
                text.append_option(value);
            }
            positions.append_value(count(before + 1));
            nullable.append_value(column.nullable);
            ids.append_value(column.id.0);
        }
    }
    let [namespace, table, column, kind, field, doc] =
        texts.map(|mut text| Arc::new(text.finish()));
    RecordBatch::try_new(
        schema,
        vec![
            namespace,
            table,
            column,
            Arc::new(positions.finish()),
            kind,
            Arc::new(nullable.finish()),
            Arc::new(ids.finish()),
            field,
            doc,
        ],
    )
}
