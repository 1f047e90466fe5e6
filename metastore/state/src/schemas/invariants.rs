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
        let texts = self.schemas.values().map(|schema| schema.text.len() as u64);
        let counted = self.schema_uses == self.counted_schema_uses()
            && self.schema_uses.len() == self.schemas.len()
            && self.schema_bytes == texts.sum();
        ensure("schemas", counted, || "their counts differ".into())
    }
}
