//! Another session has the name of this process, and keeps it from opening one.
//!
//! Holds: a process whose predecessor was killed waits until that one is silent, which its own attempts bring
//! about if nobody else lives; and one whose name another process has, which lives, ends and says so.

use tarn_model::{SessionId, codes};
use tarn_state::{Refusal, SessionRefusal};
use tokio::time::Instant;
use tracing::info;

use super::Proposer;

/// So many entries show that their process lives: one may have been on its way when it was killed.
const LIVES_AFTER: u64 = 2;

#[derive(Debug, Clone, Copy)]
pub(super) struct Namesake {
    session: SessionId,
    /// When it was first met.
    sequence: u64,
}

impl Proposer {
    /// The log has refused to open a session.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.session_over("its opening was refused");
        let Refusal::Session(SessionRefusal::NodeNameTaken { session, .. }) = refusal else {
            return;
        };
        let Some(open) = self.view.sessions.get(session) else {
            // It was closed meanwhile.
            return;
        };
        let known = self.namesake.filter(|known| known.session == *session);
        let met = known.unwrap_or(Namesake {
            session: *session,
            sequence: open.sequence,
        });
        if open.sequence >= met.sequence + LIVES_AFTER {
            let code = codes::NODE_NAME_TAKEN.code;
            self.shared.stop(format!(
                "{code}: {refusal}, and its process lives; give this process another name with the setting \
                 node.name, or end the other one first"
            ));
            return;
        }
        if known.is_none() {
            info!(%refusal, "waiting until that session is closed or silent");
        }
        self.namesake = Some(met);
        let pause = self.shared.runtime.random().jitter(self.tick);
        self.paused_until = self.paused_until.max(Instant::now() + pause);
    }

    /// Whoever waits for a name that is free now waits no longer.
    pub(super) fn look_for_namesake(&mut self) {
        let session = self.namesake.map(|namesake| namesake.session);
        if session.is_some_and(|session| !self.view.sessions.contains_key(&session)) {
            self.namesake = None;
            self.paused_until = Instant::now();
        }
    }
}
