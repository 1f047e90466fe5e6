//! Rows with exactly the columns that a table shows.
//!
//! Files and the hot tier carry field ids in their fields, nested ones too. SQL's schema has none:
//! DataFusion drops them from lists here and there, and then finds that types differ. Ids serve for
//! one thing, finding a file's columns, at every depth; a field that a file lacks is null.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray,
    new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use tarn_decode::FIELD_ID_KEY;

pub(crate) fn id(field: &Field) -> Option<&String> {
    field.metadata().get(FIELD_ID_KEY)
}

/// The columns as queries see them: without ids and docs, and text as views. Those are read from
/// dictionary pages without copying, and compared and grouped by their first bytes.
pub(crate) fn shown_schema(columns: &Schema) -> SchemaRef {
    let shown = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 => Field::new(field.name(), DataType::Utf8View, field.is_nullable()),
        kind => Field::new(field.name(), plain(kind), field.is_nullable()),
    };
    Arc::new(Schema::new(
        columns.fields().iter().map(shown).collect::<Vec<Field>>(),
    ))
}

/// The columns without ids and docs.
#[cfg(test)]
pub(crate) fn plain_schema(columns: &Schema) -> SchemaRef {
    Arc::new(Schema::new(plain_fields(columns.fields())))
}

fn plain_fields(fields: &Fields) -> Fields {
    fields.iter().map(plain_field).collect()
}

fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(
        field.name(),
        plain(field.data_type()),
        field.is_nullable(),
    ))
}

/// The type without ids and docs in its fields.
pub(crate) fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Struct(fields) => DataType::Struct(plain_fields(fields)),
        DataType::List(element) => DataType::List(plain_field(element)),
        DataType::LargeList(element) => DataType::LargeList(plain_field(element)),
        DataType::Map(entries, is_sorted) => DataType::Map(plain_field(entries), *is_sorted),
        other => other.clone(),
    }
}

/// Is it a type that holds fields of its own?
pub(crate) fn is_nested(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(..)
    )
}

/// The array as `wanted`. Types nest as deep as a table's columns may.
pub(crate) fn conform(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Ok(Arc::new(conform_struct(array.as_struct(), fields)?))
        }
        (DataType::List(_), DataType::List(element)) => {
            conform_list(array.as_list::<i32>(), element)
        }
        (DataType::LargeList(_), DataType::LargeList(element)) => {
            conform_list(array.as_list::<i64>(), element)
        }
        (DataType::Map(..), DataType::Map(entries, is_sorted)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError(
                    "a map has entries of another type".to_owned(),
                ));
            };
            let conformed = conform_struct(map.entries(), fields)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(
                Arc::clone(entries),
                offsets,
                conformed,
                nulls,
                *is_sorted,
            )?))
        }
        _ => cast(array, wanted),
    }
}

fn conform_struct(array: &StructArray, wanted: &Fields) -> Result<StructArray, ArrowError> {
    let mut columns = Vec::with_capacity(wanted.len());
    for field in wanted {
        columns.push(match place(array.fields(), field) {
            Some(place) => conform(array.column(place), field.data_type())?,
            None => new_null_array(field.data_type(), array.len()),
        });
    }
    StructArray::try_new_with_length(wanted.clone(), columns, array.nulls().cloned(), array.len())
}

/// The field of this id, or of this name in a file that knows no ids.
fn place(have: &Fields, wanted: &Field) -> Option<usize> {
    have.iter().position(|field| match (id(field), id(wanted)) {
        (Some(have), Some(wanted)) => have == wanted,
        _ => field.name() == wanted.name(),
    })
}

fn conform_list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    element: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let values = conform(list.values(), element.data_type())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::try_new(
        Arc::clone(element),
        offsets,
        values,
        nulls,
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_views() {
        let columns = [DataType::Utf8, DataType::Int64, DataType::LargeBinary];
        let columns = columns.into_iter().zip(["a", "b", "c"]);
        let columns = columns.map(|(kind, name)| Field::new(name, kind, true));
        let shown = shown_schema(&Schema::new(columns.collect::<Vec<Field>>()));
        let kinds = shown.fields().iter().map(|field| field.data_type().clone());
        assert_eq!(
            kinds.collect::<Vec<DataType>>(),
            [DataType::Utf8View, DataType::Int64, DataType::LargeBinary]
        );
    }
}
