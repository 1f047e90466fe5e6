//! The parts of a state snapshot: each area writes sections of its own, so that a new map of the state is a
//! new section, and no new format.
//!
//! ```text
//! section = number 2 | level that brought it 2 | frame*, one per value | an empty frame
//! frame   = length 4, big endian | canonical CBOR
//! ```
//!
//! Holds: a number keeps its meaning; a section is written at and above its level only, so that who applies
//! up to a level knows all that a snapshot of that level holds. What is unknown is refused, never skipped.
//! A field that is added to a value of a section stands behind a level likewise.

use std::sync::Arc;

use imbl::OrdMap;
use minicbor::{Decode, Encode};
use tarn_model::{ClusterId, DecodeError};

use crate::State;
use crate::level::FeatureLevel;
use crate::nesting::decode_bounded;

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

/// One part of a state snapshot, and how it becomes bytes and back.
pub(crate) struct Section {
    /// Never changes its meaning. Sections stand in the order of their numbers.
    pub(crate) number: u16,
    pub(crate) since: FeatureLevel,
    pub(crate) write: fn(&State, &mut Frames<'_>),
    /// Reads all frames of the section.
    pub(crate) read: fn(&mut State, &mut Reader<'_>) -> Result<(), SnapshotError>,
}

/// Writes frames; keeps one buffer for all of them.
pub(crate) struct Frames<'o> {
    out: &'o mut dyn FnMut(&[u8]),
    scratch: Vec<u8>,
}

impl<'o> Frames<'o> {
    pub(crate) fn new(out: &'o mut dyn FnMut(&[u8])) -> Frames<'o> {
        Frames {
            out,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn section(&mut self, section: &Section, state: &State) {
        (self.out)(&section.number.to_be_bytes());
        (self.out)(&section.since.0.to_be_bytes());
        (section.write)(state, self);
        (self.out)(&0u32.to_be_bytes());
    }

    pub(crate) fn put<T: Encode<()>>(&mut self, value: &T) {
        self.scratch.clear();
        minicbor::encode(value, &mut self.scratch).expect("writing to a Vec cannot fail");
        let length = u32::try_from(self.scratch.len()).expect("one value is far below 4 GiB");
        (self.out)(&length.to_be_bytes());
        (self.out)(&self.scratch);
    }

    pub(crate) fn map<K, V>(&mut self, map: &OrdMap<K, V>)
    where
        K: Encode<()> + Ord + Clone,
        V: Encode<()> + Clone,
    {
        for entry in map {
            self.put(&entry);
        }
    }

    pub(crate) fn shared_map<K, V>(&mut self, map: &OrdMap<K, Arc<V>>)
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
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
    /// The empty frame was read.
    is_over: bool,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(rest: &'b [u8]) -> Reader<'b> {
        Reader {
            rest,
            is_over: true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(SnapshotError::Torn("it ends in the middle"))?;
        self.rest = rest;
        Ok(*array)
    }

    /// Number and level of the next section, whose frames follow.
    pub(crate) fn section(&mut self) -> Result<(u16, u16), SnapshotError> {
        let number = u16::from_be_bytes(self.array()?);
        let since = u16::from_be_bytes(self.array()?);
        self.is_over = false;
        Ok((number, since))
    }

    /// The section's next value, or `None` at its end.
    pub(crate) fn next<T>(&mut self) -> Result<Option<T>, SnapshotError>
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

    pub(crate) fn frame<T>(&mut self) -> Result<T, SnapshotError>
    where
        T: for<'d> Decode<'d, ()> + Encode<()>,
    {
        self.next()?
            .ok_or(SnapshotError::Torn("a section ends in the middle"))
    }

    /// Nothing more may follow in this section.
    pub(crate) fn end_section(&mut self) -> Result<(), SnapshotError> {
        if !self.is_over && self.array()? != [0; 4] {
            return Err(SnapshotError::Torn("a section holds more than it may"));
        }
        self.is_over = true;
        Ok(())
    }

    pub(crate) fn map<K, V>(&mut self) -> Result<OrdMap<K, V>, SnapshotError>
    where
        K: for<'d> Decode<'d, ()> + Encode<()> + Ord + Clone,
        V: for<'d> Decode<'d, ()> + Encode<()> + Clone,
    {
        let mut map = Ascending::new();
        while let Some((key, value)) = self.next()? {
            map.push(key, value)?;
        }
        Ok(map.map)
    }

    pub(crate) fn shared_map<K, V>(&mut self) -> Result<OrdMap<K, Arc<V>>, SnapshotError>
    where
        K: for<'d> Decode<'d, ()> + Encode<()> + Ord + Clone,
        V: for<'d> Decode<'d, ()> + Encode<()>,
    {
        let mut map = Ascending::new();
        while let Some((key, value)) = self.next()? {
            map.push(key, Arc::new(value))?;
        }
        Ok(map.map)
    }
}

/// A map that takes its keys in order only: another order would be other bytes for the same state.
pub(crate) struct Ascending<K, V> {
    pub(crate) map: OrdMap<K, V>,
}

impl<K: Ord + Clone, V: Clone> Ascending<K, V> {
    pub(crate) fn new() -> Ascending<K, V> {
        Ascending { map: OrdMap::new() }
    }

    pub(crate) fn push(&mut self, key: K, value: V) -> Result<(), SnapshotError> {
        if self.map.get_max().is_some_and(|(last, _)| *last >= key) {
            return Err(SnapshotError::Torn("its keys are not in order"));
        }
        self.map.insert(key, value);
        Ok(())
    }
}
