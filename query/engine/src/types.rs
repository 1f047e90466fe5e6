//! SQL's types: what a name in a statement means, and the names that answers and `DESCRIBE` show.

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};

use crate::functions::calendar::UTC;

/// Types of a statement that are others in DataFusion. Times count microseconds, as those of tables do:
/// nanoseconds end in the year 2262.
#[derive(Debug)]
pub(crate) struct SqlTypes;

impl TypePlanner for SqlTypes {
    fn plan_type(&self, kind: &SqlType) -> Result<Option<DataType>, DataFusionError> {
        let is_zoned =
            |zone: &TimezoneInfo| matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone);
        Ok(Some(match kind {
            // Of a null, too, each value would have the width that the type says.
            SqlType::Array(ArrayElemTypeDef::SquareBracket(_, Some(_))) => {
                return Err(no_fixed_width(kind));
            }
            SqlType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, is_zoned(zone).then(|| UTC.into()))
            }
            SqlType::Time(_, zone) if !is_zoned(zone) => DataType::Time64(TimeUnit::Microsecond),
            SqlType::Uuid => DataType::FixedSizeBinary(16),
            SqlType::Bytea => DataType::LargeBinary,
            SqlType::JSON | SqlType::JSONB => DataType::Utf8,
            // Without digits behind the point as numeric has them, and with as many as there is room for.
            SqlType::Numeric(ExactNumberInfo::None)
            | SqlType::Decimal(ExactNumberInfo::None)
            | SqlType::Dec(ExactNumberInfo::None) => DataType::Decimal128(38, 16),
            _ => return Ok(None),
        }))
    }
}

/// Does the type, or one in it, say how long its values are? Each would be, nulls too.
pub(crate) fn has_fixed_width(kind: &DataType) -> bool {
    let schema = Schema::new(vec![Field::new("", kind.clone(), true)]);
    let mut fields = schema.flattened_fields().into_iter();
    fields.any(|field| match field.data_type() {
        // A uuid has sixteen bytes.
        DataType::FixedSizeBinary(width) => *width != 16,
        kind => matches!(kind, DataType::FixedSizeList(..)),
    })
}

pub(crate) fn no_fixed_width(kind: &impl std::fmt::Display) -> DataFusionError {
    DataFusionError::NotImplemented(format!(
        "{kind}: values have no fixed length here; write an array as int[]"
    ))
}

/// The name of a column's type. What has no name of its own is shown as text and so is a `varchar`.
pub fn type_name(kind: &DataType) -> String {
    let plain = match kind {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            "int"
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint",
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => return format!("decimal({precision},{scale})"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
        // Iceberg's uuid; a payload's fixed(16) looks the same and is shown the same.
        DataType::FixedSizeBinary(16) => "uuid",
        DataType::FixedSizeBinary(_) => "binary",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _) => {
            return format!("array<{}>", type_name(element.data_type()));
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}:{}", field.name(), type_name(field.data_type())))
                .collect();
            return format!("struct<{}>", fields.join(","));
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) if entry.len() == 2 => {
                return format!(
                    "map<{},{}>",
                    type_name(entry[0].data_type()),
                    type_name(entry[1].data_type())
                );
            }
            _ => "varchar",
        },
        DataType::Dictionary(_, value) => return type_name(value),
        DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..) => "varchar",
    };
    plain.to_owned()
}
