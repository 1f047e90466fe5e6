//! `to_char(time, format)` with PostgreSQL's formats: `YYYY-MM-DD HH24:MI:SS`.
//!
//! Leaves to others: which day a time falls on (`calendar`).

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::calendar::{Civil, DAY, HOUR, MINUTE, SECOND, UTC, iso_week, weekday};

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(ToChar {
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
}

impl ScalarUDFImpl for ToChar {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let time = match kinds {
            [DataType::Timestamp(_, Some(_)) | DataType::Null, _] => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
            }
            [DataType::Timestamp(_, None) | DataType::Date32, _] => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            _ => {
                let why = "to_char() takes a timestamp or a date, and a format";
                return Err(DataFusionError::Plan(why.to_owned()));
            }
        };
        Ok(vec![time, DataType::Utf8])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let is_constant = call.args.iter().all(is_scalar);
        let rows = if is_constant { 1 } else { call.number_rows };
        let Ok([times, formats]) = <[ColumnarValue; 2]>::try_from(call.args) else {
            return Err(DataFusionError::Internal(
                "to_char() is planned with two arguments".to_owned(),
            ));
        };
        let (times, formats) = (times.into_array(rows)?, formats.into_array(rows)?);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let formats = formats.as_string::<i32>();
        let mut texts = StringBuilder::new();
        for row in 0..rows {
            let is_there = times.is_valid(row) && formats.is_valid(row);
            texts.append_option(is_there.then(|| formatted(times.value(row), formats.value(row))));
        }
        let texts = texts.finish();
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
            false => ColumnarValue::Array(Arc::new(texts)),
        })
    }
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// Longer ones before those that they begin with.
pub(super) const PATTERNS: [&str; 40] = [
    "YYYY", "YYY", "YY", "Y", "IYYY", "IW", "IDDD", "ID", "DDD", "DD", "Day", "DAY", "day", "Dy",
    "DY", "dy", "D", "Month", "MONTH", "month", "Mon", "MON", "mon", "MM", "MI", "MS", "HH24",
    "HH12", "HH", "SSSS", "SS", "US", "AM", "PM", "am", "pm", "Q", "WW", "CC", "J",
];

fn formatted(micros: i64, format: &str) -> String {
    let mut text = String::with_capacity(format.len());
    let mut rest = format;
    let mut pads = true;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("FM") {
            (rest, pads) = (after, false);
            continue;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (inner, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            text += inner;
            rest = after;
            continue;
        }
        // Numbers in any case, and names in the case that they are to have.
        let numeric = |pattern: &&&str| {
            rest.get(..pattern.len()).is_some_and(|start| {
                start == **pattern || (start.eq_ignore_ascii_case(pattern) && is_number(pattern))
            })
        };
        let Some(pattern) = PATTERNS.iter().find(numeric) else {
            text.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        };
        text += &part(micros, pattern, pads);
        rest = rest.get(pattern.len()..).unwrap_or_default();
        pads = true;
    }
    text
}

/// A name is written in the case of its pattern.
pub(super) fn is_number(pattern: &str) -> bool {
    let upper = pattern.to_ascii_uppercase();
    !["DAY", "DY", "MON", "MONTH", "AM", "PM"].contains(&upper.as_str())
}

fn part(micros: i64, pattern: &str, pads: bool) -> String {
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let civil = Civil::of_days(days);
    let year = if civil.year > 0 {
        civil.year
    } else {
        1 - civil.year
    };
    let hour = time / HOUR;
    let of_year = days - Civil::first_of_year(civil.year).days() + 1;
    let name = |names: &[&str], place: i64| {
        let place = usize::try_from(place).unwrap_or(0);
        names.get(place).copied().unwrap_or_default().to_owned()
    };
    let (month, weekday_name) = (name(&MONTHS, civil.month - 1), name(&DAYS, weekday(days)));
    let short = |name: &str| name.chars().take(3).collect::<String>();
    let long = |name: String| if pads { format!("{name:<9}") } else { name };
    let half = if hour < 12 { "AM" } else { "PM" };
    let (number, width) = match pattern {
        "YYYY" => (year, 4),
        "YYY" => (year % 1000, 3),
        "YY" => (year % 100, 2),
        "Y" => (year % 10, 1),
        "IYYY" => (iso_week(days).0, 4),
        "IW" => (iso_week(days).1, 2),
        "IDDD" => ((iso_week(days).1 - 1) * 7 + weekday(days) + 1, 3),
        "ID" => (weekday(days) + 1, 1),
        "DDD" => (of_year, 3),
        "DD" => (civil.day, 2),
        "D" => ((weekday(days) + 1) % 7 + 1, 1),
        "MM" => (civil.month, 2),
        "MI" => (time / MINUTE % 60, 2),
        "MS" => (time % SECOND / 1000, 3),
        "US" => (time % SECOND, 6),
        "HH24" => (hour, 2),
        "HH12" | "HH" => ((hour + 11) % 12 + 1, 2),
        "SSSS" => (time / SECOND, 1),
        "SS" => (time / SECOND % 60, 2),
        "Q" => ((civil.month - 1) / 3 + 1, 1),
        "WW" => ((of_year - 1) / 7 + 1, 2),
        "CC" => ((year - 1) / 100 + 1, 2),
        "J" => (days + 2_440_588, 1),
        "Month" => return long(month),
        "MONTH" => return long(month.to_uppercase()),
        "month" => return long(month.to_lowercase()),
        "Mon" => return short(&month),
        "MON" => return short(&month).to_uppercase(),
        "mon" => return short(&month).to_lowercase(),
        "Day" => return long(weekday_name),
        "DAY" => return long(weekday_name.to_uppercase()),
        "day" => return long(weekday_name.to_lowercase()),
        "Dy" => return short(&weekday_name),
        "DY" => return short(&weekday_name).to_uppercase(),
        "dy" => return short(&weekday_name).to_lowercase(),
        "am" | "pm" => return half.to_lowercase(),
        _ => return half.to_owned(),
    };
    match pads {
        true => format!("{number:0width$}"),
        false => number.to_string(),
    }
}
