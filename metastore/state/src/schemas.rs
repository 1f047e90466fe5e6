//! Registered payload schemas: ids are global, versions count per subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, Field, Lsn, SchemaId, caps};

use crate::{Refusal, State};

/// What a new version is compared with. Enforced with the compatibility issue; kept and shown now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Compatibility {
    #[n(0)]
    None,
    #[n(1)]
    Backward,
    #[n(2)]
    BackwardTransitive,
    #[n(3)]
    Forward,
    #[n(4)]
    ForwardTransitive,
    #[n(5)]
    Full,
    #[n(6)]
    FullTransitive,
}

/// One schema text under its global id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Schema {
    #[n(0)]
    pub id: SchemaId,
    /// Derived from the text by the agent; equal texts have equal guids and so equal ids.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub guid: [u8; 16],
    /// `AVRO`.
    #[n(2)]
    pub format: String,
    #[n(3)]
    pub text: String,
    /// As columns, without ids.
    #[n(4)]
    pub columns: Vec<Field>,
    #[n(5)]
    pub registered_at: Lsn,
    #[n(6)]
    pub registered_time: ClusterTime,
}

/// A subject's versions. One without any has a level, which a client set before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Subject {
    /// Version → (schema, the entry that registered it here).
    #[n(0)]
    pub versions: BTreeMap<u32, (SchemaId, Lsn)>,
    #[n(1)]
    pub compatibility: Option<Compatibility>,
}

impl Subject {
    pub fn latest(&self) -> Option<(u32, SchemaId)> {
        self.versions
            .last_key_value()
            .map(|(version, (schema, _))| (*version, *schema))
    }
}

impl State {
    pub(crate) fn subject_or_new(&mut self, name: &str) -> Result<&mut Arc<Subject>, Refusal> {
        if !self.subjects.contains_key(name) {
            if self.subjects.len() >= caps::SCHEMAS_MAX {
                return Err(Refusal::Full {
                    what: "subjects".into(),
                    max: caps::SCHEMAS_MAX as u64,
                });
            }
            self.subjects.insert(name.to_owned(), Arc::default());
        }
        Ok(self.subjects.get_mut(name).expect("it is there by now"))
    }
}
