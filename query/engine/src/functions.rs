//! Functions and operators beyond DataFusion's own: JSON in text and in `_value`.
//!
//! | SQL | gives |
//! | --- | --- |
//! | `json(value)` | the payload as text; null if its bytes are not UTF-8 |
//! | `value -> key` | the part of a JSON document, as JSON text |
//! | `value ->> key` | the same as plain text: cast it to what it is, as in `(_value ->> 'n')::int` |
//! | `value ? key` | does the document have the key? |
//!
//! A key is a name or a place in an array; `value` is text or binary. What is not JSON gives null. The
//! functions of `datafusion-functions-json` (`json_get`, `json_length`, …) are there by name.

pub(crate) mod guard;
mod json;
mod json_operators;
mod tuple_key;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::{FunctionRegistry, SessionState};

pub(crate) fn register(state: &mut SessionState) -> Result<(), DataFusionError> {
    state.register_udf(json::function())?;
    // Before the library's: the first planner that knows an operator plans it.
    state.register_expr_planner(Arc::new(json_operators::JsonOperators))?;
    state.register_expr_planner(Arc::new(tuple_key::CountDistinctTuples))?;
    datafusion_functions_json::register_all(state)
}
