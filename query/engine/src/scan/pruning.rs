//! Filters as Iceberg's predicates, for skipping files.
//!
//! A predicate may let through more than the filter and never less: what cannot be said exactly is
//! left out. So no casts (the comparison would be another one), no negations, and literals only of the
//! column's type, or of the narrower one that it had in the table snapshot. How bounds are compared is
//! the plan's (`tarn_tables`): NaN is the greatest number there as it is here, and a bound that was
//! written as an int stands in order with a long.

use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveType, Schema, SchemaRef, TableMetadata, Type};

/// Literals of one `IN`; longer lists prune nothing.
const IN_LIST_MAX: usize = 200;

/// The conjunction of what can be said of `filters`; `None` if that is nothing.
pub(super) fn predicate(
    metadata: &TableMetadata,
    snapshot: i64,
    filters: &[Expr],
) -> Option<Predicate> {
    // A scan binds its filter to the schema of the snapshot, which may be older than the table's.
    let snapshot: SchemaRef = metadata.snapshot_by_id(snapshot)?.schema(metadata).ok()?;
    let columns = Columns {
        current: metadata.current_schema(),
        snapshot: &snapshot,
    };
    filters
        .iter()
        .filter_map(|filter| columns.convert(filter))
        .reduce(Predicate::and)
}

struct Columns<'a> {
    current: &'a Schema,
    snapshot: &'a Schema,
}

impl Columns<'_> {
    fn convert(&self, filter: &Expr) -> Option<Predicate> {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And,
                right,
            }) => match (self.convert(left), self.convert(right)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            },
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Or,
                right,
            }) => Some(self.convert(left)?.or(self.convert(right)?)),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(literal, _)) => {
                        self.compare(&column.name, *op, literal)
                    }
                    (Expr::Literal(literal, _), Expr::Column(column)) => {
                        self.compare(&column.name, op.swap()?, literal)
                    }
                    _ => None,
                }
            }
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) => {
                let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (expr.as_ref(), low.as_ref(), high.as_ref())
                else {
                    return None;
                };
                let from = self.compare(&column.name, Operator::GtEq, low)?;
                Some(from.and(self.compare(&column.name, Operator::LtEq, high)?))
            }
            Expr::InList(list) if !list.negated && list.list.len() <= IN_LIST_MAX => {
                let Expr::Column(column) = list.expr.as_ref() else {
                    return None;
                };
                let (reference, kind) = self.column(&column.name)?;
                let literals: Option<Vec<Datum>> = list
                    .list
                    .iter()
                    .map(|literal| match literal {
                        Expr::Literal(literal, _) => datum(literal, kind),
                        _ => None,
                    })
                    .collect();
                Some(reference.is_in(literals?))
            }
            Expr::Like(like) if !like.negated && !like.case_insensitive => {
                let (Expr::Column(column), Expr::Literal(pattern, _)) =
                    (like.expr.as_ref(), like.pattern.as_ref())
                else {
                    return None;
                };
                let pattern = pattern.try_as_str().flatten()?;
                // Up to the first character that may mean something else.
                let prefix = pattern.split(['%', '_', '\\']).next()?;
                let is_plain = like.escape_char.is_none() && !prefix.is_empty();
                let (reference, kind) = self.column(&column.name)?;
                let is_text = *kind == PrimitiveType::String;
                (is_plain && is_text).then(|| reference.starts_with(Datum::string(prefix)))
            }
            Expr::IsNull(inner) => match inner.as_ref() {
                Expr::Column(column) => Some(self.any_column(&column.name)?.is_null()),
                _ => None,
            },
            Expr::IsNotNull(inner) => match inner.as_ref() {
                Expr::Column(column) => Some(self.any_column(&column.name)?.is_not_null()),
                _ => None,
            },
            _ => None,
        }
    }

    fn compare(&self, name: &str, operator: Operator, literal: &ScalarValue) -> Option<Predicate> {
        let (reference, kind) = self.column(name)?;
        let datum = datum(literal, kind)?;
        match operator {
            Operator::Eq => Some(reference.equal_to(datum)),
            Operator::Lt => Some(reference.less_than(datum)),
            Operator::LtEq => Some(reference.less_than_or_equal_to(datum)),
            Operator::Gt => Some(reference.greater_than(datum)),
            Operator::GtEq => Some(reference.greater_than_or_equal_to(datum)),
            _ => None,
        }
    }

    /// A column as the snapshot names and types it.
    fn column(&self, name: &str) -> Option<(Reference, &PrimitiveType)> {
        let id = self.current.as_struct().field_by_name(name)?.id;
        let field = self.snapshot.as_struct().field_by_id(id)?;
        match field.field_type.as_ref() {
            Type::Primitive(kind) => Some((Reference::new(&field.name), kind)),
            _ => None,
        }
    }

    fn any_column(&self, name: &str) -> Option<Reference> {
        self.column(name).map(|(reference, _)| reference)
    }
}

/// A literal as this type, if that changes nothing about it.
fn datum(literal: &ScalarValue, kind: &PrimitiveType) -> Option<Datum> {
    match (literal, kind) {
        (ScalarValue::Boolean(Some(value)), PrimitiveType::Boolean) => Some(Datum::bool(*value)),
        (ScalarValue::Int32(Some(value)), PrimitiveType::Int) => Some(Datum::int(*value)),
        (ScalarValue::Int64(Some(value)), PrimitiveType::Long) => Some(Datum::long(*value)),
        // The column was narrower when the snapshot was made.
        (ScalarValue::Int64(Some(value)), PrimitiveType::Int) => {
            i32::try_from(*value).ok().map(Datum::int)
        }
        (ScalarValue::Float64(Some(value)), PrimitiveType::Double) => Some(Datum::double(*value)),
        (ScalarValue::Float32(Some(value)), PrimitiveType::Float) => Some(Datum::float(*value)),
        // Times of day are longs in the table.
        (ScalarValue::Time64Microsecond(Some(value)), PrimitiveType::Long) => {
            Some(Datum::long(*value))
        }
        (ScalarValue::Date32(Some(value)), PrimitiveType::Date) => Some(Datum::date(*value)),
        (ScalarValue::TimestampMicrosecond(Some(value), None), PrimitiveType::Timestamp) => {
            Some(Datum::timestamp_micros(*value))
        }
        (ScalarValue::TimestampMicrosecond(Some(value), Some(_)), PrimitiveType::Timestamptz) => {
            Some(Datum::timestamptz_micros(*value))
        }
        (
            ScalarValue::Utf8(Some(value))
            | ScalarValue::LargeUtf8(Some(value))
            | ScalarValue::Utf8View(Some(value)),
            PrimitiveType::String,
        ) => Some(Datum::string(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::DataType;
    use datafusion::prelude::{cast, col, in_list, lit};
    use iceberg::spec::NestedField;

    use super::*;

    fn said(filter: Expr) -> Option<String> {
        let field =
            |id, name: &str, kind| Arc::new(NestedField::optional(id, name, Type::Primitive(kind)));
        let current = Schema::builder()
            .with_fields(vec![
                field(1, "town", PrimitiveType::String),
                field(2, "n", PrimitiveType::Long),
                field(3, "d", PrimitiveType::Double),
                field(4, "new", PrimitiveType::Long),
                field(5, "wider", PrimitiveType::Long),
            ])
            .build()
            .expect("a schema");
        let snapshot = Schema::builder()
            .with_fields(vec![
                field(1, "city", PrimitiveType::String),
                field(2, "n", PrimitiveType::Long),
                field(3, "d", PrimitiveType::Double),
                field(5, "wider", PrimitiveType::Int),
            ])
            .build()
            .expect("a schema");
        let columns = Columns {
            current: &current,
            snapshot: &snapshot,
        };
        columns
            .convert(&filter)
            .map(|predicate| predicate.to_string())
    }

    #[test]
    fn what_iceberg_can_say_exactly_is_said_under_the_snapshots_names() {
        assert_eq!(
            said(col("town").eq(lit("Oslo"))).as_deref(),
            Some("city = \"Oslo\"")
        );
        assert_eq!(said(lit(5_i64).lt(col("n"))).as_deref(), Some("n > 5"));
        assert_eq!(
            said(col("n").between(lit(1_i64), lit(2_i64))).as_deref(),
            Some("(n >= 1) AND (n <= 2)")
        );
        assert_eq!(
            said(in_list(col("n"), vec![lit(1_i64)], false)).as_deref(),
            Some("n IN (1)")
        );
        let noon = lit(ScalarValue::Time64Microsecond(Some(43_200_000_000)));
        assert_eq!(
            said(col("n").lt(noon)).as_deref(),
            Some("n < 43200000000"),
            "a time of day is a long in the table"
        );
        assert_eq!(said(col("town").is_null()).as_deref(), Some("city IS NULL"));
        assert_eq!(said(col("d").gt(lit(1.5))).as_deref(), Some("d > 1.5"));
        assert_eq!(
            said(col("wider").eq(lit(1_i64))).as_deref(),
            Some("wider = 1")
        );
        for pattern in ["Os%", "Os_o", "Os%o", "Os"] {
            let like = said(col("town").like(lit(pattern)));
            assert_eq!(
                like.as_deref()
                    .map(|said| said.contains("STARTS WITH \"Os\"")),
                Some(true)
            );
        }
    }

    #[test]
    fn what_it_cannot_is_left_out() {
        for filter in [
            cast(col("n"), DataType::Int32).eq(lit(3_i32)),
            col("n").eq(lit(3_i32)),
            col("wider").eq(lit(1_i64 << 40)),
            col("d").gt(lit(1.0_f32)),
            col("town").like(lit("%lo")),
            col("town").ilike(lit("Os%")),
            col("town").not_like(lit("Os%")),
            col("n").not_eq(lit(1_i64)),
            !col("n").eq(lit(1_i64)),
            in_list(col("n"), vec![lit(1_i64)], true),
            col("new").eq(lit(1_i64)),
            col("n").eq(lit(ScalarValue::Int64(None))),
            col("n").eq(lit(1_i64)).or(col("d").gt(lit(1.0_f32))),
        ] {
            assert_eq!(said(filter.clone()), None, "{filter}");
        }
        let half = col("n").eq(lit(1_i64)).and(col("d").gt(lit(1.0_f32)));
        assert_eq!(said(half).as_deref(), Some("n = 1"));
    }
}
