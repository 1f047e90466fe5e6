//! `UNION`, `INTERSECT` and `EXCEPT`: a column has the type that both sides meet in.
//!
//! DataFusion brings them together later or, of the last two, compares them and gives the left side's. What is
//! above is decided by the type before.

use std::sync::Arc;

use datafusion::common::{DFSchema, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Cast, Expr, JoinType, LogicalPlan, Projection, Union};
use datafusion::optimizer::analyzer::type_coercion::coerce_union_schema;

/// The plan with sides of the same types, if it is one of these.
pub(super) fn of_one_type(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    match plan {
        LogicalPlan::Union(union) => {
            let inputs = sides(union.inputs)?;
            let union = Union::try_new_with_loose_types(inputs)?;
            Ok(LogicalPlan::Union(union))
        }
        LogicalPlan::Join(mut join)
            if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
                && join.null_equality == NullEquality::NullEqualsNull =>
        {
            let both = sides(vec![Arc::clone(&join.left), Arc::clone(&join.right)])?;
            if let Ok([left, right]) = <[Arc<LogicalPlan>; 2]>::try_from(both) {
                (join.left, join.right) = (left, right);
            }
            Ok(LogicalPlan::Join(join))
        }
        other => Ok(other),
    }
}

fn sides(plans: Vec<Arc<LogicalPlan>>) -> Result<Vec<Arc<LogicalPlan>>, DataFusionError> {
    // Of what does not fit, DataFusion says it itself.
    match coerce_union_schema(&plans) {
        Ok(schema) => plans
            .into_iter()
            .map(|plan| of_types(plan, &schema))
            .collect(),
        Err(_) => Ok(plans),
    }
}

/// The columns of a plan under the same names, with the types of these.
fn of_types(
    plan: Arc<LogicalPlan>,
    wanted: &DFSchema,
) -> Result<Arc<LogicalPlan>, DataFusionError> {
    let columns = plan.schema().iter().zip(wanted.fields());
    let mut is_new = false;
    let columns: Vec<Expr> = columns
        .map(|((qualifier, field), wanted)| {
            let column = Expr::from((qualifier, field));
            if field.data_type() == wanted.data_type() {
                return column;
            }
            is_new = true;
            let kind = wanted.data_type().clone();
            Expr::Cast(Cast::new(Box::new(column), kind))
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    Ok(match is_new {
        true => Arc::new(LogicalPlan::Projection(Projection::try_new(columns, plan)?)),
        false => plan,
    })
}
