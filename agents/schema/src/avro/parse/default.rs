//! Whether a field's default fits its type.

use serde_json::Value;

use crate::avro::types::{NamedId, NamedType, Type};

use super::Parser;

impl Parser {
    /// Is the JSON a default for the type? Any branch of a union will do. The recursion is over the
    /// JSON, whose depth its parser bounds, and over unions, which do not stand in each other.
    pub(super) fn fits(&self, default: &Value, kind: &Type) -> bool {
        match kind {
            Type::Null => default.is_null(),
            Type::Boolean => default.is_boolean(),
            Type::Int | Type::Date | Type::TimeMillis => default
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()),
            Type::Long
            | Type::TimeMicros
            | Type::TimestampMillis
            | Type::TimestampMicros
            | Type::LocalTimestampMillis
            | Type::LocalTimestampMicros
            | Type::TimestampNanos => default.as_i64().is_some(),
            Type::Float | Type::Double => default.is_number(),
            Type::Bytes | Type::String | Type::Uuid | Type::Decimal { .. } => default.is_string(),
            Type::Array(items) => default
                .as_array()
                .is_some_and(|all| all.iter().all(|item| self.fits(item, items))),
            Type::Map(values) => default
                .as_object()
                .is_some_and(|all| all.values().all(|value| self.fits(value, values))),
            Type::Union(branches) => branches.iter().any(|branch| self.fits(default, branch)),
            Type::Named(NamedId(id)) => match self.named.get(*id) {
                Some(NamedType::Record(record)) => default.as_object().is_some_and(|object| {
                    record
                        .fields
                        .iter()
                        .all(|field| match object.get(&field.name) {
                            Some(value) => self.fits(value, &field.kind),
                            None => field.has_default,
                        })
                }),
                Some(NamedType::Enum(_) | NamedType::Fixed(_)) => default.is_string(),
                None => false,
            },
        }
    }
}
