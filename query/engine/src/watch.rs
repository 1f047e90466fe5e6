//! Plans that can be ended: wherever a plan makes batches, it looks whether anybody still wants them.
//!
//! DataFusion ends a query by dropping its streams, which is possible only while none of them is at work.
//! Its scans step aside now and then, but a join works on one batch of a scan for as long as it likes: a
//! cross join makes billions of rows of it without letting go of its thread. So every scan and every join
//! asks [`QueryLimits::check`] for each batch that it makes, a join's condition asks for each batch that
//! it sees, and joins step aside like scans.
//!
//! Leaves to others: functions, which ask by themselves (`functions::guard`).

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use crate::limits::QueryLimits;

type Plan = Arc<dyn ExecutionPlan>;

/// Has everything in a plan watched that makes batches.
#[derive(Debug)]
pub(crate) struct Watch(pub(crate) Arc<QueryLimits>);

impl PhysicalOptimizerRule for Watch {
    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan, DataFusionError> {
        let watched = plan.transform_up(|plan| {
            let limits = &self.0;
            let plan = with_watched_condition(plan, limits)?;
            Ok(match makes_batches(&plan) {
                true => Transformed::yes(Arc::new(Watched::new(plan, limits)) as Plan),
                false => Transformed::no(plan),
            })
        })?;
        Ok(watched.data)
    }

    fn name(&self) -> &'static str {
        "Watch"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// More than it was given, that is: what only passes batches on is as often asked as who gave them.
fn makes_batches(plan: &Plan) -> bool {
    let any = plan.as_any();
    plan.children().is_empty()
        || any.is::<CrossJoinExec>()
        || any.is::<NestedLoopJoinExec>()
        || any.is::<HashJoinExec>()
        || any.is::<SortMergeJoinExec>()
        || any.is::<UnnestExec>()
}

/// A join that may look at very many pairs before it has a row to show.
fn with_watched_condition(plan: Plan, limits: &Arc<QueryLimits>) -> Result<Plan, DataFusionError> {
    let watched = |filter: &JoinFilter| {
        let inner = Arc::clone(filter.expression());
        let limits = Arc::clone(limits);
        JoinFilter::new(
            Arc::new(WatchedCondition { inner, limits }),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    };
    if let Some(join) = plan.as_any().downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
            .with_projection_ref(join.projection().clone())
            .with_filter(Some(watched(filter)))
            .build()?;
        return Ok(Arc::new(join));
    }
    if let Some(join) = plan.as_any().downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join
            .builder()
            .with_filter(Some(watched(filter)))
            .build_exec();
    }
    Ok(plan)
}

/// A plan whose batches are made only while somebody wants them.
#[derive(Debug)]
struct Watched {
    inner: Plan,
    limits: Arc<QueryLimits>,
    properties: Arc<PlanProperties>,
}

impl Watched {
    fn new(inner: Plan, limits: &Arc<QueryLimits>) -> Watched {
        let properties = PlanProperties::clone(inner.properties())
            .with_scheduling_type(SchedulingType::Cooperative);
        Watched {
            inner,
            limits: Arc::clone(limits),
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for Watched {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl ExecutionPlan for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan, DataFusionError> {
        let child = children.into_iter().next();
        let inner = child.unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Watched::new(inner, &self.limits)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let limits = Arc::clone(&self.limits);
        let batches = self.inner.execute(partition, context)?;
        let schema = batches.schema();
        let batches = batches.map(move |batch| limits.check().and(batch));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(
            schema, batches,
        ))))
    }

    fn partition_statistics(
        &self,
        partition: Option<usize>,
    ) -> Result<Statistics, DataFusionError> {
        self.inner.partition_statistics(partition)
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription, DataFusionError> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Plan>, DataFusionError> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}

/// A join's condition that is looked at only while somebody wants to know.
#[derive(Debug)]
struct WatchedCondition {
    inner: Arc<dyn PhysicalExpr>,
    limits: Arc<QueryLimits>,
}

impl PartialEq for WatchedCondition {
    fn eq(&self, other: &WatchedCondition) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for WatchedCondition {}

impl Hash for WatchedCondition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for WatchedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for WatchedCondition {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType, DataFusionError> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool, DataFusionError> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef, DataFusionError> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue, DataFusionError> {
        self.limits.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let child = children.into_iter().next();
        Ok(Arc::new(WatchedCondition {
            inner: child.unwrap_or_else(|| Arc::clone(&self.inner)),
            limits: Arc::clone(&self.limits),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
