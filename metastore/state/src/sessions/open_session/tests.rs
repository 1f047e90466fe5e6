//! Who may open a session, and as whom.

use tarn_model::LivenessTime;

use super::*;
use crate::commands::{CloseSession, ExpireSession};
use crate::harness::{Cluster, open_command, session};
use crate::{Command, Ignored, advice};

fn own(ids: &[u128]) -> Closes {
    Closes::Own(ids.iter().map(|id| session(*id)).collect())
}

/// A copy of the first entry of an id that was closed before it came.
fn assert_never_opens(cluster: &mut Cluster, id: u128) {
    let late = cluster.entry(id, vec![vec![open_command("late", own(&[]))]]);
    assert_eq!(
        cluster.append(&late).unwrap().outcomes,
        Err(Ignored::SessionKnown)
    );
}

#[test]
fn who_closes_a_session_of_its_own_goes_on_as_the_agent_that_it_was() {
    let mut cluster = Cluster::one();
    assert_eq!(cluster.open(2), NodeId(2));
    cluster.live(&[1, 2], 6_000);
    let agent = cluster.state.sessions[&session(1)].agent.clone();
    assert_eq!(
        cluster.open_only(3, "node-1", own(&[1, 9])),
        NodeId(1),
        "advertised or not"
    );
    assert_eq!(cluster.state.sessions[&session(3)].agent, agent);
    assert_eq!(cluster.open(4), NodeId(3));
    assert_eq!(cluster.state.tombstones[&session(9)].sequence, 0);
    assert_never_opens(&mut cluster, 9);
}

#[test]
fn who_closes_all_is_no_agent_before_it_says_so() {
    let mut cluster = Cluster::one();
    cluster.pass(1_000);
    cluster.open(2);
    let closes = Closes::All(vec![session(9)]);
    assert_eq!(cluster.open_only(3, "node-2", closes), NodeId(2));
    assert_eq!(cluster.state.sessions.len(), 1);
    assert_eq!(cluster.state.tombstones.len(), 3);
    assert!(advice::agents(&cluster.state).is_empty());
    // Nor does a late copy of the first entry of what it had tried before open anything.
    assert_never_opens(&mut cluster, 9);
}

/// Nothing but the name is the same: not the session, not who closed it, not the address.
#[test]
fn a_name_keeps_its_node_id_however_its_sessions_ended() {
    let mut cluster = Cluster::one();
    cluster.open_named(2, "b", own(&[]));
    cluster.propose(2, vec![Command::CloseSession(CloseSession {})]);
    assert_eq!(cluster.open(3), NodeId(3));
    assert_eq!(cluster.open_named(4, "b", own(&[])), NodeId(2), "it closed");
    cluster.live(&[1, 3], 16_000);
    let expire = Command::ExpireSession(ExpireSession {
        session: session(4),
    });
    cluster.run(expire).unwrap();
    assert_eq!(
        cluster.open_named(5, "b", own(&[4])),
        NodeId(2),
        "it expired"
    );
    assert_eq!(
        cluster.open_named(6, "b", Closes::All(vec![])),
        NodeId(2),
        "somebody closed all"
    );
    // Longer than any tombstone stays.
    cluster.propose(6, vec![Command::CloseSession(CloseSession {})]);
    cluster.state.tombstones.clear();
    let bytes = cluster.state.to_snapshot();
    cluster.state = State::from_snapshot(&bytes, cluster.state.cluster).unwrap();
    assert_eq!(cluster.open_named(7, "b", own(&[])), NodeId(2));
    assert_eq!(cluster.open_named(8, "c", own(&[])), NodeId(4));
}

#[test]
fn a_name_is_taken_while_its_session_is_open_and_heard_of() {
    let mut cluster = Cluster::one();
    cluster.open_named(2, "b", own(&[]));
    let refused = |id: u128| {
        Err(Refusal::Session(SessionRefusal::NodeNameTaken {
            name: "b".into(),
            node: NodeId(2),
            session: session(id),
        }))
    };
    assert_eq!(cluster.try_open(3, "b", own(&[])), refused(2));
    assert!(!cluster.state.sessions.contains_key(&session(3)));
    cluster.live(&[1], 14_000);
    assert_eq!(cluster.try_open(3, "b", own(&[])), refused(2));
    // Once it is silent whoever comes need not wait for anybody to expire it.
    cluster.live(&[1], 1_000);
    assert_eq!(cluster.try_open(3, "b", own(&[])), Ok(NodeId(2)));
    assert_never_opens(&mut cluster, 2);
    let session = &cluster.state.sessions[&session(3)];
    assert!(session.agent.is_none(), "that was another process's");
    assert_eq!(cluster.try_open(4, "b", own(&[])), refused(3));
}

/// All processes were killed, and none has a session by which liveness time would go on.
#[test]
fn who_waits_for_its_name_lives_on_alone() {
    let mut cluster = Cluster::one();
    let silent_at = LivenessTime::default().plus(caps::SESSION_SILENT_AFTER);
    let mut tried = Vec::new();
    for id in 10.. {
        let earlier = own(&tried);
        if cluster.try_open(id, "node-1", earlier).is_ok() {
            break;
        }
        tried.push(id);
        assert!(cluster.state.liveness_time < silent_at && tried.len() < 20);
        cluster.pass(3_000);
    }
    assert_eq!(tried.len(), 5, "as many ticks as anybody is silent after");
    assert_eq!(cluster.state.sessions.len(), 1);
}

/// A log that took nothing for an hour, and clocks of another machine, age nobody.
#[test]
fn who_waits_moves_time_by_what_it_lived_through() {
    let mut cluster = Cluster::one();
    let try_open = |cluster: &mut Cluster, id, tried: &[u128]| {
        cluster.try_open(id, "node-1", own(tried)).unwrap_err();
        cluster.state.liveness_time.0
    };
    assert_eq!(try_open(&mut cluster, 10, &[]), 0);
    cluster.pass(3_600_000);
    let most = u64::try_from(caps::LIVENESS_STEP_MAX.as_millis()).unwrap();
    assert_eq!(try_open(&mut cluster, 11, &[10]), most);
    // Another process that waits for the same name has a clock of its own.
    cluster.monotonic += 1_000_000;
    assert_eq!(try_open(&mut cluster, 20, &[]), most);
    cluster.monotonic -= 1_000_000;
    assert_eq!(try_open(&mut cluster, 12, &[10, 11]), most);
}

#[test]
fn a_name_is_not_longer_than_it_may_be() {
    let mut cluster = Cluster::one();
    let longest = "n".repeat(caps::NODE_NAME_BYTES_MAX);
    assert!(cluster.try_open(2, &longest, own(&[])).is_ok());
    let refused = cluster.try_open(3, &format!("{longest}n"), own(&[]));
    assert!(matches!(refused, Err(Refusal::TooLong { .. })));
}

#[test]
fn a_session_opens_once() {
    let mut cluster = Cluster::empty();
    let entry = cluster.entry(1, vec![vec![open_command("a", Closes::All(vec![]))]]);
    cluster.append(&entry).unwrap().outcomes.unwrap();
    assert_eq!(
        cluster.append(&entry).unwrap().outcomes,
        Err(Ignored::SessionKnown)
    );
    let refused = cluster.run(open_command("a", Closes::All(vec![])));
    assert_eq!(refused, Err(Refusal::Session(SessionRefusal::SessionKnown)));
    assert_eq!(cluster.state.sessions.len(), 1);
}

#[test]
fn the_opening_stands_alone() {
    let mut cluster = Cluster::one();
    let open = || open_command("a", Closes::All(vec![]));
    let other = || Command::CloseSession(CloseSession {});
    for proposals in [
        vec![vec![open(), other()]],
        vec![vec![open()], vec![other()]],
        vec![vec![other()]],
        vec![],
    ] {
        let entry = cluster.entry(2, proposals);
        assert_eq!(
            cluster.append(&entry).unwrap().outcomes,
            Err(Ignored::NoSession)
        );
    }
    assert!(cluster.state.sessions.contains_key(&session(1)));
}

#[test]
fn a_process_that_cannot_apply_the_level_opens_no_session() {
    let mut cluster = Cluster::empty();
    let open = OpenSession {
        closes: Closes::All(vec![]),
        name: "a".into(),
        level_max: FeatureLevel(0),
        clock: ClockTrust::Trusted,
    };
    let entry = cluster.entry(1, vec![vec![Command::OpenSession(open)]]);
    let outcomes = cluster.append(&entry).unwrap().outcomes.unwrap();
    let refusal = Refusal::Session(SessionRefusal::LevelRefused(FeatureLevel::NEWEST.0));
    assert_eq!(
        outcomes,
        [ProposalOutcome::Refused {
            command: 0,
            refusal
        }]
    );
    assert!(cluster.state.sessions.is_empty());
}
