//! Times that make sense: within the calendar, and near to the append.

/// 0001-01-01T00:00:00Z and the last microsecond of 9999: what every engine that reads the tables can
/// show.
pub(crate) const MICROS_MIN: i64 = -62_135_596_800_000_000;
pub(crate) const MICROS_MAX: i64 = 253_402_300_799_999_999;

const DAY: i64 = 86_400_000_000;
/// An event is no older than this when it is appended …
const BEHIND_MAX: i64 = 400 * DAY;
/// … and no further ahead than this.
const AHEAD_MAX: i64 = DAY;

/// Microseconds of a time in milliseconds; beyond the calendar, its nearest end.
pub(crate) fn micros(ms: i64) -> i64 {
    ms.saturating_mul(1_000).clamp(MICROS_MIN, MICROS_MAX)
}

/// The event time of a record that claims `claimed`: that, unless it is absurd beside the time of its
/// append. Then it is the append's: one bad clock or one wrong unit must not scatter a table over
/// thousands of days.
pub(crate) fn sanitized(claimed: i64, appended: i64) -> i64 {
    if (appended - BEHIND_MAX..=appended + AHEAD_MAX).contains(&claimed) {
        claimed
    } else {
        appended
    }
}
