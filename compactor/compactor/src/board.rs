//! Which tables are due, and whose turn it is.
//!
//! A pure function of the view, so that all processes answer alike. The answer is advice: a process
//! that is not first in line for a table takes it all the same when its records have waited longer
//! than the first ones' patience. So nobody needs to know who runs a compactor, and a dead one is
//! replaced without a word.

use std::time::Duration;

use tarn_model::{NodeId, TopicId};
use tarn_state::topic_configs::Defaults;
use tarn_state::{State, Topic};

/// Places in the line beyond this wait no longer than it.
const RANK_MAX: u32 = 3;

/// How long the oldest record of a topic may wait before `node` takes the table.
pub(crate) fn patience(
    state: &State,
    topic: &Topic,
    node: NodeId,
    defaults: &Defaults,
) -> Duration {
    let interval = topic.table_interval(defaults);
    interval + interval / 2 * rank(state, topic.id, node).min(RANK_MAX)
}

/// Place of a node in a topic's line: those who serve no Kafka clients, and the node itself, in the
/// order of their rendezvous weight.
fn rank(state: &State, topic: TopicId, node: NodeId) -> u32 {
    let mine = weight(topic, node);
    let before = state
        .sessions
        .values()
        .filter(|session| session.agent.is_none() && session.node != node)
        .filter(|session| (weight(topic, session.node), session.node) > (mine, node))
        .count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

/// Mixes topic and node well enough that nodes share the topics evenly (the finalizer of splitmix64).
fn weight(topic: TopicId, node: NodeId) -> u64 {
    let bits = u128::from_be_bytes(topic.0);
    let low = u64::try_from(bits & u128::from(u64::MAX)).expect("masked to 64 bits");
    let high = u64::try_from(bits >> 64).expect("64 bits are left");
    let mut mixed = low
        ^ high.rotate_left(32)
        ^ u64::from(node.0.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_the_topics_evenly() {
        let mut won = [0; 4];
        for topic in 0..1000 {
            let topic = TopicId::from_u128(topic << 32 | topic);
            let winner = (0..4)
                .max_by_key(|node| weight(topic, NodeId(*node)))
                .expect("four nodes");
            won[usize::try_from(winner).expect("small")] += 1;
        }
        assert!(won.iter().all(|won| (200..300).contains(won)), "{won:?}");
    }
}
