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
            let known = self.nodes.get(&session.name);
            let named = known.is_some_and(|known| known.node == session.node);
            ensure("open-sessions-have-their-name", named, || {
                format!("node {} of {id}, {:?}", session.node, session.name)
            })?;
            let since = session.agent.as_ref().map(|agent| agent.since);
            let times = session.seen <= self.liveness_time && since <= Some(self.liveness_time);
            ensure("sessions-live-in-the-past", times, || format!("{id}"))?;
        }
        let ids: BTreeSet<_> = self.nodes.values().map(|known| known.node).collect();
        let apart = ids.len() == self.nodes.len();
        let given = ids.last().is_none_or(|last| *last < self.next_node);
        ensure("a-node-has-one-name", apart && given, || {
            format!("{} names, {} ids", self.nodes.len(), ids.len())
        })
    }
}
