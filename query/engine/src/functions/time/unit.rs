//! The fields of a time by their names, looked up once for a column and not once for a row.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::error::DataFusionError;

use super::unknown_field;

/// A field of a time, or what it is cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Epoch,
    Julian,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Timezone,
}

impl Unit {
    /// By one of its spellings.
    pub(super) fn parse(field: &str) -> Option<Unit> {
        Some(match field.trim().to_ascii_lowercase().as_str() {
            "microseconds" | "microsecond" | "us" | "usec" | "usecs" | "useconds" => {
                Unit::Microseconds
            }
            "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" | "mseconds" => {
                Unit::Milliseconds
            }
            "second" | "seconds" | "sec" | "secs" | "s" => Unit::Second,
            "minute" | "minutes" | "min" | "mins" | "m" => Unit::Minute,
            "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Hour,
            "day" | "days" | "d" => Unit::Day,
            "week" | "weeks" | "w" => Unit::Week,
            "month" | "months" | "mon" | "mons" => Unit::Month,
            "quarter" | "quarters" | "qtr" => Unit::Quarter,
            "year" | "years" | "yr" | "yrs" | "y" => Unit::Year,
            "decade" | "decades" | "dec" => Unit::Decade,
            "century" | "centuries" | "c" | "cent" => Unit::Century,
            "millennium" | "millennia" | "mil" | "mils" => Unit::Millennium,
            "epoch" => Unit::Epoch,
            "julian" => Unit::Julian,
            "dow" => Unit::DayOfWeek,
            "isodow" => Unit::IsoDayOfWeek,
            "doy" => Unit::DayOfYear,
            "isoyear" => Unit::IsoYear,
            "timezone" | "timezone_hour" | "timezone_minute" => Unit::Timezone,
            _ => return None,
        })
    }
}

/// A text for each row, or one for all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    texts: &'a StringArray,
    is_one: bool,
}

impl<'a> Texts<'a> {
    /// `is_one`: the array has the one text of all rows.
    pub(super) fn new(array: &'a ArrayRef, is_one: bool) -> Texts<'a> {
        Texts {
            texts: array.as_string::<i32>(),
            is_one,
        }
    }

    /// `None` if it is null.
    pub(super) fn at(&self, row: usize) -> Option<&'a str> {
        let row = if self.is_one { 0 } else { row };
        self.texts.is_valid(row).then(|| self.texts.value(row))
    }

    pub(super) fn is_one(&self) -> bool {
        self.is_one
    }
}

/// What is made of the texts of rows, made once as long as the text is the same.
pub(super) struct Made<'a, T, F> {
    texts: Texts<'a>,
    make: F,
    last: Option<(&'a str, T)>,
}

impl<'a, T, F> Made<'a, T, F>
where
    F: Fn(&str) -> Result<T, DataFusionError>,
{
    pub(super) fn new(texts: Texts<'a>, make: F) -> Made<'a, T, F> {
        Made {
            texts,
            make,
            last: None,
        }
    }

    /// The text of a row and what is made of it; `None` if it is null.
    pub(super) fn at(&mut self, row: usize) -> Result<Option<&(&'a str, T)>, DataFusionError> {
        let is_known = self.texts.is_one() && self.last.is_some();
        if !is_known {
            let Some(text) = self.texts.at(row) else {
                return Ok(None);
            };
            if self.last.as_ref().is_none_or(|(last, _)| *last != text) {
                self.last = Some((text, (self.make)(text)?));
            }
        }
        Ok(self.last.as_ref())
    }
}

/// The fields of rows.
pub(super) fn units(
    texts: Texts<'_>,
) -> Made<'_, Unit, impl Fn(&str) -> Result<Unit, DataFusionError>> {
    Made::new(texts, |field| {
        Unit::parse(field).ok_or_else(|| unknown_field(field))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_text_is_looked_up_once_as_long_as_it_is_the_same() {
        let looked_up = Cell::new(0);
        let make = |text: &str| {
            looked_up.set(looked_up.get() + 1);
            Ok(text.len())
        };
        let one: ArrayRef = Arc::new(StringArray::from(vec!["minute"]));
        let mut made = Made::new(Texts::new(&one, true), make);
        for row in 0..1_000 {
            assert_eq!(made.at(row).expect("made"), Some(&("minute", 6)));
        }
        assert_eq!(looked_up.get(), 1);

        let of_rows = vec![Some("day"), Some("day"), None, Some("hour"), Some("day")];
        let of_rows: ArrayRef = Arc::new(StringArray::from(of_rows));
        let mut made = Made::new(Texts::new(&of_rows, false), make);
        let lengths: Vec<Option<usize>> = (0..5)
            .map(|row| made.at(row).expect("made").map(|(_, length)| *length))
            .collect();
        assert_eq!(lengths, [Some(3), Some(3), None, Some(4), Some(3)]);
        assert_eq!(looked_up.get(), 4);

        let none: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        let mut made = Made::new(Texts::new(&none, true), make);
        assert_eq!(made.at(7).expect("null"), None);
    }
}
