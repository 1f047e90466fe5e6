//! Sets the compatibility level of a subject, or of all that have none of their own.

use std::sync::Arc;

use minicbor::{Decode, Encode};

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
            Some(name) => {
                let subject = state
                    .subjects
                    .get_mut(name)
                    .ok_or_else(|| Refusal::NoSuchSubject(name.clone()))?;
                Arc::make_mut(subject).compatibility = self.compatibility;
            }
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(refused, Err(Refusal::NoSuchSubject("s".into())));
        let (subject, format, text) = ("s".into(), "AVRO".into(), "1".into());
        let register = RegisterSchema {
            subject,
            guid: [1; 16],
            format,
            text,
            columns: Vec::new(),
        };
        cluster.run(Command::RegisterSchema(register)).unwrap();
        cluster
            .run(set(Some("s"), Some(Compatibility::None)))
            .unwrap();
        assert_eq!(
            cluster.state.subjects["s"].compatibility,
            Some(Compatibility::None)
        );
    }
}
