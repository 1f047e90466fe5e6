//! `+ - * / %` on numbers, as PostgreSQL does them: a result that its type cannot hold is an error, and
//! so is a division by zero, of floats too. DataFusion's own wrap around.
//!
//! A quotient of exact numbers has at least 16 digits behind the point where there is room, and is
//! rounded; a quotient of integers is one.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, Decimal128Array, Scalar,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Float32Type, Float64Type, i256,
};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use super::guard::inner;
use super::{floats, infix_name, two_sides};
use crate::QueryError;
use crate::types::type_name;

/// Digits behind the point of a quotient, where there is room.
pub(super) const QUOTIENT_SCALE: i8 = 16;

/// `left op right`; both have the type that the operator takes, and `kind` is what it gives.
pub(crate) fn operation(left: Expr, op: Operator, right: Expr, kind: DataType) -> Expr {
    call(op, Some(kind), false, vec![left, right])
}

/// The quotient of two exact numbers, of which one is a decimal at least.
pub(crate) fn quotient(left: Expr, right: Expr) -> Expr {
    call(Operator::Divide, None, true, vec![left, right])
}

/// A product that would have more digits behind the point than there is room for: it is rounded.
pub(crate) fn product(left: Expr, right: Expr) -> Expr {
    call(Operator::Multiply, None, true, vec![left, right])
}

/// The quotient of a sum of exact numbers and their count, as one of this type.
pub(crate) fn average(sum: Expr, count: Expr, kind: DataType) -> Expr {
    call(Operator::Divide, Some(kind), true, vec![sum, count])
}

pub(crate) fn is_long(left: &DataType, right: &DataType) -> bool {
    i16::from(digits(left).1) + i16::from(digits(right).1) > i16::from(QUOTIENT_SCALE)
}

fn call(op: Operator, kind: Option<DataType>, rounds: bool, sides: Vec<Expr>) -> Expr {
    let function = Arc::new(ScalarUDF::new_from_impl(Arithmetic {
        name: op.to_string(),
        op,
        kind,
        rounds,
        signature: Signature::any(2, Volatility::Immutable),
    }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, sides))
}

pub(crate) fn is_one(function: &ScalarUDF) -> bool {
    operator(function).is_some()
}

/// What the function computes, if it is one of these.
pub(crate) fn operator(function: &ScalarUDF) -> Option<Operator> {
    let own = inner(function).as_any().downcast_ref::<Arithmetic>()?;
    Some(own.op)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    name: String,
    op: Operator,
    /// `None` if it follows from the sides'.
    kind: Option<DataType>,
    /// Are they exact numbers with more digits behind the point than stay?
    rounds: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Arithmetic {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, sides: &[Expr]) -> Result<String, DataFusionError> {
        Ok(infix_name(sides, self.op))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, sides: &[DataType]) -> Result<DataType, DataFusionError> {
        match (&self.kind, sides) {
            (Some(kind), _) => Ok(kind.clone()),
            (None, [left, right]) if self.op == Operator::Multiply => Ok(product_type(left, right)),
            (None, [left, right]) => Ok(quotient_type(left, right)),
            _ => Err(DataFusionError::Internal(
                "an operator has two sides".to_owned(),
            )),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let is_constant = call
            .args
            .iter()
            .all(|side| matches!(side, ColumnarValue::Scalar(_)));
        let kind = call.return_field.data_type().clone();
        let [left, right] = two_sides(call.args, self.op)?;
        let answer = match self.rounds {
            false => self.operate(&Side::of(left)?, &Side::of(right)?, &kind)?,
            true => {
                let rows = if is_constant { 1 } else { call.number_rows };
                rounded(
                    self.op,
                    &left.into_array(rows)?,
                    &right.into_array(rows)?,
                    &kind,
                )?
            }
        };
        Ok(if is_constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?)
        } else {
            ColumnarValue::Array(answer)
        })
    }
}

/// A side as arrow's kernels take it.
enum Side {
    Array(ArrayRef),
    Scalar(Scalar<ArrayRef>),
}

impl Side {
    fn of(value: ColumnarValue) -> Result<Side, DataFusionError> {
        Ok(match value {
            ColumnarValue::Array(array) => Side::Array(array),
            ColumnarValue::Scalar(value) => Side::Scalar(value.to_scalar()?),
        })
    }

    fn datum(&self) -> &dyn Datum {
        match self {
            Side::Array(array) => array,
            Side::Scalar(scalar) => scalar,
        }
    }

    /// The value of a row; of a null, any.
    fn get<T: ArrowPrimitiveType>(&self, row: usize) -> T::Native {
        let (array, is_scalar) = self.datum().get();
        array
            .as_primitive::<T>()
            .values()
            .get(if is_scalar { 0 } else { row })
            .copied()
            .unwrap_or_default()
    }
}

impl Arithmetic {
    fn operate(
        &self,
        left: &Side,
        right: &Side,
        kind: &DataType,
    ) -> Result<ArrayRef, DataFusionError> {
        let (l, r) = (left.datum(), right.datum());
        let answer = match self.op {
            Operator::Plus => numeric::add(l, r),
            Operator::Minus => numeric::sub(l, r),
            Operator::Multiply => numeric::mul(l, r),
            Operator::Divide => numeric::div(l, r),
            _ => numeric::rem(l, r),
        };
        let answer = answer.map_err(|error| match error {
            ArrowError::ArithmeticOverflow(_) => out_of_range(kind),
            other => other.into(),
        })?;
        match answer.data_type() {
            DataType::Float64 => self.checked::<Float64Type>(&answer, left, right, f64::from),
            DataType::Float32 => self.checked::<Float32Type>(&answer, left, right, f64::from),
            DataType::Decimal128(..) => {
                let numbers = answer.as_primitive::<Decimal128Type>();
                numbers
                    .validate_decimal_precision(DECIMAL128_MAX_PRECISION)
                    .map_err(|_| out_of_range(kind))?;
                Ok(Arc::new(numbers.clone().with_data_type(kind.clone())))
            }
            _ => Ok(answer),
        }
    }

    /// What floats gave, if it is a number where it had to be one.
    fn checked<T: ArrowPrimitiveType>(
        &self,
        answer: &ArrayRef,
        left: &Side,
        right: &Side,
        double: impl Fn(T::Native) -> f64,
    ) -> Result<ArrayRef, DataFusionError> {
        let values = answer.as_primitive::<T>();
        let is_odd = |value: &T::Native| {
            let value = double(*value);
            value == 0.0 || !value.is_finite()
        };
        if !values.values().iter().any(is_odd) {
            return Ok(Arc::clone(answer));
        }
        for (row, value) in values.values().iter().enumerate() {
            if values.is_valid(row) && is_odd(value) {
                let (l, r) = (double(left.get::<T>(row)), double(right.get::<T>(row)));
                self.check(double(*value), l, r)?;
            }
        }
        Ok(floats::canonical_array(answer))
    }

    fn check(&self, answer: f64, left: f64, right: f64) -> Result<(), DataFusionError> {
        let divides = matches!(self.op, Operator::Divide | Operator::Modulo);
        if divides && right == 0.0 && !left.is_nan() {
            return Err(ArrowError::DivideByZero.into());
        }
        let is_lost = match self.op {
            Operator::Multiply => left != 0.0 && right != 0.0,
            Operator::Divide => left != 0.0 && !right.is_infinite(),
            _ => false,
        };
        let message = if answer.is_infinite() && !left.is_infinite() && !right.is_infinite() {
            "value out of range: overflow"
        } else if answer == 0.0 && is_lost {
            "value out of range: underflow"
        } else {
            return Ok(());
        };
        Err(QueryError::OutOfRange {
            message: message.to_owned(),
        }
        .into())
    }
}

pub(crate) fn out_of_range(kind: &DataType) -> DataFusionError {
    let name = match kind {
        DataType::Int8 | DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric of 38 digits".to_owned(),
        other => type_name(other),
    };
    QueryError::OutOfRange {
        message: format!("{name} out of range"),
    }
    .into()
}

fn digits(kind: &DataType) -> (u8, i8) {
    match kind {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        _ => (20, 0),
    }
}

/// May the type stand in a quotient of exact numbers?
pub(crate) fn is_exact(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Decimal128(..))
}

fn quotient_type(left: &DataType, right: &DataType) -> DataType {
    let ((precision, left_scale), (_, right_scale)) = (digits(left), digits(right));
    let whole = i16::from(precision) - i16::from(left_scale) + i16::from(right_scale);
    let room = i8::try_from((38 - whole).clamp(0, 38)).unwrap_or(0);
    let least = left_scale.max(right_scale).max(6);
    let scale = room.min(QUOTIENT_SCALE).max(least).clamp(0, 38);
    DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale)
}

fn product_type(left: &DataType, right: &DataType) -> DataType {
    let scale = QUOTIENT_SCALE.max(digits(left).1).max(digits(right).1);
    DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale)
}

/// Rounded half away from zero, as numeric is.
fn rounded(
    op: Operator,
    left: &ArrayRef,
    right: &ArrayRef,
    kind: &DataType,
) -> Result<ArrayRef, DataFusionError> {
    let scaled = |array: &ArrayRef| {
        let (precision, scale) = digits(array.data_type());
        cast(array, &DataType::Decimal128(precision, scale)).map(|decimals| (decimals, scale))
    };
    let ((left, left_scale), (right, right_scale)) = (scaled(left)?, scaled(right)?);
    let DataType::Decimal128(_, scale) = kind else {
        return Err(DataFusionError::Internal(
            "exact numbers make a decimal".to_owned(),
        ));
    };
    let (left, right) = (
        left.as_primitive::<Decimal128Type>(),
        right.as_primitive::<Decimal128Type>(),
    );
    // A product is divided by what it has too many digits.
    let up = match op {
        Operator::Multiply => i32::from(*scale) - i32::from(right_scale) - i32::from(left_scale),
        _ => i32::from(*scale) + i32::from(right_scale) - i32::from(left_scale),
    };
    let ten = |power: i32| i256::from(10).checked_pow(power.unsigned_abs());
    let (Some(times), Some(by)) = (ten(up.max(0)), ten(up.min(0))) else {
        return Err(out_of_range(kind));
    };
    let mut builder = Decimal128Array::builder(left.len());
    for row in 0..left.len() {
        if left.is_null(row) || right.is_null(row) {
            builder.append_null();
            continue;
        }
        let (l, r) = (
            i256::from_i128(left.value(row)),
            i256::from_i128(right.value(row)),
        );
        let (number, divisor) = match op {
            Operator::Multiply => (
                l.checked_mul(r).and_then(|n| n.checked_mul(times)),
                Some(by),
            ),
            _ => (l.checked_mul(times), r.checked_mul(by)),
        };
        let (Some(number), Some(divisor)) = (number, divisor) else {
            return Err(out_of_range(kind));
        };
        if divisor == i256::ZERO {
            return Err(ArrowError::DivideByZero.into());
        }
        let mut quotient = number / divisor;
        let rest = (number % divisor).wrapping_abs();
        if rest >= divisor.wrapping_abs() - rest {
            let is_negative = (number < i256::ZERO) != (divisor < i256::ZERO);
            let step = if is_negative {
                i256::MINUS_ONE
            } else {
                i256::ONE
            };
            quotient += step;
        }
        let quotient = quotient.to_i128().filter(|quotient| {
            Decimal128Type::is_valid_decimal_precision(*quotient, DECIMAL128_MAX_PRECISION)
        });
        builder.append_value(quotient.ok_or_else(|| out_of_range(kind))?);
    }
    Ok(Arc::new(builder.finish().with_data_type(kind.clone())))
}
