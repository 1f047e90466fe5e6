//! Primitive types and the logical types that stand on them.
//!
//! Holds: a logical type that does not fit its base is ignored, as in Avro's Java implementation.

use serde_json::{Map, Value};

use super::types::Type;

pub(super) fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

/// The type as it is without its logical type. Named types have names of their own.
pub(crate) fn base_name(kind: &Type) -> &'static str {
    match kind {
        Type::Null => "null",
        Type::Boolean => "boolean",
        Type::Int | Type::Date | Type::TimeMillis => "int",
        Type::Long
        | Type::TimeMicros
        | Type::TimestampMillis
        | Type::TimestampMicros
        | Type::LocalTimestampMillis
        | Type::LocalTimestampMicros
        | Type::TimestampNanos => "long",
        Type::Float => "float",
        Type::Double => "double",
        Type::Bytes | Type::Decimal { .. } => "bytes",
        Type::String | Type::Uuid => "string",
        Type::Array(_) => "array",
        Type::Map(_) => "map",
        Type::Union(_) => "union",
        Type::Named(_) => "named",
    }
}

/// The base with its logical type, or as it is if the two do not fit.
pub(super) fn logical(base: Type, object: &Map<String, Value>) -> Type {
    let Some(name) = object.get("logicalType").and_then(Value::as_str) else {
        return base;
    };
    match (name, base) {
        ("date", Type::Int) => Type::Date,
        ("time-millis", Type::Int) => Type::TimeMillis,
        ("time-micros", Type::Long) => Type::TimeMicros,
        ("timestamp-millis", Type::Long) => Type::TimestampMillis,
        ("timestamp-micros", Type::Long) => Type::TimestampMicros,
        ("local-timestamp-millis", Type::Long) => Type::LocalTimestampMillis,
        ("local-timestamp-micros", Type::Long) => Type::LocalTimestampMicros,
        ("timestamp-nanos" | "local-timestamp-nanos", Type::Long) => Type::TimestampNanos,
        ("uuid", Type::String) => Type::Uuid,
        ("decimal", Type::Bytes) => match decimal(object) {
            Some((precision, scale)) => Type::Decimal { precision, scale },
            None => Type::Bytes,
        },
        (_, base) => base,
    }
}

/// Precision and scale, if they make sense.
pub(super) fn decimal(object: &Map<String, Value>) -> Option<(u32, u32)> {
    let number = |key| {
        object
            .get(key)
            .map(|value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    };
    let precision = number("precision")??;
    let scale = number("scale").unwrap_or(Some(0))?;
    (precision > 0 && scale <= precision).then_some((precision, scale))
}

/// Decimal digits that always fit into a two's complement of this many bytes: the whole part of
/// (8 × bytes − 1) × log10(2).
pub(super) fn decimal_digits(bytes: u32) -> u32 {
    let bits = (u64::from(bytes) * 8).saturating_sub(1);
    u32::try_from(bits.saturating_mul(30_103) / 100_000).unwrap_or(u32::MAX)
}
