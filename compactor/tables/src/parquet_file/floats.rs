//! What the file says of its floats, since Parquet's statistics are off for them.
//!
//! NaN is counted and is never a bound. −0.0 and 0.0 are one number to some engines and two to
//! others, so that a bound of zero has the sign that lets through both.

use std::collections::BTreeMap;

use ::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use ::arrow::buffer::NullBuffer;
use ::arrow::datatypes::{Float32Type, Float64Type};
use iceberg::spec::{Datum, PrimitiveType, StructType, Type};

/// By field id, the float columns that a filter can name: not those in lists and maps.
#[derive(Debug, Default)]
pub(super) struct Floats {
    columns: BTreeMap<i32, Float>,
}

/// One column of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Float {
    pub(super) nulls: u64,
    pub(super) nans: u64,
    least: f64,
    greatest: f64,
}

impl Floats {
    pub(super) fn add(&mut self, table: &StructType, batch: &RecordBatch) {
        self.add_columns(table, batch.columns(), None);
    }

    pub(super) fn get(&self, field: i32) -> Option<&Float> {
        self.columns.get(&field)
    }

    fn add_columns(
        &mut self,
        table: &StructType,
        columns: &[ArrayRef],
        outer: Option<&NullBuffer>,
    ) {
        for (field, column) in table.fields().iter().zip(columns) {
            let valid = NullBuffer::union(outer, column.nulls());
            match field.field_type.as_ref() {
                Type::Primitive(PrimitiveType::Float) => {
                    let values = column.as_primitive::<Float32Type>().values();
                    let values = values.iter().map(|value| f64::from(*value));
                    self.columns
                        .entry(field.id)
                        .or_default()
                        .add(values, valid.as_ref());
                }
                Type::Primitive(PrimitiveType::Double) => {
                    let values = column.as_primitive::<Float64Type>().values();
                    let values = values.iter().copied();
                    self.columns
                        .entry(field.id)
                        .or_default()
                        .add(values, valid.as_ref());
                }
                Type::Struct(inner) => {
                    let rows: &StructArray = column.as_struct();
                    self.add_columns(inner, rows.columns(), valid.as_ref());
                }
                Type::Primitive(_) | Type::List(_) | Type::Map(_) => {}
            }
        }
    }
}

impl Default for Float {
    fn default() -> Float {
        Float {
            nulls: 0,
            nans: 0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
        }
    }
}

impl Float {
    fn add(&mut self, values: impl Iterator<Item = f64>, valid: Option<&NullBuffer>) {
        for (row, value) in values.enumerate() {
            if valid.is_some_and(|valid| valid.is_null(row)) {
                self.nulls += 1;
            } else if value.is_nan() {
                self.nans += 1;
            } else {
                self.least = self.least.min(value);
                self.greatest = self.greatest.max(value);
            }
        }
    }

    fn has_numbers(&self) -> bool {
        self.least <= self.greatest
    }

    pub(super) fn lower(&self, kind: &PrimitiveType) -> Option<Datum> {
        let least = if self.least == 0.0 { -0.0 } else { self.least };
        self.has_numbers().then(|| datum(least, kind))
    }

    /// There is none beside a NaN: it is the greatest number to SQL, and `d > 2` finds it.
    pub(super) fn upper(&self, kind: &PrimitiveType) -> Option<Datum> {
        let greatest = if self.greatest == 0.0 {
            0.0
        } else {
            self.greatest
        };
        (self.has_numbers() && self.nans == 0).then(|| datum(greatest, kind))
    }
}

fn datum(value: f64, kind: &PrimitiveType) -> Datum {
    match kind {
        // It was one before it was widened.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was an f32 before it was widened"
        )]
        PrimitiveType::Float => Datum::float(value as f32),
        _ => Datum::double(value),
    }
}
