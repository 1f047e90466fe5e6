//! Table columns as Arrow fields, exactly as `iceberg` 0.10 maps a table schema: microseconds,
//! zone `+00:00`, `LargeBinary`, list items named by the field (`element`), map entries `key_value`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};
use tarn_model::{ColumnType, Field};

/// Where Parquet and Iceberg look for a field's id.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";
const DOC_KEY: &str = "doc";
const MAP_ENTRIES: &str = "key_value";
const UTC: &str = "+00:00";

/// The Arrow schema of rows with these columns.
pub fn arrow_schema(columns: &[Field]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(arrow_field).collect::<Fields>(),
    ))
}

pub(crate) fn arrow_field(field: &Field) -> ArrowField {
    let mut metadata = HashMap::from([(FIELD_ID_KEY.to_owned(), field.id.to_string())]);
    if let Some(doc) = &field.doc {
        metadata.insert(DOC_KEY.to_owned(), doc.clone());
    }
    ArrowField::new(&field.name, data_type(&field.kind), field.nullable).with_metadata(metadata)
}

/// The Arrow type of a column.
pub fn data_type(kind: &ColumnType) -> DataType {
    match kind {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int => DataType::Int32,
        ColumnType::Long => DataType::Int64,
        ColumnType::Float => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(
            u8::try_from(*precision).unwrap_or(u8::MAX),
            i8::try_from(*scale).unwrap_or(i8::MAX),
        ),
        ColumnType::Date => DataType::Date32,
        ColumnType::Time => DataType::Time64(TimeUnit::Microsecond),
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        ColumnType::String => DataType::Utf8,
        ColumnType::Uuid => DataType::FixedSizeBinary(16),
        ColumnType::Fixed(length) => {
            DataType::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX))
        }
        ColumnType::Binary => DataType::LargeBinary,
        ColumnType::Struct(fields) => DataType::Struct(fields.iter().map(arrow_field).collect()),
        ColumnType::List(element) => DataType::List(Arc::new(arrow_field(element))),
        ColumnType::Map(key, value) => {
            let entries = Fields::from(vec![arrow_field(key), arrow_field(value)]);
            let entries = ArrowField::new(MAP_ENTRIES, DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
    }
}
