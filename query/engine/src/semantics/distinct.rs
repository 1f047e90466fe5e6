//! Two steps of grouping for one `count(DISTINCT …)`, where what is beside it stays what it is.

use datafusion::common::tree_node::Transformed;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// DataFusion's rule, but where it would change a type: it takes a sum of sums, and a sum of bigints,
/// which sums of ints are, is a decimal.
#[derive(Debug, Default)]
pub(crate) struct GroupDistinct(SingleDistinctToGroupBy);

impl OptimizerRule for GroupDistinct {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>, DataFusionError> {
        let LogicalPlan::Aggregate(_) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let grouped = self.0.rewrite(plan.clone(), config)?;
        let kinds = |plan: &LogicalPlan| -> Vec<_> {
            let fields = plan.schema().fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        match kinds(&grouped.data) == kinds(&plan) {
            true => Ok(grouped),
            false => Ok(Transformed::no(plan)),
        }
    }
}
