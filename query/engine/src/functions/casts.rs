//! Casts that round, refuse, read or write as PostgreSQL's do. Those that are not here are Arrow's.
//!
//! | from | to | PostgreSQL |
//! | --- | --- | --- |
//! | float, decimal | integers | rounded (floats to even, decimals away from zero), or out of range |
//! | double | real | out of range if the exponent is |
//! | float, timestamp, uuid | text | `1e+20`, `2024-02-03 04:05:06+00`, with dashes |
//! | text | numbers, boolean, uuid, dates, times | with blanks around it, `yes` and `off`, any year |
//! | timestamp | timestamptz and back, date | by the session's time zone |

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int64Array, LargeBinaryArray, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::arithmetic::out_of_range;
use super::calendar::{self, DAY, Zone};
use super::floats::{self, is_float};
use super::guard::inner;
use super::literals;

const MICROS: TimeUnit = TimeUnit::Microsecond;

/// The cast as PostgreSQL's, or the expression as it was if Arrow's is the same.
pub(crate) fn replaced(
    expression: Expr,
    from: &DataType,
    to: &DataType,
    zone: &Zone,
) -> Result<Expr, Box<Expr>> {
    match is_other(from, to, zone) {
        true => Ok(call(expression, to.clone(), zone)),
        false => Err(Box::new(expression)),
    }
}

/// A text as bytes, where somebody wrote the cast: `'\x6b6579'::bytea`.
pub(crate) fn bytes_of_text(expression: Expr) -> Expr {
    call(expression, DataType::LargeBinary, &Zone::utc())
}

fn call(expression: Expr, to: DataType, zone: &Zone) -> Expr {
    let function = Arc::new(ScalarUDF::new_from_impl(Convert {
        to,
        zone: zone.clone(),
        signature: Signature::any(1, Volatility::Immutable),
    }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expression]))
}

pub(crate) fn is_one(function: &ScalarUDF) -> bool {
    inner(function).as_any().is::<Convert>()
}

fn is_other(from: &DataType, to: &DataType, zone: &Zone) -> bool {
    use DataType::{
        Boolean, Date32, Decimal128, FixedSizeBinary, Float32, Float64, Time64, Timestamp,
    };
    if from.is_string() {
        return to.is_signed_integer()
            || matches!(
                to,
                Boolean
                    | FixedSizeBinary(16)
                    | Date32
                    | Float32
                    | Float64
                    | Timestamp(MICROS, _)
                    | Time64(MICROS)
            );
    }
    match (from, to) {
        (Float64, Float32) => true,
        (Decimal128(..), to) => to.is_signed_integer(),
        (from, to) if is_float(from) => to.is_signed_integer() || to.is_string(),
        (FixedSizeBinary(16) | Timestamp(..) | Date32 | Time64(MICROS), to) if to.is_string() => {
            true
        }
        (Timestamp(..), Date32) | (Date32, Timestamp(MICROS, _)) => true,
        (Timestamp(_, from), Timestamp(MICROS, to)) => {
            from.is_some() != to.is_some() && !zone.is_utc()
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Convert {
    to: DataType,
    zone: Zone,
    signature: Signature,
}

impl ScalarUDFImpl for Convert {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "cast_to"
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String, DataFusionError> {
        let argument = arguments.first().map(ToString::to_string);
        Ok(format!(
            "cast_to({}, {})",
            argument.unwrap_or_default(),
            self.to
        ))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(
        &self,
        mut arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let Some(argument) = arguments.args.pop() else {
            return Err(DataFusionError::Internal(
                "a cast is planned with one argument".to_owned(),
            ));
        };
        let is_scalar = matches!(argument, ColumnarValue::Scalar(_));
        let array = argument.into_array(if is_scalar { 1 } else { arguments.number_rows })?;
        let answer = match array.data_type() {
            DataType::Null => cast(&array, &self.to)?,
            _ => self.convert(&array)?,
        };
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?),
            false => ColumnarValue::Array(answer),
        })
    }
}

impl Convert {
    fn convert(&self, array: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
        let from = array.data_type().clone();
        if from.is_string() {
            return self.read(&cast(array, &DataType::LargeUtf8)?);
        }
        if self.to.is_string() {
            let text: ArrayRef = Arc::new(self.written(array)?);
            return Ok(cast(&text, &self.to)?);
        }
        match (&from, &self.to) {
            (DataType::Float64, DataType::Float32) => {
                let doubles = array.as_primitive::<Float64Type>();
                let reals: Float32Array = doubles.try_unary(literals::narrow)?;
                Ok(Arc::new(reals))
            }
            (from, _) if is_float(from) => {
                let doubles = cast(array, &DataType::Float64)?;
                let whole = |value: f64| self.whole(value);
                let doubles = doubles.as_primitive::<Float64Type>();
                self.integers(doubles.try_unary(whole)?)
            }
            (DataType::Decimal128(_, scale), _) => {
                let decimals = array.as_primitive::<Decimal128Type>();
                let by = 10_i128.checked_pow(u32::from(scale.unsigned_abs()));
                let by = by.ok_or_else(|| out_of_range(&self.to))?;
                let whole = |value: i128| {
                    let (whole, rest) = (value / by, value % by);
                    let is_up = rest.unsigned_abs() >= by.unsigned_abs() - rest.unsigned_abs();
                    let step = if is_up { value.signum() } else { 0 };
                    i64::try_from(whole + step).map_err(|_| out_of_range(&self.to))
                };
                self.integers(decimals.try_unary(whole)?)
            }
            _ => self.moments(array),
        }
    }

    fn whole(&self, value: f64) -> Result<i64, DataFusionError> {
        let whole = value.round_ties_even();
        // Both limits are floats themselves.
        match whole >= i64::MIN as f64 && whole < -(i64::MIN as f64) {
            true => Ok(whole as i64),
            false => Err(out_of_range(&self.to)),
        }
    }

    fn integers(&self, whole: Int64Array) -> Result<ArrayRef, DataFusionError> {
        strict(&whole, &self.to).map_err(|_| out_of_range(&self.to))
    }

    /// Between timestamps and dates.
    fn moments(&self, array: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
        if let DataType::Date32 = array.data_type() {
            let days = array.as_primitive::<Date32Type>();
            // Out of range is later than everything, or earlier: no reason to fail.
            let start = |day: i32| i64::from(day).saturating_mul(DAY);
            let local: TimestampMicrosecondArray = days.unary(start);
            return Ok(self.labeled(match self.to {
                DataType::Timestamp(_, Some(_)) => self.moment(local),
                _ => local,
            }));
        }
        let zoned = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
        let micros = micros(array)?;
        match (&self.to, zoned) {
            (DataType::Date32, _) => {
                let local = if zoned { self.local(micros) } else { micros };
                let days: Date32Array = local.try_unary(|micros| {
                    i32::try_from(micros.div_euclid(DAY)).map_err(|_| out_of_range(&self.to))
                })?;
                Ok(Arc::new(days))
            }
            (DataType::Timestamp(_, None), true) => Ok(self.labeled(self.local(micros))),
            (_, false) => Ok(self.labeled(self.moment(micros))),
            _ => Ok(self.labeled(micros)),
        }
    }

    fn local(&self, moments: TimestampMicrosecondArray) -> TimestampMicrosecondArray {
        match self.zone.is_utc() {
            true => moments,
            false => moments.unary(|micros| self.zone.local(micros)),
        }
    }

    fn moment(&self, local: TimestampMicrosecondArray) -> TimestampMicrosecondArray {
        match self.zone.is_utc() {
            true => local,
            false => local.unary(|micros| self.zone.moment(micros)),
        }
    }

    fn labeled(&self, micros: TimestampMicrosecondArray) -> ArrayRef {
        Arc::new(micros.with_data_type(self.to.clone()))
    }

    fn read(&self, array: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
        let texts = || array.as_string::<i64>().iter();
        macro_rules! each {
            ($array:ty, $read:expr) => {{
                let read = $read;
                let values: Result<$array, DataFusionError> =
                    texts().map(|text| text.map(&read).transpose()).collect();
                Arc::new(values?) as ArrayRef
            }};
        }
        let moment = |text: &str| {
            let read = calendar::read_timestamp(text);
            read.ok_or_else(|| literals::invalid("timestamp", text))
        };
        Ok(match &self.to {
            DataType::Boolean => each!(BooleanArray, literals::boolean),
            DataType::Float64 => each!(Float64Array, literals::double),
            DataType::Float32 => each!(Float32Array, literals::real),
            DataType::LargeBinary => {
                let bytes: Vec<Option<Vec<u8>>> = texts()
                    .map(|text| text.map(literals::bytea).transpose())
                    .collect::<Result<_, _>>()?;
                Arc::new(
                    bytes
                        .iter()
                        .map(Option::as_deref)
                        .collect::<LargeBinaryArray>(),
                )
            }
            DataType::FixedSizeBinary(16) => {
                let ids: Vec<Option<[u8; 16]>> = texts()
                    .map(|text| text.map(literals::uuid).transpose())
                    .collect::<Result<_, _>>()?;
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    ids.into_iter(),
                    16,
                )?)
            }
            DataType::Date32 => each!(Date32Array, |text: &str| {
                let days = calendar::read_date(text).and_then(|days| i32::try_from(days).ok());
                days.ok_or_else(|| literals::invalid("date", text))
            }),
            DataType::Time64(_) => each!(Time64MicrosecondArray, |text: &str| {
                calendar::read_time(text).ok_or_else(|| literals::invalid("time", text))
            }),
            DataType::Timestamp(_, None) => {
                each!(TimestampMicrosecondArray, |text: &str| moment(text)
                    .map(|(local, _)| local))
            }
            DataType::Timestamp(_, Some(zone)) => {
                let micros = each!(TimestampMicrosecondArray, |text: &str| {
                    let (local, zone) = moment(text)?;
                    Ok(zone.as_ref().unwrap_or(&self.zone).moment(local))
                });
                let micros = micros.as_primitive::<TimestampMicrosecondType>().clone();
                Arc::new(micros.with_timezone(Arc::clone(zone)))
            }
            kind => {
                let numbers = each!(Int64Array, |text: &str| literals::integer(text, kind));
                strict(&numbers, kind)?
            }
        })
    }

    fn written(&self, array: &ArrayRef) -> Result<StringArray, DataFusionError> {
        Ok(match array.data_type() {
            DataType::Float32 => array
                .as_primitive::<Float32Type>()
                .iter()
                .map(|value| value.map(literals::real_text))
                .collect(),
            DataType::FixedSizeBinary(_) => array
                .as_fixed_size_binary()
                .iter()
                .map(|bytes| bytes.map(literals::uuid_text))
                .collect(),
            DataType::Date32 => array
                .as_primitive::<Date32Type>()
                .iter()
                .map(|days| days.map(|days| calendar::date_text(days.into())))
                .collect(),
            DataType::Time64(_) => array
                .as_primitive::<Time64MicrosecondType>()
                .iter()
                .map(|time| time.map(calendar::time_text))
                .collect(),
            DataType::Timestamp(_, zone) => {
                let zone = zone.as_ref().map(|_| &self.zone);
                let text = |micros: i64| calendar::timestamp_text(micros, zone);
                let micros = micros(array)?;
                micros.iter().map(|micros| micros.map(text)).collect()
            }
            _ => cast(array, &DataType::Float64)?
                .as_primitive::<Float64Type>()
                .iter()
                .map(|value| value.map(|value| literals::double_text(floats::canonical(value))))
                .collect(),
        })
    }
}

/// What does not fit is an error and not null.
fn strict(array: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options)
}

/// A timestamp of any unit in microseconds, its zone left as it is.
fn micros(array: &ArrayRef) -> Result<TimestampMicrosecondArray, DataFusionError> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = strict(array, &DataType::Timestamp(MICROS, zone))?;
    Ok(micros.as_primitive::<TimestampMicrosecondType>().clone())
}
