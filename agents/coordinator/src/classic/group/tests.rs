mod bounds;
mod taken_over;

use super::*;
use crate::classic::message::{Join, JoinAnswer};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::sync::oneshot::Receiver;
use uuid::Uuid;

/// A group with a clock of its own.
struct Stage {
    group: Group,
    now: Instant,
    ids: u128,
}

impl Stage {
    fn new(initial_delay: Duration) -> Stage {
        Stage {
            group: Group::new(initial_delay),
            now: Instant::now(),
            ids: 0,
        }
    }

    fn join_with(
        &mut self,
        member: &str,
        instance: Option<&str>,
        protocols: &[&str],
    ) -> Receiver<JoinAnswer> {
        self.ids += 1;
        let join = Join {
            member: member.to_owned(),
            instance: instance.map(str::to_owned),
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".to_owned(),
            protocols: protocols
                .iter()
                .map(|name| ((*name).to_owned(), Bytes::from_static(b"m")))
                .collect(),
            id_required: false,
            knows_skip: true,
            fresh: Uuid::from_u128(self.ids),
        };
        let (answer, answered) = oneshot::channel();
        self.group.join(self.now, join, answer);
        answered
    }

    fn join(&mut self, member: &str) -> Receiver<JoinAnswer> {
        self.join_with(member, None, &["range"])
    }

    fn sync(
        &mut self,
        joined: &Joined,
        instance: Option<&str>,
        plan: &[(&str, &str)],
    ) -> Receiver<Result<Synced, GroupError>> {
        let sync = Sync {
            member: reference(joined, instance),
            protocol_type: None,
            protocol: None,
            assignments: plan
                .iter()
                .map(|(id, assignment)| {
                    (
                        (*id).to_owned(),
                        Bytes::copy_from_slice(assignment.as_bytes()),
                    )
                })
                .collect(),
        };
        let (answer, answered) = oneshot::channel();
        self.group.sync(self.now, sync, answer);
        answered
    }

    /// The leader assigns, and the log takes the generation.
    fn complete(&mut self) -> Complete {
        let complete = self.group.take_complete().expect("the leader has assigned");
        self.group.completed(self.now, &complete, Ok(()));
        complete
    }

    fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.group.tick(self.now);
    }

    fn state(&self) -> &'static str {
        self.group.describe().state
    }

    /// A stable group of so many dynamic members.
    fn stable(members: usize) -> (Stage, Vec<Joined>) {
        let mut stage = Stage::new(Duration::from_secs(3));
        let waiting: Vec<_> = (0..members).map(|_| stage.join("")).collect();
        stage.advance(3);
        stage.advance(3);
        let joined: Vec<Joined> = waiting
            .into_iter()
            .map(|answer| taken(answer).expect("joined"))
            .collect();
        let leader = joined
            .iter()
            .find(|joined| joined.leader == joined.member)
            .expect("somebody leads")
            .clone();
        drop(stage.sync(&leader, None, &[]));
        stage.complete();
        assert_eq!(stage.state(), "Stable");
        (stage, joined)
    }
}

fn reference(joined: &Joined, instance: Option<&str>) -> MemberRef {
    MemberRef {
        id: joined.member.clone(),
        instance: instance.map(str::to_owned),
        generation: joined.generation,
    }
}

fn taken<T>(mut answer: Receiver<T>) -> T {
    answer.try_recv().expect("answered by now")
}

fn waits<T: std::fmt::Debug>(answer: &mut Receiver<T>) -> bool {
    answer.try_recv().is_err()
}

fn refused(answer: Receiver<JoinAnswer>) -> GroupError {
    taken(answer).expect_err("refused").error
}

#[test]
fn the_first_rebalance_waits_for_more_as_long_as_they_come() {
    let mut stage = Stage::new(Duration::from_secs(3));
    let mut first = stage.join("");
    stage.advance(2);
    let mut second = stage.join("");
    stage.advance(1);
    assert!(
        waits(&mut first) && waits(&mut second),
        "somebody came, so it waits once more"
    );
    stage.advance(3);
    let (first, second) = (
        taken(first).expect("joined"),
        taken(second).expect("joined"),
    );
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(
        first.members.len() + second.members.len(),
        2,
        "the leader alone hears of both"
    );
}

#[test]
fn the_protocol_that_most_like_and_all_offer_wins() {
    let mut stage = Stage::new(Duration::from_secs(3));
    let answers = [
        stage.join_with("", None, &["sticky", "range", "a"]),
        stage.join_with("", None, &["range", "sticky"]),
        stage.join_with("", None, &["b", "range", "sticky"]),
    ];
    assert_eq!(
        refused(stage.join_with("", None, &["a", "b"])),
        GroupError::InconsistentProtocol
    );
    stage.advance(3);
    stage.advance(3);
    for answer in answers {
        assert_eq!(taken(answer).expect("joined").protocol, "range");
    }
}

#[test]
fn assignments_are_told_when_the_log_has_them_and_not_before() {
    let mut stage = Stage::new(Duration::from_secs(3));
    let answers = [stage.join(""), stage.join("")];
    stage.advance(3);
    stage.advance(3);
    let [one, other] = answers.map(|answer| taken(answer).expect("joined"));
    let (leader, follower) = if one.leader == one.member {
        (one, other)
    } else {
        (other, one)
    };
    let mut told = stage.sync(&follower, None, &[]);
    let plan = [
        (follower.member.as_str(), "f"),
        (leader.member.as_str(), "l"),
    ];
    let mut told_leader = stage.sync(&leader, None, &plan);
    assert!(waits(&mut told) && waits(&mut told_leader));
    stage.complete();
    assert_eq!(taken(told).expect("synced").assignment.as_ref(), b"f");
    assert_eq!(
        taken(told_leader).expect("synced").assignment.as_ref(),
        b"l"
    );
}

#[test]
fn a_generation_that_the_log_did_not_take_is_begun_again() {
    let mut stage = Stage::new(Duration::ZERO);
    let joined = taken(stage.join("")).expect("joined");
    let told = stage.sync(&joined, None, &[]);
    let complete = stage.group.take_complete().expect("assigned");
    stage
        .group
        .completed(stage.now, &complete, Err(GroupError::NotNow));
    assert_eq!(taken(told), Err(GroupError::NotNow));
    assert_eq!(stage.state(), "PreparingRebalance");
    let again = taken(stage.join(&joined.member)).expect("joined again");
    assert!(again.generation > joined.generation);
    // The log took it after all: it is the own one, and nobody is disturbed.
    let logged = logged(&complete);
    assert!(!stage.group.follow(Some(&logged), stage.now));
    drop(stage.sync(&again, None, &[]));
    stage.complete();
    assert_eq!(stage.state(), "Stable");
}

fn logged(complete: &Complete) -> tarn_state::Group {
    tarn_state::Group {
        generation: complete.generation,
        protocol_type: complete.protocol_type.clone(),
        protocol: complete.protocol.clone(),
        leader: complete.leader.clone(),
        members: complete.members.clone().into(),
        brought: brought::write(&complete.brought)
            .expect("compressible")
            .into(),
        ..tarn_state::Group::empty(Default::default())
    }
}

#[test]
fn who_is_silent_expires_and_the_others_are_called() {
    let (mut stage, joined) = Stage::stable(2);
    stage.advance(6);
    assert_eq!(
        stage
            .group
            .heartbeat(stage.now, &reference(&joined[0], None)),
        Ok(())
    );
    stage.advance(6);
    let beat = stage
        .group
        .heartbeat(stage.now, &reference(&joined[0], None));
    assert_eq!(beat, Err(GroupError::RebalanceInProgress));
    assert_eq!(
        stage
            .group
            .heartbeat(stage.now, &reference(&joined[1], None)),
        Err(GroupError::UnknownMember)
    );
    let alone = taken(stage.join(&joined[0].member)).expect("joined");
    assert_eq!((alone.generation, alone.members.len()), (2, 1));
    // And when nobody comes back at all, the group is empty.
    stage.advance(60);
    stage.advance(60);
    assert!(stage.group.is_empty());
    assert_eq!(stage.state(), "Empty");
}

#[test]
fn who_does_not_come_back_to_a_rebalance_is_left_out() {
    let (mut stage, joined) = Stage::stable(2);
    let mut newcomer = stage.join("");
    assert!(waits(&mut newcomer));
    let mut back = stage.join(&joined[0].member);
    stage.advance(5);
    assert!(
        waits(&mut newcomer) && waits(&mut back),
        "the third one may still come"
    );
    for _ in 0..6 {
        // It sends heartbeats, but never joins.
        let _ = stage
            .group
            .heartbeat(stage.now, &reference(&joined[1], None));
        stage.advance(5);
    }
    let (newcomer, back) = (
        taken(newcomer).expect("joined"),
        taken(back).expect("joined"),
    );
    assert_eq!((newcomer.generation, back.generation), (2, 2));
    assert_eq!(newcomer.members.len() + back.members.len(), 2);
    assert_eq!(
        stage
            .group
            .heartbeat(stage.now, &reference(&joined[1], None)),
        Err(GroupError::UnknownMember)
    );
}

#[test]
fn a_leader_that_never_assigns_is_left_out() {
    let mut stage = Stage::new(Duration::from_secs(3));
    let answers = [stage.join(""), stage.join("")];
    stage.advance(3);
    stage.advance(3);
    let joined: Vec<Joined> = answers
        .into_iter()
        .map(|answer| taken(answer).expect("joined"))
        .collect();
    let follower = joined
        .iter()
        .find(|joined| joined.leader != joined.member)
        .expect("one follows")
        .clone();
    let leader = joined
        .iter()
        .find(|joined| joined.leader == joined.member)
        .expect("one leads")
        .clone();
    let told = stage.sync(&follower, None, &[]);
    for _ in 0..6 {
        let _ = stage.group.heartbeat(stage.now, &reference(&leader, None));
        stage.advance(5);
    }
    assert_eq!(taken(told), Err(GroupError::RebalanceInProgress));
    let alone = taken(stage.join(&follower.member)).expect("joined");
    assert_eq!((alone.leader, alone.members.len()), (follower.member, 1));
}

#[test]
fn an_older_client_that_led_is_told_that_another_one_leads() {
    let mut stage = Stage::new(Duration::ZERO);
    let first = taken(stage.join_with("", Some("i"), &["range"])).expect("joined");
    drop(stage.sync(&first, Some("i"), &[]));
    stage.complete();
    stage.ids += 1;
    let join = Join {
        member: String::new(),
        instance: Some("i".to_owned()),
        client_id: String::new(),
        client_host: String::new(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(30),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"m"))],
        id_required: true,
        knows_skip: false,
        fresh: Uuid::from_u128(99),
    };
    let (answer, answered) = oneshot::channel();
    stage.group.join(stage.now, join, answer);
    let back = taken(answered).expect("in its predecessor's place");
    assert!(back.leader != back.member && back.members.is_empty() && !back.skip_assignment);
}

#[test]
fn a_promised_id_is_waited_for_and_forgotten_in_time() {
    let (mut stage, joined) = Stage::stable(1);
    let join = Join {
        member: String::new(),
        instance: None,
        client_id: "é".repeat(300),
        client_host: String::new(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(30),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"m"))],
        id_required: true,
        knows_skip: true,
        fresh: Uuid::from_u128(7),
    };
    let (answer, answered) = oneshot::channel();
    stage.group.join(stage.now, join, answer);
    let promised = taken(answered).expect_err("an id first");
    assert_eq!(promised.error, GroupError::MemberIdRequired);
    assert!(promised.member.len() < 300);
    assert_eq!(stage.state(), "Stable", "nobody is called for a promise");
    let mut rejoin = stage.join(&joined[0].member);
    assert!(waits(&mut rejoin), "the promised one may come any moment");
    stage.advance(10);
    assert_eq!(taken(rejoin).expect("joined").members.len(), 1);
    assert_eq!(
        refused(stage.join(&promised.member)),
        GroupError::UnknownMember
    );
}

#[test]
fn whatever_is_asked_of_an_empty_group_is_refused() {
    let mut stage = Stage::new(Duration::ZERO);
    let nobody = MemberRef {
        id: "x".to_owned(),
        instance: None,
        generation: 1,
    };
    assert_eq!(
        stage.group.heartbeat(stage.now, &nobody),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(
        stage.group.leave(stage.now, &nobody),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(
        stage.group.check_commit(stage.now, &nobody),
        Err(GroupError::UnknownMember)
    );
    let fenced = MemberRef {
        instance: Some("i".to_owned()),
        ..nobody
    };
    assert_eq!(
        stage.group.heartbeat(stage.now, &fenced),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(refused(stage.join("x")), GroupError::UnknownMember);
    assert_eq!(
        refused(stage.join_with("", None, &[])),
        GroupError::InconsistentProtocol
    );
    assert!(stage.group.is_empty() && stage.group.next_tick().is_none());
}

#[test]
fn a_generation_that_was_given_up_commits_no_offsets() {
    let (mut stage, joined) = Stage::stable(2);
    let ids: Vec<String> = joined.iter().map(|joined| joined.member.clone()).collect();
    let newcomer = stage.join("");
    let again: Vec<_> = ids.iter().map(|id| stage.join(id)).collect();
    let told: Vec<Joined> = again
        .into_iter()
        .map(|answer| taken(answer).expect("joined"))
        .collect();
    assert_eq!(told[0].generation, 2);
    assert_eq!(taken(newcomer).expect("joined").generation, 2);
    // Another one comes before the leader has assigned.
    drop(stage.join(""));
    assert_eq!(stage.state(), "PreparingRebalance");
    assert_eq!(
        stage
            .group
            .check_commit(stage.now, &reference(&told[0], None)),
        Err(GroupError::RebalanceInProgress)
    );
}
