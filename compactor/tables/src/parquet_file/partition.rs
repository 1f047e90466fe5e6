//! Which rows go into which table partition: the spec that the table had when it was loaded, by
//! Iceberg's own transforms.
//!
//! Parts come in the order of their values, whatever the order of the rows, so that equal rows give
//! equal files. A transform that cannot be computed is an error that no retry mends.

use std::collections::BTreeMap;

use ::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use ::arrow::compute::take_record_batch;
use ::arrow::row::{RowConverter, SortField};
use ::arrow::temporal_conversions::date32_to_datetime;
use iceberg::arrow::{PartitionValueCalculator, arrow_primitive_to_literal};
use iceberg::spec::{
    Literal, PartitionSpecRef, PrimitiveLiteral, Struct, TableMetadata, Transform,
};

use super::ParquetError;

/// Bytes of a folder's name: it helps people to find their way and means nothing.
const FOLDER_LENGTH: usize = 80;

/// Tells the table partitions of rows apart.
pub(super) struct Partitioner {
    spec: PartitionSpecRef,
    /// `None` if all rows are of one table partition.
    values: Option<Values>,
}

struct Values {
    calculator: PartitionValueCalculator,
    order: RowConverter,
}

/// Some rows of one table partition.
pub(super) struct Part {
    /// Orders the partitions by their values.
    pub(super) key: Vec<u8>,
    pub(super) place: Place,
    pub(super) rows: RecordBatch,
}

/// A table partition, and the folder of its files.
pub(super) struct Place {
    pub(super) values: Struct,
    pub(super) folder: String,
}

impl Partitioner {
    pub(super) fn new(metadata: &TableMetadata) -> Result<Partitioner, ParquetError> {
        let spec = metadata.default_partition_spec();
        let values = match spec.is_unpartitioned() {
            true => None,
            false => {
                let schema = metadata.current_schema();
                let calculator = PartitionValueCalculator::try_new(spec, schema)
                    .map_err(ParquetError::Partitioning)?;
                let kinds = match calculator.partition_arrow_type() {
                    ::arrow::datatypes::DataType::Struct(fields) => fields
                        .iter()
                        .map(|field| SortField::new(field.data_type().clone()))
                        .collect(),
                    _ => Vec::new(),
                };
                let order = RowConverter::new(kinds)?;
                Some(Values { calculator, order })
            }
        };
        Ok(Partitioner {
            spec: PartitionSpecRef::clone(spec),
            values,
        })
    }

    /// Rows with exactly the table's columns, by their table partitions.
    pub(super) fn split(&self, batch: RecordBatch) -> Result<Vec<Part>, ParquetError> {
        let Some(Values { calculator, order }) = &self.values else {
            let values = self.spec.fields().iter().map(|_| None).collect();
            let place = Place::new(&self.spec, values);
            let (key, rows) = (Vec::new(), batch);
            return Ok(vec![Part { key, place, rows }]);
        };
        let computed = calculator
            .calculate(&batch)
            .map_err(ParquetError::Partitioning)?;
        let columns = computed.as_struct().columns();
        let keys = order.convert_columns(columns)?;
        let mut rows: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for (row, key) in (0..).zip(keys.iter()) {
            rows.entry(key.data()).or_default().push(row);
        }
        let is_whole = rows.len() == 1;
        let mut parts = Vec::with_capacity(rows.len());
        for (key, rows) in rows {
            let at = rows.first().map_or(0, |row| *row as usize);
            let place = self.place(calculator, columns, at)?;
            let rows = match is_whole {
                true => batch.clone(),
                false => take_record_batch(&batch, &UInt32Array::from(rows))?,
            };
            let key = key.to_vec();
            parts.push(Part { key, place, rows });
        }
        Ok(parts)
    }

    /// Where the row of the computed `columns` belongs.
    fn place(
        &self,
        calculator: &PartitionValueCalculator,
        columns: &[ArrayRef],
        row: usize,
    ) -> Result<Place, ParquetError> {
        let fields = calculator.partition_type().fields();
        let mut values = Vec::with_capacity(fields.len());
        for (field, column) in fields.iter().zip(columns) {
            let one = column.slice(row, 1);
            let literal = arrow_primitive_to_literal(&one, &field.field_type)
                .map_err(ParquetError::Partitioning)?;
            values.push(literal.into_iter().next().flatten());
        }
        Ok(Place::new(&self.spec, values))
    }
}

impl Place {
    fn new(spec: &PartitionSpecRef, values: Vec<Option<Literal>>) -> Place {
        let parts: Vec<String> = spec
            .fields()
            .iter()
            .zip(&values)
            .map(|(field, value)| {
                format!("{}={}", field.name, text(field.transform, value.as_ref()))
            })
            .collect();
        let mut folder = parts.join(",");
        if folder.is_empty() {
            folder = "all".to_owned();
        }
        Place {
            values: Struct::from_iter(values),
            folder: short(&folder),
        }
    }
}

/// Without cutting a character in two.
fn short(text: &str) -> String {
    text.char_indices()
        .take_while(|(at, char)| at + char.len_utf8() <= FOLDER_LENGTH)
        .map(|(_, char)| char)
        .collect()
}

/// `2026-11-22`; beyond the calendar, the number of the day.
fn text(transform: Transform, value: Option<&Literal>) -> String {
    let Some(Literal::Primitive(value)) = value else {
        return "null".to_owned();
    };
    match (transform, value) {
        (Transform::Day, PrimitiveLiteral::Int(day)) => match date32_to_datetime(*day) {
            Some(time) => time.format("%Y-%m-%d").to_string(),
            None => day.to_string(),
        },
        (Transform::Month, PrimitiveLiteral::Int(month)) => {
            let year = i64::from(month.div_euclid(12)) + 1970;
            format!("{year:04}-{:02}", month.rem_euclid(12) + 1)
        }
        (Transform::Year, PrimitiveLiteral::Int(year)) => {
            format!("{:04}", i64::from(*year) + 1970)
        }
        (_, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, PrimitiveLiteral::Long(value)) => value.to_string(),
        (_, PrimitiveLiteral::Int128(value)) => value.to_string(),
        (_, PrimitiveLiteral::Float(value)) => value.to_string(),
        (_, PrimitiveLiteral::Double(value)) => value.to_string(),
        (_, PrimitiveLiteral::String(value)) => value.clone(),
        (_, PrimitiveLiteral::UInt128(value)) => uuid::Uuid::from_u128(*value).to_string(),
        (_, PrimitiveLiteral::Binary(value)) => {
            value.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        (_, PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin) => "null".to_owned(),
    }
}
