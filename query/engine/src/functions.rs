//! Functions and operators beyond DataFusion's own, and those that PostgreSQL means otherwise.
//!
//! | SQL | gives |
//! | --- | --- |
//! | `json(value)` | the payload as text; null if its bytes are not UTF-8 |
//! | `value -> key`, `value #> path` | the part of a JSON document, as JSON text |
//! | `value ->> key`, `value #>> path` | the same as plain text: cast it to what it is, as in `(_value ->> 'n')::int` |
//! | `value ? key` | does the document have the key? |
//!
//! A key is a name or a place in an array; `value` is text or binary. What is not JSON gives null.

pub(crate) mod arithmetic;
mod avg;
pub(crate) mod calendar;
pub(crate) mod casts;
pub(crate) mod floats;
pub(crate) mod guard;
pub(crate) mod in_order;
mod json;
mod json_operators;
mod json_path;
pub(crate) mod literals;
mod moments;
mod overlay;
mod string_agg;
pub(crate) mod sum;
pub(crate) mod time;
mod to_char;
mod tuple_key;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{ColumnarValue, Expr, Operator};

pub(crate) fn register(state: &mut SessionState) -> Result<(), DataFusionError> {
    state.register_udf(json::function())?;
    state.register_udaf(Arc::new(sum::function()))?;
    state.register_udaf(Arc::new(avg::function()))?;
    state.register_udaf(Arc::new(string_agg::function()))?;
    // Before the library's: the first planner that knows an operator plans it.
    state.register_expr_planner(Arc::new(json_operators::JsonOperators))?;
    state.register_expr_planner(Arc::new(tuple_key::CountDistinctTuples))?;
    let own = [
        time::functions(),
        moments::functions(),
        json_path::functions().to_vec(),
    ];
    for function in own.into_iter().flatten() {
        state.register_udf(function)?;
    }
    state.register_udf(to_char::function())?;
    state.register_udf(overlay::function())?;
    let series = state.table_functions().get("generate_series").cloned();
    if let Some(series) = series {
        state.register_udtf("generate_series", Arc::new(time::Series(series)));
    }
    let to_timestamp = state.udf("to_timestamp")?;
    state.register_udf(Arc::new(time::in_micros(&to_timestamp)))?;
    Ok(())
}

/// The name of an operator's answer, as it is written: `a + b`.
fn infix_name(sides: &[Expr], op: Operator) -> String {
    let names: Vec<String> = sides
        .iter()
        .map(|side| side.schema_name().to_string())
        .collect();
    names.join(&format!(" {op} "))
}

/// The sides that an operator is called with.
fn two_sides(
    arguments: Vec<ColumnarValue>,
    op: Operator,
) -> Result<[ColumnarValue; 2], DataFusionError> {
    let why = format!("{op} is planned with two sides");
    <[ColumnarValue; 2]>::try_from(arguments).map_err(|_| DataFusionError::Internal(why))
}
