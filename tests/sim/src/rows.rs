//! What a query shows of a topic: the values at each place, and how two showings differ.

use std::collections::BTreeMap;

use arrow::array::{
    Array, BinaryArray, Int32Array, Int64Array, LargeBinaryArray, LargeStringArray, RecordBatch,
    StringArray,
};

use crate::cluster::ORDERS;

/// Rows by place; the values of the same place.
pub(crate) type Rows = BTreeMap<(i32, i64), Vec<String>>;

/// The rows of a topic's table and those of the hot tier.
pub(crate) struct Halves {
    pub(crate) cold: Rows,
    pub(crate) hot: Rows,
}

impl Halves {
    pub(crate) fn both(&self) -> Rows {
        let mut rows = self.cold.clone();
        for (place, values) in &self.hot {
            rows.entry(*place)
                .or_default()
                .extend(values.iter().cloned());
        }
        rows
    }
}

/// Where the value of a record stands in a row.
fn value_column(topic: &str) -> &'static str {
    if topic == ORDERS {
        "v"
    } else {
        tarn_schema::VALUE
    }
}

pub(crate) fn first_difference(rows: &Rows, expected: &Rows) -> Option<String> {
    if rows == expected {
        return None;
    }
    expected
        .iter()
        .find(|(place, values)| rows.get(*place) != Some(*values))
        .map(|(place, values)| {
            format!(
                "{place:?} should be {values:?} and is {:?}",
                rows.get(place)
            )
        })
        .or_else(|| {
            rows.iter()
                .find(|(place, _)| !expected.contains_key(*place))
                .map(|row| format!("{row:?} is too much"))
        })
}

/// Adds the rows of a batch of the topic's.
pub(crate) fn collect(topic: &str, batch: &RecordBatch, rows: &mut Rows) -> Result<(), String> {
    let column = value_column(topic);
    let find = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| format!("no column {name}"))
    };
    let partitions = find(tarn_schema::PARTITION)?
        .as_any()
        .downcast_ref::<Int32Array>()
        .ok_or(tarn_schema::PARTITION)?;
    let offsets = find(tarn_schema::OFFSET)?
        .as_any()
        .downcast_ref::<Int64Array>()
        .ok_or("_offset")?;
    let values = find(column)?;
    for row in 0..batch.num_rows() {
        let bytes = bytes_at(values.as_ref(), row)
            .ok_or_else(|| format!("{column} is {}", values.data_type()))?;
        let value = String::from_utf8_lossy(bytes).into_owned();
        rows.entry((partitions.value(row), offsets.value(row)))
            .or_default()
            .push(value);
    }
    Ok(())
}

fn bytes_at(values: &dyn Array, row: usize) -> Option<&[u8]> {
    let any = values.as_any();
    if let Some(values) = any.downcast_ref::<BinaryArray>() {
        return Some(values.value(row));
    }
    if let Some(values) = any.downcast_ref::<LargeBinaryArray>() {
        return Some(values.value(row));
    }
    if let Some(values) = any.downcast_ref::<StringArray>() {
        return Some(values.value(row).as_bytes());
    }
    any.downcast_ref::<LargeStringArray>()
        .map(|values| values.value(row).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_a_doubled_and_a_foreign_row_are_found() {
        let rows = |places: &[(i64, &[&str])]| -> Rows {
            places
                .iter()
                .map(|(at, values)| {
                    (
                        (0, *at),
                        values.iter().map(|value| (*value).to_owned()).collect(),
                    )
                })
                .collect()
        };
        let expected = rows(&[(0, &["a"]), (1, &["b"])]);
        assert_eq!(first_difference(&expected, &expected), None);
        for forged in [
            rows(&[(0, &["a"])]),
            rows(&[(0, &["a"]), (1, &["b", "b"])]),
            rows(&[(0, &["a"]), (1, &["c"])]),
        ] {
            assert!(first_difference(&forged, &expected).is_some(), "{forged:?}");
        }
        let foreign = rows(&[(0, &["a"]), (1, &["b"]), (2, &["c"])]);
        assert!(
            first_difference(&foreign, &expected).is_some_and(|text| text.contains("too much"))
        );
    }
}
