//! The last step before functions are guarded: each expression has its type, and the operators, casts
//! and aggregates that would give another value than PostgreSQL's are replaced.
//!
//! Leaves to others: what the replacements compute (`functions`).

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{
    AggregateFunctionParams, Cast, ScalarFunction, Sort, WindowFunctionParams,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use super::operators::is_arithmetic;
use super::{aggregates, conditions};
use crate::functions::calendar::Zone;
use crate::functions::floats::{self, is_float};
use crate::functions::{arithmetic, casts, time};

/// Replaces what would wrap around, round otherwise or make a second zero.
#[derive(Debug)]
pub(crate) struct CheckedValues {
    /// Of the SQL session.
    pub(crate) zone: Zone,
}

impl AnalyzerRule for CheckedValues {
    fn name(&self) -> &'static str {
        "checked_values"
    }

    fn analyze(
        &self,
        plan: LogicalPlan,
        _: &ConfigOptions,
    ) -> Result<LogicalPlan, DataFusionError> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = input_schema(&plan)?;
            let names = NamePreserver::new(&plan);
            let plan = plan.map_expressions(|expression| {
                let name = names.save(&expression);
                let checked = expression.transform_up(|part| checked(part, &schema, &self.zone))?;
                Ok(checked.update_data(|expression| name.restore(expression)))
            })?;
            plan.transform_data(|plan| match plan {
                LogicalPlan::Aggregate(aggregate) => aggregates::of_groups(aggregate),
                LogicalPlan::Window(window) => aggregates::of_windows(window),
                other => Ok(Transformed::no(other)),
            })
        })
        .map(|plan| plan.data)
    }
}

/// The columns that a plan's expressions are about.
pub(super) fn input_schema(plan: &LogicalPlan) -> Result<DFSchema, DataFusionError> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = plan {
        let source =
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
        schema.merge(&source);
    }
    Ok(schema)
}

fn checked(
    part: Expr,
    schema: &DFSchema,
    zone: &Zone,
) -> Result<Transformed<Expr>, DataFusionError> {
    match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_arithmetic(op) => {
            let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
            if !left_type.is_numeric() || !right_type.is_numeric() {
                let same = Expr::BinaryExpr(BinaryExpr { left, op, right });
                return Ok(Transformed::no(same));
            }
            let whole = Expr::BinaryExpr(BinaryExpr::new(left.clone(), op, right.clone()));
            let kind = whole.get_type(schema)?;
            Ok(Transformed::yes(arithmetic::operation(
                *left, op, *right, kind,
            )))
        }
        Expr::Negative(inner) => {
            let kind = inner.get_type(schema)?;
            if !kind.is_numeric() {
                return Ok(Transformed::no(Expr::Negative(inner)));
            }
            let zero = Expr::Literal(ScalarValue::new_zero(&kind)?, None);
            let negative = arithmetic::operation(zero, Operator::Minus, *inner, kind);
            Ok(Transformed::yes(negative))
        }
        Expr::Literal(value, metadata) => Ok(match floats_of(&value) {
            true => {
                let value = floats::canonical_array(&value.to_array()?);
                let value = ScalarValue::try_from_array(&value, 0)?;
                Transformed::yes(Expr::Literal(value, metadata))
            }
            false => Transformed::no(Expr::Literal(value, metadata)),
        }),
        Expr::ScalarFunction(call) => {
            let call = Expr::ScalarFunction(zoned(call, schema, zone)?);
            let is_float = call.get_type(schema).is_ok_and(|kind| is_float(&kind));
            Ok(match is_float && !is_canonical(&call) {
                true => Transformed::yes(of_function(floats::canonical_function(), call)),
                false => Transformed::no(call),
            })
        }
        Expr::Cast(Cast { expr, data_type }) => {
            let from = expr.get_type(schema)?;
            Ok(match casts::replaced(*expr, &from, &data_type, zone) {
                Ok(replaced) => Transformed::yes(replaced),
                Err(expr) => Transformed::no(Expr::Cast(Cast::new(expr, data_type))),
            })
        }
        Expr::AggregateFunction(mut call) => {
            let is_new = aggregates::without_order(&mut call);
            let AggregateFunctionParams {
                args,
                filter: Some(filter),
                order_by,
                ..
            } = &mut call.params
            else {
                let same = Expr::AggregateFunction(call);
                return Ok(Transformed::new_transformed(same, is_new));
            };
            let is_new = only_where(filter, args, order_by, schema)? || is_new;
            Ok(Transformed::new_transformed(
                Expr::AggregateFunction(call),
                is_new,
            ))
        }
        Expr::WindowFunction(mut window) => {
            let WindowFunctionParams {
                args,
                filter: Some(filter),
                ..
            } = &mut window.params
            else {
                return Ok(Transformed::no(Expr::WindowFunction(window)));
            };
            let is_new = only_where(filter, args, &mut [], schema)?;
            Ok(Transformed::new_transformed(
                Expr::WindowFunction(window),
                is_new,
            ))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// What an aggregate takes of the rows that its `FILTER` lets through is computed of them alone.
fn only_where(
    filter: &Expr,
    arguments: &mut [Expr],
    order_by: &mut [Sort],
    schema: &DFSchema,
) -> Result<bool, DataFusionError> {
    let mut is_new = false;
    let of_order = order_by.iter_mut().map(|sort| &mut sort.expr);
    for argument in arguments.iter_mut().chain(of_order) {
        if conditions::can_fail(argument, schema)? {
            let inner = std::mem::take(argument);
            *argument = conditions::where_true(filter.clone(), inner);
            is_new = true;
        }
    }
    Ok(is_new)
}

/// A moment is divided by the clock of the session's zone, and a half is rounded to the even number.
fn zoned(
    mut call: ScalarFunction,
    schema: &DFSchema,
    zone: &Zone,
) -> Result<ScalarFunction, DataFusionError> {
    let is_utc = zone.is_utc();
    let zone = || Expr::Literal(ScalarValue::from(zone.name()), None);
    let is_moment = |time: &Expr| {
        Ok::<bool, DataFusionError>(matches!(
            time.get_type(schema)?,
            DataType::Timestamp(_, Some(_))
        ))
    };
    match (call.func.name(), call.args.as_mut_slice()) {
        ("date_trunc", [_, time]) if !is_utc && is_moment(time)? => call.args.push(zone()),
        ("to_char", [time, _]) if !is_utc && is_moment(time)? => {
            let moment = std::mem::take(time);
            let local = ScalarFunction::new_udf(time::timezone(), vec![zone(), moment]);
            *time = Expr::ScalarFunction(local);
        }
        ("age", times) if !is_utc => {
            for time in times {
                if is_moment(time)? {
                    let moment = std::mem::take(time);
                    let local = ScalarFunction::new_udf(time::timezone(), vec![zone(), moment]);
                    *time = Expr::ScalarFunction(local);
                }
            }
        }
        ("date_part", [field, time]) if !is_utc && is_moment(time)? => {
            let is_epoch = matches!(
                field,
                Expr::Literal(value, _)
                    if value.try_as_str().flatten().is_some_and(|field| field.eq_ignore_ascii_case("epoch"))
            );
            if !is_epoch {
                let moment = std::mem::take(time);
                let local = ScalarFunction::new_udf(time::timezone(), vec![zone(), moment]);
                *time = Expr::ScalarFunction(local);
            }
        }
        ("round", [number]) if is_float(&number.get_type(schema)?) => {
            call.func = floats::round_function();
        }
        _ => {}
    }
    Ok(call)
}

fn floats_of(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(value)) => value.is_nan() || value.to_bits() == 1 << 63,
        ScalarValue::Float32(Some(value)) => value.is_nan() || value.to_bits() == 1 << 31,
        _ => false,
    }
}

/// Functions that give canonical floats themselves.
fn is_canonical(call: &Expr) -> bool {
    match call {
        Expr::ScalarFunction(call) => {
            arithmetic::is_one(&call.func)
                || casts::is_one(&call.func)
                || ["canonical_float", "float_of_rank", "coalesce", "nullif"]
                    .contains(&call.func.name())
        }
        _ => false,
    }
}

pub(super) fn of_function(function: Arc<ScalarUDF>, argument: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![argument]))
}
