//! Time as PostgreSQL divides it, over every year that 64 bits of microseconds hold.
//!
//! | SQL | gives |
//! | --- | --- |
//! | `date_trunc(field, t [, zone])` | the beginning of t's hour, week, century … |
//! | `date_bin(stride, t, origin)` | the beginning of t's bin |
//! | `date_part(field, t)`, `extract(field FROM t)` | a field; decimals where it has a fraction |
//! | `timezone(zone, t)`, `t AT TIME ZONE zone` | a zone's clock at a moment, or the moment of its clock |
//! | `now()` | when the query began |
//!
//! A `timestamptz` is divided by the clock of the session's zone: `semantics::rule` sees to it.

mod parts;
mod unit;

use std::any::Any;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::catalog::{TableFunction, TableFunctionImpl, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use self::parts::{part_scale, parts};
use self::unit::{Made, Texts, Unit, units};
use super::calendar::{Civil, DAY, HOUR, MINUTE, SECOND, UTC, Zone, weekday};
use crate::{QueryError, type_name};

const MICROS: TimeUnit = TimeUnit::Microsecond;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [
        Which::Trunc,
        Which::Bin,
        Which::Part,
        Which::Zone,
        Which::Now,
    ]
    .map(|which| Arc::new(function(which)))
    .to_vec()
}

/// `timezone(zone, t)`
pub(crate) fn timezone() -> Arc<ScalarUDF> {
    Arc::new(function(Which::Zone))
}

fn function(which: Which) -> ScalarUDF {
    let signature = match which {
        Which::Now => Signature::nullary(Volatility::Stable),
        _ => Signature::user_defined(Volatility::Immutable),
    };
    ScalarUDF::new_from_impl(Time { which, signature })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    Trunc,
    Bin,
    Part,
    Zone,
    Now,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Time {
    which: Which,
    signature: Signature,
}

fn utc() -> Option<Arc<str>> {
    Some(UTC.into())
}

fn wrong(message: String) -> DataFusionError {
    QueryError::Invalid {
        message,
        position: None,
    }
    .into()
}

impl ScalarUDFImpl for Time {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        match self.which {
            Which::Trunc => "date_trunc",
            Which::Bin => "date_bin",
            Which::Part => "date_part",
            Which::Zone => "timezone",
            Which::Now => "now",
        }
    }

    fn aliases(&self) -> &[String] {
        match self.which {
            Which::Now => &NOW_ALIASES,
            Which::Part => &PART_ALIASES,
            Which::Trunc => &TRUNC_ALIASES,
            _ => &[],
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let wrong_types = || {
            let names: Vec<String> = kinds.iter().map(type_name).collect();
            wrong(format!(
                "function {}({}) does not exist",
                self.name(),
                names.join(", ")
            ))
        };
        let text = |kind: &DataType| match kind {
            kind if kind.is_string() || kind.is_null() => Ok(DataType::Utf8),
            _ => Err(wrong_types()),
        };
        let moment = |kind: &DataType| match kind {
            DataType::Timestamp(_, None) => Ok(DataType::Timestamp(MICROS, None)),
            DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Null => {
                Ok(DataType::Timestamp(MICROS, utc()))
            }
            kind if kind.is_string() => Ok(DataType::Timestamp(MICROS, utc())),
            _ => Err(wrong_types()),
        };
        match (self.which, kinds) {
            (Which::Trunc, [field, time]) => Ok(vec![text(field)?, moment(time)?]),
            (Which::Trunc, [field, time, zone]) => {
                Ok(vec![text(field)?, moment(time)?, text(zone)?])
            }
            (Which::Zone, [zone, time]) => Ok(vec![text(zone)?, moment(time)?]),
            (Which::Bin, [_, time]) => {
                let stride = DataType::Interval(IntervalUnit::MonthDayNano);
                Ok(vec![stride, moment(time)?])
            }
            (Which::Bin, [_, time, _]) => {
                let stride = DataType::Interval(IntervalUnit::MonthDayNano);
                let time = moment(time)?;
                Ok(vec![stride, time.clone(), time])
            }
            (Which::Part, [field, time]) => {
                let time = match time {
                    DataType::Date32 | DataType::Date64 => DataType::Timestamp(MICROS, None),
                    DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(MICROS),
                    DataType::Duration(_) => DataType::Duration(MICROS),
                    DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
                    other => moment(other)?,
                };
                Ok(vec![text(field)?, time])
            }
            _ => Err(wrong_types()),
        }
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(match (self.which, kinds) {
            (Which::Trunc | Which::Bin, [_, time, ..]) => time.clone(),
            (Which::Zone, [_, DataType::Timestamp(_, Some(_))]) => {
                DataType::Timestamp(MICROS, None)
            }
            (Which::Part, _) => DataType::Decimal128(38, 6),
            _ => DataType::Timestamp(MICROS, utc()),
        })
    }

    fn return_field_from_args(
        &self,
        arguments: ReturnFieldArgs<'_>,
    ) -> Result<FieldRef, DataFusionError> {
        let kinds: Vec<DataType> = arguments
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let mut kind = self.return_type(&kinds)?;
        let field = arguments.scalar_arguments.first().copied().flatten();
        if let (Which::Part, Some(Some(Some(field)))) =
            (self.which, field.map(ScalarValue::try_as_str))
        {
            kind = match part_scale(field) {
                Some(0) => DataType::Int64,
                Some(scale) => DataType::Decimal128(38, scale),
                None => return Err(unknown_field(field)),
            };
        }
        Ok(Arc::new(Field::new(
            self.name(),
            kind,
            self.which != Which::Now,
        )))
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult, DataFusionError> {
        match (self.which, context.query_execution_start_time()) {
            (Which::Now, Some(now)) => {
                let now = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), utc());
                Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
            }
            _ => Ok(ExprSimplifyResult::Original(arguments)),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let is_constant = call.args.iter().all(is_scalar);
        let rows = if is_constant { 1 } else { call.number_rows };
        let kind = call.return_field.data_type().clone();
        let is_one: Vec<bool> = call.args.iter().map(is_scalar).collect();
        let is_one = |place: usize| is_one.get(place).copied().unwrap_or(false);
        // One text for all rows stays one.
        let is_text = |value: &ColumnarValue| value.data_type() == DataType::Utf8;
        let arrays: Vec<ArrayRef> = call
            .args
            .into_iter()
            .map(|value| {
                let is_one_text = is_scalar(&value) && is_text(&value);
                value.into_array(if is_one_text { 1 } else { rows })
            })
            .collect::<Result<_, _>>()?;
        let answer = match (self.which, arrays.as_slice()) {
            (Which::Bin, [stride, times, origin @ ..]) => {
                binned(stride, times, origin.first(), &kind)?
            }
            (Which::Trunc, [fields, times]) => {
                truncated_all(Texts::new(fields, is_one(0)), times, &kind)?
            }
            (Which::Zone, [zones, times]) => {
                let is_moment = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
                let mut zone = zones_of(Texts::new(zones, is_one(0)));
                each(times, &kind, |row, micros| {
                    Ok(zone.at(row)?.map(|(_, zone)| match is_moment {
                        true => zone.local(micros),
                        false => zone.moment(micros),
                    }))
                })?
            }
            (Which::Trunc, [fields, times, zones]) => {
                let mut unit = units(Texts::new(fields, is_one(0)));
                let mut zone = zones_of(Texts::new(zones, is_one(2)));
                each(times, &kind, |row, micros| {
                    let (Some((field, unit)), Some((_, zone))) = (unit.at(row)?, zone.at(row)?)
                    else {
                        return Ok(None);
                    };
                    let start = start(*unit, zone.local(micros));
                    let start = start.ok_or_else(|| unknown_field(field))?;
                    Ok(Some(zone.moment(start)))
                })?
            }
            (Which::Part, [fields, times]) => parts(Texts::new(fields, is_one(0)), times, &kind)?,
            _ => {
                return Err(DataFusionError::Internal(format!(
                    "{}() is called as it is not planned",
                    self.name()
                )));
            }
        };
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?),
            false => ColumnarValue::Array(answer),
        })
    }
}

static NOW_ALIASES: LazyLock<Vec<String>> = LazyLock::new(|| {
    vec![
        "current_timestamp".to_owned(),
        "transaction_timestamp".to_owned(),
    ]
});
static TRUNC_ALIASES: LazyLock<Vec<String>> = LazyLock::new(|| vec!["datetrunc".to_owned()]);
static PART_ALIASES: LazyLock<Vec<String>> = LazyLock::new(|| vec!["datepart".to_owned()]);

/// The zones of rows.
fn zones_of(texts: Texts<'_>) -> Made<'_, Zone, impl Fn(&str) -> Result<Zone, DataFusionError>> {
    Made::new(texts, |name| {
        Zone::parse(name).ok_or_else(|| wrong(format!("time zone \"{name}\" not recognized")))
    })
}

/// Timestamps of timestamps, row by row; null stays null.
fn each(
    times: &ArrayRef,
    kind: &DataType,
    mut of: impl FnMut(usize, i64) -> Result<Option<i64>, DataFusionError>,
) -> Result<ArrayRef, DataFusionError> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut answer = TimestampMicrosecondArray::builder(times.len());
    for row in 0..times.len() {
        let value = match times.is_valid(row) {
            true => of(row, times.value(row))?,
            false => None,
        };
        answer.append_option(value);
    }
    Ok(Arc::new(answer.finish().with_data_type(kind.clone())))
}

fn unknown_field(field: &str) -> DataFusionError {
    wrong(format!("unit \"{field}\" not recognized"))
}

fn truncated_all(
    fields: Texts<'_>,
    times: &ArrayRef,
    kind: &DataType,
) -> Result<ArrayRef, DataFusionError> {
    let mut units = units(fields);
    let moments = times.as_primitive::<TimestampMicrosecondType>();
    let has_one = fields.is_one() && moments.null_count() < moments.len();
    if has_one && let Some((field, unit)) = units.at(0)? {
        let unit = *unit;
        // Whether it can be cut to is the unit's doing, and not that of the time.
        start(unit, 0).ok_or_else(|| unknown_field(field))?;
        let starts = moments
            .unary::<_, TimestampMicrosecondType>(|micros| start(unit, micros).unwrap_or(micros));
        return Ok(Arc::new(starts.with_data_type(kind.clone())));
    }
    each(times, kind, |row, micros| {
        let Some((field, unit)) = units.at(row)? else {
            return Ok(None);
        };
        let start = start(*unit, micros);
        start.map(Some).ok_or_else(|| unknown_field(field))
    })
}

/// Where the unit begins that the time is in; `None` if nothing begins with it.
fn start(unit: Unit, local: i64) -> Option<i64> {
    let step = |step: i64| local.saturating_sub(local.rem_euclid(step));
    let days = || local.div_euclid(DAY);
    let civil = || Civil::of_days(days());
    let start = |days: i64| days.saturating_mul(DAY);
    let of_year = |year: i64| start(Civil::first_of_year(year).days());
    let of_month = |civil: Civil, month: i64| {
        start(
            Civil {
                month,
                day: 1,
                ..civil
            }
            .days(),
        )
    };
    // The first century begins with the year 1, and before it stands the year 0: 1 BC.
    let of_years = |years: i64| of_year((civil().year - 1).div_euclid(years) * years + 1);
    Some(match unit {
        Unit::Microseconds => local,
        Unit::Milliseconds => step(1000),
        Unit::Second => step(SECOND),
        Unit::Minute => step(MINUTE),
        Unit::Hour => step(HOUR),
        Unit::Day => start(days()),
        Unit::Week => start(days() - weekday(days())),
        Unit::Month => of_month(civil(), civil().month),
        Unit::Quarter => of_month(civil(), (civil().month - 1) / 3 * 3 + 1),
        Unit::Year => of_year(civil().year),
        Unit::Decade => of_year(civil().year.div_euclid(10) * 10),
        Unit::Century => of_years(100),
        Unit::Millennium => of_years(1000),
        Unit::Epoch
        | Unit::Julian
        | Unit::DayOfWeek
        | Unit::IsoDayOfWeek
        | Unit::DayOfYear
        | Unit::IsoYear
        | Unit::Timezone => return None,
    })
}

fn binned(
    strides: &ArrayRef,
    times: &ArrayRef,
    origins: Option<&ArrayRef>,
    kind: &DataType,
) -> Result<ArrayRef, DataFusionError> {
    let strides = strides.as_primitive::<IntervalMonthDayNanoType>();
    let origins = origins.map(|origins| origins.as_primitive::<TimestampMicrosecondType>());
    each(times, kind, |row, micros| {
        let origin = match origins {
            Some(origins) if origins.is_null(row) => return Ok(None),
            Some(origins) => origins.value(row),
            None => 0,
        };
        if strides.is_null(row) {
            return Ok(None);
        }
        let stride = strides.value(row);
        if stride.months != 0 {
            let why = "timestamps cannot be binned into intervals containing months or years";
            return Err(wrong(why.to_owned()));
        }
        let stride = i64::from(stride.days) * DAY + stride.nanoseconds / 1000;
        if stride <= 0 {
            return Err(wrong("stride must be greater than zero".to_owned()));
        }
        let into = (i128::from(micros) - i128::from(origin)).rem_euclid(i128::from(stride));
        Ok(i64::try_from(into)
            .ok()
            .map(|into| micros.saturating_sub(into)))
    })
}

/// A function of DataFusion that answers in nanoseconds, in microseconds.
pub(crate) fn in_micros(function: &Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::new_from_impl(InMicros {
        inner: Arc::clone(function),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InMicros {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for InMicros {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        self.inner.coerce_types(kinds)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Timestamp(MICROS, utc()))
    }

    fn invoke_with_args(
        &self,
        mut call: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, utc());
        call.return_field = Arc::new(Field::new(self.name(), nanos, true));
        let kind = DataType::Timestamp(MICROS, utc());
        Ok(match self.inner.invoke_with_args(call)? {
            ColumnarValue::Array(array) => ColumnarValue::Array(cast(&array, &kind)?),
            ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.cast_to(&kind)?),
        })
    }
}

/// `generate_series`, which knows timestamps of nanoseconds only.
#[derive(Debug)]
pub(crate) struct Series(pub(crate) Arc<TableFunction>);

impl TableFunctionImpl for Series {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let nanos = |argument: &Expr| match argument {
            Expr::Literal(value @ ScalarValue::TimestampMicrosecond(_, zone), metadata) => {
                let kind = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
                Ok(Expr::Literal(value.cast_to(&kind)?, metadata.clone()))
            }
            other => Ok::<Expr, DataFusionError>(other.clone()),
        };
        let arguments: Vec<Expr> = arguments.iter().map(nanos).collect::<Result<_, _>>()?;
        self.0.create_table_provider(&arguments)
    }
}
