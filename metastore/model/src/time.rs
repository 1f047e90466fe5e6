//! Four clocks, four types, so that none is taken for another.
//!
//! [`Timestamp`] is somebody's wall clock, [`ClusterTime`] what the log makes of all of them,
//! [`LivenessTime`] the log's own count of time that somebody lived through, and [`Monotonic`] one
//! process's clock that never goes back and runs on in suspend. Durations are `std::time::Duration`.

pub mod duration_text;

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};

/// A wall clock's milliseconds since 1970, as Kafka writes them. May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub i64);

/// Milliseconds since 1970 on the cluster's clock: the lower median of the wall clocks that vote,
/// never going back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct ClusterTime(#[n(0)] pub i64);

/// Milliseconds that the cluster has lived through: what a stalled log or a sleeping process
/// missed is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct LivenessTime(#[n(0)] pub u64);

/// Milliseconds on one process's monotonic clock, which counts suspend and means nothing elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Monotonic(#[n(0)] pub u64);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Timestamp {
    /// Milliseconds from `earlier` to here; zero if the clock went back.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl ClusterTime {
    #[must_use]
    pub fn plus(self, duration: Duration) -> ClusterTime {
        ClusterTime(self.0.saturating_add_unsigned(millis(duration)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> ClusterTime {
        ClusterTime(self.0.saturating_sub_unsigned(millis(duration)))
    }

    /// From `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: ClusterTime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl LivenessTime {
    #[must_use]
    pub fn plus(self, duration: Duration) -> LivenessTime {
        LivenessTime(self.0.saturating_add(millis(duration)))
    }

    pub fn since(self, earlier: LivenessTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Monotonic {
    pub fn since(self, earlier: Monotonic) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a duration: write a number and a unit, as in 250ms, 10s, 5m, 2h, 7d")]
pub struct ParseDurationError(pub String);

/// Units, largest first: a duration prints in the largest one that divides it.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// `"250ms"`, `"10s"`, `"5m"`, `"2h"`, `"7d"`.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let error = || ParseDurationError(text.to_owned());
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| error())?;
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .ok_or_else(error)?;
    number
        .checked_mul(*scale)
        .map(Duration::from_millis)
        .ok_or_else(error)
}

/// The inverse of [`parse_duration`], to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let millis = millis(duration);
    for (unit, scale) in UNITS {
        if millis >= scale && millis.is_multiple_of(scale) {
            return format!("{}{unit}", millis / scale);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_what_they_print() {
        for text in ["0ms", "250ms", "10s", "5m", "2h", "7d"] {
            assert_eq!(
                format_duration(parse_duration(text).expect("a duration")),
                text
            );
        }
        for text in [
            "",
            "10",
            "ten seconds",
            "10 fortnights",
            "99999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
