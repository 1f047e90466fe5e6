//! What a state snapshot holds of tables.

use crate::level::FeatureLevel;
use crate::snapshot::section::Section;

pub(crate) const SECTIONS: &[Section] = &[Section {
    number: 50,
    since: FeatureLevel::ONE,
    write: |state, frames| frames.shared_map(&state.tables),
    read: |state, reader| {
        state.tables = reader.shared_map()?;
        Ok(())
    },
}];
