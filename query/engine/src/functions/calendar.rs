//! Moments as PostgreSQL reads, writes and divides them, in microseconds since 1970.
//!
//! Plain arithmetic on the proleptic Gregorian calendar: every microsecond that 64 bits hold has a year,
//! so that no event's odd time makes a query fail. Offsets of time zones come from the tz database;
//! outside the years that it speaks of (some 262,000) a zone is UTC.

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::arrow::array::timezone::Tz;

/// The zone of all moments, as the types of tables have it.
pub(crate) const UTC: &str = "+00:00";

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A year, a month and a day of it; the year 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

impl Civil {
    /// Of days since 1970. (Howard Hinnant, chrono-compatible low-level date algorithms)
    pub(crate) fn of_days(days: i64) -> Civil {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day,
        }
    }

    pub(crate) fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted = if self.month > 2 {
            self.month - 3
        } else {
            self.month + 9
        };
        let of_year = (153 * shifted + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        era * 146_097 + of_era - 719_468
    }

    pub(crate) fn first_of_year(year: i64) -> Civil {
        Civil {
            year,
            month: 1,
            day: 1,
        }
    }

    fn is_real(self) -> bool {
        (1..=12).contains(&self.month) && self.day >= 1 && Civil::of_days(self.days()) == self
    }

    fn text(self) -> String {
        match self.year > 0 {
            true => format!("{:04}-{:02}-{:02}", self.year, self.month, self.day),
            false => format!("{:04}-{:02}-{:02}", 1 - self.year, self.month, self.day),
        }
    }
}

/// ISO's year and week of a day.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The week belongs to the year of its Thursday.
    let thursday = days - weekday(days) + 3;
    let year = Civil::of_days(thursday).year;
    let week = (thursday - Civil::first_of_year(year).days()) / 7 + 1;
    (year, week)
}

/// From Monday, which is 0.
pub(crate) fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

pub(crate) fn date_text(days: i64) -> String {
    let civil = Civil::of_days(days);
    civil.text() + era(civil)
}

fn era(civil: Civil) -> &'static str {
    if civil.year > 0 { "" } else { " BC" }
}

pub(crate) fn time_text(micros: i64) -> String {
    let (hours, minutes) = (micros / HOUR, micros / MINUTE % 60);
    let (seconds, fraction) = (micros / SECOND % 60, micros % SECOND);
    let mut text = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if fraction > 0 {
        let digits = format!(".{fraction:06}");
        text += digits.trim_end_matches('0');
    }
    text
}

/// With the offset of its zone if it is zoned.
pub(crate) fn timestamp_text(micros: i64, zone: Option<&Zone>) -> String {
    let offset = zone.map(|zone| zone.offset(micros));
    let local = micros.saturating_add(offset.unwrap_or(0) * SECOND);
    let civil = Civil::of_days(local.div_euclid(DAY));
    let mut text = format!("{} {}", civil.text(), time_text(local.rem_euclid(DAY)));
    if let Some(offset) = offset {
        let (sign, seconds) = (if offset < 0 { '-' } else { '+' }, offset.abs());
        text += &format!("{sign}{:02}", seconds / 3600);
        if seconds % 3600 > 0 {
            text += &format!(":{:02}", seconds / 60 % 60);
        }
        if seconds % 60 > 0 {
            text += &format!(":{:02}", seconds % 60);
        }
    }
    text + era(civil)
}

/// A time zone of the tz database, or an offset.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    name: String,
    zone: Tz,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl std::hash::Hash for Zone {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Zone {
    pub(crate) fn utc() -> Zone {
        Zone::parse("UTC").expect("the tz database has UTC")
    }

    /// `None` if there is no such zone.
    pub(crate) fn parse(name: &str) -> Option<Zone> {
        let trimmed = name.trim();
        let zone = match trimmed.to_ascii_uppercase().as_str() {
            "Z" | "ZULU" | "UTC" | "GMT" | "DEFAULT" => "UTC".parse(),
            _ => trimmed.parse(),
        };
        let zone: Tz = zone.or_else(|_| known_case(trimmed).parse()).ok()?;
        Some(Zone {
            name: trimmed.to_owned(),
            zone,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_utc(&self) -> bool {
        matches!(
            self.name.to_ascii_uppercase().as_str(),
            "UTC" | "Z" | "GMT" | "ETC/UTC" | "+00:00" | "ZULU" | "DEFAULT"
        )
    }

    /// Seconds to add to UTC at a moment.
    pub(crate) fn offset(&self, micros: i64) -> i64 {
        let moment = DateTime::from_timestamp_micros(micros);
        moment.map_or(0, |moment| {
            let offset = self.zone.offset_from_utc_datetime(&moment.naive_utc());
            i64::from(offset.fix().local_minus_utc())
        })
    }

    /// What a clock of the zone shows.
    pub(crate) fn local(&self, micros: i64) -> i64 {
        micros.saturating_add(self.offset(micros) * SECOND)
    }

    /// The moment at which a clock of the zone shows this. An hour that is there twice is the one of
    /// standard time, one that is left out goes by the time before it, as in PostgreSQL.
    pub(crate) fn moment(&self, local: i64) -> i64 {
        let Some(shown) = DateTime::from_timestamp_micros(local).map(|shown| shown.naive_utc())
        else {
            return local;
        };
        local.saturating_sub(self.offset_of_local(&shown) * SECOND)
    }

    fn offset_of_local(&self, shown: &NaiveDateTime) -> i64 {
        let seconds = |offset: FixedOffset| i64::from(offset.local_minus_utc());
        match self.zone.offset_from_local_datetime(shown) {
            MappedLocalTime::Single(offset) => seconds(offset.fix()),
            MappedLocalTime::Ambiguous(one, other) => seconds(one.fix()).min(seconds(other.fix())),
            MappedLocalTime::None => {
                let before = shown.checked_sub_signed(TimeDelta::hours(26));
                let before = before.map(|before| self.zone.offset_from_utc_datetime(&before));
                before.map_or(0, |offset| seconds(offset.fix()))
            }
        }
    }
}

/// `europe/berlin` as the tz database writes it.
fn known_case(name: &str) -> String {
    let mut is_start = true;
    name.chars()
        .map(|letter| {
            let cased = if is_start {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            is_start = !letter.is_ascii_alphabetic();
            cased
        })
        .collect()
}

/// A text as PostgreSQL reads a date, in days.
pub(crate) fn read_date(text: &str) -> Option<i64> {
    // The time of a longer text is left out.
    read_timestamp(text).map(|(local, _)| local.div_euclid(DAY))
}

/// A text as a time of day, in microseconds.
pub(crate) fn read_time(text: &str) -> Option<i64> {
    let (time, rest) = read_clock(text.trim())?;
    rest.is_empty().then_some(time)
}

/// A text as a timestamp: what its clock shows, and the zone if it names one.
pub(crate) fn read_timestamp(text: &str) -> Option<(i64, Option<Zone>)> {
    let mut text = text.trim();
    if text.eq_ignore_ascii_case("epoch") {
        return Some((0, Some(Zone::utc())));
    }
    let is_before = text
        .get(text.len().saturating_sub(3)..)
        .is_some_and(|end| end.eq_ignore_ascii_case(" bc"));
    if is_before {
        text = text.get(..text.len() - 3)?;
    }
    let (year, rest) = digits(text)?;
    let (civil, rest) = match (text.len() - rest.len(), rest.strip_prefix('-')) {
        (8, None) => {
            let civil = Civil {
                year: year / 10_000,
                month: year / 100 % 100,
                day: year % 100,
            };
            (civil, rest)
        }
        (3.., Some(rest)) => {
            let (month, rest) = digits(rest)?;
            let (day, rest) = digits(rest.strip_prefix('-')?)?;
            (Civil { year, month, day }, rest)
        }
        _ => return None,
    };
    let civil = Civil {
        year: if is_before {
            1 - civil.year
        } else {
            civil.year
        },
        ..civil
    };
    if year == 0 || civil.year > 294_276 || civil.year < -4_713 || !civil.is_real() {
        return None;
    }
    let start = civil.days().checked_mul(DAY)?;
    let clock = rest.strip_prefix(['T', 't']).unwrap_or(rest).trim_start();
    if clock.is_empty() {
        return Some((start, None));
    }
    let (time, zone) = match clock.starts_with(|letter: char| letter.is_ascii_digit()) {
        true => read_clock(clock)?,
        false => (0, clock),
    };
    let zone = match zone.trim() {
        "" => None,
        zone => Some(Zone::parse(zone)?),
    };
    Some((start.checked_add(time)?, zone))
}

/// `10:20`, `10:20:30` or `10:20:30.5`, and what follows it.
fn read_clock(text: &str) -> Option<(i64, &str)> {
    let (hours, rest) = digits(text)?;
    let (minutes, mut rest) = digits(rest.strip_prefix(':')?)?;
    let (mut seconds, mut fraction) = (0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        (seconds, rest) = digits(after)?;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after
                .find(|letter: char| !letter.is_ascii_digit())
                .unwrap_or(after.len());
            let (figures, after) = after.split_at(end);
            let first: String = figures.chars().chain("000000".chars()).take(6).collect();
            fraction = first.parse::<i64>().ok()?;
            // Rounded, as PostgreSQL does.
            fraction += i64::from(
                figures
                    .as_bytes()
                    .get(6)
                    .is_some_and(|digit| *digit >= b'5'),
            );
            rest = after;
        }
    }
    let time = hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction;
    let is_real = hours <= 24 && minutes < 60 && seconds <= 60 && time <= DAY;
    is_real.then_some((time, rest))
}

/// At most nine digits, and what follows them.
fn digits(text: &str) -> Option<(i64, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (figures, rest) = text.split_at(end);
    (figures.len() <= 9).then_some(())?;
    Some((figures.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_a_date() {
        for days in [
            i64::MIN / DAY,
            -719_528,
            -1,
            0,
            59,
            2_932_896,
            i64::MAX / DAY,
        ] {
            assert_eq!(Civil::of_days(days).days(), days);
        }
        assert_eq!(date_text(-135_140), "1600-01-01");
        assert_eq!(date_text(2_932_896), "9999-12-31");
        assert_eq!(date_text(-719_162), "0001-01-01");
        assert_eq!(
            iso_week(
                Civil {
                    year: 2021,
                    month: 1,
                    day: 3
                }
                .days()
            ),
            (2020, 53)
        );
    }

    /// As PostgreSQL 15 answers `'…'::timestamptz` under `SET TIME ZONE 'Europe/Berlin'`.
    #[test]
    fn clocks_that_change_go_as_in_postgresql() {
        let berlin = Zone::parse("europe/berlin").expect("it is known");
        for (shown, moment) in [
            ("2024-01-15 12:00", "2024-01-15 11:00:00+00"),
            ("2024-07-15 12:00", "2024-07-15 10:00:00+00"),
            ("2024-03-31 02:30", "2024-03-31 01:30:00+00"),
            ("2024-10-27 02:30", "2024-10-27 01:30:00+00"),
        ] {
            let (local, _) = read_timestamp(shown).expect("a timestamp");
            assert_eq!(
                timestamp_text(berlin.moment(local), Some(&Zone::utc())),
                moment
            );
        }
    }

    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        let read = |text: &str| {
            read_timestamp(text).map(|(local, zone)| {
                let moment = zone.map_or(local, |zone| zone.moment(local));
                timestamp_text(moment, None)
            })
        };
        for (text, expected) in [
            ("2024-2-3", Some("2024-02-03 00:00:00")),
            ("20240203", Some("2024-02-03 00:00:00")),
            ("2024-02-03T04:05", Some("2024-02-03 04:05:00")),
            ("2024-02-03 04:05:06.7+02", Some("2024-02-03 02:05:06.7")),
            (
                "2024-02-03 04:05:06.1234567Z",
                Some("2024-02-03 04:05:06.123457"),
            ),
            (
                "9999-12-31 23:59:59.999999",
                Some("9999-12-31 23:59:59.999999"),
            ),
            ("0044-03-15 BC", Some("0044-03-15 00:00:00 BC")),
            ("2024-02-30", None),
            ("2024-02-03 25:00", None),
            ("yesterday evening", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }
}
