//! Node ids by the names of processes.
//!
//! Holds: a name that is known has one node id for ever, and no other name ever has it; a name with an open
//! session is known. Beyond [`caps::NODE_NAMES_MAX`] the name that nobody has used for longest is forgotten,
//! and gets another id when it comes back: nobody is refused.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use tarn_model::{NodeId, caps, defect};

use crate::{Refusal, State};

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct KnownNode {
    #[n(0)]
    pub node: NodeId,
    /// The entry at which a session of this name was opened or closed last.
    #[n(1)]
    pub used: u64,
}

impl State {
    /// The node of this name: a new one if it is not known. Notes that it is used now.
    pub(super) fn node_named(&mut self, name: &str) -> Result<NodeId, Refusal> {
        let known = self.nodes.get(name).map(|known| known.node);
        let known = known.filter(|_| !defect("node-id-of-the-session"));
        let node = match known {
            Some(node) => node,
            None => {
                let node = self.next_node;
                let next = node.0.checked_add(1).ok_or_else(|| Refusal::Full {
                    what: "node ids".into(),
                    max: i32::MAX.unsigned_abs().into(),
                })?;
                self.next_node = NodeId(next);
                self.make_room_for_a_name();
                node
            }
        };
        let used = self.n;
        self.nodes.insert(name.to_owned(), KnownNode { node, used });
        Ok(node)
    }

    fn make_room_for_a_name(&mut self) {
        if self.nodes.len() < caps::NODE_NAMES_MAX {
            return;
        }
        let open: BTreeSet<&str> = self.sessions.values().map(|it| it.name.as_str()).collect();
        let unused = self.nodes.iter();
        let unused = unused.filter(|(name, _)| !open.contains(name.as_str()));
        let longest = unused.min_by_key(|(_, known)| known.used);
        if let Some(name) = longest.map(|(name, _)| name.clone()) {
            self.nodes.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::CloseSession;
    use crate::harness::{Cluster, session};

    #[test]
    fn the_name_unused_for_longest_is_forgotten_and_nobody_refused() {
        let mut cluster = Cluster::empty();
        for name in ["first", "second"] {
            cluster.open_named(1, name, crate::commands::Closes::All(vec![]));
            cluster.propose(1, vec![Command::CloseSession(CloseSession {})]);
            // The same session never opens again.
            cluster.state.tombstones.remove(&session(1));
        }
        let second = cluster.state.nodes["second"].node;
        // The first is used again, and stays open.
        let first = cluster.open_named(2, "first", crate::commands::Closes::Own(vec![]));
        for n in cluster.state.nodes.len()..caps::NODE_NAMES_MAX {
            let node = cluster.state.next_node;
            cluster.state.next_node = NodeId(node.0 + 1);
            let used = cluster.state.n;
            let known = KnownNode { node, used };
            cluster.state.nodes.insert(format!("other-{n}"), known);
        }
        let known = cluster.state.nodes.len();
        cluster.open_named(3, "newcomer", crate::commands::Closes::Own(vec![]));
        assert_eq!(cluster.state.nodes.len(), known);
        assert!(!cluster.state.nodes.contains_key("second"));
        assert_eq!(cluster.state.nodes["first"].node, first);
        let anew = cluster.open_named(4, "second", crate::commands::Closes::Own(vec![]));
        assert!(anew > second, "{anew} was another's, or its own of before");
    }
}
