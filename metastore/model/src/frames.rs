//! What a snapshot is made of: sections of frames, a canonical value in each.
//!
//! ```text
//! section = number 2 | level that brought it 2 | frame*, one per value | an empty frame
//! frame   = length 4, big endian | canonical CBOR
//! ```
//!
//! Leaves to others: which sections there are, and what is in them.

pub(crate) mod nesting;

use std::sync::Arc;

use imbl::OrdMap;
use minicbor::{Decode, Encode};

use nesting::decode_bounded;

use crate::{ClusterId, DecodeError};

/// Why a state snapshot was refused.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot is torn: {0}")]
    Torn(&'static str),
    #[error("the snapshot belongs to cluster {found}")]
    Foreign { found: ClusterId },
    #[error("the snapshot has format {found}, this version reads format {reads}")]
    Format { found: u16, reads: u16 },
    #[error("the snapshot needs level {needs}, this version applies up to {newest}")]
    Level { needs: u16, newest: u16 },
    #[error(
        "the snapshot holds section {number}, which came with level {since}; this version applies up to {newest} and does not know it"
    )]
    Section {
        number: u16,
        since: u16,
        newest: u16,
    },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Writes frames; keeps one buffer for all of them.
pub struct Frames<'o> {
    out: &'o mut dyn FnMut(&[u8]),
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frames")
    }
}

impl<'o> Frames<'o> {
    pub fn new(out: &'o mut dyn FnMut(&[u8])) -> Frames<'o> {
        Frames {
            out,
            scratch: Vec::new(),
        }
    }

    /// A section: its number, the level that brought it, and the frames that `write` puts.
    pub fn section(&mut self, number: u16, since: u16, write: impl FnOnce(&mut Self)) {
        (self.out)(&number.to_be_bytes());
        (self.out)(&since.to_be_bytes());
        write(self);
        (self.out)(&0u32.to_be_bytes());
    }

    pub fn put<T: Encode<()>>(&mut self, value: &T) {
        self.scratch.clear();
        minicbor::encode(value, &mut self.scratch).expect("writing to a Vec cannot fail");
        let length = u32::try_from(self.scratch.len()).expect("one value is far below 4 GiB");
        (self.out)(&length.to_be_bytes());
        (self.out)(&self.scratch);
    }

    pub fn map<K, V>(&mut self, map: &OrdMap<K, V>)
    where
        K: Encode<()> + Ord + Clone,
        V: Encode<()> + Clone,
    {
        for entry in map {
            self.put(&entry);
        }
    }

    pub fn shared_map<K, V>(&mut self, map: &OrdMap<K, Arc<V>>)
    where
        K: Encode<()> + Ord + Clone,
        V: Encode<()>,
    {
        for (key, value) in map {
            self.put(&(key, value.as_ref()));
        }
    }
}

/// Reads frames. A count is only believed as far as there are frames.
#[derive(Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
    /// The empty frame was read.
    is_over: bool,
}

impl<'b> Reader<'b> {
    pub fn new(rest: &'b [u8]) -> Reader<'b> {
        Reader {
            rest,
            is_over: true,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(SnapshotError::Torn("it ends in the middle"))?;
        self.rest = rest;
        Ok(*array)
    }

    /// Number and level of the next section, whose frames follow.
    pub fn section(&mut self) -> Result<(u16, u16), SnapshotError> {
        let number = u16::from_be_bytes(self.array()?);
        let since = u16::from_be_bytes(self.array()?);
        self.is_over = false;
        Ok((number, since))
    }

    /// The section's next value, or `None` at its end.
    pub fn value<T>(&mut self) -> Result<Option<T>, SnapshotError>
    where
        T: for<'d> Decode<'d, ()> + Encode<()>,
    {
        if self.is_over {
            return Ok(None);
        }
        let length = u32::from_be_bytes(self.array()?);
        if length == 0 {
            self.is_over = true;
            return Ok(None);
        }
        let (frame, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(SnapshotError::Torn("it ends in the middle"))?;
        self.rest = rest;
        Ok(Some(decode_bounded(frame)?))
    }

    pub fn frame<T>(&mut self) -> Result<T, SnapshotError>
    where
        T: for<'d> Decode<'d, ()> + Encode<()>,
    {
        self.value()?
            .ok_or(SnapshotError::Torn("a section ends in the middle"))
    }

    /// Nothing more may follow in this section.
    pub fn end_section(&mut self) -> Result<(), SnapshotError> {
        if !self.is_over && self.array()? != [0; 4] {
            return Err(SnapshotError::Torn("a section holds more than it may"));
        }
        self.is_over = true;
        Ok(())
    }

    pub fn map<K, V>(&mut self) -> Result<OrdMap<K, V>, SnapshotError>
    where
        K: for<'d> Decode<'d, ()> + Encode<()> + Ord + Clone,
        V: for<'d> Decode<'d, ()> + Encode<()> + Clone,
    {
        let mut map = Ascending::empty();
        while let Some((key, value)) = self.value()? {
            map.push(key, value)?;
        }
        Ok(map.map)
    }

    pub fn shared_map<K, V>(&mut self) -> Result<OrdMap<K, Arc<V>>, SnapshotError>
    where
        K: for<'d> Decode<'d, ()> + Encode<()> + Ord + Clone,
        V: for<'d> Decode<'d, ()> + Encode<()>,
    {
        let mut map = Ascending::empty();
        while let Some((key, value)) = self.value()? {
            map.push(key, Arc::new(value))?;
        }
        Ok(map.map)
    }
}

/// A map that takes its keys in order only: another order would be other bytes for the same state.
#[expect(missing_debug_implementations, reason = "it lives while a map is read")]
pub struct Ascending<K, V> {
    pub map: OrdMap<K, V>,
}

impl<K: Ord + Clone, V: Clone> Ascending<K, V> {
    pub fn empty() -> Ascending<K, V> {
        Ascending { map: OrdMap::new() }
    }

    pub fn push(&mut self, key: K, value: V) -> Result<(), SnapshotError> {
        if self.map.get_max().is_some_and(|(last, _)| *last >= key) {
            return Err(SnapshotError::Torn("its keys are not in order"));
        }
        self.map.insert(key, value);
        Ok(())
    }
}
