//! Sets the compatibility level of a subject, or of all that have none of their own.
//!
//! A subject may have a level before it has a version; without either it is not there.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, caps};

use super::refusal::SchemaRefusal;
use crate::{Compatibility, Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SetCompatibility {
    /// `None`: the global one.
    #[n(0)]
    pub subject: Option<String>,
    /// `None`: back to the global one.
    #[n(1)]
    pub compatibility: Option<Compatibility>,
}

impl SetCompatibility {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        match &self.subject {
            None => state.compatibility = self.compatibility.unwrap_or(Compatibility::Backward),
            Some(name) => self.set_of_subject(name, state)?,
        }
        Ok(Outcome::Done)
    }

    fn set_of_subject(&self, name: &str, state: &mut State) -> Result<(), Refusal> {
        if self.compatibility.is_none() && !state.subjects.contains_key(name) {
            return Err(SchemaRefusal::NoSuchSubject(name.to_owned()).into());
        }
        if name.len() > caps::NAME_BYTES_MAX {
            return Err(Refusal::TooLong {
                max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
            });
        }
        let subject = Arc::make_mut(state.subject_or_new(name)?);
        subject.compatibility = self.compatibility;
        if subject.is_empty() {
            state.subjects.remove(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::SchemaFormat;

    use super::*;
    use crate::Command;
    use crate::commands::RegisterSchema;
    use crate::harness::Cluster;

    #[test]
    fn a_subject_has_its_own_or_the_global_one() {
        let mut cluster = Cluster::one();
        let set = |subject: Option<&str>, compatibility| {
            Command::SetCompatibility(SetCompatibility {
                subject: subject.map(str::to_owned),
                compatibility,
            })
        };
        cluster.run(set(None, Some(Compatibility::Full))).unwrap();
        assert_eq!(cluster.state.compatibility, Compatibility::Full);
        cluster.run(set(None, None)).unwrap();
        assert_eq!(cluster.state.compatibility, Compatibility::Backward);
        let refused = cluster.run(set(Some("s"), None));
        assert_eq!(
            refused,
            Err(Refusal::Schema(SchemaRefusal::NoSuchSubject("s".into())))
        );
        let (subject, format, text) = ("s".into(), SchemaFormat::Avro, "1".into());
        let register = RegisterSchema {
            subject,
            guid: [1; 16],
            format,
            text,
            columns: Vec::new(),
            references: Vec::new(),
        };
        cluster.run(Command::RegisterSchema(register)).unwrap();
        cluster
            .run(set(Some("s"), Some(Compatibility::None)))
            .unwrap();
        assert_eq!(
            cluster.state.subjects["s"].compatibility,
            Some(Compatibility::None)
        );
        cluster.run(set(Some("s"), None)).unwrap();
        assert_eq!(cluster.state.subjects["s"].versions.len(), 1);
    }

    #[test]
    fn a_level_may_come_before_the_first_version_and_goes_without_a_trace() {
        let mut cluster = Cluster::one();
        let set = |subject: &str, compatibility| {
            Command::SetCompatibility(SetCompatibility {
                subject: Some(subject.to_owned()),
                compatibility,
            })
        };
        cluster.run(set("s", Some(Compatibility::Full))).unwrap();
        assert_eq!(
            cluster.state.subject("s").unwrap().compatibility,
            Some(Compatibility::Full)
        );
        cluster.run(set("s", None)).unwrap();
        assert!(cluster.state.subjects.is_empty());
        let long = "s".repeat(caps::NAME_BYTES_MAX + 1);
        assert!(matches!(
            cluster.run(set(&long, Some(Compatibility::Full))),
            Err(Refusal::TooLong { .. })
        ));
    }
}
