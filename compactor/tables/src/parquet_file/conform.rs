//! Rows with exactly a table's columns, in the table's order and types.
//!
//! Rows come as the topic has them. The table may have a wider type, if another engine promoted the
//! column, and keeps a time of day as a long: Spark reads no table that has Iceberg's own type for it.

use std::sync::Arc;

use ::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use ::arrow::compute::cast;
use ::arrow::datatypes::{DataType, Fields, SchemaRef, TimeUnit};
use ::arrow::error::ArrowError;

use super::ParquetError;

/// A column that the batch lacks is null; one that the table lacks is an error.
pub(super) fn conform(
    batch: &RecordBatch,
    target: &SchemaRef,
) -> Result<RecordBatch, ParquetError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        let column = batch.column_by_name(field.name());
        let fitted = match column {
            Some(column) => fit(column, field.data_type())?,
            None if field.is_nullable() => {
                Some(new_null_array(field.data_type(), batch.num_rows()))
            }
            None => None,
        };
        columns.push(fitted.ok_or_else(|| ParquetError::Column {
            column: field.name().clone(),
            have: column.map(|column| column.data_type().clone()),
            want: Some(field.data_type().clone()),
        })?);
    }
    let unknown = batch
        .schema_ref()
        .fields()
        .iter()
        .find(|field| target.field_with_name(field.name()).is_err());
    if let Some(unknown) = unknown {
        let (column, have) = (unknown.name().clone(), Some(unknown.data_type().clone()));
        return Err(ParquetError::Column {
            column,
            have,
            want: None,
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(target), columns)?)
}

/// The values as this type; `None` if the table has no place for them. Types nest as deep as a
/// table's columns may.
fn fit(array: &ArrayRef, want: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
    let have = array.data_type();
    if have == want {
        return Ok(Some(Arc::clone(array)));
    }
    let nulls = || array.nulls().cloned();
    Ok(match (have, want) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let fitted = fit_struct(array.as_struct(), fields)?;
            fitted.map(|rows| Arc::new(rows) as ArrayRef)
        }
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            match fit(list.values(), element.data_type())? {
                Some(values) => {
                    let (element, offsets) = (Arc::clone(element), list.offsets().clone());
                    let list = ListArray::try_new(element, offsets, values, nulls())?;
                    Some(Arc::new(list))
                }
                None => None,
            }
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let fitted = match entries.data_type() {
                DataType::Struct(fields) => fit_struct(map.entries(), fields)?,
                _ => None,
            };
            match fitted {
                Some(rows) => {
                    let (entries, offsets) = (Arc::clone(entries), map.offsets().clone());
                    let map = MapArray::try_new(entries, offsets, rows, nulls(), *sorted)?;
                    Some(Arc::new(map))
                }
                None => None,
            }
        }
        _ if is_stored_as(have, want) => Some(cast(array, want)?),
        _ => None,
    })
}

/// Fields by their names.
fn fit_struct(rows: &StructArray, want: &Fields) -> Result<Option<StructArray>, ArrowError> {
    if rows.num_columns() != want.len() {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(want.len());
    for field in want {
        let fitted = match rows.column_by_name(field.name()) {
            Some(column) => fit(column, field.data_type())?,
            None => None,
        };
        match fitted {
            Some(column) => columns.push(column),
            None => return Ok(None),
        }
    }
    let (nulls, length) = (rows.nulls().cloned(), rows.len());
    StructArray::try_new_with_length(want.clone(), columns, nulls, length).map(Some)
}

/// Another engine may have widened a column, in the ways that Iceberg knows.
fn is_stored_as(have: &DataType, table: &DataType) -> bool {
    match (have, table) {
        (DataType::Time64(TimeUnit::Microsecond), DataType::Int64)
        | (DataType::Int32, DataType::Int64)
        | (DataType::Float32, DataType::Float64) => true,
        (DataType::Decimal128(have, scale), DataType::Decimal128(table, same)) => {
            have <= table && scale == same
        }
        _ => false,
    }
}
