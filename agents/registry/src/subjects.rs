//! What both registry APIs do: parse, register, look up.
//!
//! Holds: an id is answered when the view has its schema, and *not there* is said behind a barrier.
//! Leaves to others: codes and texts (`confluent`, `v1`).

use std::sync::Arc;

use tarn_model::{SchemaFormat, SchemaId};
use tarn_replica::{BarrierError, ProposeError};
use tarn_schema::{ColumnsError, ParseError, PayloadSchema, PayloadSchemaError};
use tarn_state::commands::{DeleteSchemaVersions, RegisterSchema, SetCompatibility};
use tarn_state::{Command, Compatibility, Outcome, Refusal, Schema, SchemaRefusal, State, Subject};
use tokio::time::Instant;

use crate::registry::Registry;

/// Why a schema was not registered or found.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("schemas of type {0:?} are not served, only AVRO")]
    Format(String),
    #[error("schema references are not served yet: put the referenced types into the schema")]
    References,
    #[error("invalid Avro schema: {0}")]
    Parse(#[from] ParseError),
    #[error("no table can hold this schema: {0}")]
    Columns(#[from] ColumnsError),
    #[error("{0}")]
    Incompatible(String),
    #[error("Subject '{0}' not found.")]
    NoSubject(String),
    #[error("there is no version {0}")]
    NoVersion(u32),
    /// A version, or all, was deleted before.
    #[error("it was deleted before")]
    Deleted,
    /// It is to be deleted for good, and was not deleted before.
    #[error("it was not deleted before")]
    NotDeleted,
    /// What is to be deleted.
    #[error(
        "One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={subject},version={version}}}."
    )]
    Referenced { subject: String, version: u32 },
    /// What a schema refers to.
    #[error("No schema reference found for subject \"{subject}\" and version {version}")]
    NoReference { subject: String, version: u32 },
    #[error("{0}")]
    Refused(String),
    /// The log did not answer in time.
    #[error("{0}")]
    Late(String),
}

impl From<PayloadSchemaError> for SchemaError {
    fn from(error: PayloadSchemaError) -> SchemaError {
        match error {
            PayloadSchemaError::Format(format) => SchemaError::Format(format.name().to_owned()),
            PayloadSchemaError::Parse(error) => SchemaError::Parse(error),
        }
    }
}

impl From<BarrierError> for SchemaError {
    fn from(error: BarrierError) -> SchemaError {
        SchemaError::Late(error.to_string())
    }
}

impl From<ProposeError> for SchemaError {
    fn from(error: ProposeError) -> SchemaError {
        match error {
            ProposeError::Refused { refusal, .. } => match refusal {
                Refusal::Schema(refusal) => SchemaError::from(refusal),
                Refusal::Full { .. } => SchemaError::Refused(format!(
                    "{refusal}: there is room again when versions that nobody needs are deleted with permanent=true"
                )),
                refusal => SchemaError::Refused(refusal.to_string()),
            },
            other => SchemaError::Late(other.to_string()),
        }
    }
}

impl From<SchemaRefusal> for SchemaError {
    fn from(refusal: SchemaRefusal) -> SchemaError {
        match refusal {
            SchemaRefusal::ColumnsDoNotFit(why) => SchemaError::Incompatible(why),
            SchemaRefusal::NoSuchSubject(subject) => SchemaError::NoSubject(subject),
            SchemaRefusal::NoSuchSchemaVersion(version) => SchemaError::NoVersion(version),
            SchemaRefusal::SchemaVersionDeleted => SchemaError::Deleted,
            SchemaRefusal::SchemaVersionNotDeleted => SchemaError::NotDeleted,
            SchemaRefusal::NoSuchReference { subject, version } => {
                SchemaError::NoReference { subject, version }
            }
            SchemaRefusal::SchemaReferenced { subject, version } => {
                SchemaError::Referenced { subject, version }
            }
            SchemaRefusal::GuidOfAnother => SchemaError::Refused(refusal.to_string()),
        }
    }
}

/// A schema under a subject.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) version: u32,
    pub(super) schema: Arc<Schema>,
}

/// Which version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Latest,
    Number(u32),
}

/// Parses what a client sends as a schema.
pub(super) fn parse_schema(
    text: &str,
    format: Option<&str>,
    references: usize,
) -> Result<PayloadSchema, SchemaError> {
    let format = match format {
        None => SchemaFormat::Avro,
        Some(name) => {
            SchemaFormat::named(name).ok_or_else(|| SchemaError::Format(name.to_owned()))?
        }
    };
    if references > 0 {
        return Err(SchemaError::References);
    }
    Ok(PayloadSchema::parse(format, text, &[])?)
}

impl Registry {
    /// Registers a schema, or finds it under this subject. The compatibility level, if one is given,
    /// is set in the same proposal.
    pub(super) async fn register(
        &self,
        subject: &str,
        schema: &PayloadSchema,
        compatibility: Option<Compatibility>,
        deadline: Instant,
    ) -> Result<Version, SchemaError> {
        let view = self.metastore().view();
        if compatibility.is_none()
            && let Some(found) = find_guid(&view, subject, schema.guid(&[]))
        {
            return Ok(found);
        }
        let columns = match schema.columns() {
            Ok(columns) => columns,
            // Only a table needs columns: keys and topics without a table may be anything.
            Err(error) if has_table(&view, subject) => return Err(error.into()),
            Err(_) => Vec::new(),
        };
        let mut commands = Vec::new();
        let register = Command::RegisterSchema(RegisterSchema {
            subject: subject.to_owned(),
            guid: schema.guid(&[]),
            format: schema.format(),
            text: schema.canonical().to_owned(),
            columns,
            references: Vec::new(),
        });
        commands.push(register);
        if compatibility.is_some() {
            commands.push(Command::SetCompatibility(SetCompatibility {
                subject: Some(subject.to_owned()),
                compatibility,
            }));
        }
        let committed = self.metastore().propose(commands, deadline).await?;
        match committed.outcomes.first() {
            Some(Outcome::SchemaRegistered { id, version }) => {
                let schema = committed.view.schema(*id).cloned();
                let schema = schema
                    .ok_or_else(|| SchemaError::Late("the schema is not in the view".to_owned()))?;
                Ok(Version {
                    version: *version,
                    schema,
                })
            }
            other => Err(SchemaError::Refused(format!("registering gave {other:?}"))),
        }
    }

    /// Deletes a version, or all of them. Gives those that are deleted now.
    pub(super) async fn delete(
        &self,
        subject: &str,
        version: Option<u32>,
        permanent: bool,
        deadline: Instant,
    ) -> Result<Vec<u32>, SchemaError> {
        let command = Command::DeleteSchemaVersions(DeleteSchemaVersions {
            subject: subject.to_owned(),
            version,
            permanent,
        });
        let committed = self.metastore().propose(vec![command], deadline).await?;
        match committed.outcomes.into_iter().next() {
            Some(Outcome::SchemaVersionsDeleted(versions)) => Ok(versions),
            other => Err(SchemaError::Refused(format!("deleting gave {other:?}"))),
        }
    }

    /// Looks in the present view, and behind a barrier before it says that something is not there.
    pub(super) async fn find<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&State) -> Option<T>,
    ) -> Result<Option<T>, BarrierError> {
        if let Some(found) = look(&self.metastore().view()) {
            return Ok(Some(found));
        }
        let fresh = self.metastore().barrier(deadline).await?;
        Ok(look(&fresh))
    }
}

/// Does the subject type the table of a topic, now or as soon as the topic is created?
fn has_table(view: &State, subject: &str) -> bool {
    let Some(topic) = subject.strip_suffix("-value") else {
        return false;
    };
    view.topic_named(topic)
        .is_none_or(|topic| view.table(topic.id).is_some())
}

/// The version of a subject that has this schema.
pub(super) fn find_guid(state: &State, subject: &str, guid: [u8; 16]) -> Option<Version> {
    let id = state.schema_guids.get(&guid)?;
    let (version, _) = state
        .subject(subject)?
        .versions
        .iter()
        .rev()
        .find(|(_, (schema, _))| schema == id)?;
    Some(Version {
        version: *version,
        schema: state.schema(*id)?.clone(),
    })
}

/// `deleted`: also among those that were deleted.
pub(super) fn find_version(
    state: &State,
    subject: &str,
    which: Which,
    deleted: bool,
) -> Option<Version> {
    let subject = state.subject(subject)?;
    let gone = deleted.then_some(&subject.deleted);
    let (version, id) = match which {
        Which::Latest => {
            let newest = gone.and_then(|gone| gone.last_key_value());
            let newest = newest.map(|(version, (schema, _))| (*version, *schema));
            subject.latest().max(newest)?
        }
        Which::Number(version) => {
            let living = subject.versions.get(&version);
            let known = living.or_else(|| gone.and_then(|gone| gone.get(&version)));
            (version, known?.0)
        }
    };
    Some(Version {
        version,
        schema: state.schema(id)?.clone(),
    })
}

/// A subject counts as there once it has a version; a level alone is none.
pub(super) fn find_subject<'s>(state: &'s State, subject: &str) -> Option<&'s Arc<Subject>> {
    state
        .subject(subject)
        .filter(|subject| !subject.versions.is_empty())
}

/// Where a schema is registered.
pub(super) fn versions_of(state: &State, id: SchemaId) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for (name, subject) in &state.subjects {
        for (version, (schema, _)) in &subject.versions {
            if *schema == id {
                found.push((name.clone(), *version));
            }
        }
    }
    found
}

pub(super) fn guid(schema: &Schema) -> String {
    uuid::Uuid::from_bytes(schema.guid).to_string()
}

pub(super) fn level_name(level: Compatibility) -> &'static str {
    match level {
        Compatibility::None => "NONE",
        Compatibility::Backward => "BACKWARD",
        Compatibility::BackwardTransitive => "BACKWARD_TRANSITIVE",
        Compatibility::Forward => "FORWARD",
        Compatibility::ForwardTransitive => "FORWARD_TRANSITIVE",
        Compatibility::Full => "FULL",
        Compatibility::FullTransitive => "FULL_TRANSITIVE",
    }
}

/// In upper or lower case.
pub(super) fn parse_level(text: &str) -> Option<Compatibility> {
    const ALL: [Compatibility; 7] = [
        Compatibility::None,
        Compatibility::Backward,
        Compatibility::BackwardTransitive,
        Compatibility::Forward,
        Compatibility::ForwardTransitive,
        Compatibility::Full,
        Compatibility::FullTransitive,
    ];
    ALL.into_iter()
        .find(|level| level_name(*level).eq_ignore_ascii_case(text))
}
