//! Whose turn something is, among the processes that could do it.
//!
//! A pure function of the view, so that all processes answer alike. The answer is advice: a process
//! that is not first in line takes it all the same when it has waited longer than the first one's
//! patience. So nobody needs to know who runs a compactor, and a dead one is replaced without a word.

use std::time::Duration;

use tarn_model::NodeId;
use tarn_state::State;

/// Places in the line beyond this wait no longer than it.
const RANK_MAX: u32 = 3;

/// How long what is due after `interval` may wait before `node` does it. `key` is a number that is as
/// good as random, such as a topic's id: each has a line of its own.
pub fn patience(state: &State, key: u128, node: NodeId, interval: Duration) -> Duration {
    interval + interval / 2 * rank(state, key, node).min(RANK_MAX)
}

/// Place of a node in a key's line: those who serve no Kafka clients, and the node itself, in the
/// order of their rendezvous weight.
fn rank(state: &State, key: u128, node: NodeId) -> u32 {
    let mine = weight(key, node);
    let before = state
        .sessions
        .values()
        .filter(|session| session.agent.is_none() && session.node != node)
        .filter(|session| (weight(key, session.node), session.node) > (mine, node))
        .count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

/// Mixes key and node well enough that nodes share the keys evenly (the finalizer of splitmix64).
fn weight(key: u128, node: NodeId) -> u64 {
    let low = u64::try_from(key & u128::from(u64::MAX)).expect("masked to 64 bits");
    let high = u64::try_from(key >> 64).expect("64 bits are left");
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
    fn nodes_share_the_keys_evenly() {
        let mut won = [0; 4];
        for key in 0..1000 {
            let key = key << 32 | key;
            let winner = (0..4)
                .max_by_key(|node| weight(key, NodeId(*node)))
                .expect("four nodes");
            won[usize::try_from(winner).expect("small")] += 1;
        }
        assert!(won.iter().all(|won| (200..300).contains(won)), "{won:?}");
    }
}
