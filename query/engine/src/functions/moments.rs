//! Moments that are put together or taken apart: of a text and a format, of numbers, and how long ago.
//!
//! | SQL | is here |
//! | --- | --- |
//! | `to_timestamp(text, format)`, `to_date(text, format)` | `timestamp_of_text(text, format)` and a cast |
//! | `make_timestamp(year, month, day, hour, minute, second)`, `make_date(…)` | `make_timestamp` and a cast |
//! | `age(later, earlier)` | `age`: years, months and days as a calendar counts them |
//!
//! `statement::rewrite` says the first column as the second, so that zones are a cast's business.

use std::any::Any;
use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int64Type, IntervalMonthDayNano, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::calendar::{Civil, DAY, HOUR, MINUTE, SECOND};
use super::to_char::{MONTHS, PATTERNS, is_number};
use crate::{QueryError, type_name};

/// Years of timestamps.
const YEARS: RangeInclusive<i64> = -4712..=294_276;
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    [Which::OfText, Which::Make, Which::Age]
        .map(|which| {
            Arc::new(ScalarUDF::new_from_impl(Moments {
                which,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .to_vec()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    OfText,
    Make,
    Age,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Moments {
    which: Which,
    signature: Signature,
}

impl ScalarUDFImpl for Moments {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        match self.which {
            Which::OfText => "timestamp_of_text",
            Which::Make => "make_timestamp",
            Which::Age => "age",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let is_text = |kind: &DataType| kind.is_string() || kind.is_null();
        let is_number = |kind: &DataType| kind.is_numeric() || kind.is_null();
        let is_time = |kind: &DataType| {
            is_text(kind) || matches!(kind, DataType::Timestamp(..) | DataType::Date32)
        };
        let wanted = match (self.which, kinds) {
            (Which::OfText, [_, _]) if kinds.iter().all(is_text) => vec![DataType::Utf8; 2],
            (Which::Make, [_, _, _, _, _, _]) if kinds.iter().all(is_number) => {
                let mut wanted = vec![DataType::Int64; 5];
                wanted.push(DataType::Float64);
                wanted
            }
            (Which::Age, [_, _]) if kinds.iter().all(is_time) => vec![TIMESTAMP; 2],
            _ => {
                let names: Vec<String> = kinds.iter().map(type_name).collect();
                return Err(wrong(format!(
                    "function {}({}) does not exist",
                    self.name(),
                    names.join(", ")
                )));
            }
        };
        Ok(wanted)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(match self.which {
            Which::Age => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => TIMESTAMP,
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let is_constant = call.args.iter().all(is_scalar);
        let rows = if is_constant { 1 } else { call.number_rows };
        let arguments: Vec<ArrayRef> = call
            .args
            .into_iter()
            .map(|value| value.into_array(rows))
            .collect::<Result<_, _>>()?;
        let valid = |row: &usize| arguments.iter().all(|argument| argument.is_valid(*row));
        let there = (0..rows).map(|row| valid(&row).then_some(row));
        let answer: ArrayRef = match self.which {
            Which::Age => {
                let time = |place: usize, row| {
                    arguments[place]
                        .as_primitive::<TimestampMicrosecondType>()
                        .value(row)
                };
                let ages = there.map(|row| row.map(|row| age(time(0, row), time(1, row))));
                Arc::new(ages.collect::<IntervalMonthDayNanoArray>())
            }
            Which::OfText => {
                let text = |place: usize, row| arguments[place].as_string::<i32>().value(row);
                let read =
                    there.map(|row| row.map(|row| read(text(0, row), text(1, row))).transpose());
                Arc::new(read.collect::<Result<TimestampMicrosecondArray, _>>()?)
            }
            Which::Make => {
                let number =
                    |place: usize, row| arguments[place].as_primitive::<Int64Type>().value(row);
                let made = there.map(|row| {
                    let moment = row.map(|row| {
                        let second = arguments[5].as_primitive::<Float64Type>().value(row);
                        made([0, 1, 2, 3, 4].map(|place| number(place, row)), second)
                    });
                    moment.transpose()
                });
                Arc::new(made.collect::<Result<TimestampMicrosecondArray, _>>()?)
            }
        };
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?),
            false => ColumnarValue::Array(answer),
        })
    }
}

fn wrong(message: String) -> DataFusionError {
    QueryError::Invalid {
        message,
        position: None,
    }
    .into()
}

fn out_of_range() -> DataFusionError {
    wrong("date/time field value out of range".to_owned())
}

/// Years before the first are negative: there is no year 0.
fn made(fields: [i64; 5], second: f64) -> Result<i64, DataFusionError> {
    let [year, month, day, hour, minute] = fields;
    if year == 0 || !(0.0..=60.0).contains(&second) {
        return Err(out_of_range());
    }
    let year = if year < 0 { year + 1 } else { year };
    let micros = (second * SECOND as f64).round_ties_even() as i64;
    moment(Civil { year, month, day }, hour, minute, micros)
}

/// Of fields that are checked: a day that is in the calendar, a time that is on the clock.
fn moment(date: Civil, hour: i64, minute: i64, micros: i64) -> Result<i64, DataFusionError> {
    let is_month = (1..=12).contains(&date.month);
    if !YEARS.contains(&date.year) || !is_month || date.day < 1 || date.day > days_of_month(date) {
        return Err(out_of_range());
    }
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) {
        return Err(out_of_range());
    }
    let time = hour * HOUR + minute * MINUTE + micros;
    if time > DAY {
        return Err(out_of_range());
    }
    date.days()
        .checked_mul(DAY)
        .and_then(|start| start.checked_add(time))
        .ok_or_else(out_of_range)
}

fn days_of_month(date: Civil) -> i64 {
    let first = Civil { day: 1, ..date };
    let next = match date.month {
        12 => Civil::first_of_year(date.year + 1),
        month => Civil {
            month: month + 1,
            ..first
        },
    };
    next.days() - first.days()
}

/// Field by field from the smallest, a day borrowed of the month in which the earlier one is.
fn age(later: i64, earlier: i64) -> IntervalMonthDayNano {
    let sign = if later < earlier { -1 } else { 1 };
    let fields = |micros: i64| {
        (
            Civil::of_days(micros.div_euclid(DAY)),
            micros.rem_euclid(DAY),
        )
    };
    let ((one, one_time), (other, other_time)) = (fields(later), fields(earlier));
    let mut time = (one_time - other_time) * sign;
    let mut days = (one.day - other.day) * sign;
    let mut months = ((one.year - other.year) * 12 + one.month - other.month) * sign;
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    let borrowed = if sign < 0 { one } else { other };
    while days < 0 {
        days += days_of_month(borrowed);
        months -= 1;
    }
    let narrow = |number: i64| i32::try_from(number * sign).unwrap_or(i32::MAX);
    IntervalMonthDayNano {
        months: narrow(months),
        days: narrow(days),
        nanoseconds: time * sign * 1000,
    }
}

/// What a format has found so far.
struct Found {
    year: i64,
    month: i64,
    day: i64,
    of_year: Option<i64>,
    hour: i64,
    is_afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
}

fn read(text: &str, format: &str) -> Result<i64, DataFusionError> {
    let mut found = Found {
        year: 1,
        month: 1,
        day: 1,
        of_year: None,
        hour: 0,
        is_afternoon: None,
        minute: 0,
        second: 0,
        micros: 0,
    };
    let (mut rest, mut format) = (text.trim_start(), format);
    while let Some(first) = format.chars().next() {
        if let Some(after) = format
            .strip_prefix("FM")
            .or_else(|| format.strip_prefix("TM"))
        {
            format = after;
            continue;
        }
        if let Some(quoted) = format.strip_prefix('"') {
            let (inner, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            rest = skipped(rest, inner.chars().count());
            format = after;
            continue;
        }
        let starts = |pattern: &&&str| {
            format
                .get(..pattern.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(pattern))
        };
        let pattern = PATTERNS
            .iter()
            .filter(starts)
            .max_by_key(|pattern| pattern.len());
        match pattern {
            Some(pattern) => {
                format = format.get(pattern.len()..).unwrap_or_default();
                // A number ends where the next one begins.
                let is_tight = PATTERNS.iter().any(|next| {
                    is_number(next)
                        && format
                            .get(..next.len())
                            .is_some_and(|start| start.eq_ignore_ascii_case(next))
                });
                rest = found.field(&pattern.to_ascii_uppercase(), rest.trim_start(), is_tight)?;
            }
            None => {
                format = format.get(first.len_utf8()..).unwrap_or_default();
                rest = match first.is_alphanumeric() {
                    true => skipped(rest, 1),
                    // Whatever divides the fields here divides them there.
                    false => rest.trim_start_matches(|letter: char| {
                        letter.is_whitespace()
                            || (letter.is_ascii_punctuation() && letter != '+' && letter != '-')
                            || letter == first
                    }),
                };
                if first == '-' || first == '/' || first == '.' {
                    rest = rest.trim_start_matches(|letter: char| {
                        letter.is_ascii_punctuation() && letter != '+'
                    });
                }
            }
        }
    }
    found.moment()
}

fn skipped(text: &str, letters: usize) -> &str {
    let end = text
        .char_indices()
        .nth(letters)
        .map_or(text.len(), |(at, _)| at);
    text.get(end..).unwrap_or_default()
}

impl Found {
    /// Reads one field from the beginning of a text; gives what is behind it.
    fn field<'a>(
        &mut self,
        pattern: &str,
        text: &'a str,
        is_tight: bool,
    ) -> Result<&'a str, DataFusionError> {
        let width = match pattern {
            "YYYY" | "IYYY" => 4,
            "YYY" | "DDD" | "MS" => 3,
            "US" => 6,
            "SSSS" => 5,
            "Y" | "Q" | "D" | "ID" => 1,
            "J" => 7,
            _ => 2,
        };
        if !is_number(pattern) {
            return self.name(pattern, text);
        }
        let is_fraction = matches!(pattern, "MS" | "US");
        let width = if is_tight || is_fraction {
            width
        } else {
            usize::MAX
        };
        let signed = text
            .strip_prefix('-')
            .filter(|_| pattern == "YYYY")
            .unwrap_or(text);
        let digits = signed
            .bytes()
            .take(width)
            .take_while(u8::is_ascii_digit)
            .count();
        let (number, rest) = signed.split_at(digits);
        let value: i64 = number.parse().map_err(|_| {
            let start: String = text.chars().take(20).collect();
            wrong(format!("invalid value \"{start}\" for \"{pattern}\""))
        })?;
        let of_century = |year: i64| match digits {
            4.. => year,
            _ if year < 70 => year + 2000,
            _ if year < 100 => year + 1900,
            _ if year < 520 => year + 2000,
            _ => year + 1000,
        };
        match pattern {
            "YYYY" if signed.len() < text.len() => self.year = 1 - value,
            "YYYY" => self.year = value,
            "YYY" | "YY" | "Y" => self.year = of_century(value),
            "MM" => self.month = value,
            "DD" => self.day = value,
            "DDD" => self.of_year = Some(value),
            "HH24" => self.hour = value,
            "HH12" | "HH" if !(1..=12).contains(&value) => return Err(out_of_range()),
            "HH12" | "HH" => {
                self.hour = value;
                self.is_afternoon.get_or_insert(false);
            }
            "MI" => self.minute = value,
            "SS" => self.second = value,
            "SSSS" => {
                (self.hour, self.minute, self.second) = (value / 3600, value / 60 % 60, value % 60)
            }
            "MS" => self.micros += value * 10_i64.pow(3 - (digits.min(3) as u32)) * 1000,
            "US" => self.micros += value * 10_i64.pow(6 - (digits.min(6) as u32)),
            "Q" | "D" | "ID" => {}
            other => {
                return Err(wrong(format!("\"{other}\" is not read from a text")));
            }
        }
        Ok(rest)
    }

    fn name<'a>(&mut self, pattern: &str, text: &'a str) -> Result<&'a str, DataFusionError> {
        let word = text
            .get(..text.bytes().take_while(u8::is_ascii_alphabetic).count())
            .unwrap_or_default();
        let unknown = || wrong(format!("invalid value \"{word}\" for \"{pattern}\""));
        let rest = |length: usize| text.get(length..).unwrap_or_default();
        let starts = |name: &str| {
            word.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        match pattern {
            "AM" | "PM" => {
                self.is_afternoon = Some(match word.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return Err(unknown()),
                });
                Ok(rest(2))
            }
            "MONTH" | "MON" => {
                for (place, name) in MONTHS.iter().enumerate() {
                    let short = name.get(..3).unwrap_or(name);
                    let name = if pattern == "MON" { short } else { name };
                    if starts(name) {
                        self.month = place as i64 + 1;
                        return Ok(rest(name.len()));
                    }
                }
                Err(unknown())
            }
            // Which day of the week it is follows from the date.
            "DY" => Ok(rest(word.len().min(3))),
            _ => Ok(rest(word.len())),
        }
    }

    fn moment(self) -> Result<i64, DataFusionError> {
        let hour = match self.is_afternoon {
            Some(is_afternoon) => self.hour % 12 + if is_afternoon { 12 } else { 0 },
            None => self.hour,
        };
        if self.second > 60 || (self.hour > 12 && self.is_afternoon.is_some()) {
            return Err(out_of_range());
        }
        let micros = self.second * SECOND + self.micros;
        let date = match self.of_year {
            Some(day) if (1..=366).contains(&day) && YEARS.contains(&self.year) => {
                let date = Civil::of_days(Civil::first_of_year(self.year).days() + day - 1);
                match date.year == self.year {
                    true => date,
                    false => return Err(out_of_range()),
                }
            }
            Some(_) => return Err(out_of_range()),
            None => Civil {
                year: self.year,
                month: self.month,
                day: self.day,
            },
        };
        moment(date, hour, self.minute, micros)
    }
}
