//! A place in the commit log.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

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
