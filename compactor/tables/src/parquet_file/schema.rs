//! The table's schema as Parquet has it: what the Arrow schema says, and that a uuid is one.
//!
//! Iceberg wants `fixed_len_byte_array(16)` *with* the logical type UUID; Arrow's own type for it has
//! no place for that, and readers that decide by the annotation would see 16 bytes.

use std::sync::Arc;

use ::arrow::datatypes::SchemaRef;
use iceberg::spec::{PrimitiveType, Schema, Type as TableType};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::errors::Result;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

pub(super) fn of_file(rows: &SchemaRef, table: &Schema) -> Result<SchemaDescriptor> {
    let converted = ArrowSchemaConverter::new().convert(rows)?;
    let root = annotated(&converted.root_schema_ptr(), table)?;
    Ok(SchemaDescriptor::new(root))
}

fn annotated(node: &TypePtr, table: &Schema) -> Result<TypePtr> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if node.is_primitive() {
        let is_uuid = id.is_some_and(|id| is_uuid(table, id));
        if !is_uuid {
            return Ok(Arc::clone(node));
        }
        let uuid = Type::primitive_type_builder(node.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_length(16)
            .with_logical_type(Some(LogicalType::Uuid))
            .with_id(id)
            .build()?;
        return Ok(Arc::new(uuid));
    }
    let fields = node
        .get_fields()
        .iter()
        .map(|field| annotated(field, table));
    let mut group = Type::group_type_builder(node.name())
        .with_fields(fields.collect::<Result<_>>()?)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(id);
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Arc::new(group.build()?))
}

fn is_uuid(table: &Schema, id: i32) -> bool {
    table.field_by_id(id).is_some_and(|field| {
        matches!(
            field.field_type.as_ref(),
            TableType::Primitive(PrimitiveType::Uuid)
        )
    })
}
