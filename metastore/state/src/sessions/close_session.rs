//! The last thing a process proposes when it drains: its own session ends.

use minicbor::{Decode, Encode};

use super::refusal::SessionRefusal;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CloseSession {}

impl CloseSession {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        match state.close_session(ctx.session, ctx.lsn.n) {
            Some(_) => Ok(Outcome::Done),
            None => Err(Refusal::Session(SessionRefusal::NoSuchSession(ctx.session))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Closes;
    use crate::harness::{Cluster, session};
    use crate::{Command, Ignored, ProposalOutcome};

    #[test]
    fn nothing_of_a_closed_session_counts() {
        let mut cluster = Cluster::empty();
        cluster.open_only(1, "a", Closes::Own(vec![]));
        let close = vec![Command::CloseSession(CloseSession {})];
        let entry = cluster.entry(1, vec![close.clone(), close.clone()]);
        let outcomes = cluster.append(&entry).unwrap().outcomes.unwrap();
        assert_eq!(outcomes[0], ProposalOutcome::Applied(vec![Outcome::Done]));
        let refusal = Refusal::Session(SessionRefusal::NoSuchSession(session(1)));
        assert_eq!(
            outcomes[1],
            ProposalOutcome::Refused {
                command: 0,
                refusal
            }
        );
        assert_eq!(cluster.state.tombstones[&session(1)].sequence, 2);

        let mut late = cluster.entry(1, vec![close]);
        late.sequence = 3;
        assert_eq!(
            cluster.append(&late).unwrap().outcomes,
            Err(Ignored::NoSession)
        );
    }
}
