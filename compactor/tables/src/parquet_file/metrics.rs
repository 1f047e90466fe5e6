//! Iceberg's description of a finished file, from Parquet's own footer.
//!
//! Holds: no row of the file lies outside of its bounds. A row group whose extremes were cut gives
//! bounds all the same, for a cut one still is one; a row group that does not tell its extremes takes
//! the column's bounds away. Leaves in lists and maps are counted and have no bounds, because no
//! filter can name them.

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Type,
};
use iceberg::{Error, ErrorKind, Result};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::bounds;
use super::unordered::{Counted, Unordered};

/// A builder that still needs the file's path, size and partition.
pub(super) fn describe(
    schema: &Schema,
    metadata: &ParquetMetaData,
    unordered: &Unordered,
) -> Result<DataFileBuilder> {
    let mut columns: HashMap<i32, Column> = HashMap::new();
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            let info = chunk.column_descr().self_type().get_basic_info();
            let field = info
                .has_id()
                .then(|| schema.field_by_id(info.id()))
                .flatten();
            if let Some(field) = field
                && let Type::Primitive(kind) = field.field_type.as_ref()
            {
                columns
                    .entry(field.id)
                    .or_insert_with(|| Column::new(kind))
                    .add(chunk)?;
            }
        }
    }
    let mut described = Described::default();
    for (field, column) in columns {
        described.add(field, column, unordered.get(field));
    }
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let starts = metadata
        .row_groups()
        .iter()
        .filter_map(|group| group.file_offset());
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_format(DataFileFormat::Parquet)
        .record_count(rows)
        .column_sizes(described.sizes)
        .value_counts(described.values)
        .null_value_counts(described.nulls)
        .nan_value_counts(described.nans)
        .lower_bounds(described.lower)
        .upper_bounds(described.upper)
        .split_offsets(Some(starts.collect()));
    Ok(builder)
}

/// The maps of a data file, by field id.
#[derive(Default)]
struct Described {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    nans: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

impl Described {
    fn add(&mut self, field: i32, column: Column, counted: Option<&Counted>) {
        self.sizes.insert(field, column.bytes);
        self.values.insert(field, column.values);
        let (lower, upper) = match counted {
            Some(counted) => {
                self.nulls.insert(field, counted.nulls);
                // SUBTLE: where all are NaN the count stays away. Iceberg skips a file of nothing but
                // NaN for `d > 2`, and to Spark and to us NaN is greater than 2.
                if let Some(nans) = counted.nans
                    && nans < column.values
                {
                    self.nans.insert(field, nans);
                }
                (counted.lower(&column.kind), counted.upper(&column.kind))
            }
            None => {
                if let Some(nulls) = column.nulls {
                    self.nulls.insert(field, nulls);
                }
                let lower = column.least.into_value().map(bounds::lower);
                (lower, column.greatest.into_value().and_then(bounds::upper))
            }
        };
        if let Some(lower) = lower {
            self.lower.insert(field, lower);
        }
        if let Some(upper) = upper {
            self.upper.insert(field, upper);
        }
    }
}

/// An extreme over the row groups that were looked at.
#[derive(Debug, PartialEq)]
enum Extreme {
    /// There was no value yet.
    None,
    Known(Datum),
    /// A row group has values and does not say which.
    Unknown,
}

impl Extreme {
    fn add(&mut self, value: Option<Datum>, replaces: impl Fn(&Datum, &Datum) -> bool) {
        match (&*self, value) {
            (Extreme::Unknown, _) => {}
            (_, None) => *self = Extreme::Unknown,
            (Extreme::None, Some(value)) => *self = Extreme::Known(value),
            (Extreme::Known(known), Some(value)) => {
                if replaces(&value, known) {
                    *self = Extreme::Known(value);
                }
            }
        }
    }

    fn into_value(self) -> Option<Datum> {
        match self {
            Extreme::Known(datum) => Some(datum),
            Extreme::None | Extreme::Unknown => None,
        }
    }
}

/// One leaf over all row groups.
struct Column {
    kind: PrimitiveType,
    bytes: u64,
    values: u64,
    /// `None` if a row group did not count them.
    nulls: Option<u64>,
    least: Extreme,
    greatest: Extreme,
}

impl Column {
    fn new(kind: &PrimitiveType) -> Column {
        Column {
            kind: kind.clone(),
            bytes: 0,
            values: 0,
            nulls: Some(0),
            least: Extreme::None,
            greatest: Extreme::None,
        }
    }

    fn add(&mut self, chunk: &ColumnChunkMetaData) -> Result<()> {
        let values = u64::try_from(chunk.num_values()).unwrap_or(0);
        self.bytes += u64::try_from(chunk.compressed_size()).unwrap_or(0);
        self.values += values;
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        self.nulls = self.nulls.zip(nulls).map(|(sum, nulls)| sum + nulls);
        if chunk.column_descr().max_rep_level() > 0 {
            (self.least, self.greatest) = (Extreme::Unknown, Extreme::Unknown);
        } else if nulls != Some(values) {
            let physical = chunk.column_descr().physical_type();
            let datum = |bytes: Option<&[u8]>| {
                bytes
                    .map(|bytes| datum(bytes, physical, &self.kind))
                    .transpose()
            };
            let least = datum(statistics.and_then(Statistics::min_bytes_opt))?;
            let greatest = datum(statistics.and_then(Statistics::max_bytes_opt))?;
            self.least.add(least, |new, known| new < known);
            self.greatest.add(greatest, |new, known| new > known);
        }
        Ok(())
    }
}

/// An extreme as Parquet writes it. The bytes are those of Iceberg's own form, but of a decimal that
/// is kept as an integer: Parquet begins with its last byte, Iceberg with its first.
fn datum(bytes: &[u8], physical: PhysicalType, kind: &PrimitiveType) -> Result<Datum> {
    let is_integer = matches!(physical, PhysicalType::INT32 | PhysicalType::INT64);
    let datum = match kind {
        PrimitiveType::Decimal { .. } if is_integer => {
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            Datum::try_from_bytes(&reversed, kind.clone())
        }
        _ => Datum::try_from_bytes(bytes, kind.clone()),
    };
    datum.map_err(|source| {
        Error::new(
            ErrorKind::Unexpected,
            format!("statistics that are no {kind}"),
        )
        .with_source(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds of groups with these extremes; `None` is a group that does not tell its own.
    fn extremes(groups: &[Option<(i32, i32)>]) -> (Option<Datum>, Option<Datum>) {
        let (mut least, mut greatest) = (Extreme::None, Extreme::None);
        for group in groups {
            least.add(group.map(|(low, _)| Datum::int(low)), |new, known| {
                new < known
            });
            greatest.add(group.map(|(_, high)| Datum::int(high)), |new, known| {
                new > known
            });
        }
        (least.into_value(), greatest.into_value())
    }

    #[test]
    fn a_row_group_that_does_not_tell_takes_the_bounds_away() {
        let known = |low, high| (Some(Datum::int(low)), Some(Datum::int(high)));
        assert_eq!(extremes(&[]), (None, None));
        assert_eq!(extremes(&[Some((3, 4)), Some((-1, 2))]), known(-1, 4));
        assert_eq!(extremes(&[Some((3, 4)), None]), (None, None));
        assert_eq!(extremes(&[None, Some((3, 4))]), (None, None));
    }

    #[test]
    fn decimals_are_read_from_any_physical_type() {
        let kind = PrimitiveType::Decimal {
            precision: 9,
            scale: 2,
        };
        let check = |bytes: &[u8], physical| {
            let datum = datum(bytes, physical, &kind).expect("a decimal");
            assert_eq!(datum.to_string(), "-1.23");
        };
        check(&(-123_i32).to_le_bytes(), PhysicalType::INT32);
        check(&(-123_i64).to_le_bytes(), PhysicalType::INT64);
        check(
            &(-123_i128).to_be_bytes(),
            PhysicalType::FIXED_LEN_BYTE_ARRAY,
        );
    }
}
