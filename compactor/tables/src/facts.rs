//! What is known of the values of files, of which scans leave out those that cannot match.

use std::borrow::Cow;
use std::cmp::Ordering;

use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, PrimitiveType};

/// What is known of the values of a column, or of a partition field.
pub(crate) trait Facts {
    fn lower(&self, field: i32, kind: &PrimitiveType) -> Option<Cow<'_, Datum>>;
    fn upper(&self, field: i32, kind: &PrimitiveType) -> Option<Cow<'_, Datum>>;
    /// Is none of them null?
    fn has_no_null(&self, field: i32) -> bool;
    fn has_only_nulls(&self, field: i32) -> bool;
    fn has_no_nan(&self, field: i32) -> bool;
}

impl Facts for DataFile {
    fn lower(&self, field: i32, _: &PrimitiveType) -> Option<Cow<'_, Datum>> {
        self.lower_bounds().get(&field).map(Cow::Borrowed)
    }

    fn upper(&self, field: i32, _: &PrimitiveType) -> Option<Cow<'_, Datum>> {
        self.upper_bounds().get(&field).map(Cow::Borrowed)
    }

    fn has_no_null(&self, field: i32) -> bool {
        self.null_value_counts().get(&field) == Some(&0)
    }

    fn has_only_nulls(&self, field: i32) -> bool {
        let nulls = self.null_value_counts().get(&field);
        nulls.is_some() && nulls == self.value_counts().get(&field)
    }

    fn has_no_nan(&self, field: i32) -> bool {
        self.nan_value_counts().get(&field) == Some(&0)
    }
}

/// How a bound stands to a literal; `None` if they have no order: one of them is NaN, or they are of
/// two types. A bound keeps the type that its column had when the file was written.
pub(crate) fn compare(bound: &Datum, literal: &Datum) -> Option<Ordering> {
    match (bound.literal(), literal.literal()) {
        (PrimitiveLiteral::Int(bound), PrimitiveLiteral::Long(literal)) => {
            Some(i64::from(*bound).cmp(literal))
        }
        (PrimitiveLiteral::Float(bound), PrimitiveLiteral::Double(literal)) => {
            f64::from(bound.0).partial_cmp(&literal.0)
        }
        (PrimitiveLiteral::Float(bound), PrimitiveLiteral::Float(literal)) => {
            bound.0.partial_cmp(&literal.0)
        }
        (PrimitiveLiteral::Double(bound), PrimitiveLiteral::Double(literal)) => {
            bound.0.partial_cmp(&literal.0)
        }
        _ => bound.partial_cmp(literal),
    }
}
