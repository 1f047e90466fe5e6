//! `count(DISTINCT (a, b))`: a tuple counts as one value, by its row key.
//!
//! DataFusion keeps each distinct struct as a scalar of its own and accounts kilobytes for it, so that
//! counting a third of a million places does not fit into gigabytes. The key is the tuple in Arrow's
//! row format: equal tuples have equal bytes, and distinct bytes have a compact accumulator.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, BinaryBuilder, StructArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{AggregateFunction, Alias, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Plans `count(DISTINCT (…))` as a count of keys.
#[derive(Debug)]
pub(super) struct CountDistinctTuples;

impl ExprPlanner for CountDistinctTuples {
    fn plan_aggregate(
        &self,
        raw: RawAggregateExpr,
    ) -> Result<PlannerResult<RawAggregateExpr>, DataFusionError> {
        let tuple = match raw.args.as_slice() {
            [Expr::ScalarFunction(call)] if ["struct", "row"].contains(&call.func.name()) => call,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        if !raw.distinct || raw.func.name() != "count" {
            return Ok(PlannerResult::Original(raw));
        }
        let parts: Vec<String> = tuple.args.iter().map(ToString::to_string).collect();
        let title = format!("count(DISTINCT ({}))", parts.join(", "));
        let key = Expr::ScalarFunction(ScalarFunction::new_udf(function(), raw.args));
        let count = Expr::AggregateFunction(AggregateFunction::new_udf(
            raw.func,
            vec![key],
            raw.distinct,
            raw.filter,
            raw.order_by,
            raw.null_treatment,
        ));
        Ok(PlannerResult::Planned(Expr::Alias(Alias::new(
            count,
            None::<&str>,
            title,
        ))))
    }
}

fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(TupleKey {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TupleKey {
    signature: Signature,
}

impl ScalarUDFImpl for TupleKey {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "tuple_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let rows = arguments.number_rows;
        let Some(argument) = arguments.args.into_iter().next() else {
            return Err(DataFusionError::Internal(
                "tuple_key() is planned with one argument".to_owned(),
            ));
        };
        let array = argument.into_array(rows)?;
        let Some(tuples) = array.as_any().downcast_ref::<StructArray>() else {
            return Err(DataFusionError::Internal(
                "tuple_key() is planned with a tuple".to_owned(),
            ));
        };
        let fields = tuples
            .columns()
            .iter()
            .map(|column| SortField::new(column.data_type().clone()))
            .collect();
        let keys = RowConverter::new(fields)?.convert_columns(tuples.columns())?;
        let mut builder = BinaryBuilder::with_capacity(tuples.len(), keys.size());
        for (row, key) in keys.iter().enumerate() {
            if tuples.is_null(row) {
                builder.append_null();
            } else {
                builder.append_value(key.data());
            }
        }
        Ok(ColumnarValue::Array(Arc::new(builder.finish())))
    }
}
