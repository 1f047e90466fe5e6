//! Our columns as Iceberg's schema and partition spec.
//!
//! A time of day is a long to Iceberg, in microseconds, and a time to our SQL: Spark refuses every table
//! that has a column of Iceberg's type time (ADR 15).
//!
//! Field ids are the state's: a payload column has the id that `apply` gave it, the metadata columns
//! have theirs for ever. Rows of topics are partitioned by the day of `_event_time`, under the name
//! [`EVENT_DATE`], or that name with a number where the payload has a column of this name:
//! Iceberg allows no column and partition field of one name.

use std::sync::Arc;

use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};
use tarn_model::{ColumnType, Field, FieldId};
use tarn_schema::{EVENT_TIME, table_columns};

/// Name of the partition field.
pub const EVENT_DATE: &str = "event_date";

/// What the number in a column of times says; other engines have nothing else to go by.
const TIME_DOC: &str = "time of day: microseconds since midnight";

/// Iceberg numbers partition fields from here.
pub(crate) const FIRST_PARTITION_FIELD_ID: i32 = 1000;

/// All columns of a table: of a topic's, its metadata columns too.
pub fn all_columns(table: &tarn_state::Table) -> Vec<Field> {
    match table.of_topic() {
        Some(of) => table_columns(&table.columns, of.with_value),
        None => table.columns.clone(),
    }
}

/// All columns of a table as Iceberg's schema.
pub fn table_schema(table: &tarn_state::Table) -> iceberg::Result<Schema> {
    let fields: Vec<NestedFieldRef> = all_columns(table).iter().map(nested_field).collect();
    Schema::builder()
        .with_schema_id(0)
        .with_fields(fields)
        .build()
}

fn nested_field(field: &Field) -> NestedFieldRef {
    let doc = match (&field.doc, &field.kind) {
        (Some(doc), ColumnType::Time) => Some(format!("{doc} ({TIME_DOC})")),
        (None, ColumnType::Time) => Some(TIME_DOC.to_owned()),
        (doc, _) => doc.clone(),
    };
    let field = plain_field(field);
    Arc::new(match doc {
        Some(doc) => field.with_doc(doc),
        None => field,
    })
}

/// Of a list or a map: Iceberg has no place for its doc, and it would be another schema each time.
fn part(field: &Field) -> NestedFieldRef {
    Arc::new(plain_field(field))
}

fn plain_field(field: &Field) -> NestedField {
    let kind = field_type(&field.kind);
    NestedField::new(field.id.0, &field.name, kind, !field.nullable)
}

fn field_type(kind: &ColumnType) -> Type {
    let primitive = match kind {
        ColumnType::Boolean => PrimitiveType::Boolean,
        ColumnType::Int => PrimitiveType::Int,
        ColumnType::Long => PrimitiveType::Long,
        ColumnType::Float => PrimitiveType::Float,
        ColumnType::Double => PrimitiveType::Double,
        ColumnType::Decimal { precision, scale } => PrimitiveType::Decimal {
            precision: *precision,
            scale: *scale,
        },
        ColumnType::Date => PrimitiveType::Date,
        // Iceberg's own type would hide the whole table from Spark.
        ColumnType::Time => PrimitiveType::Long,
        ColumnType::Timestamp => PrimitiveType::Timestamp,
        ColumnType::TimestampTz => PrimitiveType::Timestamptz,
        ColumnType::String => PrimitiveType::String,
        ColumnType::Uuid => PrimitiveType::Uuid,
        ColumnType::Fixed(length) => PrimitiveType::Fixed(u64::from(*length)),
        ColumnType::Binary => PrimitiveType::Binary,
        ColumnType::Struct(fields) => {
            return Type::Struct(StructType::new(fields.iter().map(nested_field).collect()));
        }
        ColumnType::List(element) => return Type::List(ListType::new(part(element))),
        ColumnType::Map(key, value) => {
            return Type::Map(MapType::new(part(key), part(value)));
        }
    };
    Type::Primitive(primitive)
}

/// Our columns of a plain table whose schema another engine changed: those that were known as they were, unless
/// it changed them, and new ones if they have types of ours.
pub(crate) fn columns_of(fields: &[NestedFieldRef], known: &[Field]) -> Vec<Field> {
    let column = |field: &NestedFieldRef| {
        let known = known.iter().find(|known| known.id.0 == field.id);
        column_of(field, known)
    };
    fields.iter().filter_map(column).collect()
}

fn column_of(field: &NestedField, known: Option<&Field>) -> Option<Field> {
    let kind = match known {
        // A time is a long there.
        Some(known) if field_type(&known.kind) == *field.field_type => known.kind.clone(),
        _ => kind_of(&field.field_type, known.map(|known| &known.kind))?,
    };
    Some(Field {
        id: FieldId(field.id),
        name: field.name.clone(),
        nullable: !field.required,
        kind,
        doc: known.map_or_else(|| field.doc.clone(), |known| known.doc.clone()),
    })
}

/// `None` for a type that payloads cannot fill.
fn kind_of(kind: &Type, known: Option<&ColumnType>) -> Option<ColumnType> {
    let primitive = match (kind, known) {
        (Type::Primitive(primitive), _) => primitive,
        (Type::Struct(fields), known) => {
            let known = match known {
                Some(ColumnType::Struct(known)) => known.as_slice(),
                _ => &[],
            };
            let fields = columns_of(fields.fields(), known);
            return (!fields.is_empty()).then_some(ColumnType::Struct(fields));
        }
        (Type::List(list), known) => {
            let known = match known {
                Some(ColumnType::List(element)) => Some(&**element),
                _ => None,
            };
            let element = column_of(&list.element_field, known)?;
            return Some(ColumnType::List(Box::new(element)));
        }
        (Type::Map(map), known) => {
            let known = match known {
                Some(ColumnType::Map(key, value)) => (Some(&**key), Some(&**value)),
                _ => (None, None),
            };
            let key = column_of(&map.key_field, known.0)?;
            let value = column_of(&map.value_field, known.1)?;
            return Some(ColumnType::Map(Box::new(key), Box::new(value)));
        }
    };
    Some(match primitive {
        PrimitiveType::Boolean => ColumnType::Boolean,
        PrimitiveType::Int => ColumnType::Int,
        PrimitiveType::Long => ColumnType::Long,
        PrimitiveType::Float => ColumnType::Float,
        PrimitiveType::Double => ColumnType::Double,
        PrimitiveType::Decimal { precision, scale } => ColumnType::Decimal {
            precision: *precision,
            scale: *scale,
        },
        PrimitiveType::Date => ColumnType::Date,
        PrimitiveType::Timestamp => ColumnType::Timestamp,
        PrimitiveType::Timestamptz => ColumnType::TimestampTz,
        PrimitiveType::String => ColumnType::String,
        PrimitiveType::Uuid => ColumnType::Uuid,
        PrimitiveType::Fixed(length) => ColumnType::Fixed(u32::try_from(*length).ok()?),
        PrimitiveType::Binary => ColumnType::Binary,
        PrimitiveType::Time | PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => {
            return None;
        }
    })
}

/// The column whose day is the table partition, of a topic's table.
pub(crate) fn event_time_column(schema: &Schema) -> &NestedFieldRef {
    let column = schema.as_struct().field_by_name(EVENT_TIME);
    column.expect("the table of a topic has the metadata columns")
}

/// A partition field's name that no column has.
pub(crate) fn free_partition_name(is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = EVENT_DATE.to_owned();
    let mut n = 0;
    while is_taken(&name) {
        n += 1;
        name = format!("{EVENT_DATE}_{n}");
    }
    name
}
