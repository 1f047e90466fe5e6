//! What always holds of sessions.

use std::collections::BTreeSet;

use crate::State;
use crate::invariants::{Check, ensure};

impl State {
    pub(crate) fn check_sessions(&self) -> Check {
        let mut nodes = BTreeSet::new();
        for (id, session) in &self.sessions {
            ensure(
                "sessions-are-open-or-closed",
                !self.tombstones.contains_key(id),
                || format!("{id} is both"),
            )?;
            let fresh = session.node < self.next_node && nodes.insert(session.node);
            ensure("node-ids-are-unique", fresh, || {
                format!("node {} of {id}", session.node)
            })?;
            let times = session.seen <= self.liveness_time && session.opened <= session.seen;
            ensure("sessions-live-in-the-past", times, || format!("{id}"))?;
        }
        Ok(())
    }
}
