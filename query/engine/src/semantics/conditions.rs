//! A row that one condition refuses is not asked by the next.
//!
//! | where | what is asked for which rows |
//! | --- | --- |
//! | `WHERE`, `HAVING`, `ON` | what cannot fail first, then the cheaper, then as written; each for the rows that are left |
//! | `a AND b`, `a OR b` elsewhere | `b` where `a` leaves it open |
//! | `f(x) FILTER (WHERE c)` | `x` where `c` is true |
//! | a key of an outer join | where the conditions of its side alone are true |
//!
//! `CASE` and `COALESCE` are DataFusion's, which ask no branch for rows that take another. Conditions are
//! asked where their tables are: as in PostgreSQL, one that is about one table is asked before a join.
//!
//! Two steps: `OrderConditions` while the plan is optimized, lest a value of a later condition be computed for
//! all rows because two of them need it; `in_order` after all else, because from there on nothing takes conditions apart.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::{Case, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::rule::input_schema;
use crate::functions::in_order::{self, Unknown};

/// Puts the conditions of filters and joins into the order in which they are asked.
#[derive(Debug)]
pub(crate) struct OrderConditions;

impl OptimizerRule for OrderConditions {
    fn name(&self) -> &'static str {
        "order_conditions"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>, DataFusionError> {
        let schema = match &plan {
            LogicalPlan::Filter(_)
            | LogicalPlan::Join(Join {
                filter: Some(_), ..
            }) => input_schema(&plan)?,
            _ => return Ok(Transformed::no(plan)),
        };
        Ok(match plan {
            LogicalPlan::Filter(mut filter) => {
                let ordered = ordered(filter.predicate, &schema)?;
                filter.predicate = ordered.data;
                Transformed::new_transformed(LogicalPlan::Filter(filter), ordered.transformed)
            }
            LogicalPlan::Join(mut join) => {
                let ordered = join
                    .filter
                    .map(|filter| ordered(filter, &schema))
                    .transpose()?;
                let is_new = ordered.as_ref().is_some_and(|ordered| ordered.transformed);
                join.filter = ordered.map(|ordered| ordered.data);
                Transformed::new_transformed(LogicalPlan::Join(join), is_new)
            }
            other => Transformed::no(other),
        })
    }
}

fn ordered(predicate: Expr, schema: &DFSchema) -> Result<Transformed<Expr>, DataFusionError> {
    if !can_fail(&predicate, schema)? {
        return Ok(Transformed::no(predicate));
    }
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(predicate) {
        let rank = match can_fail(&condition, schema)? {
            true => weight(&condition)?,
            false => 0,
        };
        conditions.push((rank, condition));
    }
    let is_new = !conditions.is_sorted_by_key(|(rank, _)| *rank);
    conditions.sort_by_key(|(rank, _)| *rank);
    let conditions = conditions.into_iter().map(|(_, condition)| condition);
    let all = conjunction(conditions).expect("a predicate has one condition at least");
    Ok(Transformed::new_transformed(all, is_new))
}

/// PostgreSQL's measure: operators, casts and calls.
fn weight(condition: &Expr) -> Result<usize, DataFusionError> {
    let mut count = 0;
    condition.apply(|part| {
        count += usize::from(!matches!(part, Expr::Column(_) | Expr::Literal(..)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(count)
}

/// The optimized plan with conditions that are asked in order.
pub(crate) fn in_order(
    plan: LogicalPlan,
    props: &ExecutionProps,
) -> Result<LogicalPlan, DataFusionError> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let schema = input_schema(&plan)?;
        let names = NamePreserver::new(&plan);
        let asker = Asker {
            schema: &schema,
            props,
        };
        let plan = match plan {
            LogicalPlan::Filter(mut filter) => {
                filter.predicate = asker.condition(filter.predicate)?;
                LogicalPlan::Filter(filter)
            }
            LogicalPlan::Join(join) => LogicalPlan::Join(asker.join(join)?),
            other => other,
        };
        plan.map_expressions(|expression| {
            let name = names.save(&expression);
            let asked = asker.nested(expression)?;
            Ok(asked.update_data(|expression| name.restore(expression)))
        })
    })?;
    Ok(plan.data)
}

struct Asker<'a> {
    schema: &'a DFSchema,
    props: &'a ExecutionProps,
}

impl Asker<'_> {
    /// What a filter or a join asks: a row is refused by what is not true.
    fn condition(&self, predicate: Expr) -> Result<Expr, DataFusionError> {
        let predicate = ordered(predicate, self.schema)?.data;
        let all = split_conjunction_owned(predicate.clone());
        let (mut first, mut failing) = (Vec::new(), false);
        for condition in &all {
            match can_fail(condition, self.schema)? {
                true => failing = true,
                false => first.push(condition.clone()),
            }
        }
        if !failing || all.len() == 1 {
            return Ok(predicate);
        }
        // The first ones stand before it once more, where a scan and its statistics find them.
        first.push(self.joined(Operator::And, all, Unknown::IsRefused)?);
        Ok(conjunction(first).expect("there is one at least"))
    }

    fn join(&self, mut join: Join) -> Result<Join, DataFusionError> {
        let conditions = join.filter.clone().map(split_conjunction_owned);
        let (left, right) = (
            Arc::clone(join.left.schema()),
            Arc::clone(join.right.schema()),
        );
        if join.null_equality == NullEquality::NullEqualsNothing {
            for (left_key, right_key) in &mut join.on {
                for (key, schema) in [(left_key, &left), (right_key, &right)] {
                    let guards = match can_fail(key, schema)? {
                        true => guards(conditions.as_deref().unwrap_or_default(), schema)?,
                        false => None,
                    };
                    if let Some(guards) = guards {
                        // Null matches nothing.
                        *key = where_true(guards, std::mem::take(key));
                    }
                }
            }
        }
        join.filter = join
            .filter
            .map(|filter| self.condition(filter))
            .transpose()?;
        Ok(join)
    }

    /// `AND` and `OR` that are no condition.
    fn nested(&self, expression: Expr) -> Result<Transformed<Expr>, DataFusionError> {
        if !can_fail(&expression, self.schema)? {
            return Ok(Transformed::no(expression));
        }
        expression.transform_down(|part| {
            let Expr::BinaryExpr(BinaryExpr { op, .. }) = &part else {
                return Ok(Transformed::no(part));
            };
            let op = *op;
            if !matches!(op, Operator::And | Operator::Or) {
                return Ok(Transformed::no(part));
            }
            let sides = split(part.clone(), op);
            let mut is_open = false;
            for side in &sides[1..] {
                is_open |= can_fail(side, self.schema)?;
            }
            if !is_open {
                return Ok(Transformed::no(part));
            }
            let joined = self.joined(op, sides, Unknown::IsAsked)?;
            Ok(Transformed::new(joined, true, TreeNodeRecursion::Jump))
        })
    }

    fn joined(
        &self,
        op: Operator,
        sides: Vec<Expr>,
        unknown: Unknown,
    ) -> Result<Expr, DataFusionError> {
        let sides: Result<Vec<Expr>, DataFusionError> = sides
            .into_iter()
            .map(|side| Ok(self.nested(side)?.data))
            .collect();
        in_order::in_order(op, sides?, unknown, self.schema, self.props)
    }
}

/// The sides of one operator, however it is nested in itself, from left to right.
fn split(expression: Expr, op: Operator) -> Vec<Expr> {
    let (mut sides, mut open) = (Vec::new(), vec![expression]);
    while let Some(next) = open.pop() {
        match next {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: own,
                right,
            }) if own == op => {
                open.push(*right);
                open.push(*left);
            }
            other => sides.push(other),
        }
    }
    sides
}

/// The conditions that are about this side of a join alone and cannot fail.
fn guards(conditions: &[Expr], schema: &DFSchema) -> Result<Option<Expr>, DataFusionError> {
    let mut own = Vec::new();
    for condition in conditions {
        let mut columns = condition.column_refs().into_iter();
        if columns.all(|column| schema.has_column(column)) && !can_fail(condition, schema)? {
            own.push(condition.clone());
        }
    }
    Ok(conjunction(own))
}

/// The value where the condition is true, and null elsewhere.
pub(super) fn where_true(condition: Expr, value: Expr) -> Expr {
    let then = vec![(Box::new(condition), Box::new(value))];
    Expr::Case(Case::new(None, then, None))
}

/// May there be a row for which the expression is an error? What is not known to give a value for all may.
pub(crate) fn can_fail(expression: &Expr, schema: &DFSchema) -> Result<bool, DataFusionError> {
    expression.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(binary) => !is_safe_operator(binary.op),
            Expr::Cast(Cast { expr, data_type }) => {
                !is_safe_cast(&expr.get_type(schema)?, data_type)
            }
            Expr::ScalarFunction(call) => !is_safe_call(call),
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Between(_)
            | Expr::InList(_)
            | Expr::Like(_)
            | Expr::Case(_)
            | Expr::TryCast(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::OuterReferenceColumn(..) => false,
            _ => true,
        })
    })
}

fn is_safe_operator(op: Operator) -> bool {
    matches!(
        op,
        Operator::And
            | Operator::Or
            | Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch
    )
}

/// Into a type that has every value of the other.
fn is_safe_cast(from: &DataType, to: &DataType) -> bool {
    let is_wider = match (from.primitive_width(), to.primitive_width()) {
        (Some(from), Some(to)) => from <= to,
        _ => false,
    };
    from == to
        || from.is_null()
        || (from.is_string() && to.is_string())
        || (from.is_integer() && (to.is_floating() || to.is_string()))
        || (from.is_signed_integer() && to.is_signed_integer() && is_wider)
        || (from.is_floating() && to.is_floating() && is_wider)
        || (matches!(from, DataType::Boolean) && to.is_string())
}

/// Functions that have a value for all arguments of their types, and what is asked in order already.
fn is_safe_call(call: &ScalarFunction) -> bool {
    in_order::is_one(&call.func)
        || matches!(
            call.func.name(),
            "canonical_float"
                | "float_rank"
                | "float_of_rank"
                | "coalesce"
                | "nullif"
                | "nvl"
                | "nvl2"
                | "greatest"
                | "least"
                | "lower"
                | "upper"
                | "btrim"
                | "ltrim"
                | "rtrim"
                | "left"
                | "right"
                | "reverse"
                | "character_length"
                | "octet_length"
                | "starts_with"
                | "ends_with"
                | "contains"
                | "strpos"
                | "md5"
                | "json"
                | "json_part"
                | "json_part_text"
                | "json_exists"
                | "get_field"
                | "now"
                | "isnan"
                | "||"
        )
}
