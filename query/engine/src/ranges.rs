//! What filters say of a row's place and time: which partitions, offsets and timestamps can pass.
//!
//! Holds: every row that passes the filters lies within. What cannot be said is left open, never
//! guessed: a cast makes another comparison, and so does a function.

use std::ops::RangeInclusive;

use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use tarn_hot::{TableCut, Times};
use tarn_model::{Offset, PartitionId};
use tarn_schema::{OFFSET, PARTITION, TIMESTAMP};

/// Bounds of `_topic_partition`, `_offset` and `_timestamp`, inclusive; empty if the end is below the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges {
    bounds: [RangeInclusive<i64>; 3],
}

const COLUMNS: [&str; 3] = [PARTITION, OFFSET, TIMESTAMP];
const ALL: RangeInclusive<i64> = i64::MIN..=i64::MAX;

impl Ranges {
    /// Of rows that pass all of the filters.
    pub(crate) fn of(filters: &[Expr]) -> Ranges {
        filters
            .iter()
            .map(Ranges::passing)
            .fold(Ranges::all(), Ranges::and)
    }

    fn all() -> Ranges {
        Ranges {
            bounds: [ALL, ALL, ALL],
        }
    }

    fn one(name: &str, range: RangeInclusive<i64>) -> Ranges {
        let mut ranges = Ranges::all();
        if let Some(at) = COLUMNS.iter().position(|column| *column == name) {
            ranges.bounds[at] = range;
        }
        ranges
    }

    fn and(self, other: Ranges) -> Ranges {
        self.zip(other, |a, b| {
            *a.start().max(b.start())..=*a.end().min(b.end())
        })
    }

    fn or(self, other: Ranges) -> Ranges {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => self.zip(other, |a, b| {
                *a.start().min(b.start())..=*a.end().max(b.end())
            }),
        }
    }

    fn zip(
        self,
        other: Ranges,
        merge: impl Fn(&RangeInclusive<i64>, &RangeInclusive<i64>) -> RangeInclusive<i64>,
    ) -> Ranges {
        let mut bounds = self.bounds;
        for (a, b) in bounds.iter_mut().zip(&other.bounds) {
            *a = merge(a, b);
        }
        Ranges { bounds }
    }

    fn is_empty(&self) -> bool {
        self.bounds.iter().any(RangeInclusive::is_empty)
    }

    fn passing(filter: &Expr) -> Ranges {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => Ranges::passing(left).and(Ranges::passing(right)),
                Operator::Or => Ranges::passing(left).or(Ranges::passing(right)),
                _ => match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(literal, _)) => {
                        compared(&column.name, *op, literal)
                    }
                    (Expr::Literal(literal, _), Expr::Column(column)) => {
                        let swapped = op.swap();
                        swapped.map_or(Ranges::all(), |op| compared(&column.name, op, literal))
                    }
                    _ => Ranges::all(),
                },
            },
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) => match (expr.as_ref(), low.as_ref(), high.as_ref()) {
                (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                    let from = compared(&column.name, Operator::GtEq, low);
                    from.and(compared(&column.name, Operator::LtEq, high))
                }
                _ => Ranges::all(),
            },
            Expr::InList(list) if !list.negated => match list.expr.as_ref() {
                Expr::Column(column) => list
                    .list
                    .iter()
                    .map(|item| match item {
                        Expr::Literal(literal, _) => compared(&column.name, Operator::Eq, literal),
                        _ => Ranges::all(),
                    })
                    .reduce(Ranges::or)
                    .unwrap_or_else(Ranges::all),
                _ => Ranges::all(),
            },
            _ => Ranges::all(),
        }
    }

    /// The cut with only the hot rows that can pass.
    pub(crate) fn narrow(&self, cut: &TableCut) -> TableCut {
        let [partitions, offsets, _] = &self.bounds;
        let from = offset(*offsets.start());
        let to = offset(offsets.end().saturating_add(1));
        let mut narrow = cut.clone();
        narrow
            .partitions
            .retain(|partition, _| self.has_any() && partitions.contains(&i64::from(partition.0)));
        for at in narrow.partitions.values_mut() {
            at.m = at.m.max(from).min(at.h);
            // What is open at the top stays as it is.
            if *offsets.end() < i64::MAX {
                at.h = at.h.min(to).max(at.m);
            }
        }
        narrow
    }

    /// Can a row of the table's files pass? Of a topic they hold what is below M; columns of these names in
    /// other tables are nothing to us.
    pub(crate) fn reach_files(&self, cut: &TableCut) -> bool {
        let Some(of) = cut.table.of_topic() else {
            return true;
        };
        let [partitions, offsets, _] = &self.bounds;
        let from = offset(*offsets.start());
        let below = |(partition, m): (&PartitionId, &Offset)| {
            partitions.contains(&i64::from(partition.0)) && from < *m
        };
        self.has_any() && of.materialized.iter().any(below)
    }

    fn has_any(&self) -> bool {
        !self.is_empty()
    }

    /// The times that can pass, unless all can.
    pub(crate) fn times(&self) -> Option<Times> {
        let times = &self.bounds[2];
        (*times != ALL).then(|| times.clone())
    }
}

fn offset(wire: i64) -> Offset {
    Offset(u64::try_from(wire).unwrap_or(0))
}

fn compared(name: &str, operator: Operator, literal: &ScalarValue) -> Ranges {
    let Some(value) = number(name, literal) else {
        return Ranges::all();
    };
    // Nothing is below the least number or above the greatest.
    let empty = RangeInclusive::new(1, 0);
    let range = match operator {
        Operator::Eq => value..=value,
        Operator::Lt => value.checked_sub(1).map_or(empty, |last| i64::MIN..=last),
        Operator::LtEq => i64::MIN..=value,
        Operator::Gt => value.checked_add(1).map_or(empty, |first| first..=i64::MAX),
        Operator::GtEq => value..=i64::MAX,
        _ => return Ranges::all(),
    };
    Ranges::one(name, range)
}

/// A literal of exactly the column's type.
fn number(name: &str, literal: &ScalarValue) -> Option<i64> {
    match (name, literal) {
        (PARTITION, ScalarValue::Int32(Some(value))) => Some(i64::from(*value)),
        (OFFSET, ScalarValue::Int64(Some(value)))
        | (TIMESTAMP, ScalarValue::TimestampMicrosecond(Some(value), _)) => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::prelude::{cast, col, lit};

    use super::*;

    fn at(value: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(
            Some(value),
            Some("+00:00".into()),
        ))
    }

    /// `_` for what is open.
    fn said(filters: &[Expr]) -> String {
        let ranges = Ranges::of(filters);
        if ranges.is_empty() {
            return "nothing".to_owned();
        }
        let told = ranges.bounds.iter().map(|range| {
            let end = |value: i64| match value {
                i64::MIN | i64::MAX => "_".to_owned(),
                value => value.to_string(),
            };
            format!("{}..{}", end(*range.start()), end(*range.end()))
        });
        told.collect::<Vec<String>>().join(" ")
    }

    #[test]
    fn what_filters_say_of_place_and_time() {
        let (partition, number, time) = (|| col(PARTITION), || col(OFFSET), || col(TIMESTAMP));
        for (filters, expected) in [
            (vec![], "_.._ _.._ _.._"),
            (
                vec![partition().eq(lit(3)), number().gt(lit(9_i64))],
                "3..3 10.._ _.._",
            ),
            (
                vec![lit(9_i64).gt_eq(number()).and(time().lt(at(70)))],
                "_.._ _..9 _..69",
            ),
            (
                vec![number().between(lit(5_i64), lit(7_i64))],
                "_.._ 5..7 _.._",
            ),
            (
                vec![partition().in_list(vec![lit(4), lit(1)], false)],
                "1..4 _.._ _.._",
            ),
            (
                vec![
                    partition()
                        .eq(lit(1))
                        .and(number().lt(lit(5_i64)))
                        .or(partition().eq(lit(2))),
                ],
                "1..2 _.._ _.._",
            ),
            (
                vec![partition().eq(lit(1)), partition().eq(lit(2))],
                "nothing",
            ),
            (
                vec![number().gt(lit(i64::MAX)).or(number().eq(lit(4_i64)))],
                "_.._ 4..4 _.._",
            ),
            (vec![number().lt(lit(i64::MIN))], "nothing"),
            // What cannot be said is open.
            (vec![number().not_eq(lit(5_i64))], "_.._ _.._ _.._"),
            (
                vec![partition().in_list(vec![lit(4)], true)],
                "_.._ _.._ _.._",
            ),
            (vec![number().eq(lit(5))], "_.._ _.._ _.._"),
            (
                vec![cast(number(), DataType::Int32).eq(lit(5))],
                "_.._ _.._ _.._",
            ),
            (vec![col("n").eq(lit(5_i64))], "_.._ _.._ _.._"),
            (
                vec![number().eq(lit(5_i64)).or(col("n").eq(lit(5_i64)))],
                "_.._ _.._ _.._",
            ),
            (
                vec![number().eq(lit(ScalarValue::Int64(None)))],
                "_.._ _.._ _.._",
            ),
        ] {
            assert_eq!(said(&filters), expected, "{filters:?}");
        }
    }
}
