//! Filters go down a running plan only where each column has a name of its own.
//!
//! SUBTLE: DataFusion 53 looks a filter's columns up by their bare names when it hands the filter to the
//! plan below. Where a join's columns share a name, it takes the first, and rows are then filtered by
//! another table's column.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

type Plan = Arc<dyn ExecutionPlan>;
pub(crate) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rule after which DataFusion changes a plan no more; what it still does is to tell scans what running
/// joins have seen, for which it must find the plan that runs.
const LAST_CHANGE: &str = "EnsureCooperative";

/// DataFusion's rules for running plans, those that move filters between walls, and one of ours.
pub(crate) fn rules(last: Rule) -> Vec<Rule> {
    let walled = |rule: Rule| -> Rule {
        match rule.name().starts_with("FilterPushdown") {
            true => Arc::new(Walled(rule)),
            false => rule,
        }
    };
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let mut rules: Vec<Rule> = rules.map(walled).collect();
    let place = rules.iter().position(|rule| rule.name() == LAST_CHANGE);
    rules.insert(place.expect("DataFusion has this rule"), last);
    rules
}

/// A rule that sees a wall above each plan whose columns share names.
#[derive(Debug)]
struct Walled(Rule);

impl PhysicalOptimizerRule for Walled {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan, DataFusionError> {
        let walled = plan.transform_up(|plan| {
            Ok(match shares_names(&plan) {
                true => Transformed::yes(Arc::new(Wall(plan)) as Plan),
                false => Transformed::no(plan),
            })
        })?;
        let moved = self.0.optimize(walled.data, config)?;
        if !walled.transformed {
            return Ok(moved);
        }
        let plain = moved.transform_up(|plan| {
            Ok(match plan.as_any().downcast_ref::<Wall>() {
                Some(Wall(inner)) => Transformed::yes(Arc::clone(inner)),
                None => Transformed::no(plan),
            })
        })?;
        Ok(plain.data)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn shares_names(plan: &Plan) -> bool {
    let shares = |plan: &Plan| {
        let schema = plan.schema();
        let mut names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    };
    // A filter that leaves columns out looks those of other filters up among all.
    shares(plan) || (plan.as_any().is::<FilterExec>() && plan.children().into_iter().any(shares))
}

/// Hands nothing down. It stands in no plan that runs.
#[derive(Debug)]
struct Wall(Plan);

impl DisplayAs for Wall {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

impl ExecutionPlan for Wall {
    fn name(&self) -> &'static str {
        "Wall"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.0]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan, DataFusionError> {
        let child = children.into_iter().next();
        Ok(Arc::new(Wall(child.unwrap_or_else(|| Arc::clone(&self.0)))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        self.0.execute(partition, context)
    }
}
