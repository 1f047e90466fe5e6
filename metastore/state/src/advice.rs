//! Who serves what: pure functions of the state, so that all agents answer alike.
//!
//! Rendezvous hashing: each node draws a number for each key, and the largest wins, so a node that
//! goes or comes moves only its own keys. `apply` decides by the coordinator: the numbers are part of
//! what replicas must agree on for ever, and a golden test holds them.
//!
//! Holds: nobody is named that has not said that it answers, or has said that it leaves; nor, while there is
//! another, who was not heard of for [`tarn_model::caps::AGENT_UNHEARD_AFTER`].

use tarn_model::{LivenessTime, NodeId, TopicPartition};

use crate::{Session, State};

/// A node takes over partitions one after the other within this time after it was advertised, in
/// milliseconds of liveness time.
const RAMP_MS: u64 = 30_000;

/// What the numbers are drawn for; the same node and key give unrelated ones.
const FOR_PARTITION: u64 = 1;
const FOR_GROUP: u64 = 2;
const FOR_RAMP: u64 = 3;

/// The agents that clients are sent to, by node id.
pub fn agents(state: &State) -> Vec<&Session> {
    let mut agents: Vec<_> = open_agents(state).collect();
    agents.sort_by_key(|session| session.node);
    agents
}

/// The agent that Metadata names as the leader of a partition to a client in `zone`.
///
/// Agents of the client's zone go first, if there are any. An agent is eligible from when it was advertised +
/// its share of the ramp; if none is, all are.
pub fn leader<'s>(state: &'s State, at: TopicPartition, zone: Option<&str>) -> Option<&'s Session> {
    Leaders::new(state, zone, None).of(at)
}

/// The agents that a client in one zone may be sent to, for who asks about many partitions.
#[derive(Debug)]
pub struct Leaders<'s> {
    near: Vec<&'s Session>,
    now: LivenessTime,
    /// The ramp is over for all of them.
    settled: bool,
}

impl<'s> Leaders<'s> {
    /// `except` is a node that should not be named as long as there is another one.
    pub fn new(state: &'s State, zone: Option<&str>, except: Option<NodeId>) -> Leaders<'s> {
        let all: Vec<&Session> = open_agents(state).collect();
        let others = all.iter().any(|session| Some(session.node) != except);
        let agents = all
            .into_iter()
            .filter(|session| !others || Some(session.node) != except);
        let mut near: Vec<&Session> = agents.collect();
        if zone.is_some() && near.iter().any(|session| zone_of(session) == zone) {
            near.retain(|session| zone_of(session) == zone);
        }
        let now = state.liveness_time;
        let settled = near
            .iter()
            .all(|session| now.0 >= since(session).0.saturating_add(RAMP_MS));
        Leaders { near, now, settled }
    }

    /// Among whom every partition has its leader, by node id; `None` while an agent is still taking over.
    /// The same ones give the same leaders.
    pub fn settled(&self) -> Option<Vec<NodeId>> {
        if !self.settled && self.near.len() > 1 {
            return None;
        }
        let mut nodes: Vec<NodeId> = self.near.iter().map(|session| session.node).collect();
        nodes.sort_unstable();
        Some(nodes)
    }

    /// The agent that Metadata names as the leader of a partition.
    pub fn of(&self, at: TopicPartition) -> Option<&'s Session> {
        if let [only] = self.near.as_slice() {
            return Some(only);
        }
        let key = partition_key(at);
        let hash = hash(&key);
        let near = || self.near.iter().copied();
        if self.settled {
            return winner(FOR_PARTITION, hash, near());
        }
        let eligible = near().filter(|session| self.now >= eligible_from(session, hash));
        winner(FOR_PARTITION, hash, eligible).or_else(|| winner(FOR_PARTITION, hash, near()))
    }
}

/// The agent that coordinates a group: the rendezvous winner among the open agents' node ids.
pub fn coordinator<'s>(state: &'s State, group: &str) -> Option<&'s Session> {
    winner(FOR_GROUP, hash(group.as_bytes()), open_agents(state))
}

/// Does `node` coordinate `group`?
pub fn is_coordinator(state: &State, group: &str, node: NodeId) -> bool {
    coordinator(state, group).is_some_and(|session| session.node == node)
}

/// Those that are advertised and were heard of lately. All that are advertised if none was: clients that are
/// told of nobody begin anew, and would not fare better.
fn open_agents(state: &State) -> impl Iterator<Item = &Session> {
    let now = state.liveness_time;
    let sessions = || state.sessions.values();
    let advertised = || sessions().filter(|session| session.agent.is_some());
    let any_heard = advertised().any(|session| !session.is_unheard(now));
    advertised().filter(move |session| !any_heard || !session.is_unheard(now))
}

fn zone_of(session: &Session) -> Option<&str> {
    session.agent.as_ref()?.at.zone.as_deref()
}

/// Since when it takes partitions over.
fn since(session: &Session) -> LivenessTime {
    let agent = session.agent.as_ref();
    agent.map_or(LivenessTime::default(), |agent| agent.since)
}

fn eligible_from(session: &Session, key: u64) -> LivenessTime {
    let share = draw(FOR_RAMP, key, session.node) % RAMP_MS;
    LivenessTime(since(session).0.saturating_add(share))
}

fn winner<'s>(
    purpose: u64,
    key: u64,
    among: impl Iterator<Item = &'s Session>,
) -> Option<&'s Session> {
    among.max_by_key(|session| (draw(purpose, key, session.node), session.node))
}

fn partition_key(at: TopicPartition) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&at.topic.0);
    key[16..].copy_from_slice(&at.partition.0.to_be_bytes());
    key
}

/// A node's number for a key's hash: splitmix64's finish over it, the purpose and the node. Not for
/// adversaries: whoever chooses group names may choose their coordinator.
fn draw(purpose: u64, key: u64, node: NodeId) -> u64 {
    let salt = (purpose << 32) | u64::from(node.0.cast_unsigned());
    mix(mix(key) ^ mix(salt))
}

/// FNV-1a.
fn hash(key: &[u8]) -> u64 {
    const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
    key.iter().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

/// The finish of splitmix64.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Command;
    use crate::commands::{CloseSession, Closes};
    use crate::harness::{Cluster, at, session};
    use expect_test::expect;

    fn cluster(nodes: u128) -> Cluster {
        let mut cluster = Cluster::empty();
        (1..=nodes).for_each(|id| {
            cluster.open(id);
        });
        cluster
    }

    fn leaders(cluster: &Cluster, partitions: i32) -> Vec<i32> {
        (0..partitions)
            .map(|partition| {
                leader(&cluster.state, at(7, partition), None)
                    .unwrap()
                    .node
                    .0
            })
            .collect()
    }

    #[test]
    fn a_node_that_is_left_out_leads_nothing_unless_it_is_alone() {
        let three = cluster(3);
        let leaders = |cluster: &Cluster, except| -> Vec<i32> {
            let leaders = Leaders::new(&cluster.state, None, except);
            (0..200)
                .map(|partition| leaders.of(at(7, partition)).unwrap().node.0)
                .collect()
        };
        let (all, without) = (leaders(&three, None), leaders(&three, Some(NodeId(1))));
        assert!(all.contains(&1) && !without.contains(&1));
        // What the others lead stays where it is.
        for (before, after) in all.iter().zip(&without) {
            assert!(*before == 1 || before == after);
        }
        assert!(
            leaders(&cluster(1), Some(NodeId(1)))
                .iter()
                .all(|node| *node == 1)
        );
    }

    #[test]
    fn the_numbers_never_change() {
        let drawn = [
            draw(FOR_PARTITION, hash(&partition_key(at(7, 0))), NodeId(1)),
            draw(FOR_GROUP, hash(b"group"), NodeId(1)),
            draw(FOR_GROUP, hash(b""), NodeId(i32::MAX)),
            draw(FOR_RAMP, hash(&partition_key(at(7, 9))), NodeId(2)),
        ];
        expect![[r#"
            [
                16350205949161901757,
                16933269504846655518,
                10594906965288506083,
                4631815629362947131,
            ]
        "#]]
        .assert_debug_eq(&drawn);
        let mut cluster = cluster(5);
        cluster.live(&[1, 2, 3, 4, 5], 60_000);
        let groups: Vec<i32> = (0..12)
            .map(|i| {
                coordinator(&cluster.state, &format!("group-{i}"))
                    .unwrap()
                    .node
                    .0
            })
            .collect();
        expect!["[1, 1, 3, 2, 5, 2, 3, 2, 3, 3, 2, 4] [3, 5, 3, 4, 5, 2, 5, 1, 2, 4, 2, 4]"]
            .assert_eq(&format!("{:?} {groups:?}", leaders(&cluster, 12)));
    }

    #[test]
    fn partitions_spread_and_only_those_of_the_one_that_left_move() {
        let mut cluster = cluster(4);
        cluster.live(&[1, 2, 3, 4], 60_000);
        let before = leaders(&cluster, 1_000);
        let mut share = BTreeMap::new();
        before
            .iter()
            .for_each(|node| *share.entry(node).or_insert(0) += 1);
        assert!(
            share.len() == 4 && share.values().all(|count| (180..320).contains(count)),
            "{share:?}"
        );
        cluster.propose(2, vec![Command::CloseSession(CloseSession {})]);
        for (before, after) in before.iter().zip(leaders(&cluster, 1_000)) {
            assert!(after != 2 && (*before == 2 || *before == after));
        }
    }

    #[test]
    fn a_newcomer_takes_partitions_over_slowly_and_its_successor_at_once() {
        let mut cluster = cluster(2);
        cluster.live(&[1, 2], 60_000);
        let before = leaders(&cluster, 200);
        cluster.open(3);
        assert_eq!(leaders(&cluster, 200), before);
        let share = |cluster: &Cluster| {
            leaders(cluster, 200)
                .iter()
                .filter(|node| **node == 3)
                .count()
        };
        cluster.live(&[1, 2, 3], 15_000);
        let half = share(&cluster);
        cluster.live(&[1, 2, 3], 15_000);
        let whole = share(&cluster);
        assert!(10 < half && half < whole && whole < 100, "{half} {whole}");
        cluster.open_closing(4, Closes::Own(vec![session(3)]));
        assert_eq!(share(&cluster), whole);
    }

    #[test]
    fn clients_stay_in_their_zone_while_an_agent_is_there() {
        let mut cluster = cluster(3);
        cluster.live(&[1, 2, 3], 60_000);
        for (id, zone) in [(1, "a"), (2, "b")] {
            let session = cluster.state.sessions.get_mut(&session(id)).unwrap();
            session.agent.as_mut().unwrap().at.zone = Some(zone.into());
        }
        for partition in 0..50 {
            let of = |zone| leader(&cluster.state, at(7, partition), zone).unwrap().node;
            assert_eq!(of(Some("a")), NodeId(1));
            assert_eq!(of(Some("b")), NodeId(2));
            assert_eq!(of(Some("c")), of(None));
        }
    }

    #[test]
    fn who_is_not_heard_of_is_not_named_while_another_is() {
        let mut cluster = cluster(2);
        cluster.live(&[1, 2], 60_000);
        let named = |cluster: &Cluster| -> Vec<i32> {
            let named = agents(&cluster.state);
            named.iter().map(|session| session.node.0).collect()
        };
        let of_2 = (0..100)
            .map(|n| format!("group-{n}"))
            .find(|group| is_coordinator(&cluster.state, group, NodeId(2)))
            .unwrap();
        cluster.live(&[1], 5_000);
        assert_eq!(named(&cluster), [1, 2]);
        cluster.live(&[1], 1_000);
        assert_eq!(named(&cluster), [1]);
        assert!(leaders(&cluster, 100).iter().all(|node| *node == 1));
        assert!(is_coordinator(&cluster.state, &of_2, NodeId(1)));
        // Whoever speaks is heard.
        cluster.live(&[2], 1);
        assert_eq!(named(&cluster), [1, 2]);
        assert!(is_coordinator(&cluster.state, &of_2, NodeId(2)));
        // The last one is named, heard or not.
        cluster.open_only(3, "c", Closes::Own(vec![]));
        cluster.live(&[3], 12_000);
        assert_eq!(named(&cluster), [1, 2]);
    }

    #[test]
    fn without_agents_nobody_leads() {
        let mut cluster = cluster(1);
        cluster.state.sessions.get_mut(&session(1)).unwrap().agent = None;
        assert!(leader(&cluster.state, at(7, 0), None).is_none());
        assert!(coordinator(&cluster.state, "g").is_none());
    }
}
