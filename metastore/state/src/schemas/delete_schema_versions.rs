//! Deletes versions of a subject, in two steps as in Confluent's registry: a deleted version is no
//! longer listed and registers anew, but whoever has its number or its schema's id still finds it; a
//! version that is deleted for good is gone, and so is its schema once no other version, no table and no
//! other schema names it. A table names the schemas of its topic's records for as long as it may have to
//! read them. A version that a living one refers to cannot be deleted, in neither step.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::refusal::SchemaRefusal;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteSchemaVersions {
    #[n(0)]
    pub subject: String,
    /// `None`: all of them, and the subject's own compatibility level.
    #[n(1)]
    pub version: Option<u32>,
    /// Deletes for good what was deleted before.
    #[n(2)]
    pub permanent: bool,
}

impl DeleteSchemaVersions {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let unknown = || Refusal::Schema(SchemaRefusal::NoSuchSubject(self.subject.clone()));
        let subject = state.subjects.get(&self.subject).ok_or_else(unknown)?;
        if subject.versions.is_empty() && subject.deleted.is_empty() {
            return Err(unknown());
        }
        let deleted = subject.deleted.keys().filter(|_| self.permanent);
        for version in subject.versions.keys().chain(deleted) {
            if self.version.is_none_or(|asked| asked == *version) {
                state.ensure_unreferenced(&self.subject, *version)?;
            }
        }
        let subject = state.subjects.get_mut(&self.subject);
        let subject = Arc::make_mut(subject.expect("it was just found"));
        let (from, other) = match self.permanent {
            true => (&mut subject.deleted, &mut subject.versions),
            false => (&mut subject.versions, &mut subject.deleted),
        };
        // Deleted already, or to be deleted first.
        let in_other_step = || match self.permanent {
            true => Refusal::Schema(SchemaRefusal::SchemaVersionNotDeleted),
            false => Refusal::Schema(SchemaRefusal::SchemaVersionDeleted),
        };
        let taken = match self.version {
            Some(version) => match from.remove(&version) {
                Some(known) => vec![(version, known)],
                None if other.contains_key(&version) => return Err(in_other_step()),
                None => return Err(SchemaRefusal::NoSuchSchemaVersion(version).into()),
            },
            None if from.is_empty() || (self.permanent && !other.is_empty()) => {
                return Err(in_other_step());
            }
            None => std::mem::take(from).into_iter().collect(),
        };
        let versions = taken.iter().map(|(version, _)| *version).collect();
        if !self.permanent {
            other.extend(taken.iter().copied());
            if self.version.is_none() {
                subject.compatibility = None;
            }
        }
        if subject.is_empty() {
            state.subjects.remove(&self.subject);
        }
        for (_, (schema, _)) in taken {
            match self.permanent {
                true => state.release_schema(schema),
                false => state.refer_no_more_from(schema),
            }
        }
        Ok(Outcome::SchemaVersionsDeleted(versions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::{DeleteTopic, RegisterSchema};
    use crate::harness::{Cluster, topic};
    use tarn_model::{SchemaFormat, SchemaId, caps};

    fn register(cluster: &mut Cluster, subject: &str, guid: u8) -> Result<(u32, u32), Refusal> {
        let command = RegisterSchema {
            subject: subject.into(),
            guid: [guid; 16],
            format: SchemaFormat::Avro,
            text: guid.to_string(),
            columns: Vec::new(),
            references: Vec::new(),
        };
        match cluster.run(Command::RegisterSchema(command))? {
            Outcome::SchemaRegistered { id, version } => Ok((id.0, version)),
            other => unreachable!("{other:?}"),
        }
    }

    fn delete(
        cluster: &mut Cluster,
        subject: &str,
        version: Option<u32>,
        permanent: bool,
    ) -> Result<Vec<u32>, Refusal> {
        let command = DeleteSchemaVersions {
            subject: subject.into(),
            version,
            permanent,
        };
        let outcome = cluster.run(Command::DeleteSchemaVersions(command));
        cluster.state.check_invariants().unwrap();
        match outcome? {
            Outcome::SchemaVersionsDeleted(versions) => Ok(versions),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_version_goes_in_two_steps_and_its_number_stays_taken_between_them() {
        let mut cluster = Cluster::one();
        register(&mut cluster, "s", 1).unwrap();
        register(&mut cluster, "s", 2).unwrap();
        let unknown = Err(Refusal::Schema(SchemaRefusal::NoSuchSubject("t".into())));
        assert_eq!(delete(&mut cluster, "t", None, false), unknown);
        let missing = Err(Refusal::Schema(SchemaRefusal::NoSuchSchemaVersion(3)));
        assert_eq!(delete(&mut cluster, "s", Some(3), false), missing);
        let first = Err(Refusal::Schema(SchemaRefusal::SchemaVersionNotDeleted));
        assert_eq!(delete(&mut cluster, "s", Some(2), true), first);
        assert_eq!(delete(&mut cluster, "s", Some(2), false), Ok(vec![2]));
        let again = Err(Refusal::Schema(SchemaRefusal::SchemaVersionDeleted));
        assert_eq!(delete(&mut cluster, "s", Some(2), false), again);
        // Its schema is there, and registers as a version of its own.
        assert_eq!(cluster.state.schemas.len(), 2);
        assert_eq!(register(&mut cluster, "s", 2), Ok((2, 3)));
        assert_eq!(delete(&mut cluster, "s", Some(2), true), Ok(vec![2]));
        assert!(cluster.state.schemas.contains_key(&SchemaId(2)));
        let living = Err(Refusal::Schema(SchemaRefusal::SchemaVersionNotDeleted));
        assert_eq!(delete(&mut cluster, "s", None, true), living);
        assert_eq!(delete(&mut cluster, "s", None, false), Ok(vec![1, 3]));
        let deleted = Err(Refusal::Schema(SchemaRefusal::SchemaVersionDeleted));
        assert_eq!(delete(&mut cluster, "s", None, false), deleted);
        assert_eq!(delete(&mut cluster, "s", None, true), Ok(vec![1, 3]));
        let state = &cluster.state;
        assert!(state.subjects.is_empty() && state.schemas.is_empty());
        assert!(state.schema_guids.is_empty() && state.schema_bytes == 0);
        // Ids are never given out again; versions of a subject that is gone are.
        assert_eq!(register(&mut cluster, "s", 1), Ok((3, 1)));
    }

    #[test]
    fn a_cluster_that_is_full_of_schemas_takes_new_ones_again() {
        let mut cluster = Cluster::one();
        register(&mut cluster, "old", 1).unwrap();
        cluster.state.schema_bytes = caps::SCHEMAS_BYTES_MAX;
        let full = register(&mut cluster, "new", 2).unwrap_err();
        assert!(matches!(full, Refusal::Full { .. }), "{full}");
        cluster.state.schema_bytes = 1;
        delete(&mut cluster, "old", None, false).unwrap();
        delete(&mut cluster, "old", None, true).unwrap();
        assert_eq!(cluster.state.schema_bytes, 0);
        register(&mut cluster, "new", 2).unwrap();
    }

    #[test]
    fn what_a_table_may_have_to_read_by_stays_until_it_has() {
        let mut cluster = Cluster::with_topic("orders", 1);
        register(&mut cluster, "orders-value", 1).unwrap();
        let since = cluster.of_topic(7).schemas[&SchemaId(1)];
        delete(&mut cluster, "orders-value", None, false).unwrap();
        // Registered again it is the same to the records before.
        register(&mut cluster, "orders-value", 1).unwrap();
        assert_eq!(cluster.of_topic(7).schemas[&SchemaId(1)], since);
        delete(&mut cluster, "orders-value", None, false).unwrap();
        delete(&mut cluster, "orders-value", None, true).unwrap();
        assert!(cluster.state.subjects.is_empty() && cluster.state.schemas.len() == 1);
        cluster
            .run(Command::DeleteTopic(DeleteTopic { id: topic(7) }))
            .unwrap();
        assert!(cluster.state.schemas.is_empty());
        cluster.state.check_invariants().unwrap();
    }
}
