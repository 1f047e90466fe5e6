//! `->`, `->>` and `?` on JSON, as in PostgreSQL; on binary columns, too, through `json()`.
//!
//! Parts are text and never the library's union of types, so that every client can show them.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{Alias, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::udfs::{json_as_text_udf, json_contains_udf, json_get_json_udf};

use super::json;

#[derive(Debug)]
pub(super) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        operation: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>, DataFusionError> {
        let (function, sign) = match operation.op {
            BinaryOperator::Arrow => (json_get_json_udf(), "->"),
            BinaryOperator::LongArrow => (json_as_text_udf(), "->>"),
            BinaryOperator::Question => (json_contains_udf(), "?"),
            _ => return Ok(PlannerResult::Original(operation)),
        };
        let title = format!(
            "{} {sign} {}",
            title(&operation.left),
            title(&operation.right)
        );
        let mut arguments = match inner_path(&operation.left) {
            Some(path) => path,
            None => vec![as_text(operation.left, schema)?],
        };
        arguments.push(operation.right);
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments));
        Ok(PlannerResult::Planned(Expr::Alias(Alias::new(
            call,
            None::<&str>,
            title,
        ))))
    }
}

fn as_text(document: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let kind = document.get_type(schema)?;
    if matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    ) {
        return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
            json::function(),
            vec![document],
        )));
    }
    Ok(document)
}

/// `a -> 'b' -> 'c'` parses the document once: the path so far, if that is what stands to the left.
fn inner_path(expression: &Expr) -> Option<Vec<Expr>> {
    match expression {
        Expr::Alias(alias) => inner_path(&alias.expr),
        Expr::ScalarFunction(call) if call.func.name() == "json_get_json" => {
            Some(call.args.clone())
        }
        _ => None,
    }
}

/// What the column of the answer is called: the expression as it was written.
fn title(expression: &Expr) -> String {
    match expression {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        Expr::Cast(cast) => title(&cast.expr),
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(Some(text)) => format!("'{text}'"),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}
