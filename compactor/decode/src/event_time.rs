//! Times that make sense: within the calendar, and near to the append.

use tarn_model::{ColumnType, Field, Lsn};

use crate::column::Column;

/// 0001-01-01T00:00:00Z and the last microsecond of 9999: what every engine that reads the tables can
/// show.
pub(crate) const MICROS_MIN: i64 = -62_135_596_800_000_000;
pub(crate) const MICROS_MAX: i64 = 253_402_300_799_999_999;
/// The same as days since 1970.
const DATE_MIN: i32 = -719_162;
const DATE_MAX: i32 = 2_932_896;

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;
/// An event is no older than this when it is appended …
const BEHIND_MAX: i64 = 400 * MICROS_PER_DAY;
/// … and no further ahead than this.
const AHEAD_MAX: i64 = MICROS_PER_DAY;

/// Microseconds of a time in milliseconds; beyond the calendar, its nearest end.
pub(crate) fn micros(ms: i64) -> i64 {
    ms.saturating_mul(1_000).clamp(MICROS_MIN, MICROS_MAX)
}

/// A timestamp of the years 1 to 9999; beyond them lie sentinels and wrong units.
pub(crate) fn timestamp(micros: i64) -> Option<i64> {
    (MICROS_MIN..=MICROS_MAX)
        .contains(&micros)
        .then_some(micros)
}

pub(crate) fn date(days: i32) -> Option<i32> {
    (DATE_MIN..=DATE_MAX).contains(&days).then_some(days)
}

/// 24:00:00 is not a time of the day.
pub(crate) fn time_of_day(micros: i64) -> Option<i64> {
    (0..MICROS_PER_DAY).contains(&micros).then_some(micros)
}

/// Where the records above an Lsn say when they happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The record's timestamp.
    Timestamp,
    /// A payload column, by its place.
    Column(usize),
    /// A column that is not there, or holds no timestamps: nothing says it.
    Nothing,
}

/// `tarn.event.time` over the life of a topic.
#[derive(Debug, Clone)]
pub(crate) struct EventTimes {
    /// The newest first.
    sources: Vec<(Lsn, Source)>,
}

impl EventTimes {
    /// `named` in the order of the changes; `None` is the record's timestamp.
    pub(crate) fn new(named: &[(Lsn, Option<String>)], columns: &[Field]) -> EventTimes {
        let source = |name: &Option<String>| {
            let Some(name) = name else {
                return Source::Timestamp;
            };
            let place = columns.iter().position(|column| {
                let fits = matches!(column.kind, ColumnType::Timestamp | ColumnType::TimestampTz);
                column.name == *name && fits
            });
            place.map_or(Source::Nothing, Source::Column)
        };
        let sources = named.iter().rev();
        EventTimes {
            sources: sources
                .map(|(since, name)| (*since, source(name)))
                .collect(),
        }
    }

    /// What a record claims of its time, once its payload is the last row of `payload`.
    pub(crate) fn claimed(&self, lsn: Lsn, timestamp: i64, payload: &[Column]) -> Option<i64> {
        let at = self.sources.iter().find(|(since, _)| *since < lsn);
        match at.map_or(Source::Timestamp, |(_, source)| *source) {
            Source::Timestamp => Some(timestamp),
            Source::Column(place) => payload.get(place)?.last_long(),
            Source::Nothing => None,
        }
    }
}

/// The event time of a record that claims `claimed`, if that is one that makes sense beside the time
/// of its append. Else it is the append's: one bad clock or one wrong unit must not scatter a table
/// over thousands of days.
pub(crate) fn believed(claimed: Option<i64>, appended: i64) -> Option<i64> {
    claimed.filter(|time| (appended - BEHIND_MAX..=appended + AHEAD_MAX).contains(time))
}
