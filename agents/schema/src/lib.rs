//! Payload schemas: which schema a record names, what a schema's text means, and which columns a
//! table needs for it.
//!
//! All of it is outside input. Nothing here panics, recurses deeper than [`DEPTH_MAX`] or grows
//! beyond the caps in `tarn_model::caps`. No Arrow: `tarn-decode` turns payloads into rows.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod avro;
mod columns;
mod framing;
mod guid;
mod meta_columns;
mod payload;

pub use avro::{
    AvroSchema, DEPTH_MAX, EnumType, FixedLogical, FixedType, NamedId, NamedType, ParseError,
    Problem, RecordField, RecordType, Twice, Type, parse,
};
pub use columns::{
    ColumnsError, ColumnsProblem, FIXED_BYTES_MAX, VALUE_COLUMN, branch_names, column_type, columns,
};
pub use framing::{Framing, VALUE_SCHEMA_ID_HEADER, frame_by_id, header_by_guid, schema_reference};
pub use meta_columns::{
    COMMITTED, EVENT_TIME, FIRST_PAYLOAD_FIELD_ID, HEADERS, KEY, LSN, META_NAMES, OFFSET,
    PARTITION, SCHEMA_ID, TIMESTAMP, VALUE, column_name, field_name, meta_columns, table_columns,
};
pub use payload::{PayloadSchema, PayloadSchemaError};
