//! `string_agg`, of which each in a statement has an order of its own.
//!
//! DataFusion's sorts what it has got, but insists on rows in that order nevertheless, and two cannot both
//! have theirs. This one takes its rows in any.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::string_agg::StringAgg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, Signature,
};

pub(super) fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(Sorting::default())
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Sorting(StringAgg);

impl AggregateUDFImpl for Sorting {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType, DataFusionError> {
        self.0.return_type(kinds)
    }

    fn state_fields(&self, call: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>, DataFusionError> {
        self.0.state_fields(call)
    }

    fn accumulator(
        &self,
        call: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>, DataFusionError> {
        self.0.accumulator(call)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    /// It sorts rows that come in its order once more.
    fn with_beneficial_ordering(
        self: Arc<Self>,
        _: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>, DataFusionError> {
        Ok(Some(self))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }
}
