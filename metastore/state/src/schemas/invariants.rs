//! What always holds of schemas.

use crate::State;
use crate::invariants::{Check, ensure};

impl State {
    pub(crate) fn check_schemas(&self) -> Check {
        ensure(
            "schemas",
            self.schemas.len() == self.schema_guids.len(),
            || "guids and ids differ in number".into(),
        )?;
        for (id, schema) in &self.schemas {
            let known = schema.id == *id
                && *id < self.next_schema
                && self.schema_guids.get(&schema.guid) == Some(id);
            ensure("schemas", known, || format!("schema {id}"))?;
            // Older than itself, so that following them comes to an end.
            let mut needed = schema.references.iter().map(|at| at.schema);
            let is_whole = needed.all(|needed| needed < *id && self.schemas.contains_key(&needed));
            ensure("schema-references", is_whole, || {
                format!("schema {id} refers to what is not there")
            })?;
        }
        for (name, subject) in &self.subjects {
            let known = subject
                .versions
                .values()
                .chain(subject.deleted.values())
                .all(|(schema, _)| self.schemas.contains_key(schema));
            ensure("schemas", known, || {
                format!("subject {name:?} names one that is not there")
            })?;
        }
        for (name, version) in self.schema_references.keys() {
            let subject = self.subjects.get(name);
            let known = subject.is_some_and(|subject| {
                subject.versions.contains_key(version) || subject.deleted.contains_key(version)
            });
            ensure("schema-references", known, || {
                format!("version {version} of {name:?} is referred to and not there")
            })?;
        }
        let sizes = self.schemas.values().map(|schema| schema.size());
        let counted = self.schema_uses == self.counted_schema_uses()
            && self.schema_uses.len() == self.schemas.len()
            && self.schema_bytes == sizes.sum()
            && self.schema_references == self.counted_schema_references();
        ensure("schemas", counted, || "their counts differ".into())
    }
}
