//! What a state snapshot holds of schemas.

use minicbor::{Decode, Encode};
use tarn_model::SchemaId;

use super::types::Compatibility;
use crate::State;
use crate::level::FeatureLevel;
use crate::snapshot::section::{Section, SnapshotError};

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        number: 40,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            frames.put(&Numbers {
                next_schema: state.next_schema,
                compatibility: state.compatibility,
            })
        },
        read: |state, reader| {
            let numbers: Numbers = reader.frame()?;
            state.next_schema = numbers.next_schema;
            state.compatibility = numbers.compatibility;
            Ok(())
        },
    },
    Section {
        number: 41,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.shared_map(&state.schemas),
        read: |state, reader| {
            state.schemas = reader.shared_map()?;
            Ok(())
        },
    },
    Section {
        number: 42,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.shared_map(&state.subjects),
        read: |state, reader| {
            state.subjects = reader.shared_map()?;
            Ok(())
        },
    },
];

#[derive(Debug, Encode, Decode)]
struct Numbers {
    #[n(0)]
    next_schema: SchemaId,
    #[n(1)]
    compatibility: Compatibility,
}

impl State {
    pub(crate) fn derive_schemas(&mut self) -> Result<(), SnapshotError> {
        self.schema_guids = self
            .schemas
            .iter()
            .map(|(id, schema)| (schema.guid, *id))
            .collect();
        if self.schema_guids.len() != self.schemas.len() {
            return Err(SnapshotError::Torn("two schemas have one guid"));
        }
        self.schema_bytes = self.schemas.values().map(|schema| schema.size()).sum();
        self.schema_references = self.counted_schema_references();
        self.schema_uses = self.counted_schema_uses();
        Ok(())
    }
}
