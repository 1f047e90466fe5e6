//! Columns as a payload schema describes them and as a table keeps them.
//!
//! The same [`Field`] serves both: a schema's fields have no id yet ([`FieldId::NONE`]); `apply`
//! gives each one its id when the schema is registered, as it gives records their offsets. Ids
//! follow Iceberg: unique in a table, never reused, also on list elements, map keys and values.

pub(crate) mod growth;

use std::fmt;

use minicbor::{Decode, Encode};

/// Iceberg's field id. Positive once assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct FieldId(#[n(0)] pub i32);

impl FieldId {
    /// Not assigned yet.
    pub const NONE: FieldId = FieldId(0);
}

impl fmt::Display for FieldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A column, a struct's field, a list's `element`, or a map's `key` or `value`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Field {
    #[n(0)]
    pub id: FieldId,
    #[n(1)]
    pub name: String,
    /// May it be null? Columns that come from payloads always may: an older or a newer schema
    /// version lacks them. Map keys never may.
    #[n(2)]
    pub nullable: bool,
    #[n(3)]
    pub kind: ColumnType,
    #[n(4)]
    pub doc: Option<String>,
}

impl Field {
    /// A nullable field that has no id yet.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Field {
        Field {
            id: FieldId::NONE,
            name: name.into(),
            nullable: true,
            kind,
            doc: None,
        }
    }

    #[must_use]
    pub fn required(self) -> Field {
        Field {
            nullable: false,
            ..self
        }
    }

    /// How many ids this field needs, itself included.
    pub fn count(&self) -> usize {
        1 + match &self.kind {
            ColumnType::Struct(fields) => fields.iter().map(Field::count).sum(),
            ColumnType::List(element) => element.count(),
            ColumnType::Map(key, value) => key.count() + value.count(),
            _ => 0,
        }
    }
}

/// Iceberg's types, as far as payloads can fill them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ColumnType {
    #[n(0)]
    Boolean,
    #[n(1)]
    Int,
    #[n(2)]
    Long,
    #[n(3)]
    Float,
    #[n(4)]
    Double,
    #[n(5)]
    Decimal {
        #[n(0)]
        precision: u32,
        #[n(1)]
        scale: u32,
    },
    #[n(6)]
    Date,
    /// Microseconds of the day.
    #[n(7)]
    Time,
    /// Microseconds, without a zone.
    #[n(8)]
    Timestamp,
    /// Microseconds since 1970, UTC.
    #[n(9)]
    TimestampTz,
    #[n(10)]
    String,
    #[n(11)]
    Uuid,
    #[n(12)]
    Fixed(#[n(0)] u32),
    #[n(13)]
    Binary,
    #[n(14)]
    Struct(#[n(0)] Vec<Field>),
    #[n(15)]
    List(#[n(0)] Box<Field>),
    /// Key, value.
    #[n(16)]
    Map(#[n(0)] Box<Field>, #[n(1)] Box<Field>),
}

impl ColumnType {
    pub fn list(element: ColumnType) -> ColumnType {
        ColumnType::List(Box::new(Field::new("element", element)))
    }

    pub fn map(key: ColumnType, value: ColumnType) -> ColumnType {
        ColumnType::Map(
            Box::new(Field::new("key", key).required()),
            Box::new(Field::new("value", value)),
        )
    }
}

impl fmt::Display for ColumnType {
    /// The names that `POST /v1/sql` and error messages use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Boolean => f.write_str("boolean"),
            ColumnType::Int => f.write_str("int"),
            ColumnType::Long => f.write_str("bigint"),
            ColumnType::Float => f.write_str("float"),
            ColumnType::Double => f.write_str("double"),
            ColumnType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            ColumnType::Date => f.write_str("date"),
            ColumnType::Time => f.write_str("time"),
            ColumnType::Timestamp => f.write_str("timestamp"),
            ColumnType::TimestampTz => f.write_str("timestamptz"),
            ColumnType::String => f.write_str("varchar"),
            ColumnType::Uuid => f.write_str("uuid"),
            ColumnType::Fixed(length) => write!(f, "fixed({length})"),
            ColumnType::Binary => f.write_str("binary"),
            ColumnType::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, field) in fields.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{}:{}", field.name, field.kind)?;
                }
                f.write_str(">")
            }
            ColumnType::List(element) => write!(f, "array<{}>", element.kind),
            ColumnType::Map(key, value) => write!(f, "map<{},{}>", key.kind, value.kind),
        }
    }
}
