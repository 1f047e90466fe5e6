//! What the file says of columns whose values engines do not order alike: floats and uuids. Parquet's
//! statistics and dictionaries are off for them, since readers would skip row groups by either.
//!
//! NaN is counted and is never a bound. −0.0 and 0.0 are one number to some engines and two to
//! others, so that a bound of zero has the sign that lets through both. A uuid has no bounds: Java
//! compares it as two signed numbers, everybody else as text.

use std::collections::BTreeMap;

use ::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use ::arrow::buffer::NullBuffer;
use ::arrow::datatypes::{Float32Type, Float64Type};
use iceberg::spec::{Datum, PrimitiveType, StructType, Type};

/// By field id, such columns that a filter can name: not those in lists and maps.
#[derive(Debug, Default)]
pub(super) struct Unordered {
    columns: BTreeMap<i32, Counted>,
}

/// One column of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) nulls: u64,
    /// `None` of what is no float.
    pub(super) nans: Option<u64>,
    least: f64,
    greatest: f64,
}

impl Unordered {
    pub(super) fn add(&mut self, table: &StructType, batch: &RecordBatch) {
        self.add_columns(table, batch.columns(), None);
    }

    pub(super) fn get(&self, field: i32) -> Option<&Counted> {
        self.columns.get(&field)
    }

    fn of(&mut self, field: i32) -> &mut Counted {
        self.columns.entry(field).or_default()
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
                    self.of(field.id).add_floats(values, valid.as_ref());
                }
                Type::Primitive(PrimitiveType::Double) => {
                    let values = column.as_primitive::<Float64Type>().values();
                    self.of(field.id)
                        .add_floats(values.iter().copied(), valid.as_ref());
                }
                Type::Primitive(PrimitiveType::Uuid) => {
                    let nulls = valid.as_ref().map_or(0, NullBuffer::null_count);
                    self.of(field.id).nulls += nulls as u64;
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

impl Default for Counted {
    fn default() -> Counted {
        Counted {
            nulls: 0,
            nans: None,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
        }
    }
}

impl Counted {
    fn add_floats(&mut self, values: impl Iterator<Item = f64>, valid: Option<&NullBuffer>) {
        let mut nans = 0;
        for (row, value) in values.enumerate() {
            if valid.is_some_and(|valid| valid.is_null(row)) {
                self.nulls += 1;
            } else if value.is_nan() {
                nans += 1;
            } else {
                self.least = self.least.min(value);
                self.greatest = self.greatest.max(value);
            }
        }
        self.nans = Some(self.nans.unwrap_or(0) + nans);
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
        (self.has_numbers() && self.nans == Some(0)).then(|| datum(greatest, kind))
    }
}

fn datum(value: f64, kind: &PrimitiveType) -> Datum {
    match kind {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was an f32 before it was widened"
        )]
        PrimitiveType::Float => Datum::float(value as f32),
        _ => Datum::double(value),
    }
}
