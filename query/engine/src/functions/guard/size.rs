//! Bytes of rows of an array, without a look at each value where the type allows it.

use std::ops::Range;

use datafusion::arrow::array::{Array, AsArray, OffsetSizeTrait};
use datafusion::arrow::datatypes::DataType;

/// What a value costs beside its bytes: its offset or view, and its part of what builds it.
const VALUE_BYTES: u64 = 16;

/// Bytes of the rows as if they were an array of their own; more than that for types that tables do not have.
pub(super) fn bytes(array: &dyn Array, rows: Range<usize>) -> u64 {
    if rows.is_empty() {
        return 0;
    }
    let count = rows.len() as u64;
    let beside = count * VALUE_BYTES;
    match array.data_type() {
        DataType::Null => 0,
        DataType::Utf8 => beside + length(array.as_string::<i32>().value_offsets(), rows),
        DataType::LargeUtf8 => beside + length(array.as_string::<i64>().value_offsets(), rows),
        DataType::Binary => beside + length(array.as_binary::<i32>().value_offsets(), rows),
        DataType::LargeBinary => beside + length(array.as_binary::<i64>().value_offsets(), rows),
        DataType::Utf8View => beside + viewed(&array.as_string_view().views()[rows]),
        DataType::BinaryView => beside + viewed(&array.as_binary_view().views()[rows]),
        DataType::FixedSizeBinary(width) => count * u64::from(width.unsigned_abs()),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            count + columns.map(|it| bytes(it, rows.clone())).sum::<u64>()
        }
        kind => match (elements(array, rows), kind.primitive_width()) {
            (Some((values, elements)), _) => beside + bytes(values, elements),
            (None, Some(width)) => count * width as u64,
            (None, None) if *kind == DataType::Boolean => count,
            (None, None) => array.get_array_memory_size() as u64,
        },
    }
}

/// What the rows hold, and where it is, if they are lists or maps.
pub(super) fn elements(
    array: &dyn Array,
    rows: Range<usize>,
) -> Option<(&dyn Array, Range<usize>)> {
    Some(match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (list.values(), pointed(list.value_offsets(), rows))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (list.values(), pointed(list.value_offsets(), rows))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            (map.entries(), pointed(map.value_offsets(), rows))
        }
        _ => return None,
    })
}

/// What the offsets of rows point at.
fn pointed<O: OffsetSizeTrait>(offsets: &[O], rows: Range<usize>) -> Range<usize> {
    offsets[rows.start].as_usize()..offsets[rows.end].as_usize()
}

fn length<O: OffsetSizeTrait>(offsets: &[O], rows: Range<usize>) -> u64 {
    pointed(offsets, rows).len() as u64
}

/// Lengths stand in the low half of the first eight bytes of a view.
fn viewed(views: &[u128]) -> u64 {
    views.iter().map(|view| u64::from(*view as u32)).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, ListArray, StringArray, StructArray};
    use datafusion::arrow::compute::cast;
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
        let texts = [Some("ab"), None, Some("a text that is longer than a view")];
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        check(&texts, [18, 65, 83]);
        for kind in [DataType::Utf8View, DataType::LargeBinary] {
            check(&cast(&texts, &kind).expect("same bytes"), [18, 65, 83]);
        }
        check(&Int64Array::from(vec![1, 2, 3]), [8, 16, 24]);
        let lists = [Some(vec![Some(1), None]), None, Some(vec![Some(3)])];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        check(&lists, [32, 40, 72]);
        let field = Arc::new(Field::new("text", DataType::Utf8, true));
        check(&StructArray::from(vec![(field, texts)]), [19, 67, 86]);
    }
}
