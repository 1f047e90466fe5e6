//! Registers a schema under a subject and gives new columns their field ids.
//!
//! The same schema (by guid: format, text and references) under the same subject gives the version that
//! is there; under another subject the same id. What it refers to has to be there. When the subject is `<topic>-value` of a topic with a table, the table's
//! columns grow in the same entry, or the registration is refused with what does not fit.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, Field, SchemaFormat, SchemaId, SchemaReference, caps};

use super::refusal::SchemaRefusal;
use super::types::ResolvedReference;
use crate::{Context, Outcome, Refusal, Schema, State};
use tarn_model::{Columns, check_columns};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RegisterSchema {
    #[n(0)]
    pub subject: String,
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
    /// What the text takes from other schemas.
    #[n(5)]
    pub references: Vec<SchemaReference>,
}

impl RegisterSchema {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        self.check()?;
        let known = self.known(state)?;
        if let (Some(id), Some(subject)) = (known, state.subjects.get(&self.subject))
            && let Some((version, _)) = subject
                .versions
                .iter()
                .find(|(_, (schema, _))| *schema == id)
        {
            return Ok(Outcome::SchemaRegistered {
                id,
                version: *version,
            });
        }
        let references = state.resolve_references(&self.text, &self.references)?;
        let id = match known {
            Some(id) => id,
            None => self.add_schema(references, state, ctx)?,
        };
        let version = self.add_version(id, state, ctx)?;
        self.grow_table(id, state, ctx)?;
        Ok(Outcome::SchemaRegistered { id, version })
    }

    /// The same schema, if it is registered.
    fn known(&self, state: &State) -> Result<Option<SchemaId>, SchemaRefusal> {
        let Some(id) = state.schema_guids.get(&self.guid) else {
            return Ok(None);
        };
        let is_same = state.schemas.get(id).is_some_and(|schema| {
            schema.format == self.format
                && schema.text == self.text
                && schema.references().eq(&self.references)
        });
        is_same
            .then_some(Some(*id))
            .ok_or(SchemaRefusal::GuidOfAnother)
    }

    fn check(&self) -> Result<(), Refusal> {
        let names = self.references.iter().map(SchemaReference::size);
        if names.fold(self.text.len(), usize::saturating_add) > caps::SCHEMA_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::SCHEMA_BYTES_MAX as u64),
            });
        }
        if self.references.len() > caps::SCHEMA_REFERENCES_MAX {
            return Err(Refusal::Full {
                what: "references of a schema".into(),
                max: caps::SCHEMA_REFERENCES_MAX as u64,
            });
        }
        if self.subject.len() > caps::NAME_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
            });
        }
        Ok(check_columns(&self.columns)?)
    }

    fn add_schema(
        &self,
        references: Vec<ResolvedReference>,
        state: &mut State,
        ctx: &Context,
    ) -> Result<SchemaId, Refusal> {
        let full = || Refusal::Full {
            what: "schemas".into(),
            max: caps::SCHEMAS_MAX as u64,
        };
        if state.schemas.len() >= caps::SCHEMAS_MAX {
            return Err(full());
        }
        let id = state.next_schema;
        let schema = Schema {
            id,
            guid: self.guid,
            format: self.format,
            text: self.text.clone(),
            columns: self.columns.clone(),
            registered_at: ctx.lsn,
            registered_time: ctx.cluster_time,
            references,
        };
        let bytes = state.schema_bytes.saturating_add(schema.size());
        if bytes > caps::SCHEMAS_BYTES_MAX {
            return Err(Refusal::Full {
                what: "bytes of schemas".into(),
                max: caps::SCHEMAS_BYTES_MAX,
            });
        }
        state.schema_bytes = bytes;
        state.next_schema = SchemaId(id.0.checked_add(1).ok_or_else(full)?);
        for needed in &schema.references {
            state.use_schema(needed.schema);
        }
        state.schemas.insert(id, Arc::new(schema));
        state.schema_guids.insert(self.guid, id);
        Ok(id)
    }

    fn add_version(&self, id: SchemaId, state: &mut State, ctx: &Context) -> Result<u32, Refusal> {
        let subject = Arc::make_mut(state.subject_or_new(&self.subject)?);
        // Each living version names another schema, of which there are at most `SCHEMAS_MAX`; the deleted
        // ones are bounded with them.
        if subject.deleted.len() >= caps::SCHEMAS_MAX {
            return Err(Refusal::Full {
                what: "deleted versions of a subject".into(),
                max: caps::SCHEMAS_MAX as u64,
            });
        }
        let version = subject.next_version();
        subject.versions.insert(version, (id, ctx.lsn));
        state.use_schema(id);
        state.refer_from(id);
        Ok(version)
    }

    /// The column exists in the same entry as the schema.
    fn grow_table(&self, id: SchemaId, state: &mut State, ctx: &Context) -> Result<(), Refusal> {
        let Some(table) = state.table_of_subject(&self.subject) else {
            return Ok(());
        };
        let table = Arc::make_mut(state.tables.get_mut(&table).expect("it was just found"));
        let mut columns = Columns {
            fields: table.columns.clone(),
            last_id: table.last_field_id,
        };
        columns.merge(&self.columns)?;
        table.change_columns(columns.fields, columns.last_id);
        let of = table.of_topic_mut().expect("it has a subject's topic");
        of.typed = true;
        // Deleted and registered again it is what it was to the records since the first time.
        if let Entry::Vacant(place) = of.schemas.entry(id) {
            place.insert(ctx.lsn);
            state.use_schema(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::{Cluster, topic};
    use tarn_model::{ColumnType, FieldId};

    fn register(
        cluster: &mut Cluster,
        subject: &str,
        guid: u8,
        columns: Vec<Field>,
    ) -> Result<Outcome, Refusal> {
        let (subject, format, text) = (subject.into(), SchemaFormat::Avro, guid.to_string());
        cluster.run(Command::RegisterSchema(RegisterSchema {
            subject,
            guid: [guid; 16],
            format,
            text,
            columns,
            references: Vec::new(),
        }))
    }

    fn registered(id: u32, version: u32) -> Result<Outcome, Refusal> {
        Ok(Outcome::SchemaRegistered {
            id: SchemaId(id),
            version,
        })
    }

    #[test]
    fn ids_are_global_and_versions_count_per_subject() {
        let mut cluster = Cluster::one();
        let columns = || vec![Field::new("id", ColumnType::Long)];
        assert_eq!(register(&mut cluster, "a", 1, columns()), registered(1, 1));
        assert_eq!(register(&mut cluster, "a", 2, columns()), registered(2, 2));
        assert_eq!(register(&mut cluster, "b", 2, columns()), registered(2, 1));
        let at = cluster.state.subjects["a"].versions[&1].1;
        assert_eq!(register(&mut cluster, "a", 1, columns()), registered(1, 1));
        assert_eq!(cluster.state.subjects["a"].versions[&1], (SchemaId(1), at));
        assert_eq!(cluster.state.schemas.len(), 2);
    }

    #[test]
    fn the_column_exists_in_the_entry_of_the_schema() {
        let mut cluster = Cluster::with_topic("orders", 1);
        register(
            &mut cluster,
            "orders-value",
            1,
            vec![Field::new("id", ColumnType::Int)],
        )
        .unwrap();
        let first = cluster.state.lsn();
        register(
            &mut cluster,
            "orders-key",
            3,
            vec![Field::new("key", ColumnType::Int)],
        )
        .unwrap();
        let columns = vec![
            Field::new("id", ColumnType::Long),
            Field::new("name", ColumnType::String),
        ];
        register(&mut cluster, "orders-value", 2, columns).unwrap();
        let table = cluster.state.table(topic(7)).unwrap();
        let of = table.of_topic().unwrap();
        assert!(of.typed && of.with_value);
        let named: Vec<_> = table
            .columns
            .iter()
            .map(|field| (field.id, field.name.as_str()))
            .collect();
        assert_eq!(named, [(FieldId(100), "id"), (FieldId(101), "name")]);
        assert_eq!(table.columns[0].kind, ColumnType::Long);
        assert_eq!((table.last_field_id, table.schema_id), (101, 2));
        let schemas: Vec<_> = of.schemas.iter().map(|(id, at)| (id.0, *at)).collect();
        assert_eq!(schemas, [(1, first), (3, cluster.state.lsn())]);
    }

    #[test]
    fn what_does_not_fit_the_table_registers_nothing() {
        let mut cluster = Cluster::with_topic("orders", 1);
        register(
            &mut cluster,
            "orders-value",
            1,
            vec![Field::new("id", ColumnType::String)],
        )
        .unwrap();
        let before = cluster.state.clone();
        let columns = vec![
            Field::new("new", ColumnType::Int),
            Field::new("id", ColumnType::Int),
        ];
        let refused = register(&mut cluster, "orders-value", 2, columns.clone()).unwrap_err();
        let reason = "column id is varchar in the table and int in the schema; Iceberg cannot turn one into the other";
        assert_eq!(refused.to_string(), reason);
        assert_eq!(cluster.state.schemas, before.schemas);
        assert_eq!(cluster.state.subjects, before.subjects);
        assert_eq!(cluster.state.tables, before.tables);
        register(&mut cluster, "elsewhere", 2, columns).unwrap();
    }

    #[test]
    fn too_long_a_text_is_refused() {
        let mut cluster = Cluster::one();
        let text = "x".repeat(caps::SCHEMA_BYTES_MAX + 1);
        let (subject, format) = ("s".into(), SchemaFormat::Avro);
        let schema = RegisterSchema {
            subject,
            guid: [1; 16],
            format,
            text,
            columns: Vec::new(),
            references: Vec::new(),
        };
        assert!(matches!(
            cluster.run(Command::RegisterSchema(schema)),
            Err(Refusal::TooLong { .. })
        ));
    }
}
