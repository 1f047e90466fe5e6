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

pub use tarn_model::frames::SnapshotError;
pub(crate) use tarn_model::frames::{Ascending, Frames, Reader};

use crate::State;
use crate::level::FeatureLevel;

/// One part of a state snapshot, and how it becomes bytes and back.
pub(crate) struct Section {
    /// Never changes its meaning. Sections stand in the order of their numbers.
    pub(crate) number: u16,
    pub(crate) since: FeatureLevel,
    pub(crate) write: fn(&State, &mut Frames<'_>),
    /// Reads all frames of the section.
    pub(crate) read: fn(&mut State, &mut Reader<'_>) -> Result<(), SnapshotError>,
}
