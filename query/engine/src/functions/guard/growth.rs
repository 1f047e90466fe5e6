//! How much a call can take: so many times its arguments, but for the functions that stand here.
//!
//! A function that is new needs no line, unless it gives more than that or works on a row for longer than
//! its bytes say: a test calls all that a session knows, and measures.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;

use super::size;

/// Bytes of an answer for each byte of the arguments: case changes need three, `translate` and sets of lists four.
const TIMES: u128 = 4;
/// What a row of an answer takes at least: a uuid as text, the text of `version()`.
const ROW_BYTES: u128 = 64;
/// The longest text of a number.
const NUMBER_TEXT: u128 = 330;
/// The longest text that a format makes of two of its characters.
const FORMAT_TEXT: u128 = 32;
/// A regular expression is compiled to at most so many states, of so many bytes, …
pub(super) const STATES_MAX: u128 = 200_000;
const STATE_BYTES: u128 = 256;
/// … each of which takes so many steps to compile, …
const STATE_STEPS: u128 = 100;
/// … and, if they are more than so many, one step for each character of the text.
const STATES_SIMPLE: u128 = 1000;

/// What a row takes. No product of an argument's bytes, a count and a constant comes near the end of the type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) bytes: u128,
    /// Steps of a loop, of about a nanosecond, if they are more than there are bytes.
    pub(super) steps: u128,
}

/// What a row takes beside its arguments.
pub(super) type Growth = fn(&Row<'_>) -> Cost;

/// `None` for a function that gives no more than [`TIMES`] its arguments.
pub(super) fn of(name: &str) -> Option<Growth> {
    let growth: Growth = match name {
        // As much as a number among the arguments says.
        "repeat" => |row| bytes(row.length(0) * row.count(1)),
        "lpad" | "rpad" => |row| bytes(row.count(1) * 4),
        "array_repeat" => |row| bytes((row.bytes(0) + 16) * 2 * row.count(1)),
        "array_resize" => |row| bytes((row.bytes(2) + 16) * row.count(1)),
        "range" | "generate_series" => |row| bytes((row.series() + 1) * 16),

        // Products of the arguments.
        "replace" => |row| bytes((row.length(0) / row.length(1).max(1) + 1) * row.length(2)),
        "concat_ws" => |row| bytes(row.length(0) * row.arguments.len() as u128 + row.all_bytes()),
        "array_to_string" => {
            |row| bytes(row.values(0) * (row.length(1) + row.length(2) + NUMBER_TEXT))
        }
        "array_replace" | "array_replace_n" | "array_replace_all" => {
            |row| bytes(row.elements(0) * row.bytes(2) + row.all_bytes())
        }
        // Shorter lists are filled up.
        "arrays_zip" => |row| {
            let places = 0..row.arguments.len();
            let longest = places.clone().map(|place| row.elements(place)).max();
            bytes(longest.unwrap_or(0) * places.len() as u128 * 16 + row.all_bytes())
        },
        "to_char" => |row| bytes((row.length(1) + 2) * FORMAT_TEXT),
        "string_to_array" => |row| bytes(row.all_bytes() * 24),

        // Each part of one argument against each of another.
        "levenshtein" => |row| Cost {
            bytes: row.length(1) * 8,
            steps: row.length(0) * row.length(1),
        },
        "strpos" => |row| Cost {
            bytes: 0,
            steps: row.length(0) * row.length(1) / 16,
        },
        "array_has_all" | "array_has_any" => |row| Cost {
            bytes: row.all_bytes(),
            steps: row.elements(0) * row.elements(1),
        },
        "regexp_count" | "regexp_instr" | "regexp_like" | "~" | "~*" | "!~" | "!~*" => {
            |row| row.matching(0)
        }
        // Each group gives its text again.
        "regexp_match" => |row| {
            let groups = row.text(1).map_or(0, |it| it.matches('(').count());
            row.matching(row.bytes(0) * (groups as u128 + 1))
        },
        // A match may be empty, and be before each character; `\1` is two characters for a match.
        "regexp_replace" => |row| row.matching((row.length(0) + 1) * (row.length(2) + 1)),
        _ => return None,
    };
    Some(growth)
}

fn bytes(bytes: u128) -> Cost {
    Cost { bytes, steps: 0 }
}

/// An argument: an array with a value for each row, or with one for all of them.
pub(super) struct Argument {
    array: ArrayRef,
    is_constant: bool,
}

/// What a call takes for some of its rows: its arguments, for constants are often repeated for each row before
/// the work begins, and what grows of them.
pub(super) fn cost(growth: Option<Growth>, arguments: &[Argument], rows: &Range<usize>) -> Cost {
    let count = rows.len() as u128;
    let given: u128 = arguments.iter().map(|it| it.bytes(rows)).sum();
    let mut cost = Cost {
        bytes: given + count * ROW_BYTES,
        steps: 0,
    };
    let Some(growth) = growth else {
        cost.bytes += given * TIMES;
        return cost;
    };
    for row in rows.clone() {
        let of_row = growth(&Row { arguments, row });
        cost.bytes += of_row.bytes;
        cost.steps += of_row.steps;
    }
    cost
}

impl Argument {
    pub(super) fn of(values: &[ColumnarValue]) -> Result<Vec<Argument>, DataFusionError> {
        let argument = |value: &ColumnarValue| {
            Ok(Argument {
                array: value.to_array(1)?,
                is_constant: matches!(value, ColumnarValue::Scalar(_)),
            })
        };
        values.iter().map(argument).collect()
    }

    fn bytes(&self, rows: &Range<usize>) -> u128 {
        let bytes = |rows| u128::from(size::bytes(&self.array, rows));
        match self.is_constant {
            true => bytes(0..1) * rows.len() as u128,
            false => bytes(rows.clone()),
        }
    }
}

/// What a function is called with for one row. Arguments that are not there are empty.
pub(super) struct Row<'a> {
    arguments: &'a [Argument],
    row: usize,
}

impl Row<'_> {
    fn get(&self, place: usize) -> Option<(&ArrayRef, usize)> {
        let argument = self.arguments.get(place)?;
        let row = if argument.is_constant { 0 } else { self.row };
        (!argument.array.is_null(row)).then_some((&argument.array, row))
    }

    fn bytes(&self, place: usize) -> u128 {
        self.get(place)
            .map_or(0, |(array, row)| size::bytes(array, row..row + 1).into())
    }

    fn all_bytes(&self) -> u128 {
        (0..self.arguments.len()).map(|it| self.bytes(it)).sum()
    }

    fn text(&self, place: usize) -> Option<&str> {
        let (array, row) = self.get(place)?;
        Some(match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row),
            DataType::LargeUtf8 => array.as_string::<i64>().value(row),
            DataType::Utf8View => array.as_string_view().value(row),
            _ => return None,
        })
    }

    /// Bytes of a text.
    fn length(&self, place: usize) -> u128 {
        let length = |text: &str| text.len() as u128;
        self.text(place).map_or_else(|| self.bytes(place), length)
    }

    /// Elements of a list.
    fn elements(&self, place: usize) -> u128 {
        let held = self.get(place);
        let held = held.and_then(|(array, row)| size::elements(array, row..row + 1));
        held.map_or(0, |(_, elements)| elements.len() as u128)
    }

    /// Elements of a list and of the lists in it: no value takes less than a byte.
    fn values(&self, place: usize) -> u128 {
        let kind = self.get(place).map(|(array, _)| array.data_type());
        match kind {
            Some(DataType::List(field)) if !field.data_type().is_nested() => self.elements(place),
            _ => self.bytes(place),
        }
    }

    fn value(&self, place: usize) -> Option<ScalarValue> {
        let (array, row) = self.get(place)?;
        ScalarValue::try_from_array(array, row).ok()
    }

    /// A number that is a count: 0 if it is negative, all there is if it is none.
    fn count(&self, place: usize) -> u128 {
        match self.value(place) {
            None => 0,
            Some(ScalarValue::Int64(Some(count))) => u128::try_from(count).unwrap_or(0),
            Some(_) => u64::MAX.into(),
        }
    }

    /// Values of a series from the first argument to the second, by the third.
    fn series(&self) -> u128 {
        if (0..self.arguments.len()).any(|place| self.get(place).is_none()) {
            return 0;
        }
        let (start, stop, step) = match self.arguments.len() {
            1 => (Some(0), self.point(0), Some(1)),
            2 => (self.point(0), self.point(1), Some(1)),
            _ => (self.point(0), self.point(1), self.point(2)),
        };
        let (Some(start), Some(stop), Some(step)) = (start, stop, step) else {
            return u64::MAX.into();
        };
        // One that does not move is refused by the function.
        let count = (stop - start).checked_div(step).unwrap_or(0);
        u128::try_from(count).unwrap_or(0)
    }

    /// A number, or a time or an interval in nanoseconds (at least: months are short).
    fn point(&self, place: usize) -> Option<i128> {
        const DAY: i128 = 86_400_000_000_000;
        match self.value(place)? {
            ScalarValue::Int64(number) => number.map(i128::from),
            ScalarValue::IntervalMonthDayNano(step) => {
                let step = step?;
                let days = i128::from(step.months) * 28 + i128::from(step.days);
                let parts = [step.months.into(), step.days.into(), step.nanoseconds];
                // One month less thirty days goes nowhere, and for ever.
                let is_straight =
                    parts.iter().all(|it| *it >= 0) || parts.iter().all(|it| *it <= 0);
                is_straight.then_some(days * DAY + i128::from(step.nanoseconds))
            }
            moment => match moment.cast_to(&DataType::Timestamp(TimeUnit::Microsecond, None)) {
                Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) => {
                    Some(i128::from(micros) * 1000)
                }
                _ => None,
            },
        }
    }

    /// The first argument is searched with the second, a regular expression.
    fn matching(&self, bytes: u128) -> Cost {
        let states = self.text(1).map_or(0, states);
        let each = if states <= STATES_SIMPLE { 1 } else { states };
        let mut cost = Cost {
            bytes,
            steps: self.length(0) * each,
        };
        // A constant expression is compiled once, and the size of one is bounded.
        if !self.arguments.get(1).is_some_and(|it| it.is_constant) {
            cost.bytes += states * STATE_BYTES;
            cost.steps += states * STATE_STEPS;
        }
        cost
    }
}

/// Is a regular expression of no size, so that a search with it is one look at the text?
pub(super) fn is_simple(pattern: &str) -> bool {
    states(pattern) <= STATES_SIMPLE
}

/// States that a regular expression is compiled to, about: its characters as often as it repeats them.
pub(super) fn states(pattern: &str) -> u128 {
    let mut states = pattern.len() as u128;
    for repeated in pattern.split('{').skip(1) {
        let counts = repeated.split('}').next().unwrap_or_default().split(',');
        let largest = counts.filter_map(|it| it.trim().parse::<u64>().ok()).max();
        states = (states * u128::from(largest.unwrap_or(1).max(1))).min(STATES_MAX);
    }
    states.min(STATES_MAX)
}
