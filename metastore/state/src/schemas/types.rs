//! Registered payload schemas: ids are global, versions count per subject.
//!
//! Holds: a schema is there as long as a version, a table or another schema names it, and no longer.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, Field, Lsn, SchemaFormat, SchemaId, SchemaReference, TopicId, caps};

use crate::{Refusal, State, Table, TopicTable};

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
    /// Derived by the agent from format, text and references; equal ones have equal guids and so
    /// equal ids.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub guid: [u8; 16],
    #[n(2)]
    pub format: SchemaFormat,
    #[n(3)]
    pub text: String,
    /// As columns, without ids.
    #[n(4)]
    pub columns: Vec<Field>,
    #[n(5)]
    pub registered_at: Lsn,
    #[n(6)]
    pub registered_time: ClusterTime,
    /// In the order in which its text was registered with them.
    #[n(7)]
    pub references: Vec<ResolvedReference>,
}

/// What a schema refers to, and the schema that this was when it was registered: that stays as long as
/// the one that refers to it, whatever becomes of the version.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ResolvedReference {
    #[n(0)]
    pub reference: SchemaReference,
    #[n(1)]
    pub schema: SchemaId,
}

impl Schema {
    /// What it counts towards the bytes of all schemas.
    pub(crate) fn size(&self) -> u64 {
        let names = self.references.iter().map(|at| at.reference.size() as u64);
        names.fold(self.text.len() as u64, u64::saturating_add)
    }

    pub fn references(&self) -> impl Iterator<Item = &SchemaReference> {
        self.references.iter().map(|at| &at.reference)
    }
}

/// A subject's versions. One without any has a level, which a client set before, or deleted ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Subject {
    /// Version → (schema, the entry that registered it here).
    #[n(0)]
    pub versions: BTreeMap<u32, (SchemaId, Lsn)>,
    #[n(1)]
    pub compatibility: Option<Compatibility>,
    /// Versions that were deleted and can still be asked for, until they are deleted for good.
    #[n(2)]
    pub deleted: BTreeMap<u32, (SchemaId, Lsn)>,
}

impl Subject {
    /// Is there nothing of it but its name?
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.deleted.is_empty() && self.compatibility.is_none()
    }

    /// The version that its next schema gets: above those that were deleted, too.
    pub(crate) fn next_version(&self) -> u32 {
        let newest = |versions: &BTreeMap<u32, _>| versions.keys().next_back().copied();
        newest(&self.versions)
            .max(newest(&self.deleted))
            .unwrap_or(0)
            .saturating_add(1)
    }

    pub fn latest(&self) -> Option<(u32, SchemaId)> {
        self.versions
            .last_key_value()
            .map(|(version, (schema, _))| (*version, *schema))
    }
}

impl State {
    /// One more version or table names the schema.
    pub(crate) fn use_schema(&mut self, id: SchemaId) {
        *self.schema_uses.entry(id).or_insert(0) += 1;
    }

    /// One less does. What nobody names is gone, and with it its own uses of others.
    pub(crate) fn release_schema(&mut self, id: SchemaId) {
        let mut released = vec![id];
        while let Some(id) = released.pop() {
            let Some(uses) = self.schema_uses.get_mut(&id) else {
                debug_assert!(false, "every schema is counted");
                continue;
            };
            *uses = uses.saturating_sub(1);
            if *uses > 0 {
                continue;
            }
            self.schema_uses.remove(&id);
            if let Some(schema) = self.schemas.remove(&id) {
                self.schema_guids.remove(&schema.guid);
                self.schema_bytes = self.schema_bytes.saturating_sub(schema.size());
                released.extend(schema.references.iter().map(|at| at.schema));
            }
        }
    }

    /// What `schema_uses` follows from.
    pub(crate) fn counted_schema_uses(&self) -> OrdMap<SchemaId, u64> {
        let mut uses: BTreeMap<SchemaId, u64> = BTreeMap::new();
        for subject in self.subjects.values() {
            let versions = subject.versions.values().chain(subject.deleted.values());
            for (id, _) in versions {
                *uses.entry(*id).or_insert(0) += 1;
            }
        }
        for table in self.tables.values() {
            for id in self.schemas_to_read(table) {
                *uses.entry(id).or_insert(0) += 1;
            }
        }
        for schema in self.schemas.values() {
            for reference in &schema.references {
                *uses.entry(reference.schema).or_insert(0) += 1;
            }
        }
        uses.into_iter().collect()
    }

    /// Those that the table of a topic may have to read records by: none once the topic is deleted and
    /// its table has taken everything.
    pub(crate) fn schemas_to_read<'t>(
        &self,
        table: &'t Table,
    ) -> impl Iterator<Item = SchemaId> + use<'t> {
        let reads = |of: &&TopicTable| of.detached.is_none() || self.has_leftovers(of.topic);
        let read = table.of_topic().filter(reads).into_iter();
        read.flat_map(|of| of.schemas.keys().copied())
    }

    /// The table of a deleted topic has taken everything: no record is read by its schemas any more.
    pub(crate) fn release_schemas_of_table(&mut self, topic: TopicId) {
        let Some(table) = self.table_of(topic).map(Arc::clone) else {
            return;
        };
        for id in table
            .of_topic()
            .into_iter()
            .flat_map(|of| of.schemas.keys())
        {
            self.release_schema(*id);
        }
    }

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
