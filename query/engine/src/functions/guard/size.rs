//! Bytes of rows of an array, without a look at each value where the type allows it.

use std::ops::Range;

use datafusion::arrow::array::{Array, AsArray, OffsetSizeTrait};
use datafusion::arrow::datatypes::{DataType, UnionMode};

/// What a value costs beside its bytes: its offset or view, and its part of what builds it.
const VALUE_BYTES: u64 = 16;

/// Bytes of the rows as if they were an array of their own; more than that for dictionaries.
pub(super) fn bytes(array: &dyn Array, rows: Range<usize>) -> u64 {
    if rows.is_empty() {
        return 0;
    }
    let count = rows.len() as u64;
    let beside = count * VALUE_BYTES;
    match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => count,
        DataType::Utf8 => beside + span(array.as_string::<i32>().value_offsets(), rows).1,
        DataType::LargeUtf8 => beside + span(array.as_string::<i64>().value_offsets(), rows).1,
        DataType::Binary => beside + span(array.as_binary::<i32>().value_offsets(), rows).1,
        DataType::LargeBinary => beside + span(array.as_binary::<i64>().value_offsets(), rows).1,
        DataType::Utf8View => beside + viewed(&array.as_string_view().views()[rows]),
        DataType::BinaryView => beside + viewed(&array.as_binary_view().views()[rows]),
        DataType::FixedSizeBinary(width) => count * u64::from(width.unsigned_abs()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (elements, _) = span(list.value_offsets(), rows);
            beside + bytes(list.values(), elements)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (elements, _) = span(list.value_offsets(), rows);
            beside + bytes(list.values(), elements)
        }
        DataType::FixedSizeList(_, width) => {
            let width = width.unsigned_abs() as usize;
            let elements = rows.start * width..rows.end * width;
            beside + bytes(array.as_fixed_size_list().values(), elements)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (entries, _) = span(map.value_offsets(), rows);
            beside + bytes(map.entries(), entries)
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            count
                + columns
                    .iter()
                    .map(|column| bytes(column, rows.clone()))
                    .sum::<u64>()
        }
        DataType::Union(fields, UnionMode::Sparse) => {
            let union = array.as_union();
            let children = fields
                .iter()
                .map(|(id, _)| bytes(union.child(id), rows.clone()));
            count + children.sum::<u64>()
        }
        DataType::Dictionary(..) => {
            let values = array.as_any_dictionary().values();
            beside + bytes(values, 0..values.len())
        }
        other => match other.primitive_width() {
            Some(width) => count * width as u64,
            None => array.get_array_memory_size() as u64,
        },
    }
}

/// Elements of a row that holds a list or a map; 0 of everything else.
pub(super) fn elements(array: &dyn Array, row: usize) -> u64 {
    let rows = row..row + 1;
    match array.data_type() {
        DataType::List(_) => span(array.as_list::<i32>().value_offsets(), rows).1,
        DataType::LargeList(_) => span(array.as_list::<i64>().value_offsets(), rows).1,
        DataType::FixedSizeList(_, width) => u64::from(width.unsigned_abs()),
        DataType::Map(..) => span(array.as_map().value_offsets(), rows).1,
        _ => 0,
    }
}

/// What the offsets of rows point at, and how much it is.
fn span<O: OffsetSizeTrait>(offsets: &[O], rows: Range<usize>) -> (Range<usize>, u64) {
    let pointed = offsets[rows.start].as_usize()..offsets[rows.end].as_usize();
    let length = pointed.len() as u64;
    (pointed, length)
}

/// Lengths stand in the low half of the first eight bytes of a view.
fn viewed(views: &[u128]) -> u64 {
    views.iter().map(|view| u64::from(*view as u32)).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Int64Array, ListArray, StringArray, StringViewArray, StructArray,
    };
    use datafusion::arrow::datatypes::{Field, Int64Type};

    use super::*;

    #[track_caller]
    fn check(array: &dyn Array, expected: [u64; 3]) {
        let sizes = [0..1, 1..3, 0..3].map(|rows| bytes(array, rows));
        assert_eq!(sizes, expected);
        // Slices count from their own beginning.
        assert_eq!(bytes(&array.slice(1, 2), 0..2), expected[1]);
    }

    #[test]
    fn rows_cost_what_they_hold() {
        let texts = vec![Some("ab"), None, Some("a text that is longer than a view")];
        check(&StringArray::from(texts.clone()), [18, 65, 83]);
        check(&StringViewArray::from(texts.clone()), [18, 65, 83]);
        check(&Int64Array::from(vec![1, 2, 3]), [8, 16, 24]);
        let lists = [Some(vec![Some(1), None]), None, Some(vec![Some(3)])];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        check(&lists, [32, 40, 72]);
        assert_eq!([0, 1, 2].map(|row| elements(&lists, row)), [2, 0, 1]);
        let text: ArrayRef = Arc::new(StringArray::from(texts));
        let field = Arc::new(Field::new("text", DataType::Utf8, true));
        check(&StructArray::from(vec![(field, text)]), [19, 67, 86]);
    }
}
