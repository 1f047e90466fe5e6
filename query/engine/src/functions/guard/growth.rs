//! How large a function's answer can be, by the function's name and what it is called with.
//!
//! Every function that a session knows stands here (a test compares): a function that is new with an
//! update of DataFusion makes it fail until somebody has looked at what the function allocates.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Int64Type, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};

use super::size;

/// The longest text of a number.
const NUMBER_TEXT: u64 = 330;
/// The longest text that a format makes of two of its characters.
const FORMAT_TEXT: u64 = 32;
/// A regular expression is compiled to at most so many states, of so many bytes, …
const STATES_MAX: u64 = 200_000;
const STATE_BYTES: u64 = 256;
/// … each of which takes so many steps to compile, …
const STATE_STEPS: u64 = 100;
/// … and, if they are more than so many, one step for each character of the text.
pub(super) const STATES_SIMPLE: u64 = 1000;

/// How the memory of a call grows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Growth {
    /// An answer of a few bytes for each row, or a part of an argument that is not copied; and the
    /// function does not repeat a constant argument for each row.
    Bounded,
    /// At most so many times the bytes of the arguments, and a few for each row.
    Linear(u64),
    /// Row by row, as the arguments say.
    Computed(fn(&Row<'_>) -> Cost),
}

/// What a row of an answer takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// At most so much memory, beside that of the arguments and a few bytes.
    pub(super) bytes: u64,
    /// Steps of a loop, of about a nanosecond, if they are more than there are bytes.
    pub(super) steps: u64,
}

/// `None` for a function that nobody has looked at.
pub(super) fn of(name: &str) -> Option<Growth> {
    use Growth::{Bounded, Computed, Linear};
    Some(match name {
        // Without an argument, or of fixed width with arguments of fixed width.
        "+" | "-" | "*" | "/" | "%" | "canonical_float" | "float_rank" | "float_of_rank"
        | "cast_to" | "current_date" | "current_time" | "now" | "random" | "uuid" | "version"
        | "pi" | "date_bin" | "date_part" | "date_trunc" | "from_unixtime" | "make_date"
        | "make_time" | "make_timestamp" | "age" | "to_local_time" | "to_unixtime" | "abs"
        | "acos" | "acosh" | "asin" | "asinh" | "atan" | "atan2" | "atanh" | "cbrt" | "ceil"
        | "cos" | "cosh" | "cot" | "degrees" | "exp" | "factorial" | "floor" | "gcd" | "isnan"
        | "iszero" | "lcm" | "ln" | "log" | "log10" | "log2" | "nanvl" | "power" | "radians"
        | "round" | "signum" | "sin" | "sinh" | "sqrt" | "tan" | "tanh" | "trunc" => Bounded,
        // Parts of an argument, and what is known of its type.
        "get_field" | "union_extract" | "union_tag" | "arrow_typeof" | "arrow_metadata" => Bounded,

        // Numbers, truth values and digests of texts, lists and JSON.
        "ascii"
        | "bit_length"
        | "octet_length"
        | "character_length"
        | "contains"
        | "ends_with"
        | "starts_with"
        | "find_in_set"
        | "array_dims"
        | "array_distance"
        | "array_has"
        | "array_length"
        | "array_ndims"
        | "array_position"
        | "cardinality"
        | "empty"
        | "json_exists"
        | "json_array_length"
        | "json_typeof"
        | "timezone"
        | "timestamp_of_text"
        | "to_date"
        | "to_time"
        | "to_timestamp"
        | "to_timestamp_seconds"
        | "to_timestamp_millis"
        | "to_timestamp_micros"
        | "to_timestamp_nanos"
        | "chr"
        | "to_hex"
        | "md5"
        | "sha224"
        | "sha256"
        | "sha384"
        | "sha512"
        | "digest" => Linear(0),
        // One of the arguments, or a part of one. (`arrow_cast` becomes a cast, which `rule` looks at.)
        "arrow_cast"
        | "coalesce"
        | "nvl"
        | "nvl2"
        | "nullif"
        | "greatest"
        | "least"
        | "btrim"
        | "ltrim"
        | "rtrim"
        | "left"
        | "right"
        | "substr"
        | "substr_index"
        | "split_part"
        | "reverse"
        | "json"
        | "json_part"
        | "json_part_text"
        | "json_extract_path"
        | "json_extract_path_text"
        | "array_any_value"
        | "array_max"
        | "array_min"
        | "array_positions"
        | "array_element"
        | "array_pop_back"
        | "array_pop_front"
        | "array_slice"
        | "map_extract"
        | "map_keys"
        | "map_values"
        | "map_entries" => Linear(1),
        // The arguments, one after the other or in pieces.
        "concat" | "||" | "overlay" | "struct" | "named_struct" | "make_array" | "map"
        | "array_append" | "array_prepend" | "array_concat" | "flatten" | "array_reverse"
        | "array_remove" | "array_remove_n" | "array_remove_all" | "tuple_key" | "decode" => {
            Linear(2)
        }
        "array_distinct" | "array_except" | "array_intersect" | "array_sort" | "array_union" => {
            Linear(4)
        }
        // Letters that are several when they change their case, or that take more bytes.
        "lower" | "upper" | "initcap" => Linear(3),
        "translate" => Linear(8),
        "encode" => Linear(2),
        "string_to_array" => Linear(24),

        // As much as a number among the arguments says.
        "repeat" => Computed(|row| bytes(row.length(0).saturating_mul(row.count(1)))),
        "lpad" | "rpad" => Computed(|row| bytes(row.count(1).saturating_mul(4))),
        "array_repeat" => Computed(|row| {
            let element = row.bytes(0).saturating_add(16);
            bytes(element.saturating_mul(2).saturating_mul(row.count(1)))
        }),
        "array_resize" => Computed(|row| {
            let element = row.bytes(2).saturating_add(16);
            bytes(
                element
                    .saturating_mul(row.count(1))
                    .saturating_add(row.bytes(0)),
            )
        }),
        "range" | "generate_series" => {
            Computed(|row| bytes(row.series().saturating_add(1).saturating_mul(16)))
        }

        // Products of the arguments.
        "replace" => Computed(|row| {
            let places = row.length(0) / row.length(1).max(1) + 1;
            bytes(
                places
                    .saturating_mul(row.length(2))
                    .saturating_add(row.bytes(0)),
            )
        }),
        "concat_ws" => Computed(|row| {
            let between = row.length(0).saturating_mul(row.arguments() as u64);
            bytes(between.saturating_add(row.all_bytes()))
        }),
        "array_to_string" => Computed(|row| {
            let each = row.length(1) + row.length(2) + NUMBER_TEXT;
            bytes(
                row.values(0)
                    .saturating_mul(each)
                    .saturating_add(row.bytes(0)),
            )
        }),
        "array_replace" | "array_replace_n" | "array_replace_all" => Computed(|row| {
            let replaced = row.elements(0).saturating_mul(row.bytes(2));
            bytes(replaced.saturating_add(row.bytes(0)))
        }),
        // Shorter lists are filled up.
        "arrays_zip" => Computed(|row| {
            let longest = (0..row.arguments()).map(|place| row.elements(place)).max();
            let places = longest.unwrap_or(0).saturating_mul(row.arguments() as u64);
            bytes(places.saturating_mul(16).saturating_add(row.all_bytes()))
        }),
        "to_char" => Computed(|row| bytes((row.length(1) + 2).saturating_mul(FORMAT_TEXT))),

        // Each part of one argument against each of another.
        "levenshtein" => Computed(|row| Cost {
            bytes: row.length(1).saturating_mul(8),
            steps: row.length(0).saturating_mul(row.length(1)),
        }),
        "strpos" => Computed(|row| Cost {
            bytes: 0,
            steps: row.length(0).saturating_mul(row.length(1)) / 16,
        }),
        "array_has_all" | "array_has_any" => Computed(|row| Cost {
            bytes: row.all_bytes(),
            steps: row.elements(0).saturating_mul(row.elements(1)),
        }),

        "regexp_count" | "regexp_instr" | "regexp_like" | "~" | "~*" | "!~" | "!~*" => {
            Computed(|row| row.matching(0))
        }
        // Each group gives its text again.
        "regexp_match" => Computed(|row| {
            let groups = row
                .text(1)
                .map_or(0, |pattern| pattern.matches('(').count());
            row.matching(row.bytes(0).saturating_mul(groups as u64 + 1))
        }),
        // A match may be empty, and be before each character; `\1` is two characters for a match.
        "regexp_replace" => Computed(|row| {
            let places = row.length(0).saturating_add(1);
            row.matching(
                places
                    .saturating_mul(row.length(2) + 1)
                    .saturating_add(row.bytes(0)),
            )
        }),
        _ => return None,
    })
}

fn bytes(bytes: u64) -> Cost {
    Cost { bytes, steps: 0 }
}

/// An argument: an array with a value for each row, or with one for all of them.
pub(super) struct Argument {
    pub(super) array: ArrayRef,
    pub(super) is_constant: bool,
}

impl Argument {
    pub(super) fn bytes(&self, rows: &Range<usize>) -> u64 {
        match self.is_constant {
            true => size::bytes(&self.array, 0..1).saturating_mul(rows.len() as u64),
            false => size::bytes(&self.array, rows.clone()),
        }
    }

    fn place(&self, row: usize) -> usize {
        match self.is_constant {
            true => 0,
            false => row,
        }
    }
}

/// What a function is called with for one row. Arguments that are not there are empty.
pub(super) struct Row<'a> {
    pub(super) arguments: &'a [Argument],
    pub(super) row: usize,
}

impl Row<'_> {
    fn arguments(&self) -> usize {
        self.arguments.len()
    }

    fn get(&self, place: usize) -> Option<(&ArrayRef, usize)> {
        let argument = self.arguments.get(place)?;
        let row = argument.place(self.row);
        (!argument.array.is_null(row)).then_some((&argument.array, row))
    }

    fn bytes(&self, place: usize) -> u64 {
        self.get(place)
            .map_or(0, |(array, row)| size::bytes(array, row..row + 1))
    }

    /// Bytes of the arguments.
    pub(super) fn all_bytes(&self) -> u64 {
        let rows = self.row..self.row + 1;
        self.arguments
            .iter()
            .map(|argument| argument.bytes(&rows))
            .sum()
    }

    /// Bytes of constants, which are often repeated for each row before the work begins.
    pub(super) fn constant_bytes(&self) -> u64 {
        let rows = self.row..self.row + 1;
        let constants = self
            .arguments
            .iter()
            .filter(|argument| argument.is_constant);
        constants.map(|argument| argument.bytes(&rows)).sum()
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
    fn length(&self, place: usize) -> u64 {
        match self.text(place) {
            Some(text) => text.len() as u64,
            None => self.bytes(place),
        }
    }

    fn elements(&self, place: usize) -> u64 {
        self.get(place)
            .map_or(0, |(array, row)| size::elements(array, row))
    }

    /// Elements of a list and of the lists in it: no value takes less than a byte.
    fn values(&self, place: usize) -> u64 {
        self.bytes(place).min(match self.get(place) {
            Some((array, row)) if !holds_lists(array.data_type()) => size::elements(array, row),
            _ => u64::MAX,
        })
    }

    /// A number that is a count: 0 if it is negative, all there is if it is none.
    fn count(&self, place: usize) -> u64 {
        let Some((array, row)) = self.get(place) else {
            return 0;
        };
        match array.data_type() {
            DataType::Int64 => {
                u64::try_from(array.as_primitive::<Int64Type>().value(row)).unwrap_or(0)
            }
            DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row),
            _ => u64::MAX,
        }
    }

    /// Values of a series from the first argument to the second, by the third.
    fn series(&self) -> u64 {
        let missing = (0..self.arguments()).any(|place| self.get(place).is_none());
        if missing {
            return 0;
        }
        let (start, stop) = match self.arguments() {
            1 => (Some(0), self.point(0)),
            _ => (self.point(0), self.point(1)),
        };
        let step = match self.arguments() {
            1 | 2 => Some(1),
            _ => self.point(2),
        };
        let (Some(start), Some(stop), Some(step)) = (start, stop, step) else {
            return u64::MAX;
        };
        // One that does not move is refused by the function.
        let count = (stop - start).checked_div(step).unwrap_or(0);
        u64::try_from(count.max(0)).unwrap_or(u64::MAX)
    }

    /// A number, or a time or an interval in nanoseconds (at least: months are short).
    fn point(&self, place: usize) -> Option<i128> {
        const DAY: i128 = 86_400_000_000_000;
        let (array, row) = self.get(place)?;
        Some(match array.data_type() {
            DataType::Int64 => i128::from(array.as_primitive::<Int64Type>().value(row)),
            DataType::Date32 => i128::from(array.as_primitive::<Date32Type>().value(row)) * DAY,
            DataType::Date64 => {
                i128::from(array.as_primitive::<Date64Type>().value(row)) * 1_000_000
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                i128::from(array.as_primitive::<TimestampSecondType>().value(row)) * 1_000_000_000
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                i128::from(array.as_primitive::<TimestampMillisecondType>().value(row)) * 1_000_000
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                i128::from(array.as_primitive::<TimestampMicrosecondType>().value(row)) * 1_000
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                i128::from(array.as_primitive::<TimestampNanosecondType>().value(row))
            }
            DataType::Interval(_) => {
                let step = array
                    .as_primitive_opt::<IntervalMonthDayNanoType>()?
                    .value(row);
                let parts = [
                    i128::from(step.months) * 28 * DAY,
                    i128::from(step.days) * DAY,
                    i128::from(step.nanoseconds),
                ];
                // One month less thirty days goes nowhere, and for ever.
                if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
                    return None;
                }
                parts.iter().sum()
            }
            _ => return None,
        })
    }

    /// The first argument is searched with the second, a regular expression.
    fn matching(&self, bytes: u64) -> Cost {
        let states = self.text(1).map_or(0, states);
        let is_constant = self
            .arguments
            .get(1)
            .is_some_and(|pattern| pattern.is_constant);
        // A constant expression is compiled once, and the size of one is bounded.
        let (compiled, compiling) = match is_constant {
            true => (0, 0),
            false => (states * STATE_BYTES, states * STATE_STEPS),
        };
        let each = match states <= STATES_SIMPLE {
            true => 1,
            false => states,
        };
        let matching = self.length(0).saturating_mul(each);
        Cost {
            bytes: bytes.saturating_add(compiled),
            steps: matching.saturating_add(compiling),
        }
    }
}

fn holds_lists(list: &DataType) -> bool {
    match list {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type().is_nested()
        }
        _ => true,
    }
}

/// States that a regular expression is compiled to, about: its characters as often as it repeats them.
pub(super) fn states(pattern: &str) -> u64 {
    let mut states = pattern.len() as u64;
    for repeated in pattern.split('{').skip(1) {
        let counts = repeated.split('}').next().unwrap_or_default();
        let largest = counts
            .split(',')
            .filter_map(|count| count.trim().parse::<u64>().ok())
            .max();
        states = states.saturating_mul(largest.unwrap_or(1).max(1));
    }
    states.min(STATES_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};

    use super::*;
    use crate::session;

    #[test]
    fn all_functions_were_looked_at() {
        let session = session::base(1).expect("our functions have names of their own");
        let functions = session.scalar_functions().values();
        let mut unknown: Vec<&str> = functions
            .map(|function| function.name())
            .chain(["||", "~", "~*", "!~", "!~*", "tuple_key"])
            .filter(|name| of(name).is_none())
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        // Whoever adds one here says how much it can allocate, and whether in one step.
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[track_caller]
    fn check(name: &str, arguments: &[ArrayRef], expected: u64) {
        let arguments: Vec<Argument> = arguments
            .iter()
            .map(|array| Argument {
                array: Arc::clone(array),
                is_constant: true,
            })
            .collect();
        let Some(Growth::Computed(cost)) = of(name) else {
            panic!("{name} is computed")
        };
        let row = Row {
            arguments: &arguments,
            row: 7,
        };
        assert_eq!(cost(&row).bytes, expected, "{name}");
    }

    #[test]
    fn huge_arguments_cost_all_there_is_and_do_not_wrap() {
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let number = |number: i64| Arc::new(Int64Array::from(vec![number])) as ArrayRef;
        check("repeat", &[text("xy"), number(3)], 6);
        check("repeat", &[text("x"), number(-3)], 0);
        check("repeat", &[text("x"), number(i64::MAX)], i64::MAX as u64);
        check("repeat", &[text("xyz"), number(i64::MAX)], u64::MAX);
        check("rpad", &[text("x"), number(i64::MAX)], u64::MAX);
        check("array_repeat", &[text("x"), number(i64::MAX)], u64::MAX);
        check("array_resize", &[text("x"), number(i64::MAX)], u64::MAX);
        check("range", &[number(10)], 176);
        check("range", &[number(10), number(0)], 16);
        check("range", &[number(10), number(0), number(-5)], 48);
        check("range", &[number(10), number(0), number(0)], 16);
        check("range", &[number(i64::MIN), number(i64::MAX)], u64::MAX);
    }

    #[test]
    fn repetitions_in_a_regular_expression_are_states() {
        assert_eq!(states("^a.c$"), 5);
        assert_eq!(states("[a-z]{2,8}"), 80);
        assert_eq!(states("(((a{100}){100}){100})"), STATES_MAX);
        assert_eq!(states("{{}}{x}"), 7);
    }
}
