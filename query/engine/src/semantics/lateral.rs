//! `FROM t, unnest(t.items)`: each row beside the elements of its own list.
//!
//! DataFusion plans it as a join with a plan that refers to the other side, and cannot run that. The same
//! rows come from unnesting a column of the other side itself.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::functions_nested::expr_fn::array_empty;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, Unnest, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

/// Unnests columns of a join's left side in place of its right side.
#[derive(Debug)]
pub(crate) struct LateralUnnest;

impl AnalyzerRule for LateralUnnest {
    fn name(&self) -> &'static str {
        "lateral_unnest"
    }

    fn analyze(
        &self,
        plan: LogicalPlan,
        _: &ConfigOptions,
    ) -> Result<LogicalPlan, DataFusionError> {
        plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::Join(join) = &plan else {
                return Ok(Transformed::no(plan));
            };
            let is_plain = |filter: &Expr| *filter == lit(true);
            let keeps = match join.join_type {
                JoinType::Inner => false,
                JoinType::Left => true,
                _ => return Ok(Transformed::no(plan)),
            };
            if !join.on.is_empty() || !join.filter.as_ref().is_none_or(is_plain) {
                return Ok(Transformed::no(plan));
            }
            if !unnests_other_side(&join.right)? {
                return Ok(Transformed::no(plan));
            }
            let graft = Graft {
                left: &join.left,
                keeps,
            };
            Ok(match graft.onto(&join.right)? {
                Some(grafted) => Transformed::yes(grafted),
                None => Transformed::no(plan),
            })
        })
        .map(|plan| plan.data)
    }
}

fn unnests_other_side(plan: &LogicalPlan) -> Result<bool, DataFusionError> {
    let (mut unnests, mut refers) = (false, false);
    plan.apply_with_subqueries(|plan| {
        unnests |= matches!(plan, LogicalPlan::Unnest(_));
        refers |= plan.contains_outer_reference();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(unnests && refers)
}

struct Graft<'a> {
    left: &'a Arc<LogicalPlan>,
    /// Does a row stay whose list is empty or null?
    keeps: bool,
}

impl Graft<'_> {
    /// The plan over the left side's rows, with their columns before its own; `None` if it is none that
    /// unnests.
    fn onto(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>, DataFusionError> {
        Ok(match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
                Some(self.left.as_ref().clone())
            }
            LogicalPlan::Subquery(subquery) => self.onto(&subquery.subquery)?,
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.onto(&projection.input)? else {
                    return Ok(None);
                };
                let mut columns = self.columns();
                for expression in &projection.expr {
                    columns.push(own(expression.clone())?);
                }
                Some(LogicalPlan::Projection(Projection::try_new(
                    columns,
                    Arc::new(input),
                )?))
            }
            LogicalPlan::Unnest(unnest) => self.unnested(unnest)?,
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.onto(&alias.input)? else {
                    return Ok(None);
                };
                let mut columns = self.columns();
                let inner = input.schema().columns().into_iter().skip(columns.len());
                let names = alias.schema.iter().map(|(_, field)| field.name());
                for (column, name) in inner.zip(names) {
                    let column = Expr::Column(column);
                    columns.push(column.alias_qualified(Some(alias.alias.clone()), name));
                }
                Some(LogicalPlan::Projection(Projection::try_new(
                    columns,
                    Arc::new(input),
                )?))
            }
            _ => None,
        })
    }

    fn unnested(&self, unnest: &Unnest) -> Result<Option<LogicalPlan>, DataFusionError> {
        let Some(mut input) = self.onto(&unnest.input)? else {
            return Ok(None);
        };
        if self.keeps {
            // An empty list gives no row, and null gives one.
            let mut columns = Vec::new();
            for column in input.schema().columns() {
                let list = Expr::Column(column.clone());
                columns.push(match unnest.exec_columns.contains(&column) {
                    true => when(array_empty(list.clone()), lit(ScalarValue::Null))
                        .otherwise(list)?
                        .alias_qualified(column.relation, column.name),
                    false => list,
                });
            }
            input = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?);
        }
        // With the names of what comes out.
        let options = unnest.options.clone().with_preserve_nulls(self.keeps);
        let columns = unnest.exec_columns.clone();
        let unnested = LogicalPlanBuilder::from(input)
            .unnest_columns_with_options(columns, options)?
            .build()?;
        Ok(Some(unnested))
    }

    fn columns(&self) -> Vec<Expr> {
        let columns: Vec<Column> = self.left.schema().columns();
        columns.into_iter().map(Expr::Column).collect()
    }
}

/// The expression with columns of its own in place of the other side's, under the same name.
fn own(expression: Expr) -> Result<Expr, DataFusionError> {
    let (qualifier, name) = expression.qualified_name();
    let own = expression.transform(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            other => Transformed::no(other),
        })
    })?;
    Ok(match own.transformed {
        true => own.data.unalias().alias_qualified(qualifier, name),
        false => own.data,
    })
}
