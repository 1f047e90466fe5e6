//! Where functions come from that no name was looked up for: operators and other parts of a statement.
//!
//! Holds: no function of a plan is left without its guard, and before it runs its widest constant is known.
//! Leaves to others: how much a function may take (`growth`).

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr, expressions};

use super::growth::is_simple;
use super::{CONSTANT_BYTES_MAX, guard};
use crate::functions::{infix_name, two_sides};
use crate::limits::QueryLimits;
use crate::types::{has_fixed_width, no_fixed_width};

/// Puts a guard on all functions of a plan; the last rule of the analyzer, after types are known.
#[derive(Debug)]
pub(crate) struct GuardFunctions(pub(crate) Arc<QueryLimits>);

impl AnalyzerRule for GuardFunctions {
    fn name(&self) -> &'static str {
        "guard_functions"
    }

    fn analyze(
        &self,
        plan: LogicalPlan,
        _: &ConfigOptions,
    ) -> Result<LogicalPlan, DataFusionError> {
        let guarded = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expression| {
                let name = names.save(&expression);
                let guarded = guarded(expression, &self.0)?;
                Ok(guarded.update_data(|expression| name.restore(expression)))
            })
        })?;
        Ok(guarded.data)
    }
}

/// The expression with a guard on each function in it, and as functions the operators that need one.
pub(super) fn guarded(
    expression: Expr,
    limits: &Arc<QueryLimits>,
) -> Result<Transformed<Expr>, DataFusionError> {
    expression.transform_up(|part| match part {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let guarded = guard(&func, limits);
            let is_new = !Arc::ptr_eq(&guarded, &func);
            let call = Expr::ScalarFunction(ScalarFunction::new_udf(guarded, args));
            Ok(Transformed::new_transformed(call, is_new))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_greedy(op, &right) => {
            Ok(Transformed::yes(call(op, *left, *right, limits)))
        }
        Expr::SimilarTo(like) if is_greedy(Operator::RegexMatch, &like.pattern) => {
            let op = match (like.negated, like.case_insensitive) {
                (false, false) => Operator::RegexMatch,
                (false, true) => Operator::RegexIMatch,
                (true, false) => Operator::RegexNotMatch,
                (true, true) => Operator::RegexNotIMatch,
            };
            Ok(Transformed::yes(call(
                op,
                *like.expr,
                *like.pattern,
                limits,
            )))
        }
        Expr::Cast(Cast { ref data_type, .. }) | Expr::TryCast(TryCast { ref data_type, .. })
            if has_fixed_width(data_type) =>
        {
            Err(no_fixed_width(data_type))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Tells the limits of the constants that are left in the plan, and of those that stay expressions: not of those
/// that the optimizer met on its way.
pub(crate) fn note_constants(
    plan: &LogicalPlan,
    limits: &QueryLimits,
) -> Result<(), DataFusionError> {
    limits.forget_constants();
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expression| {
            expression.apply(|part| {
                note_constant(part, limits);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn note_constant(part: &Expr, limits: &QueryLimits) {
    match part {
        Expr::Literal(value, _) if value.size() as u64 > CONSTANT_BYTES_MAX => {
            limits.has_constant(value.size() as u64);
        }
        // One whose value is wide notes it as it is called, and refuses it: else it would not have stayed.
        Expr::ScalarFunction(_) if !part.any_column_refs() => {
            let call = create_physical_expr(part, &DFSchema::empty(), &ExecutionProps::new());
            let rows = RecordBatchOptions::new().with_row_count(Some(1));
            let schema = Arc::new(Schema::empty());
            let row = RecordBatch::try_new_with_options(schema, Vec::new(), &rows);
            if let (Ok(call), Ok(row)) = (call, row) {
                let _ = call.evaluate(&row);
            }
        }
        _ => {}
    }
}

/// A regular expression that is the same for all rows, and of no size, can stay with its operator, which
/// DataFusion knows more about than about a function.
fn is_greedy(op: Operator, right: &Expr) -> bool {
    use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch, StringConcat};
    match (op, right) {
        (StringConcat, _) => true,
        (RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch, Expr::Literal(value, _)) => {
            !value.try_as_str().flatten().is_none_or(is_simple)
        }
        (RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch, _) => true,
        _ => false,
    }
}

fn call(op: Operator, left: Expr, right: Expr, limits: &Arc<QueryLimits>) -> Expr {
    let function = Arc::new(ScalarUDF::new_from_impl(Operation {
        name: op.to_string(),
        op,
        signature: Signature::any(2, Volatility::Immutable),
    }));
    let guarded = guard(&function, limits);
    Expr::ScalarFunction(ScalarFunction::new_udf(guarded, vec![left, right]))
}

/// An operator as a function, for operators ask nobody; its sides have the types that it takes.
///
/// `||` is null if one of its sides is, unlike `concat`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Operation {
    name: String,
    op: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Operation {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, sides: &[Expr]) -> Result<String, DataFusionError> {
        Ok(infix_name(sides, self.op))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, sides: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(match self.op {
            Operator::StringConcat => sides[0].clone(),
            _ => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        let mut side = |value: ColumnarValue| -> Arc<dyn PhysicalExpr> {
            match value {
                // It stays one: a regular expression is compiled once.
                ColumnarValue::Scalar(value) => Arc::new(expressions::Literal::new(value)),
                ColumnarValue::Array(array) => {
                    let place = columns.len();
                    fields.push(Field::new("side", array.data_type().clone(), true));
                    columns.push(array);
                    Arc::new(expressions::Column::new("side", place))
                }
            }
        };
        let [left, right] = two_sides(call.args, self.op)?.map(&mut side);
        let rows = RecordBatchOptions::new().with_row_count(Some(call.number_rows));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, columns, &rows)?;
        expressions::BinaryExpr::new(left, self.op, right).evaluate(&batch)
    }
}
