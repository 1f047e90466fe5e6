//! The fields of a time: `extract(field FROM t)`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use datafusion::arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion::error::DataFusionError;

use super::unit::{Texts, Unit, units};
use super::unknown_field;
use crate::functions::arithmetic::out_of_range;
use crate::functions::calendar::{Civil, DAY, HOUR, MINUTE, SECOND, iso_week, weekday};

/// Digits behind the point of a field.
pub(super) fn part_scale(field: &str) -> Option<i8> {
    Unit::parse(field).map(scale_of)
}

fn scale_of(unit: Unit) -> i8 {
    match unit {
        Unit::Epoch | Unit::Second => 6,
        Unit::Milliseconds => 3,
        Unit::Julian => 16,
        _ => 0,
    }
}

/// A time taken apart: days and months count where it has them.
struct Parts {
    /// Since 1970; `None` of a time of day, and of an interval.
    days: Option<i64>,
    /// Of an interval.
    months: i64,
    interval_days: i64,
    /// Of the day, or of an interval.
    micros: i64,
}

impl Parts {
    /// The field in units of 10^-scale.
    fn field(&self, unit: Unit) -> Option<i128> {
        let civil = || self.days.map(Civil::of_days);
        let (micros, years) = (self.micros, self.months / 12);
        let year = || civil().map_or(years, |civil| civil.year);
        // Of the year 100 the first century, of 101 the second; of an interval, whole ones.
        let count = |years: i64| match (self.days, year()) {
            (None, year) => year / years,
            (Some(_), year) if year > 0 => (year - 1) / years + 1,
            (Some(_), year) => year.div_euclid(years) - i64::from(year % years == 0),
        };
        let value = match unit {
            Unit::Epoch => {
                let days = self.days.unwrap_or(self.interval_days);
                // A year of an interval has 365.25 days, a month 30.
                let months = years * 31_557_600 + self.months % 12 * 2_592_000;
                return Some(
                    i128::from(days) * i128::from(DAY)
                        + i128::from(months) * i128::from(SECOND)
                        + i128::from(micros),
                );
            }
            Unit::Second | Unit::Milliseconds | Unit::Microseconds => micros % MINUTE,
            Unit::Minute => micros / MINUTE % 60,
            Unit::Hour => micros / HOUR,
            Unit::Day => civil().map_or(self.interval_days, |civil| civil.day),
            Unit::Month => civil().map_or(self.months % 12, |civil| civil.month),
            Unit::Quarter => {
                (civil().map_or(self.months % 12 + 1, |civil| civil.month) - 1) / 3 + 1
            }
            // There is no year 0: it is 1 BC, and told as -1.
            Unit::Year => match year() {
                year if self.days.is_some() && year <= 0 => year - 1,
                year => year,
            },
            Unit::Decade => year().div_euclid(10),
            Unit::Century => count(100),
            Unit::Millennium => count(1000),
            Unit::DayOfWeek => (weekday(self.days?) + 1) % 7,
            Unit::IsoDayOfWeek => weekday(self.days?) + 1,
            Unit::DayOfYear => self.days? - Civil::first_of_year(year()).days() + 1,
            Unit::Week => iso_week(self.days?).1,
            Unit::IsoYear => iso_week(self.days?).0,
            Unit::Julian => {
                let tenths = i128::from(self.days? + 2_440_588) * 10_i128.pow(16);
                return Some(tenths + i128::from(micros) * 10_i128.pow(16) / i128::from(DAY));
            }
            Unit::Timezone => 0,
        };
        Some(value.into())
    }
}

pub(super) fn parts(
    fields: Texts<'_>,
    times: &ArrayRef,
    kind: &DataType,
) -> Result<ArrayRef, DataFusionError> {
    let mut units = units(fields);
    let scale = match kind {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    let taken_apart = |row: usize| match times.data_type() {
        DataType::Time64(_) => Parts {
            days: None,
            months: 0,
            interval_days: 0,
            micros: times.as_primitive::<Time64MicrosecondType>().value(row),
        },
        DataType::Duration(_) => Parts {
            days: None,
            months: 0,
            interval_days: times.as_primitive::<DurationMicrosecondType>().value(row) / DAY,
            micros: times.as_primitive::<DurationMicrosecondType>().value(row) % DAY,
        },
        DataType::Interval(_) => {
            let interval = times.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Parts {
                days: None,
                months: interval.months.into(),
                interval_days: interval.days.into(),
                micros: interval.nanoseconds / 1000,
            }
        }
        _ => {
            let micros = times.as_primitive::<TimestampMicrosecondType>().value(row);
            Parts {
                days: Some(micros.div_euclid(DAY)),
                months: 0,
                interval_days: 0,
                micros: micros.rem_euclid(DAY),
            }
        }
    };
    let mut answer = Decimal128Array::builder(times.len());
    for row in 0..times.len() {
        let unit = match times.is_null(row) {
            true => None,
            false => units.at(row)?,
        };
        let Some((field, unit)) = unit else {
            answer.append_null();
            continue;
        };
        let value = taken_apart(row).field(*unit);
        let value = value.ok_or_else(|| unknown_field(field))?;
        // A field of a row, and not of the statement, has the widest scale.
        let own = scale_of(*unit);
        let up = u32::try_from(scale - own).unwrap_or(0);
        answer.append_value(value * 10_i128.pow(up));
    }
    let answer = answer.finish();
    if kind == &DataType::Int64 {
        let whole: Int64Array =
            answer.try_unary(|value| i64::try_from(value).map_err(|_| out_of_range(kind)))?;
        return Ok(Arc::new(whole));
    }
    Ok(Arc::new(answer.with_data_type(kind.clone())))
}
