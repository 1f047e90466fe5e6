//! What Iceberg's metadata says of files, in DataFusion's words: rows, nulls, least and greatest values.
//!
//! Of a file: a filter that comes up while the query runs, as that of `ORDER BY … LIMIT` or of a join,
//! leaves the file out without opening it. Of the table: joins are put in order by it.
//!
//! A bound is no value: another engine may write one that no row has, and long text is cut. So the
//! table's are never exact. A file's are told as exact, since DataFusion leaves out files by exact ones
//! only, and for that a bound will do, as it does for a column whose bounds are the same; but only where
//! the type has one order everywhere: no text, whose bounds are cut, and no floats, whose NaN is in no
//! bound.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::scalar::ScalarValue;
use iceberg::spec::{DataFile, Datum, PrimitiveLiteral};
use tarn_decode::FIELD_ID_KEY;

use super::Wanted;

/// Values that are kept for one scan at most, files times columns: some 100 bytes each.
const VALUES_MAX: usize = 1 << 18;

/// Statistics of each file, and of all of them, as far as a query can use them.
pub(super) struct FileStatistics<'a> {
    /// The columns that it looks at, up to the last one: their ids, and as queries see them.
    columns: Vec<Option<(i32, &'a FieldRef)>>,
    schema: &'a SchemaRef,
}

impl<'a> FileStatistics<'a> {
    pub(super) fn new(wanted: Wanted<'a>, files: usize) -> FileStatistics<'a> {
        let mut filtered = HashSet::new();
        for filter in wanted.filters {
            filtered.extend(filter.column_refs().into_iter().map(|column| column.name()));
        }
        let is_wanted = |at: usize, name: &str| {
            let projected = wanted.projection.is_none_or(|some| some.contains(&at));
            projected || filtered.contains(name)
        };
        let fields = wanted.columns.fields().iter().zip(wanted.schema.fields());
        let mut columns: Vec<Option<(i32, &FieldRef)>> = fields
            .enumerate()
            .map(|(at, (field, shown))| {
                let id = field.metadata().get(FIELD_ID_KEY)?.parse().ok()?;
                is_wanted(at, shown.name()).then_some((id, shown))
            })
            .collect();
        let last = columns.iter().rposition(Option::is_some);
        columns.truncate(last.map_or(0, |last| last + 1));
        if columns.len().saturating_mul(files) > VALUES_MAX {
            columns.clear();
        }
        FileStatistics {
            columns,
            schema: wanted.schema,
        }
    }

    /// What is known of one file.
    pub(super) fn of(&self, file: &DataFile) -> Arc<Statistics> {
        let rows = usize::try_from(file.record_count()).unwrap_or(usize::MAX);
        let known = |wanted: &Option<(i32, &FieldRef)>| match wanted {
            Some((id, shown)) => column(file, *id, shown.data_type(), rows),
            None => ColumnStatistics::new_unknown(),
        };
        Arc::new(Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: bytes(file.file_size_in_bytes()),
            column_statistics: self.columns.iter().map(known).collect(),
        })
    }

    /// What is known of all files together. The number of rows is exact if all of them are wanted.
    pub(super) fn of_all(&self, files: &[Arc<Statistics>], all_rows: bool) -> Statistics {
        let mut sum = Statistics::new_unknown(self.schema);
        for (at, file) in files.iter().enumerate() {
            if at == 0 {
                sum.num_rows = file.num_rows;
                sum.total_byte_size = file.total_byte_size;
            } else {
                sum.num_rows = sum.num_rows.add(&file.num_rows);
                sum.total_byte_size = sum.total_byte_size.add(&file.total_byte_size);
            }
            let columns = sum.column_statistics.iter_mut();
            for (all, one) in columns.zip(&file.column_statistics) {
                if at == 0 {
                    all.clone_from(one);
                } else {
                    all.null_count = all.null_count.add(&one.null_count);
                    all.min_value = all.min_value.min(&one.min_value);
                    all.max_value = all.max_value.max(&one.max_value);
                }
            }
        }
        for column in &mut sum.column_statistics {
            column.min_value = std::mem::take(&mut column.min_value).to_inexact();
            column.max_value = std::mem::take(&mut column.max_value).to_inexact();
            *column = countable(std::mem::take(column));
        }
        match all_rows {
            true => sum,
            false => sum.to_inexact(),
        }
    }
}

fn bytes(bytes: u64) -> Precision<usize> {
    usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact)
}

fn column(file: &DataFile, id: i32, kind: &DataType, rows: usize) -> ColumnStatistics {
    let mut known = ColumnStatistics::new_unknown();
    let nulls = file.null_value_counts().get(&id);
    // A column that the file lacks has no count, and of a nested one only the leaves are counted.
    if let Some(nulls) = nulls.and_then(|nulls| usize::try_from(*nulls).ok())
        && nulls <= rows
        && !kind.is_nested()
    {
        known.null_count = Precision::Exact(nulls);
    }
    let bound = |datum: Option<&Datum>| datum.and_then(|datum| value(datum, kind));
    let lower = bound(file.lower_bounds().get(&id));
    let upper = bound(file.upper_bounds().get(&id));
    if let (Some(lower), Some(upper)) = (lower, upper) {
        known.min_value = Precision::Exact(lower);
        known.max_value = Precision::Exact(upper);
    }
    countable(known)
}

/// Without bounds that lie so far apart that nobody can count the values between them.
///
/// SUBTLE: DataFusion estimates how many rows pass a filter by that number, and for all of 64 bits it
/// overflows: a panic where arithmetic is checked, else an estimate of nothing.
fn countable(mut known: ColumnStatistics) -> ColumnStatistics {
    let (lower, upper) = (known.min_value.get_value(), known.max_value.get_value());
    if let (Some(lower), Some(upper)) = (lower, upper)
        && lower.distance(upper) == Some(usize::MAX)
    {
        known.min_value = Precision::Absent;
        known.max_value = Precision::Absent;
    }
    known
}

/// A bound as a value of the table's column. It was written as the type that the column had in the
/// file, which may be a narrower one.
fn value(datum: &Datum, kind: &DataType) -> Option<ScalarValue> {
    let whole = match datum.literal() {
        PrimitiveLiteral::Int(value) => i128::from(*value),
        PrimitiveLiteral::Long(value) => i128::from(*value),
        PrimitiveLiteral::Int128(value) => *value,
        PrimitiveLiteral::UInt128(_)
        | PrimitiveLiteral::Boolean(_)
        | PrimitiveLiteral::Float(_)
        | PrimitiveLiteral::Double(_)
        | PrimitiveLiteral::String(_)
        | PrimitiveLiteral::Binary(_)
        | PrimitiveLiteral::AboveMax
        | PrimitiveLiteral::BelowMin => return None,
    };
    let long = i64::try_from(whole).ok();
    let int = i32::try_from(whole).ok();
    match kind {
        DataType::Int32 => int.map(|value| ScalarValue::Int32(Some(value))),
        DataType::Date32 => int.map(|value| ScalarValue::Date32(Some(value))),
        DataType::Int64 => long.map(|value| ScalarValue::Int64(Some(value))),
        DataType::Time64(_) => long.map(|value| ScalarValue::Time64Microsecond(Some(value))),
        DataType::Timestamp(_, zone) => {
            long.map(|value| ScalarValue::TimestampMicrosecond(Some(value), zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            Some(ScalarValue::Decimal128(Some(whole), *precision, *scale))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use datafusion::arrow::datatypes::{Field, Schema, TimeUnit};
    use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Struct};

    use super::*;

    fn columns() -> SchemaRef {
        let fields = [
            ("n", DataType::Int64),
            ("text", DataType::Utf8),
            ("d", DataType::Float64),
            ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("unused", DataType::Int32),
        ];
        let fields = fields.into_iter().zip(1..).map(|((name, kind), id)| {
            let id = HashMap::from([(FIELD_ID_KEY.to_owned(), i32::to_string(&id))]);
            Field::new(name, kind, true).with_metadata(id)
        });
        Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
    }

    fn file(rows: u64, low: i32, high: i32, nulls: u64) -> DataFile {
        // The column was an int when the file was written.
        file_between(rows, Datum::int(low), Datum::int(high), nulls)
    }

    fn file_between(rows: u64, low: Datum, high: Datum, nulls: u64) -> DataFile {
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path("memory:/f.parquet".to_owned())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(rows)
            .file_size_in_bytes(100)
            .null_value_counts(HashMap::from([(1, nulls), (2, 0), (3, 0)]))
            .lower_bounds(HashMap::from([
                (1, low),
                (2, Datum::string("a")),
                (3, Datum::double(1.0)),
                (4, Datum::timestamp_micros(5)),
                (5, Datum::int(1)),
            ]))
            .upper_bounds(HashMap::from([
                (1, high),
                (2, Datum::string("b")),
                (3, Datum::double(2.0)),
                (4, Datum::timestamp_micros(6)),
                (5, Datum::int(2)),
            ]))
            .build()
            .expect("a data file")
    }

    /// Nulls, least and greatest of each column.
    fn told(statistics: &Statistics) -> String {
        let columns = statistics.column_statistics.iter().map(|column| {
            let (nulls, least) = (&column.null_count, &column.min_value);
            format!("{nulls:?} {least:?} {:?}", column.max_value)
        });
        format!(
            "{:?}: {}",
            statistics.num_rows,
            columns.collect::<Vec<String>>().join(", ")
        )
    }

    #[test]
    fn files_are_told_exactly_and_their_sum_is_not() {
        let columns = columns();
        let wanted = Wanted {
            columns: &columns,
            schema: &columns,
            projection: Some(&vec![0, 1, 2, 3]),
            filters: &[],
            limit: None,
        };
        let statistics = FileStatistics::new(wanted, 2);
        let files = [file(10, -3, 4, 1), file(5, 7, 7, 0)].map(|file| statistics.of(&file));
        assert_eq!(
            told(&files[0]),
            "Exact(10): Exact(1) Exact(Int64(-3)) Exact(Int64(4)), Exact(0) Absent Absent, \
             Exact(0) Absent Absent, Absent Exact(TimestampMicrosecond(5, None)) \
             Exact(TimestampMicrosecond(6, None))"
        );
        assert_eq!(files[1].column_statistics.len(), 4, "unused is left out");
        assert!(told(&statistics.of_all(&files, true)).starts_with(
            "Exact(15): Exact(1) Inexact(Int64(-3)) Inexact(Int64(7)), Exact(0) Absent"
        ));
        assert!(
            told(&statistics.of_all(&files, false))
                .starts_with("Inexact(15): Inexact(1) Inexact(Int64(-3)) Inexact(Int64(7))")
        );
        let many = FileStatistics::new(wanted, 1 << 20);
        assert!(many.of(&file(1, 1, 2, 0)).column_statistics.is_empty());
    }

    #[test]
    fn bounds_that_leave_out_no_number_are_not_told() {
        let columns = columns();
        let wanted = Wanted {
            columns: &columns,
            schema: &columns,
            projection: None,
            filters: &[],
            limit: None,
        };
        let statistics = FileStatistics::new(wanted, 3);
        let files = [(i64::MIN, i64::MAX), (i64::MIN, 0), (1, i64::MAX)]
            .map(|(low, high)| file_between(2, Datum::long(low), Datum::long(high), 0))
            .map(|file| statistics.of(&file));
        assert!(told(&files[0]).starts_with("Exact(2): Exact(0) Absent Absent"));
        let all = told(&statistics.of_all(&files[1..], true));
        assert!(all.starts_with("Exact(4): Exact(0) Absent Absent"), "{all}");
    }
}
