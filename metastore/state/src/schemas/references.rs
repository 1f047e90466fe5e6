//! Which schemas refer to which.
//!
//! Holds: a schema's references are older than itself, so they end; what it needs, directly or by
//! others, is bounded in number and bytes when it is registered; a version that a living version refers
//! to cannot be deleted, as in Confluent's registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use tarn_model::{ByteSize, SchemaId, SchemaReference, caps};

use super::refusal::SchemaRefusal;
use super::types::{ResolvedReference, Schema};
use crate::{Refusal, State};

/// A version of a subject.
pub(crate) type SubjectVersion = (String, u32);

impl State {
    /// What the references name now, living or deleted.
    pub(crate) fn resolve_references(
        &self,
        text: &str,
        references: &[SchemaReference],
    ) -> Result<Vec<ResolvedReference>, Refusal> {
        let mut resolved = Vec::with_capacity(references.len());
        for reference in references {
            let subject = self.subjects.get(&reference.subject);
            let found = subject.and_then(|subject| {
                let living = subject.versions.get(&reference.version);
                living.or_else(|| subject.deleted.get(&reference.version))
            });
            let (schema, _) = *found.ok_or_else(|| SchemaRefusal::NoSuchReference {
                subject: reference.subject.clone(),
                version: reference.version,
            })?;
            resolved.push(ResolvedReference {
                reference: reference.clone(),
                schema,
            });
        }
        let mut needed = Closure::default();
        needed.add_all(&self.schemas, &resolved);
        if needed.is_full {
            return Err(Refusal::Full {
                what: "references of a schema".into(),
                max: caps::SCHEMA_REFERENCES_MAX as u64,
            });
        }
        let texts = needed.schemas.iter().map(|schema| schema.text.len());
        if texts.fold(text.len(), usize::saturating_add) > caps::SCHEMA_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::SCHEMA_BYTES_MAX as u64),
            });
        }
        Ok(resolved)
    }

    /// A version with this schema lives from now on.
    pub(crate) fn refer_from(&mut self, id: SchemaId) {
        for version in self.versions_needed_by(id) {
            *self.schema_references.entry(version).or_insert(0) += 1;
        }
    }

    /// It does not any more.
    pub(crate) fn refer_no_more_from(&mut self, id: SchemaId) {
        for version in self.versions_needed_by(id) {
            let Some(count) = self.schema_references.get_mut(&version) else {
                debug_assert!(false, "every reference of a living version is counted");
                continue;
            };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.schema_references.remove(&version);
            }
        }
    }

    fn versions_needed_by(&self, id: SchemaId) -> Vec<SubjectVersion> {
        let schema = self.schemas.get(&id).map(Arc::clone);
        let named = schema.iter().flat_map(|schema| schema.references());
        named.map(version_of).collect()
    }

    /// Refuses if a living version refers to this one.
    pub(crate) fn ensure_unreferenced(
        &self,
        subject: &str,
        version: u32,
    ) -> Result<(), SchemaRefusal> {
        let subject = subject.to_owned();
        let version = (subject, version);
        if !self.schema_references.contains_key(&version) {
            return Ok(());
        }
        let (subject, version) = version;
        Err(SchemaRefusal::SchemaReferenced { subject, version })
    }

    /// What `schema_references` follows from.
    pub(crate) fn counted_schema_references(&self) -> OrdMap<SubjectVersion, u64> {
        let mut counts: BTreeMap<SubjectVersion, u64> = BTreeMap::new();
        for subject in self.subjects.values() {
            for (id, _) in subject.versions.values() {
                for version in self.versions_needed_by(*id) {
                    *counts.entry(version).or_insert(0) += 1;
                }
            }
        }
        counts.into_iter().collect()
    }
}

/// What a schema needs to be understood, directly or by others: each once, after those that it needs itself.
pub fn referenced_schemas(
    schemas: &OrdMap<SchemaId, Arc<Schema>>,
    schema: &Schema,
) -> Vec<Arc<Schema>> {
    let mut found = Closure::default();
    found.add_all(schemas, &schema.references);
    found.schemas
}

fn version_of(reference: &SchemaReference) -> SubjectVersion {
    (reference.subject.clone(), reference.version)
}

/// Follows references, and no further than a schema may have them.
#[derive(Default)]
struct Closure {
    seen: BTreeSet<SchemaId>,
    schemas: Vec<Arc<Schema>>,
    is_full: bool,
}

impl Closure {
    /// Goes as deep as there are references of one schema, of which there are few.
    fn add_all(
        &mut self,
        schemas: &OrdMap<SchemaId, Arc<Schema>>,
        references: &[ResolvedReference],
    ) {
        for reference in references {
            if self.seen.contains(&reference.schema) {
                continue;
            }
            if self.seen.len() == caps::SCHEMA_REFERENCES_MAX {
                self.is_full = true;
                return;
            }
            self.seen.insert(reference.schema);
            if let Some(schema) = schemas.get(&reference.schema) {
                self.add_all(schemas, &schema.references);
                self.schemas.push(Arc::clone(schema));
            }
        }
    }
}

#[cfg(test)]
mod tests;
