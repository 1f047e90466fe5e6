//! A place in the commit log.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// Bits of `n` in [`Lsn::packed`].
const N_BITS: u32 = 44;

/// The life of a commit log between two recoveries. It is also Kafka's leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Generation(#[n(0)] pub u32);

impl Generation {
    pub const FIRST: Generation = Generation(1);
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Place of an entry: `n` = 1, 2, 3 … without holes within a generation; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Lsn {
    #[n(0)]
    pub generation: Generation,
    #[n(1)]
    pub n: u64,
}

impl Lsn {
    pub const fn new(generation: Generation, n: u64) -> Lsn {
        Lsn { generation, n }
    }

    /// Before the first entry of the first generation.
    pub const START: Lsn = Lsn {
        generation: Generation::FIRST,
        n: 0,
    };

    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn {
            n: self.n + 1,
            ..self
        }
    }

    /// As one number that sorts alike, for a column: `generation << 44 | n`. A log of a million
    /// entries a second fills `n` in half a year, and one that is recovered daily the generations in
    /// a thousand years; what is beyond stays at the end.
    pub fn packed(self) -> i64 {
        const N_MAX: u64 = (1 << N_BITS) - 1;
        const GENERATION_MAX: u32 = (1 << (63 - N_BITS)) - 1;
        let generation = i64::from(self.generation.0.min(GENERATION_MAX));
        generation << N_BITS | self.n.min(N_MAX).cast_signed()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.n)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an Lsn: expected <generation>-<n>, as in 1-42")]
pub struct ParseLsnError(pub String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let error = || ParseLsnError(text.to_owned());
        let (generation, n) = text.split_once('-').ok_or_else(error)?;
        Ok(Lsn {
            generation: Generation(generation.parse().map_err(|_| error())?),
            n: n.parse().map_err(|_| error())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_is_a_number_that_sorts_as_the_lsn_does() {
        let lsn = |generation, n| Lsn::new(Generation(generation), n);
        assert_eq!(lsn(1, 5).packed(), 17_592_186_044_421);
        let sorted = [
            lsn(1, 0),
            lsn(1, 1),
            lsn(1, (1 << 44) - 1),
            lsn(2, 0),
            lsn(3, 7),
            lsn((1 << 19) - 1, 1),
        ];
        let packed = sorted.map(Lsn::packed);
        assert!(packed.is_sorted_by(|a, b| a < b), "{packed:?}");
        assert_eq!(lsn(u32::MAX, u64::MAX).packed(), i64::MAX);
    }
}
