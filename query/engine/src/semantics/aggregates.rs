//! Aggregates and windows whose values follow from other ones.
//!
//! | as written | as computed |
//! | --- | --- |
//! | `min`, `max` of floats | of their ranks, in which NaN has its place |
//! | `avg` of exact numbers | `sum` and `count`, and their quotient |
//! | other floats | and made canonical |
//! | `sum(x ORDER BY y)` and the like | without the order |
//! | `nth_value(x, n ORDER BY y)` beside one with another order | the element of a list, which sorts itself |

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_nested::extract::array_element_udf;
use datafusion::logical_expr::expr::{
    AggregateFunction, Cast, ScalarFunction, Sort, WindowFunction,
};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, LogicalPlan, Projection, Window, WindowFunctionDefinition,
};

use super::rule::of_function;
use crate::functions::floats::{self, is_float};
use crate::functions::{arithmetic, sum};

/// What has to be done with a value after it was computed.
enum After {
    Nothing,
    Canonical,
    /// It was one of ranks, for a column of this type.
    OfRank(DataType),
    /// It is the list of all values, of which this one is meant.
    Element(Expr),
    /// It is the sum, and the count stands in this column; the quotient has this type.
    Average(usize, DataType),
}

impl After {
    fn applied(self, column: Expr, all: &[Expr]) -> Expr {
        match self {
            After::Nothing => column,
            After::Canonical => of_function(floats::canonical_function(), column),
            After::OfRank(kind) => {
                let double = of_function(floats::of_rank_function(), column);
                match kind {
                    DataType::Float64 => double,
                    other => Expr::Cast(Cast::new(Box::new(double), other)),
                }
            }
            After::Element(place) => {
                let element = ScalarFunction::new_udf(array_element_udf(), vec![column, place]);
                Expr::ScalarFunction(element)
            }
            After::Average(count, kind) => arithmetic::average(column, all[count].clone(), kind),
        }
    }
}

/// One aggregate or window as it is computed.
struct Computed {
    /// Of these, each with its qualifier and name: the value, and what it needs beside it.
    own: Vec<Expr>,
    after: Vec<After>,
    beside: Vec<Expr>,
}

impl Computed {
    /// `all` give the columns of `schema` from `first` on.
    fn of(all: &[Expr], schema: &DFSchema, first: usize) -> Computed {
        let mut computed = Computed {
            own: Vec::new(),
            after: Vec::new(),
            beside: Vec::new(),
        };
        for (place, expression) in all.iter().enumerate() {
            let (qualifier, field) = schema.qualified_field(first + place);
            let mut changed = expression.clone();
            let mut call = Call::of(&mut changed);
            let kind = field.data_type();
            let after = match call.name() {
                // One statement has one order for all that do not sort by themselves.
                Some("nth_value") if is_crossed(expression, all) => {
                    call.replace(array_agg_udaf());
                    match call.only_first_argument() {
                        Some(place) => After::Element(place),
                        None => After::Nothing,
                    }
                }
                Some("min" | "max") if is_float(kind) => {
                    if let [argument] = call.arguments() {
                        let inner = std::mem::take(argument);
                        *argument = of_function(floats::rank_function(), inner);
                    }
                    After::OfRank(kind.clone())
                }
                Some("avg") if !is_float(kind) && kind.is_decimal() => {
                    call.replace(Arc::new(sum::function()));
                    let mut count = expression.clone();
                    Call::of(&mut count).replace(count_udaf());
                    let name = format!("{} count", field.name());
                    computed.beside.push(count.unalias().alias(name));
                    let place = first + all.len() + computed.beside.len() - 1;
                    After::Average(place, kind.clone())
                }
                Some(_) if is_float(kind) => After::Canonical,
                _ => After::Nothing,
            };
            if matches!(
                after,
                After::OfRank(_) | After::Average(..) | After::Element(_)
            ) {
                changed = changed
                    .unalias()
                    .alias_qualified(qualifier.cloned(), field.name());
            }
            computed.own.push(changed);
            computed.after.push(after);
        }
        computed
    }

    fn is_as_written(&self) -> bool {
        self.after
            .iter()
            .all(|after| matches!(after, After::Nothing))
    }

    fn all(&mut self) -> Vec<Expr> {
        self.own.drain(..).chain(self.beside.drain(..)).collect()
    }
}

enum Call<'a> {
    Aggregate(&'a mut AggregateFunction),
    Window(&'a mut WindowFunction),
    Other,
}

impl Call<'_> {
    fn of(expression: &mut Expr) -> Call<'_> {
        match expression {
            Expr::Alias(alias) => Call::of(&mut alias.expr),
            Expr::AggregateFunction(call) => Call::Aggregate(call),
            Expr::WindowFunction(call) => match call.fun {
                WindowFunctionDefinition::AggregateUDF(_) => Call::Window(call),
                WindowFunctionDefinition::WindowUDF(_) => Call::Other,
            },
            _ => Call::Other,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Call::Aggregate(call) => Some(call.func.name()),
            Call::Window(call) => Some(call.fun.name()),
            Call::Other => None,
        }
    }

    fn arguments(&mut self) -> &mut [Expr] {
        match self {
            Call::Aggregate(call) => &mut call.params.args,
            Call::Window(call) => &mut call.params.args,
            Call::Other => &mut [],
        }
    }

    /// Takes the second one of two away.
    fn only_first_argument(&mut self) -> Option<Expr> {
        match self {
            Call::Aggregate(call) => call.params.args.pop(),
            Call::Window(_) | Call::Other => None,
        }
    }

    fn replace(&mut self, function: Arc<AggregateUDF>) {
        match self {
            Call::Aggregate(call) => call.func = function,
            Call::Window(call) => call.fun = WindowFunctionDefinition::AggregateUDF(function),
            Call::Other => {}
        }
    }
}

/// The order that a grouped `nth_value` asks for.
fn nth_order(expression: &Expr) -> Option<&[Sort]> {
    match expression {
        Expr::Alias(alias) => nth_order(&alias.expr),
        Expr::AggregateFunction(call) if call.func.name() == "nth_value" => {
            Some(&call.params.order_by)
        }
        _ => None,
    }
}

/// Does another one of these ask for another order?
fn is_crossed(expression: &Expr, all: &[Expr]) -> bool {
    let own = nth_order(expression);
    own.is_some_and(|own| all.iter().filter_map(nth_order).any(|other| other != own))
}

/// Aggregates that take their rows in the order that they ask for.
const ORDERED: [&str; 5] = [
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "nth_value",
];

/// Takes the order away from an aggregate that gives the same in each: one statement has few orders.
pub(super) fn without_order(call: &mut AggregateFunction) -> bool {
    let is_free = !ORDERED.contains(&call.func.name()) && !call.func.supports_within_group_clause();
    let is_new = is_free && !call.params.order_by.is_empty();
    if is_new {
        call.params.order_by.clear();
    }
    is_new
}

pub(super) fn of_groups(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let schema = Arc::clone(&aggregate.schema);
    let groups = schema.fields().len() - aggregate.aggr_expr.len();
    let mut computed = Computed::of(&aggregate.aggr_expr, &schema, groups);
    if computed.is_as_written() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let all = computed.all();
    let plan = Aggregate::try_new(aggregate.input, aggregate.group_expr, all)?;
    projected(
        LogicalPlan::Aggregate(plan),
        &schema,
        groups,
        computed.after,
    )
}

pub(super) fn of_windows(window: Window) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let schema = Arc::clone(&window.schema);
    let inputs = schema.fields().len() - window.window_expr.len();
    let mut computed = Computed::of(&window.window_expr, &schema, inputs);
    if computed.is_as_written() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let plan = Window::try_new(computed.all(), window.input)?;
    projected(LogicalPlan::Window(plan), &schema, inputs, computed.after)
}

/// The columns of `schema`, those from `first` on with what follows on them.
fn projected(
    plan: LogicalPlan,
    schema: &DFSchema,
    first: usize,
    after: Vec<After>,
) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let all: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let mut columns: Vec<Expr> = all[..schema.fields().len()].to_vec();
    for (place, after) in (first..).zip(after) {
        if let After::Nothing = after {
            continue;
        }
        let (qualifier, field) = schema.qualified_field(place);
        columns[place] = after
            .applied(all[place].clone(), &all)
            .alias_qualified(qualifier.cloned(), field.name());
    }
    let projection = Projection::try_new(columns, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}
