//! `->`, `->>`, `#>`, `#>>` and `?` on JSON, as in PostgreSQL; on binary columns, too, through `json()`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::json;
use super::json_path::{self, Which};
use crate::QueryError;

#[derive(Debug)]
pub(super) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        operation: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>, DataFusionError> {
        let which = match operation.op {
            BinaryOperator::Arrow => Which::Part { as_text: false },
            BinaryOperator::LongArrow => Which::Part { as_text: true },
            BinaryOperator::HashArrow => Which::Path { as_text: false },
            BinaryOperator::HashLongArrow => Which::Path { as_text: true },
            BinaryOperator::Question => Which::Exists,
            _ => return Ok(PlannerResult::Original(operation)),
        };
        let steps = match which {
            Which::Path { .. } => path(operation.right)?,
            _ => vec![operation.right],
        };
        let mut arguments = match (which, inner_path(&operation.left)) {
            (Which::Part { .. }, Some(path)) => path,
            _ => vec![as_text(operation.left, schema)?],
        };
        arguments.extend(steps);
        let call = ScalarFunction::new_udf(json_path::function(which), arguments);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

fn as_text(document: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let kind = document.get_type(schema)?;
    if matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    ) {
        let call = ScalarFunction::new_udf(json::function(), vec![document]);
        return Ok(Expr::ScalarFunction(call));
    }
    Ok(document)
}

/// The steps of `'{a,b,0}'` or `ARRAY['a', 'b']`.
fn path(path: Expr) -> Result<Vec<Expr>, DataFusionError> {
    let unknown = || QueryError::NotSupported {
        what: "a path is a constant: '{a,b,0}' or ARRAY['a', 'b', '0']".to_owned(),
    };
    match path {
        Expr::ScalarFunction(call) if call.func.name() == "make_array" => Ok(call.args),
        Expr::Literal(value, _) => {
            let text = value.try_as_str().flatten().map(str::trim);
            let inner = text.and_then(|text| text.strip_prefix('{')?.strip_suffix('}'));
            let inner = inner.ok_or_else(unknown)?;
            if inner.trim().is_empty() {
                return Ok(Vec::new());
            }
            let step = |step: &str| {
                let step = step.trim();
                let quoted = step
                    .strip_prefix('"')
                    .and_then(|step| step.strip_suffix('"'));
                lit(quoted.unwrap_or(step).replace("\\\"", "\""))
            };
            Ok(inner.split(',').map(step).collect())
        }
        _ => Err(unknown().into()),
    }
}

/// `a -> 'b' -> 'c'` parses the document once: the path so far, if that is what stands to the left.
fn inner_path(expression: &Expr) -> Option<Vec<Expr>> {
    match expression {
        Expr::ScalarFunction(call) if call.func.name() == "json_part" => Some(call.args.clone()),
        _ => None,
    }
}
