//! One zero and one NaN.
//!
//! PostgreSQL's floats: NaN equals itself and is greater than every number, and −0.0 equals 0.0.
//! Arrow's order is IEEE 754's total order, in which that is true of every value but −0.0 and the NaNs
//! with another sign or payload. So no value of the engine is one of those: decoders let none in, and
//! what an expression makes goes through `canonical`. Then comparisons, joins, groups, sorts and filters
//! that are pushed into scans need nothing of their own.
//!
//! `rank` and `of_rank` carry `min` and `max` over: their groups forget a NaN that a number follows.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

pub(crate) fn is_float(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Float16 | DataType::Float32 | DataType::Float64
    )
}

/// The value that stands for this one.
pub(crate) fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else {
        // Adding zero takes the sign from zero, and changes nothing else.
        value + 0.0
    }
}

/// The array with one zero and one NaN; itself if it is no array of floats.
pub(crate) fn canonical_array(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            let is_other = |value: &f64| value.is_nan() || value.to_bits() == NEGATIVE_ZERO;
            match floats.values().iter().any(is_other) {
                true => Arc::new(floats.unary::<_, Float64Type>(canonical)),
                false => Arc::clone(array),
            }
        }
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            let is_other = |value: &f32| value.is_nan() || value.to_bits() == (-0.0_f32).to_bits();
            let canonical = |value: f32| {
                if value.is_nan() {
                    f32::NAN
                } else {
                    value + 0.0
                }
            };
            match floats.values().iter().any(is_other) {
                true => Arc::new(floats.unary::<_, Float32Type>(canonical)),
                false => Arc::clone(array),
            }
        }
        _ => Arc::clone(array),
    }
}

const NEGATIVE_ZERO: u64 = 1 << 63;

pub(crate) fn canonical_value(value: ColumnarValue) -> Result<ColumnarValue, DataFusionError> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(canonical_array(&array)),
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(ScalarValue::try_from_array(
            &canonical_array(&value.to_array()?),
            0,
        )?),
    })
}

/// `canonical(float)`, of the same type.
pub(crate) fn canonical_function() -> Arc<ScalarUDF> {
    function(FloatFunction::Canonical)
}

/// `rank(float)`: a bigint in the order of the floats.
pub(crate) fn rank_function() -> Arc<ScalarUDF> {
    function(FloatFunction::Rank)
}

/// `round(float)`, of the same type: halves go to the even number.
pub(crate) fn round_function() -> Arc<ScalarUDF> {
    function(FloatFunction::Round)
}

/// `of_rank(bigint)`: the double of a rank.
pub(crate) fn of_rank_function() -> Arc<ScalarUDF> {
    function(FloatFunction::OfRank)
}

fn function(which: FloatFunction) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Floats {
        which,
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FloatFunction {
    Canonical,
    Round,
    Rank,
    OfRank,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Floats {
    which: FloatFunction,
    signature: Signature,
}

/// A number in the order of the floats, and back: the same step undoes itself.
fn flip(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

impl ScalarUDFImpl for Floats {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        match self.which {
            FloatFunction::Canonical => "canonical_float",
            FloatFunction::Round => "round",
            FloatFunction::Rank => "float_rank",
            FloatFunction::OfRank => "float_of_rank",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(match (self.which, arguments) {
            (FloatFunction::Canonical | FloatFunction::Round, [kind]) => kind.clone(),
            (FloatFunction::Rank, _) => DataType::Int64,
            _ => DataType::Float64,
        })
    }

    fn invoke_with_args(
        &self,
        mut arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let Some(argument) = arguments.args.pop() else {
            return Err(DataFusionError::Internal(format!(
                "{} is planned with one argument",
                self.name()
            )));
        };
        if self.which == FloatFunction::Canonical {
            return canonical_value(argument);
        }
        let is_scalar = matches!(argument, ColumnarValue::Scalar(_));
        let array = argument.into_array(if is_scalar { 1 } else { arguments.number_rows })?;
        let array: ArrayRef = match (self.which, array.data_type()) {
            (FloatFunction::Round, DataType::Float32) => {
                let reals = array.as_primitive::<Float32Type>();
                let rounded: ArrayRef =
                    Arc::new(reals.unary::<_, Float32Type>(f32::round_ties_even));
                canonical_array(&rounded)
            }
            (FloatFunction::Round, _) => {
                let doubles = array.as_primitive::<Float64Type>();
                let rounded: ArrayRef =
                    Arc::new(doubles.unary::<_, Float64Type>(f64::round_ties_even));
                canonical_array(&rounded)
            }
            (FloatFunction::OfRank, _) => {
                let ranks = array.as_primitive::<Int64Type>();
                let double = |rank: i64| f64::from_bits(flip(rank) as u64);
                Arc::new(ranks.unary::<_, Float64Type>(double))
            }
            _ => {
                let doubles = cast(&array, &DataType::Float64)?;
                let doubles: &Float64Array = doubles.as_primitive();
                let ranks: PrimitiveArray<Int64Type> =
                    doubles.unary(|value| flip(canonical(value).to_bits() as i64));
                Arc::new(ranks)
            }
        };
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_postgresqls_order_and_come_back() {
        let order = [
            f64::NEG_INFINITY,
            -1e300,
            -1.5,
            -f64::MIN_POSITIVE,
            0.0,
            5e-324,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        let rank = |value: f64| flip(canonical(value).to_bits() as i64);
        for pair in order.windows(2) {
            assert!(rank(pair[0]) < rank(pair[1]), "{pair:?}");
        }
        for value in order {
            let back = f64::from_bits(flip(rank(value)) as u64);
            assert_eq!(back.to_bits(), canonical(value).to_bits());
        }
        assert_eq!(rank(-0.0), rank(0.0));
        assert_eq!(rank(-f64::NAN), rank(f64::from_bits(0x7ff0_0000_0000_0001)));
    }
}
