//! One query's world: its cut, the catalog at it, and a DataFusion session that ends with the query.
//!
//! No session outlives its query, so a plan never keeps an old cut, and nothing that one query sets
//! is seen by another.

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use tarn_runtime::Runtime;
use tarn_state::topic_names::EVENTS_NAMESPACE;

use crate::catalog::{CATALOG, CutCatalog};
use crate::context::QueryContext;
use crate::functions;
use crate::functions::calendar::{UTC, Zone};
use crate::functions::guard::{GuardFunctions, guard, note_constants};
use crate::limits::{QueryLimits, QueryMemory};
use crate::same_names;
use crate::semantics::{
    self, CheckedValues, GroupDistinct, LateralUnnest, MatchOperands, OrderConditions,
    PostgresOperators,
};
use crate::types::SqlTypes;
use crate::watch::Watch;

/// Rows of one Arrow batch.
const BATCH_ROWS: usize = 8192;
/// DataFusion's rule that computes what several expressions need once, and before them.
const COMMON_VALUES: &str = "common_sub_expression_eliminate";
/// What is the same for all sessions: functions, rules, settings.
pub(crate) fn base(parallelism: usize) -> Result<SessionState, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_target_partitions(parallelism)
        .with_batch_size(BATCH_ROWS)
        .with_default_catalog_and_schema(CATALOG, EVENTS_NAMESPACE)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.collect_spans = true;
    // A number with a point is exact, as in PostgreSQL.
    options.sql_parser.parse_float_as_decimal = true;
    // Text is one type everywhere: what a cast makes, and what tables have.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some(UTC.to_owned());
    // It compares what a plan says of nulls with what its steps say, and the plan knows less about a `UNION`.
    options.execution.skip_physical_aggregate_schema_check = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_type_planner(Arc::new(SqlTypes))
        .with_optimizer_rules(optimizer_rules())
        .build();
    functions::register(&mut state)?;
    Ok(state)
}

/// DataFusion's, but two, and one more.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    // SUBTLE: without its constants, a `GROUP BY` of nothing else gives a row where there is none.
    rules.retain(|rule| rule.name() != "eliminate_group_by_constant");
    for rule in &mut rules {
        let own = GroupDistinct::default();
        if rule.name() == own.name() {
            *rule = Arc::new(own);
        }
    }
    let is_common = |rule: &Arc<dyn OptimizerRule + Send + Sync>| rule.name() == COMMON_VALUES;
    let place = rules.iter().position(is_common).unwrap_or(rules.len());
    rules.insert(place, Arc::new(OrderConditions));
    rules
}

/// A session for one query.
pub(crate) fn open(
    base: &SessionState,
    context: &Arc<QueryContext>,
    memory: &QueryMemory,
    limits: &Arc<QueryLimits>,
    zone: &Zone,
    runtime: &Runtime,
) -> Result<SessionState, DataFusionError> {
    let caches =
        CacheManagerConfig::default().with_file_metadata_cache(Some(Arc::clone(&context.footers)));
    let environment = RuntimeEnvBuilder::new()
        .with_memory_pool(memory.pool())
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .with_cache_manager(caches)
        .build_arc()?;
    environment.register_object_store(
        QueryContext::store_url().as_ref(),
        context.store().object_store(),
    );
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(CutCatalog::new(context)));
    // Under their own names: each brings its aliases, and one that was replaced may still be there by an alias.
    let functions = base.scalar_functions().iter();
    let named = functions.filter(|(name, function)| *name == function.name());
    let guarded = named.map(|(_, function)| guard(function, limits));
    let mut state = SessionStateBuilder::new_from_existing(base.clone())
        .with_scalar_functions(guarded.collect())
        .with_analyzer_rules(vec![
            Arc::new(ResolveGroupingFunction::new()),
            Arc::new(LateralUnnest),
            Arc::new(MatchOperands { zone: zone.clone() }),
            Arc::new(TypeCoercion::new()),
            Arc::new(CheckedValues { zone: zone.clone() }),
            Arc::new(GuardFunctions(Arc::clone(limits))),
        ])
        .with_physical_optimizer_rules(same_names::rules(Arc::new(Watch(Arc::clone(limits)))))
        .with_session_id(runtime.random().uuid().to_string())
        .with_runtime_env(environment)
        .with_catalog_list(Arc::new(catalogs))
        .build();
    state.register_expr_planner(Arc::new(PostgresOperators { zone: zone.clone() }))?;
    // What now() says.
    let now = chrono::DateTime::from_timestamp_millis(runtime.clock().wall().0).unwrap_or_default();
    state.execution_props_mut().query_execution_start_time = Some(now);
    Ok(state)
}

/// A plan whose constants are known by now as one that runs, its batches as short as they need to be.
pub(crate) async fn physical(
    session: &mut SessionState,
    limits: &QueryLimits,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let plan = session.optimize(plan)?;
    let plan = semantics::in_order(plan, session.execution_props())?;
    note_constants(&plan, limits)?;
    let options = session.config_mut().options_mut();
    options.execution.batch_size = limits.batch_rows(BATCH_ROWS);
    // Not before the optimizer is done: from now on expressions have their values, however wide.
    limits.run();
    session
        .query_planner()
        .create_physical_plan(&plan, session)
        .await
}
