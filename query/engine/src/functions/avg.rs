//! `avg` of exact numbers, which is one itself: of integers with 16 digits behind the point, of decimals
//! with as many where there is room. Of floats it is DataFusion's.
//!
//! This is its type. What computes it are `sum` and `count`, which `semantics::aggregates` puts there.

use std::any::Any;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, FieldRef};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
    Volatility,
};

use super::arithmetic::{QUOTIENT_SCALE, is_exact};

pub(super) fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(Avg {
        aliases: avg_udaf().aliases().to_vec(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Avg {
    aliases: Vec<String>,
    signature: Signature,
}

fn of(kind: &DataType) -> Option<DataType> {
    let (precision, scale) = match kind {
        DataType::Decimal128(precision, scale) => (i16::from(*precision), *scale),
        kind if is_exact(kind) => (20, 0),
        _ => return None,
    };
    let room = 38 - (precision - i16::from(scale)).clamp(0, 38);
    let room = i8::try_from(room).unwrap_or(0);
    let scale = QUOTIENT_SCALE.max(scale).min(room).max(scale);
    Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale))
}

impl AggregateUDFImpl for Avg {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "avg"
    }

    /// All of DataFusion's, so that its own is there under no name.
    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let [kind] = kinds else {
            let why = "avg() takes one argument".to_owned();
            return Err(DataFusionError::Plan(why));
        };
        Ok(vec![match kind {
            DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
                DataType::Int32
            }
            DataType::UInt32 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Float16 | DataType::Float32 | DataType::Null => DataType::Float64,
            kind if kind.is_numeric() || matches!(kind, DataType::Duration(_)) => kind.clone(),
            other => {
                let why = format!("function avg({}) does not exist", crate::type_name(other));
                return Err(DataFusionError::Plan(why));
            }
        }])
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType, DataFusionError> {
        match kinds.first().and_then(of) {
            Some(exact) => Ok(exact),
            None => avg_udaf().return_type(kinds),
        }
    }

    fn state_fields(
        &self,
        arguments: StateFieldsArgs<'_>,
    ) -> Result<Vec<FieldRef>, DataFusionError> {
        avg_udaf().state_fields(arguments)
    }

    fn accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>, DataFusionError> {
        avg_udaf().accumulator(arguments)
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>, DataFusionError> {
        avg_udaf().create_sliding_accumulator(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        avg_udaf().groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
        avg_udaf().create_groups_accumulator(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
