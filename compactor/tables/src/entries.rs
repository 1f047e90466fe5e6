//! The files that a manifest names, and what is known of the values of all of them together.
//!
//! A scan that looks for a needle asks of the whole manifest first, then of each block of its files, and
//! only where both may hold it of a file. Files that were written one after the other hold offsets and
//! times that follow each other: for those it costs manifests and one block, not files.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::mem::size_of;
use std::sync::Arc;

use iceberg::spec::{DataFile, Datum, ManifestEntryRef, PrimitiveType};

use crate::facts::{Facts, compare};

/// Files of one block.
const BLOCK: usize = 32;

/// What is known of all files of a manifest: kept for longer than its entries, and a thousandth of them.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// `None` if there is no file any more.
    together: Option<Together>,
}

impl Whole {
    /// May one of the files pass?
    pub(crate) fn may<P>(&self, passes: &P) -> bool
    where
        P: Fn(&dyn Facts) -> bool,
    {
        self.together.as_ref().is_some_and(|all| passes(all))
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let columns = self.together.as_ref().map_or(0, |all| all.columns.len());
        (size_of::<Whole>() + columns * size_of::<Column>()) as u64
    }
}

/// The entries of a manifest, with the numbers that they inherit.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    all: Vec<ManifestEntryRef>,
    whole: Arc<Whole>,
    /// Of each [`BLOCK`] entries.
    blocks: Vec<Option<Together>>,
}

impl Entries {
    pub(crate) fn new(all: Vec<ManifestEntryRef>) -> Entries {
        let blocks: Vec<Option<Together>> = all.chunks(BLOCK).map(Together::of_files).collect();
        let together = blocks.iter().flatten().cloned().reduce(Together::and);
        Entries {
            whole: Arc::new(Whole { together }),
            blocks,
            all,
        }
    }

    pub(crate) fn whole(&self) -> &Arc<Whole> {
        &self.whole
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ManifestEntryRef> {
        self.all.iter()
    }

    /// Files that are there, of which one may pass: `passes` says so of what is known of a file, or of
    /// some together.
    pub(crate) fn alive<'a, P>(
        &'a self,
        passes: &'a P,
    ) -> impl Iterator<Item = &'a ManifestEntryRef>
    where
        P: Fn(&dyn Facts) -> bool,
    {
        let may = |together: &Option<Together>| together.as_ref().is_some_and(|all| passes(all));
        let blocks = match self.whole.may(passes) {
            true => self.blocks.as_slice(),
            false => &[],
        };
        self.all
            .chunks(BLOCK)
            .zip(blocks)
            .filter(move |(_, together)| may(together))
            .flat_map(|(block, _)| block)
            .filter(|entry| entry.is_alive() && passes(&entry.data_file))
    }

    /// Memory that is taken beside the entries themselves.
    pub(crate) fn bytes(&self) -> u64 {
        let together = self.blocks.iter().flatten();
        let columns: usize = together.map(|together| together.columns.len()).sum();
        (size_of::<Entries>() + columns * size_of::<Column>()) as u64
    }
}

/// What is known of the files of a block, or of a manifest. Nothing of a column that is not listed.
#[derive(Debug, Clone)]
struct Together {
    /// Sorted by field.
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct Column {
    field: i32,
    /// Of the values that are there; `None` if they are not known everywhere.
    lower: Option<Datum>,
    upper: Option<Datum>,
    has_no_null: bool,
    has_only_nulls: bool,
    has_no_nan: bool,
}

impl Column {
    fn of_file(file: &DataFile, field: i32) -> Column {
        Column {
            field,
            lower: file.lower_bounds().get(&field).cloned(),
            upper: file.upper_bounds().get(&field).cloned(),
            has_no_null: file.has_no_null(field),
            has_only_nulls: file.has_only_nulls(field),
            has_no_nan: file.has_no_nan(field),
        }
    }

    fn and(self, other: Column) -> Column {
        let (lower, upper) = match (self.has_only_nulls, other.has_only_nulls) {
            (true, _) => (other.lower, other.upper),
            (_, true) => (self.lower, self.upper),
            _ => (
                outer(self.lower, other.lower, Ordering::Less),
                outer(self.upper, other.upper, Ordering::Greater),
            ),
        };
        Column {
            field: self.field,
            lower,
            upper,
            has_no_null: self.has_no_null && other.has_no_null,
            has_only_nulls: self.has_only_nulls && other.has_only_nulls,
            has_no_nan: self.has_no_nan && other.has_no_nan,
        }
    }
}

/// The bound that lies further out; `None` if one is missing, or if they have no order.
fn outer(one: Option<Datum>, other: Option<Datum>, out: Ordering) -> Option<Datum> {
    let (one, other) = (one?, other?);
    if one.data_type() != other.data_type() {
        return None;
    }
    Some(match compare(&one, &other)? == out {
        true => one,
        false => other,
    })
}

impl Together {
    fn of_files(entries: &[ManifestEntryRef]) -> Option<Together> {
        let alive = entries.iter().filter(|entry| entry.is_alive());
        let files: Vec<&DataFile> = alive.map(|entry| &entry.data_file).collect();
        let (first, rest) = files.split_first()?;
        // Counts are there for columns that have no bounds, and bounds may be there without counts.
        let mut fields: Vec<i32> = first
            .value_counts()
            .keys()
            .chain(first.lower_bounds().keys())
            .chain(first.upper_bounds().keys())
            .copied()
            .collect();
        fields.sort_unstable();
        fields.dedup();
        let together = |field: i32| {
            let first = Column::of_file(first, field);
            rest.iter()
                .fold(first, |all, file| all.and(Column::of_file(file, field)))
        };
        Some(Together {
            columns: fields.into_iter().map(together).collect(),
        })
    }

    fn and(self, other: Together) -> Together {
        let and = |column: Column| {
            let other = other.column(column.field)?;
            Some(column.and(other.clone()))
        };
        Together {
            columns: self.columns.into_iter().filter_map(and).collect(),
        }
    }

    fn column(&self, field: i32) -> Option<&Column> {
        let at = self
            .columns
            .binary_search_by_key(&field, |column| column.field);
        at.ok().and_then(|at| self.columns.get(at))
    }
}

impl Facts for Together {
    fn lower(&self, field: i32, _: &PrimitiveType) -> Option<Cow<'_, Datum>> {
        self.column(field)?.lower.as_ref().map(Cow::Borrowed)
    }

    fn upper(&self, field: i32, _: &PrimitiveType) -> Option<Cow<'_, Datum>> {
        self.column(field)?.upper.as_ref().map(Cow::Borrowed)
    }

    fn has_no_null(&self, field: i32) -> bool {
        self.column(field).is_some_and(|column| column.has_no_null)
    }

    fn has_only_nulls(&self, field: i32) -> bool {
        self.column(field)
            .is_some_and(|column| column.has_only_nulls)
    }

    fn has_no_nan(&self, field: i32) -> bool {
        self.column(field).is_some_and(|column| column.has_no_nan)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use iceberg::expr::{Bind, Predicate, Reference};
    use iceberg::spec::{
        DataContentType, DataFileBuilder, DataFileFormat, ManifestEntry, ManifestStatus,
        NestedField, Schema, SchemaRef, Struct, Type,
    };

    use super::*;
    use crate::plan::may_match;

    const FILES: i64 = 200;

    fn schema() -> SchemaRef {
        let fields = [
            (1, "offset", PrimitiveType::Long),
            (2, "n", PrimitiveType::Long),
            (3, "s", PrimitiveType::String),
            (4, "d", PrimitiveType::Double),
        ];
        let fields = fields
            .map(|(id, name, kind)| NestedField::optional(id, name, Type::Primitive(kind)).into());
        let schema = Schema::builder().with_fields(fields).build();
        Arc::new(schema.expect("a schema"))
    }

    /// Offsets in order; numbers without an order, an int in older files and only nulls in some; text
    /// without bounds in some; floats with a NaN in some. Every seventh was deleted, and a block of them.
    fn file(n: i64) -> ManifestEntryRef {
        let odd = n * 7919 % FILES;
        let (mut lower, mut upper) = (HashMap::new(), HashMap::new());
        let mut bounds = |id: i32, low: Datum, high: Datum| {
            lower.insert(id, low);
            upper.insert(id, high);
        };
        bounds(1, Datum::long(n * 10), Datum::long(n * 10 + 9));
        let nulls = n % 5 == 0;
        match nulls {
            true => {}
            false if n < 50 => {
                let odd = i32::try_from(odd).expect("small");
                bounds(2, Datum::int(odd), Datum::int(odd + 1));
            }
            false => bounds(2, Datum::long(odd), Datum::long(odd + 1)),
        }
        if n % 11 != 0 {
            bounds(3, Datum::string(format!("{odd:03}")), Datum::string("300"));
        }
        bounds(4, Datum::double(odd as f64), Datum::double(odd as f64));
        let file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_format(DataFileFormat::Parquet)
            .file_path(format!("{n}.parquet"))
            .file_size_in_bytes(1)
            .record_count(10)
            .value_counts((1..=4).map(|id| (id, 10)).collect())
            .null_value_counts(HashMap::from([
                (1, 0),
                (2, if nulls { 10 } else { 1 }),
                (3, 0),
                (4, 0),
            ]))
            .nan_value_counts(HashMap::from([(4, u64::from(n % 40 == 3))]))
            .lower_bounds(lower)
            .upper_bounds(upper)
            .partition(Struct::empty())
            .partition_spec_id(0)
            .build()
            .expect("a file");
        let is_deleted = n % 7 == 0 || (64..96).contains(&n);
        let entry = ManifestEntry::builder()
            .status(match is_deleted {
                true => ManifestStatus::Deleted,
                false => ManifestStatus::Existing,
            })
            .snapshot_id(1)
            .data_file(file);
        Arc::new(entry.build())
    }

    fn filters() -> Vec<Predicate> {
        let column = |name: &str| Reference::new(name);
        let mut filters = Vec::new();
        for n in [0, 5, 63, 64, 95, 96, 150, 199, 200, 1999] {
            for datum in [Datum::long(n), Datum::long(n * 10)] {
                for name in ["offset", "n"] {
                    filters.push(column(name).equal_to(datum.clone()));
                    filters.push(column(name).less_than(datum.clone()));
                    filters.push(column(name).greater_than_or_equal_to(datum.clone()));
                    filters.push(column(name).is_in([datum.clone(), Datum::long(7)]));
                }
            }
            filters.push(column("s").less_than(Datum::string(format!("{n:03}"))));
            filters.push(column("s").starts_with(Datum::string(format!("{n:03}"))));
            filters.push(column("d").greater_than(Datum::double(n as f64)));
            filters.push(column("d").less_than(Datum::double(n as f64)));
        }
        for name in ["offset", "n", "s", "d"] {
            filters.push(column(name).is_null());
            filters.push(column(name).is_not_null());
        }
        filters.push(column("d").is_nan());
        filters
    }

    #[test]
    fn together_files_let_through_what_one_of_them_does() {
        let schema = schema();
        let all: Vec<ManifestEntryRef> = (0..FILES).map(file).collect();
        let some: Vec<ManifestEntryRef> = (64..96).map(file).collect();
        for entries in [all, some, Vec::new()] {
            let entries = Entries::new(entries);
            for filter in filters() {
                let filter = filter.bind(Arc::clone(&schema), true).expect("it binds");
                let passes = |facts: &dyn Facts| may_match(&filter, facts);
                let found = entries.alive(&passes).map(|entry| entry.file_path());
                let one_by_one = entries
                    .iter()
                    .filter(|entry| entry.is_alive() && passes(&entry.data_file))
                    .map(|entry| entry.file_path());
                assert!(found.eq(one_by_one), "{filter}");
            }
        }
    }

    /// Other engines write the upper bound of the other numbers beside a NaN, which is greater.
    #[test]
    fn a_file_with_a_nan_has_what_is_above_its_upper_bound() {
        let (above, at) = (Datum::double(1e300), Datum::double(f64::INFINITY));
        for filter in [
            Reference::new("d").greater_than(above),
            Reference::new("d").greater_than_or_equal_to(at),
        ] {
            let filter = filter.bind(schema(), true).expect("it binds");
            let may = |n: i64| may_match(&filter, &file(n).data_file);
            assert_eq!((may(3), may(4)), (true, false), "{filter}");
            for (n, found) in [(3, 1), (4, 0)] {
                let entries = Entries::new(vec![file(n)]);
                let passes = |facts: &dyn Facts| may_match(&filter, facts);
                assert_eq!(entries.alive(&passes).count(), found, "{filter}");
            }
        }
    }

    #[test]
    fn a_needle_is_looked_for_in_one_block() {
        let filter = Reference::new("offset").equal_to(Datum::long(1234));
        let filter = filter.bind(schema(), true).expect("it binds");
        let asked = Cell::new(0);
        let passes = |facts: &dyn Facts| {
            asked.set(asked.get() + 1);
            may_match(&filter, facts)
        };
        let entries = Entries::new((0..FILES).map(file).collect());
        let found: Vec<&str> = entries
            .alive(&passes)
            .map(|entry| entry.file_path())
            .collect();
        assert_eq!(found, ["123.parquet"]);
        assert!(asked.get() <= 1 + 7 + BLOCK, "{}", asked.get());
        asked.set(0);
        let behind = Entries::new((124..FILES).map(file).collect());
        assert_eq!(behind.alive(&passes).count(), 0);
        assert_eq!(asked.get(), 1, "the manifest as a whole has none");
    }
}
