//! A column that grows row by row and can be cut back, which Arrow's builders cannot: a record that
//! turns out undecodable in its middle is taken out of all columns again.
//!
//! Leaves to others: which bytes of a payload become which values (`plan`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray,
    ListArray, MapArray, NullBufferBuilder, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use tarn_model::ColumnType;

use crate::reason::Reason;

#[derive(Debug)]
pub(crate) struct Column {
    nulls: NullBufferBuilder,
    pub(crate) values: Values,
}

/// By storage: dates are ints, times and timestamps longs, UUIDs fixed. Offsets begin with a 0.
#[derive(Debug)]
pub(crate) enum Values {
    Boolean(BooleanBufferBuilder),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    String {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
    Binary {
        offsets: Vec<i64>,
        bytes: Vec<u8>,
    },
    Struct(Vec<Column>),
    List {
        offsets: Vec<i32>,
        element: Box<Column>,
    },
    Map {
        offsets: Vec<i32>,
        key: Box<Column>,
        value: Box<Column>,
    },
}

/// Bytes that one more row takes in a column of this type, whatever is in it.
pub(crate) fn row_width(kind: &ColumnType) -> usize {
    match kind {
        ColumnType::Boolean => 1,
        ColumnType::Int | ColumnType::Float | ColumnType::Date => 4,
        ColumnType::Long
        | ColumnType::Double
        | ColumnType::Time
        | ColumnType::Timestamp
        | ColumnType::TimestampTz
        | ColumnType::Binary => 8,
        ColumnType::Decimal { .. } | ColumnType::Uuid => 16,
        ColumnType::Fixed(length) => usize::try_from(*length).unwrap_or(usize::MAX),
        ColumnType::String | ColumnType::List(_) | ColumnType::Map(..) => 4,
        ColumnType::Struct(fields) => fields.iter().fold(0, |sum: usize, field| {
            sum.saturating_add(row_width(&field.kind))
        }),
    }
}

impl Column {
    pub(crate) fn new(kind: &ColumnType) -> Column {
        let values = match kind {
            ColumnType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            ColumnType::Int | ColumnType::Date => Values::Int(Vec::new()),
            ColumnType::Long
            | ColumnType::Time
            | ColumnType::Timestamp
            | ColumnType::TimestampTz => Values::Long(Vec::new()),
            ColumnType::Float => Values::Float(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Decimal { .. } => Values::Decimal(Vec::new()),
            ColumnType::Uuid => Values::Fixed {
                width: 16,
                bytes: Vec::new(),
            },
            ColumnType::Fixed(length) => Values::Fixed {
                width: usize::try_from(*length).unwrap_or(usize::MAX),
                bytes: Vec::new(),
            },
            ColumnType::String => Values::String {
                offsets: vec![0],
                bytes: Vec::new(),
            },
            ColumnType::Binary => Values::Binary {
                offsets: vec![0],
                bytes: Vec::new(),
            },
            ColumnType::Struct(fields) => Values::Struct(
                fields
                    .iter()
                    .map(|field| Column::new(&field.kind))
                    .collect(),
            ),
            ColumnType::List(element) => Values::List {
                offsets: vec![0],
                element: Box::new(Column::new(&element.kind)),
            },
            ColumnType::Map(key, value) => Values::Map {
                offsets: vec![0],
                key: Box::new(Column::new(&key.kind)),
                value: Box::new(Column::new(&value.kind)),
            },
        };
        Column {
            nulls: NullBufferBuilder::new(0),
            values,
        }
    }

    pub(crate) fn append_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int(values) => values.push(0),
            Values::Long(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Fixed { width, bytes } => bytes.resize(bytes.len() + *width, 0),
            Values::String { offsets, .. }
            | Values::List { offsets, .. }
            | Values::Map { offsets, .. } => {
                offsets.push(last(offsets));
            }
            Values::Binary { offsets, .. } => offsets.push(last(offsets)),
            Values::Struct(children) => children.iter_mut().for_each(Column::append_null),
        }
        self.nulls.append_null();
    }

    /// The row that was just written into `values` is not null.
    pub(crate) fn mark_valid(&mut self) {
        self.nulls.append_non_null();
    }

    /// The last row, if it is not null, of a column of longs.
    pub(crate) fn last_long(&self) -> Option<i64> {
        let Values::Long(values) = &self.values else {
            mispaired("long")
        };
        let row = values.len().checked_sub(1)?;
        self.nulls.is_valid(row).then(|| values.last().copied())?
    }

    pub(crate) fn push_boolean(&mut self, value: bool) {
        let Values::Boolean(values) = &mut self.values else {
            mispaired("boolean")
        };
        values.append(value);
        self.mark_valid();
    }

    pub(crate) fn push_int(&mut self, value: i32) {
        let Values::Int(values) = &mut self.values else {
            mispaired("int")
        };
        values.push(value);
        self.mark_valid();
    }

    pub(crate) fn push_long(&mut self, value: i64) {
        let Values::Long(values) = &mut self.values else {
            mispaired("long")
        };
        values.push(value);
        self.mark_valid();
    }

    /// One zero and one NaN (ADR 14): another NaN, or −0.0, is not kept apart.
    pub(crate) fn push_float(&mut self, value: f32) {
        let Values::Float(values) = &mut self.values else {
            mispaired("float")
        };
        values.push(if value.is_nan() {
            f32::NAN
        } else {
            value + 0.0
        });
        self.mark_valid();
    }

    pub(crate) fn push_double(&mut self, value: f64) {
        let Values::Double(values) = &mut self.values else {
            mispaired("double")
        };
        values.push(if value.is_nan() {
            f64::NAN
        } else {
            value + 0.0
        });
        self.mark_valid();
    }

    pub(crate) fn push_decimal(&mut self, value: i128) {
        let Values::Decimal(values) = &mut self.values else {
            mispaired("decimal")
        };
        values.push(value);
        self.mark_valid();
    }

    /// The value has the column's width.
    pub(crate) fn push_fixed(&mut self, value: &[u8]) {
        let Values::Fixed { width, bytes } = &mut self.values else {
            mispaired("fixed")
        };
        debug_assert_eq!(*width, value.len(), "a fixed value has its column's width");
        bytes.extend_from_slice(value);
        self.mark_valid();
    }

    pub(crate) fn push_string(&mut self, value: &str) -> Result<(), Reason> {
        let Values::String { offsets, bytes } = &mut self.values else {
            mispaired("string")
        };
        bytes.extend_from_slice(value.as_bytes());
        offsets.push(offset(bytes.len())?);
        self.mark_valid();
        Ok(())
    }

    pub(crate) fn push_binary(&mut self, value: &[u8]) -> Result<(), Reason> {
        let Values::Binary { offsets, bytes } = &mut self.values else {
            mispaired("binary")
        };
        bytes.extend_from_slice(value);
        offsets.push(i64::try_from(bytes.len()).map_err(|_| Reason::TooLarge)?);
        self.mark_valid();
        Ok(())
    }

    /// Cuts the column back to its first `rows` rows. A value that was begun and not finished, and
    /// what it left in the columns inside, goes too.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int(values) => values.truncate(rows),
            Values::Long(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Decimal(values) => values.truncate(rows),
            Values::Fixed { width, bytes } => bytes.truncate(rows.saturating_mul(*width)),
            Values::String { offsets, bytes } => {
                offsets.truncate(rows + 1);
                bytes.truncate(length(last(offsets)));
            }
            Values::Binary { offsets, bytes } => {
                offsets.truncate(rows + 1);
                bytes.truncate(usize::try_from(last(offsets)).unwrap_or(0));
            }
            Values::Struct(children) => children.iter_mut().for_each(|child| child.truncate(rows)),
            Values::List { offsets, element } => {
                offsets.truncate(rows + 1);
                element.truncate(length(last(offsets)));
            }
            Values::Map {
                offsets,
                key,
                value,
            } => {
                offsets.truncate(rows + 1);
                key.truncate(length(last(offsets)));
                value.truncate(length(last(offsets)));
            }
        }
    }

    /// The column as an Arrow array of the type that [`crate::data_type`] gives for it.
    pub(crate) fn finish(mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        Ok(match (self.values, data_type) {
            (Values::Boolean(mut values), DataType::Boolean) => {
                Arc::new(BooleanArray::new(values.finish(), nulls))
            }
            (Values::Int(values), DataType::Int32) => {
                Arc::new(Int32Array::try_new(values.into(), nulls)?)
            }
            (Values::Int(values), DataType::Date32) => {
                Arc::new(Date32Array::try_new(values.into(), nulls)?)
            }
            (Values::Long(values), DataType::Int64) => {
                Arc::new(Int64Array::try_new(values.into(), nulls)?)
            }
            (Values::Long(values), DataType::Time64(_)) => {
                Arc::new(Time64MicrosecondArray::try_new(values.into(), nulls)?)
            }
            (Values::Long(values), DataType::Timestamp(_, zone)) => Arc::new(
                TimestampMicrosecondArray::try_new(values.into(), nulls)?
                    .with_timezone_opt(zone.clone()),
            ),
            (Values::Float(values), DataType::Float32) => {
                Arc::new(Float32Array::try_new(values.into(), nulls)?)
            }
            (Values::Double(values), DataType::Float64) => {
                Arc::new(Float64Array::try_new(values.into(), nulls)?)
            }
            (Values::Decimal(values), DataType::Decimal128(precision, scale)) => Arc::new(
                Decimal128Array::try_new(values.into(), nulls)?
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            (Values::Fixed { bytes, .. }, DataType::FixedSizeBinary(width)) => Arc::new(
                FixedSizeBinaryArray::try_new(*width, Buffer::from_vec(bytes), nulls)?,
            ),
            (Values::String { offsets, bytes }, DataType::Utf8) => Arc::new(StringArray::try_new(
                list_offsets(offsets),
                Buffer::from_vec(bytes),
                nulls,
            )?),
            (Values::Binary { offsets, bytes }, DataType::LargeBinary) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(LargeBinaryArray::try_new(
                    offsets,
                    Buffer::from_vec(bytes),
                    nulls,
                )?)
            }
            (Values::Struct(children), DataType::Struct(fields)) => {
                Arc::new(finish_struct(children, fields, nulls)?)
            }
            (Values::List { offsets, element }, DataType::List(field)) => {
                let element = element.finish(field.data_type())?;
                Arc::new(ListArray::try_new(
                    field.clone(),
                    list_offsets(offsets),
                    element,
                    nulls,
                )?)
            }
            (
                Values::Map {
                    offsets,
                    key,
                    value,
                },
                DataType::Map(field, sorted),
            ) => {
                let DataType::Struct(fields) = field.data_type() else {
                    mispaired("map")
                };
                let entries = finish_struct(vec![*key, *value], fields, None)?;
                Arc::new(MapArray::try_new(
                    field.clone(),
                    list_offsets(offsets),
                    entries,
                    nulls,
                    *sorted,
                )?)
            }
            _ => mispaired("Arrow type"),
        })
    }
}

fn finish_struct(
    children: Vec<Column>,
    fields: &arrow::datatypes::Fields,
    nulls: Option<NullBuffer>,
) -> Result<StructArray, ArrowError> {
    let mut arrays = Vec::with_capacity(children.len());
    for (child, field) in children.into_iter().zip(fields) {
        arrays.push(child.finish(field.data_type())?);
    }
    StructArray::try_new(fields.clone(), arrays, nulls)
}

/// Offsets only grow, so this does not panic.
fn list_offsets(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

pub(crate) fn offset(length: usize) -> Result<i32, Reason> {
    i32::try_from(length).map_err(|_| Reason::TooLarge)
}

pub(crate) fn last<T: Copy + Default>(offsets: &[T]) -> T {
    offsets.last().copied().unwrap_or_default()
}

pub(crate) fn length(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

/// A plan is compiled against the column it writes to: no payload can bring two together that do
/// not belong together.
pub(crate) fn mispaired(what: &str) -> ! {
    unreachable!("a plan writes {what} to a column that it was not compiled for")
}
