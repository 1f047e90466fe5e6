//! Offsets of a topic's partition and half-open ranges of them.

use std::fmt;

use minicbor::{Decode, Encode};

/// A record's place in its partition. On Kafka's wire it is an `i64`, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Offset(#[n(0)] pub u64);

impl Offset {
    pub const ZERO: Offset = Offset(0);

    /// As Kafka writes it. Offsets beyond `i64::MAX` cannot be assigned: `apply` refuses them.
    pub fn to_wire(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// Kafka's −1 and other negative numbers are no offset.
    pub fn from_wire(offset: i64) -> Option<Offset> {
        u64::try_from(offset).ok().map(Offset)
    }

    #[must_use]
    pub fn advance(self, records: u64) -> Offset {
        Offset(self.0 + records)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct OffsetRange {
    #[n(0)]
    pub start: Offset,
    #[n(1)]
    pub end: Offset,
}

impl OffsetRange {
    pub fn new(start: Offset, end: Offset) -> OffsetRange {
        OffsetRange { start, end }
    }

    pub fn len(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    pub fn contains(self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }

    #[must_use]
    pub fn intersect(self, other: OffsetRange) -> OffsetRange {
        OffsetRange {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}
