//! No client is sent any more to the agent of the process that proposes it. It is told before the agent
//! stops to answer, so that clients have time to go elsewhere.

use minicbor::{Decode, Encode};

use crate::{Context, Outcome, Refusal, SessionRefusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Withdraw {}

impl Withdraw {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let session = state.sessions.get_mut(&ctx.session);
        let session = session.ok_or(SessionRefusal::NoSuchSession(ctx.session))?;
        session.agent = None;
        state.agents_changed = ctx.lsn.n;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Closes;
    use crate::harness::{Cluster, advertise, session};
    use crate::{Command, advice};

    fn agents(cluster: &Cluster) -> Vec<i32> {
        let agents = advice::agents(&cluster.state);
        agents.iter().map(|session| session.node.0).collect()
    }

    #[test]
    fn clients_are_sent_to_an_agent_from_its_word_to_its_word() {
        let mut cluster = Cluster::one();
        cluster.open_only(2, "b", Closes::Own(vec![]));
        assert_eq!(agents(&cluster), [1]);
        cluster.live(&[1, 2], 3_000);
        let now = cluster.state.liveness_time;
        cluster.propose(2, vec![advertise(9093)]);
        assert_eq!(agents(&cluster), [1, 2]);
        // Another address is no other agent.
        cluster.live(&[1, 2], 3_000);
        cluster.propose(2, vec![advertise(9094)]);
        let agent = cluster.state.sessions[&session(2)].agent.clone().unwrap();
        assert_eq!((agent.at.port, agent.since), (9094, now));
        cluster.propose(2, vec![Command::Withdraw(Withdraw {})]);
        cluster.propose(2, vec![Command::Withdraw(Withdraw {})]);
        assert_eq!(agents(&cluster), [1]);
        assert!(cluster.state.sessions.contains_key(&session(2)));
        // It begins anew.
        cluster.propose(2, vec![advertise(9094)]);
        let agent = cluster.state.sessions[&session(2)].agent.clone().unwrap();
        assert_eq!(agent.since, cluster.state.liveness_time);
    }
}
