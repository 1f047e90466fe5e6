//! Groups that another coordinator had, or has changed.

use super::*;

#[test]
fn a_group_that_was_taken_over_goes_on_with_full_session_timeouts() {
    let (mut old, joined) = Stage::stable(2);
    drop(old.sync(&joined[0], None, &[]));
    let members = old.group.describe().members;
    let complete = Complete {
        generation: 1,
        protocol_type: "consumer".to_owned(),
        protocol: "range".to_owned(),
        leader: joined[0].leader.clone(),
        members: members
            .iter()
            .map(|member| GroupMember {
                id: member.id.clone(),
                instance: None,
                client_id: String::new(),
                client_host: String::new(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 30_000,
            })
            .collect(),
        brought: members
            .iter()
            .map(|member| BroughtByMember {
                id: member.id.clone(),
                protocols: vec![("range".to_owned(), b"m".to_vec().into())],
                assignment: b"mine".to_vec().into(),
            })
            .collect(),
    };
    let mut stage = Stage::new(Duration::ZERO);
    stage.now = old.now;
    assert!(stage.group.follow(Some(&logged(&complete)), stage.now));
    stage.advance(9);
    for joined in &joined {
        assert_eq!(
            stage.group.heartbeat(stage.now, &reference(joined, None)),
            Ok(())
        );
        assert_eq!(
            taken(stage.sync(joined, None, &[]))
                .expect("synced")
                .assignment
                .as_ref(),
            b"mine"
        );
        assert_eq!(
            stage
                .group
                .check_commit(stage.now, &reference(joined, None)),
            Ok(joined.member.clone())
        );
    }
    // Nobody could be heard for a while: everybody gets a full timeout again.
    stage.now += Duration::from_secs(60);
    stage.group.renew_all(stage.now);
    stage.advance(9);
    assert_eq!(stage.state(), "Stable");
    stage.advance(2);
    assert!(stage.group.is_empty());
}

#[test]
fn a_static_members_successor_is_known_after_a_move_too() {
    let mut stage = Stage::new(Duration::ZERO);
    let first = taken(stage.join_with("", Some("i"), &["range"])).expect("joined");
    drop(stage.sync(&first, Some("i"), &[(first.member.as_str(), "mine")]));
    let complete = stage.complete();
    let second =
        taken(stage.join_with("", Some("i"), &["range"])).expect("in its predecessor's place");
    assert_eq!((second.generation, second.skip_assignment), (1, true));
    // Another coordinator knows the first one from the log only.
    let mut moved = Stage::new(Duration::ZERO);
    moved.now = stage.now;
    moved.group.load(&logged(&complete), moved.now);
    assert_eq!(
        moved
            .group
            .heartbeat(moved.now, &reference(&second, Some("i"))),
        Ok(())
    );
    assert_eq!(
        moved
            .group
            .heartbeat(moved.now, &reference(&first, Some("i"))),
        Err(GroupError::FencedInstance)
    );
    assert_eq!(
        moved
            .group
            .check_commit(moved.now, &reference(&second, Some("i"))),
        Ok(first.member.clone())
    );
    // A static member that stays away for less than its session keeps its place.
    moved.advance(9);
    let newcomer = moved.join("");
    let back = moved.join_with(&second.member, Some("i"), &["range"]);
    assert_eq!(
        taken(newcomer).expect("joined").generation,
        taken(back).expect("joined").generation
    );
}

#[test]
fn members_that_another_coordinator_removed_are_no_members_here() {
    let mut stage = Stage::new(Duration::ZERO);
    let joined = taken(stage.join("")).expect("joined");
    drop(stage.sync(&joined, None, &[]));
    let complete = stage.complete();
    let mut log = logged(&complete);
    assert!(!stage.group.follow(Some(&log), stage.now));
    // The same members under another address: a view that shares nothing with the one before.
    log.members = complete.members.clone().into();
    assert!(!stage.group.follow(Some(&log), stage.now));
    assert_eq!(
        stage.group.heartbeat(stage.now, &reference(&joined, None)),
        Ok(())
    );
    log.members = Arc::new([]);
    assert!(stage.group.follow(Some(&log), stage.now));
    assert_eq!(
        stage.group.heartbeat(stage.now, &reference(&joined, None)),
        Err(GroupError::UnknownMember)
    );
}

#[test]
fn a_group_whose_members_know_a_newer_generation_than_the_log_rebalances() {
    let (mut stage, _) = Stage::stable(1);
    let complete = Complete {
        generation: 1,
        protocol_type: "consumer".to_owned(),
        protocol: "range".to_owned(),
        leader: String::new(),
        members: Vec::new(),
        brought: Vec::new(),
    };
    let mut elsewhere = logged(&complete);
    elsewhere.members = Arc::new([GroupMember {
        id: "other".to_owned(),
        instance: None,
        client_id: String::new(),
        client_host: String::new(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
    }]);
    stage.group.generation = 5;
    stage.group.load(&elsewhere, stage.now);
    assert_eq!(stage.state(), "PreparingRebalance");
    elsewhere.generation = 6;
    stage.group.load(&elsewhere, stage.now);
    assert_eq!(stage.state(), "Stable");
}
