//! Consumer groups over the wire.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeConfigsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use tarn_kafka::ErrorCode;
use tarn_model::ByteSize;
use tokio::time::{Instant, sleep};

use super::harness::{Client, Cluster, PATIENCE, agent, code, name, settings, text};

mod expiry;

fn group(group: &str) -> GroupId {
    GroupId(text(group))
}

fn join(member: &str, instance: Option<&str>) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"m"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as a new member, with the id that it is told to come back with.
async fn join_new(client: &mut Client) -> JoinGroupResponse {
    let first = client.call(7, join("", None)).await;
    assert_eq!(code(first.error_code), ErrorCode::MemberIdRequired);
    client.call(7, join(&first.member_id, None)).await
}

fn sync(joined: &JoinGroupResponse, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments
        .iter()
        .map(|(member, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(Bytes::copy_from_slice(assignment.as_bytes()))
        })
        .collect();
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments)
}

async fn heartbeat(client: &mut Client, joined: &JoinGroupResponse) -> ErrorCode {
    let request = HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    code(client.call(4, request).await.error_code)
}

async fn commit(
    client: &mut Client,
    generation: i32,
    member: &str,
    topic: &str,
    offset: i64,
) -> ErrorCode {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic]);
    code(client.call(8, request).await.topics[0].partitions[0].error_code)
}

async fn committed(client: &mut Client, topic: &str) -> i64 {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(name(topic))
        .with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group("g"))
        .with_topics(Some(vec![topic]));
    let response = client
        .call(9, OffsetFetchRequest::default().with_groups(vec![asked]))
        .await;
    assert_eq!(response.groups[0].error_code, 0);
    response.groups[0].topics[0].partitions[0].committed_offset
}

async fn describe(client: &mut Client) -> (ErrorCode, String, usize) {
    let response = client
        .call(
            6,
            DescribeGroupsRequest::default().with_groups(vec![group("g")]),
        )
        .await;
    let described = &response.groups[0];
    (
        code(described.error_code),
        described.group_state.to_string(),
        described.members.len(),
    )
}

#[tokio::test]
async fn what_is_named_many_times_is_answered_once() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let described = client
        .call(
            6,
            DescribeGroupsRequest::default().with_groups(vec![group("g"); 1000]),
        )
        .await;
    assert_eq!(described.groups.len(), 1);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group("g"))
        .with_topics(None);
    let fetched = client
        .call(
            9,
            OffsetFetchRequest::default().with_groups(vec![asked; 1000]),
        )
        .await;
    assert_eq!(fetched.groups.len(), 1);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text(""));
    let configs = client
        .call(
            4,
            DescribeConfigsRequest::default().with_resources(vec![resource; 1000]),
        )
        .await;
    assert_eq!(configs.results.len(), 1);
}

fn leave(member: &str) -> LeaveGroupRequest {
    let member = MemberIdentity::default().with_member_id(text(member));
    LeaveGroupRequest::default()
        .with_group_id(group("g"))
        .with_members(vec![member])
}

#[tokio::test]
async fn a_member_joins_syncs_commits_and_leaves() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    let joined = join_new(&mut client).await;
    assert_eq!(
        (
            joined.error_code,
            joined.generation_id,
            joined.members.len()
        ),
        (0, 1, 1)
    );
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(
        commit(&mut client, 1, &joined.member_id, "orders", 5).await,
        ErrorCode::RebalanceInProgress
    );
    let synced = client
        .call(5, sync(&joined, &[(&joined.member_id, "mine")]))
        .await;
    assert_eq!(
        (synced.error_code, synced.assignment.as_ref()),
        (0, b"mine".as_slice())
    );
    assert_eq!(
        agent.node.metastore.view().groups["g"].generation,
        1,
        "the generation is in the log"
    );
    assert_eq!(heartbeat(&mut client, &joined).await, ErrorCode::None);
    assert_eq!(committed(&mut client, "orders").await, -1);
    assert_eq!(
        commit(&mut client, 1, &joined.member_id, "orders", 5).await,
        ErrorCode::None
    );
    assert_eq!(committed(&mut client, "orders").await, 5);
    for (generation, member, topic, expected) in [
        (
            2,
            joined.member_id.as_str(),
            "orders",
            ErrorCode::IllegalGeneration,
        ),
        (1, "somebody", "orders", ErrorCode::UnknownMemberId),
        (-1, "", "orders", ErrorCode::UnknownMemberId),
        (
            1,
            joined.member_id.as_str(),
            "nowhere",
            ErrorCode::UnknownTopicOrPartition,
        ),
    ] {
        assert_eq!(
            commit(&mut client, generation, member, topic, 9).await,
            expected
        );
    }
    assert_eq!(
        describe(&mut client).await,
        (ErrorCode::None, "Stable".to_owned(), 1)
    );
    let delete =
        || DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("nobody")]);
    let refused = client.call(2, delete()).await;
    let codes: Vec<ErrorCode> = refused
        .results
        .iter()
        .map(|result| code(result.error_code))
        .collect();
    assert_eq!(
        codes,
        [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound]
    );
    let left = client.call(5, leave(&joined.member_id)).await;
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    assert_eq!(
        code(client.call(5, leave(&joined.member_id)).await.members[0].error_code),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(
        heartbeat(&mut client, &joined).await,
        ErrorCode::UnknownMemberId
    );
    // An operator moves the offsets of the empty group, and deletes it.
    assert_eq!(
        commit(&mut client, -1, "", "orders", 2).await,
        ErrorCode::None
    );
    assert_eq!(committed(&mut client, "orders").await, 2);
    assert_eq!(
        describe(&mut client).await,
        (ErrorCode::None, "Empty".to_owned(), 0)
    );
    assert_eq!(client.call(2, delete()).await.results[0].error_code, 0);
    assert_eq!(committed(&mut client, "orders").await, -1);
    assert_eq!(describe(&mut client).await.0, ErrorCode::GroupIdNotFound);
    // A deleted group begins anew.
    let again = join_new(&mut client).await;
    assert_eq!(client.call(5, sync(&again, &[])).await.error_code, 0);
}

#[tokio::test]
async fn a_second_member_rebalances_the_first() {
    let agent = agent().await;
    let (mut one, mut two) = (agent.client().await, agent.client().await);
    let first = join_new(&mut one).await;
    one.call(5, sync(&first, &[])).await;
    let id = two.call(7, join("", None)).await.member_id;
    two.send(7, &join(&id, None)).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        heartbeat(&mut one, &first).await,
        ErrorCode::RebalanceInProgress
    );
    let again = one.call(7, join(&first.member_id, None)).await;
    let second = two.receive::<JoinGroupRequest>(7).await;
    assert_eq!((again.generation_id, second.generation_id), (2, 2));
    assert_eq!(
        (again.members.len(), second.members.len()),
        (2, 0),
        "the first leads on"
    );
    two.send(5, &sync(&second, &[])).await;
    let plan = [
        (again.member_id.as_str(), "a"),
        (second.member_id.as_str(), "b"),
    ];
    let synced = one.call(5, sync(&again, &plan)).await;
    assert_eq!(synced.assignment.as_ref(), b"a");
    assert_eq!(
        two.receive::<SyncGroupRequest>(5).await.assignment.as_ref(),
        b"b"
    );
    assert_eq!(
        heartbeat(&mut one, &first).await,
        ErrorCode::IllegalGeneration
    );
    // When one leaves, the other is called again.
    two.call(5, leave(&second.member_id)).await;
    assert_eq!(
        heartbeat(&mut one, &again).await,
        ErrorCode::RebalanceInProgress
    );
}

#[tokio::test]
async fn a_member_may_leave_while_its_join_is_pending() {
    let agent = agent().await;
    let (mut one, mut two) = (agent.client().await, agent.client().await);
    let first = join_new(&mut one).await;
    one.call(5, sync(&first, &[])).await;
    let id = two.call(7, join("", None)).await.member_id;
    two.send(7, &join(&id, None)).await;
    // On the same connection, before the join is answered.
    two.send(5, &leave(&id)).await;
    let last = two.last_correlation_id();
    let joined = two.receive_of::<JoinGroupRequest>(7, last - 1).await;
    assert_eq!(code(joined.error_code), ErrorCode::UnknownMemberId);
    assert_eq!(
        two.receive_of::<LeaveGroupRequest>(5, last).await.members[0].error_code,
        0
    );
    let alone = one.call(7, join(&first.member_id, None)).await;
    assert_eq!((alone.error_code, alone.members.len()), (0, 1));
}

#[tokio::test]
async fn an_agent_that_drains_tells_who_waits_to_look_elsewhere() {
    let agent = agent().await;
    let (mut one, mut two) = (agent.client().await, agent.client().await);
    let first = join_new(&mut one).await;
    one.call(5, sync(&first, &[])).await;
    let id = two.call(7, join("", None)).await.member_id;
    two.send(7, &join(&id, None)).await;
    sleep(Duration::from_millis(100)).await;
    let node = agent.node.clone();
    let started = Instant::now();
    let (joined, ()) = tokio::join!(two.receive::<JoinGroupRequest>(7), async move {
        node.drain().await;
    });
    assert_eq!(code(joined.error_code), ErrorCode::NotCoordinator);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_silent_member_expires() {
    let mut quick = settings();
    quick.groups.session_timeout_min = Duration::from_millis(1);
    let agent = Cluster::new().agent(quick).await;
    let mut client = agent.client().await;
    let id = client.call(7, join("", None)).await.member_id;
    let joined = client
        .call(7, join(&id, None).with_session_timeout_ms(300))
        .await;
    client.call(5, sync(&joined, &[])).await;
    for _ in 0..4 {
        sleep(Duration::from_millis(150)).await;
        assert_eq!(heartbeat(&mut client, &joined).await, ErrorCode::None);
    }
    sleep(Duration::from_millis(700)).await;
    assert_eq!(
        heartbeat(&mut client, &joined).await,
        ErrorCode::UnknownMemberId
    );
    // It is gone from the log too.
    for _ in 0..50 {
        if agent.node.metastore.view().groups["g"].members.is_empty() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the expired member stayed in the log");
}

#[tokio::test]
async fn a_static_member_comes_back_without_a_rebalance_and_fences_its_predecessor() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    let first = client.call(9, join("", Some("i"))).await;
    assert_eq!(
        first.error_code, 0,
        "a static member needs no second request"
    );
    client
        .call(
            5,
            sync(&first, &[(&first.member_id, "mine")]).with_group_instance_id(Some(text("i"))),
        )
        .await;
    let second = client.call(9, join("", Some("i"))).await;
    assert_eq!(
        (second.error_code, second.generation_id),
        (0, first.generation_id),
        "no rebalance"
    );
    assert!(second.skip_assignment && second.member_id != first.member_id);
    let synced = client
        .call(
            5,
            sync(&second, &[]).with_group_instance_id(Some(text("i"))),
        )
        .await;
    assert_eq!(synced.assignment.as_ref(), b"mine");
    let beat = |joined: &JoinGroupResponse| {
        HeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_group_instance_id(Some(text("i")))
    };
    assert_eq!(
        code(client.call(4, beat(&first)).await.error_code),
        ErrorCode::FencedInstanceId
    );
    assert_eq!(client.call(4, beat(&second)).await.error_code, 0);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(3);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("orders"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(second.generation_id)
        .with_member_id(second.member_id.clone())
        .with_group_instance_id(Some(text("i")))
        .with_topics(vec![topic]);
    let done = client.call(8, request).await;
    assert_eq!(
        done.topics[0].partitions[0].error_code, 0,
        "its id in the log is its predecessor's"
    );
}

#[tokio::test]
async fn wrong_joins_are_refused() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let no_group = client
        .call(7, join("", None).with_group_id(group("")))
        .await;
    assert_eq!(code(no_group.error_code), ErrorCode::InvalidGroupId);
    let hasty = client
        .call(7, join("", None).with_session_timeout_ms(1))
        .await;
    assert_eq!(code(hasty.error_code), ErrorCode::InvalidSessionTimeout);
    let stranger = client.call(7, join("stranger", None)).await;
    assert_eq!(code(stranger.error_code), ErrorCode::UnknownMemberId);
    let empty = client
        .call(7, join("", None).with_protocols(Vec::new()))
        .await;
    assert_eq!(code(empty.error_code), ErrorCode::InconsistentGroupProtocol);
    let joined = join_new(&mut client).await;
    client.call(5, sync(&joined, &[])).await;
    let other = client
        .call(3, join("", None).with_protocol_type(text("connect")))
        .await;
    assert_eq!(code(other.error_code), ErrorCode::InconsistentGroupProtocol);
    let long = vec![JoinGroupRequestProtocol::default().with_name(text(&"p".repeat(5_000)))];
    let long = client.call(7, join("", None).with_protocols(long)).await;
    assert_eq!(code(long.error_code), ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn groups_are_listed_and_offsets_are_fetched_in_every_version() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 2).await;
    assert_eq!(
        commit(&mut client, -1, "", "orders", 7).await,
        ErrorCode::None
    );
    for version in 1..=7 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name("orders"))
            .with_partition_indexes(vec![0, 1]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group("g"))
            .with_topics(Some(vec![topic]));
        let response = client.call(version, request).await;
        let offsets: Vec<i64> = response.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.committed_offset)
            .collect();
        assert_eq!(
            (response.error_code, offsets),
            (0, vec![7, -1]),
            "version {version}"
        );
    }
    let all = client
        .call(
            5,
            OffsetFetchRequest::default()
                .with_group_id(group("g"))
                .with_topics(None),
        )
        .await;
    assert_eq!((all.topics.len(), all.topics[0].partitions.len()), (1, 1));
    assert_eq!(all.topics[0].partitions[0].metadata, Some(text("note")));
    let list = async |client: &mut Client, states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|state| text(state)).collect())
            .with_types_filter(types.iter().map(|kind| text(kind)).collect());
        let response = client.call(5, request).await;
        response
            .groups
            .iter()
            .map(|group| group.group_state.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&mut client, &[], &[]).await, ["Empty"]);
    assert_eq!(list(&mut client, &["empty"], &["Classic"]).await, ["Empty"]);
    assert!(list(&mut client, &["Stable"], &[]).await.is_empty());
    assert!(list(&mut client, &[], &["consumer"]).await.is_empty());
    let joined = join_new(&mut client).await;
    assert_eq!(list(&mut client, &[], &[]).await, ["CompletingRebalance"]);
    client.call(5, sync(&joined, &[])).await;
    assert_eq!(list(&mut client, &["Stable"], &[]).await, ["Stable"]);
    for version in 0..=5 {
        assert_eq!(
            client
                .call(version, ListGroupsRequest::default())
                .await
                .groups
                .len(),
            1
        );
    }
}

#[tokio::test]
async fn a_stable_group_does_not_notice_that_its_coordinator_moved() {
    let cluster = Cluster::new();
    let agents = [
        cluster.agent(settings()).await,
        cluster.agent(settings()).await,
    ];
    // Whoever does not coordinate says so.
    let mut first = None;
    for (index, agent) in agents.iter().enumerate() {
        let mut client = agent.client().await;
        let answer = client.call(7, join("", None)).await;
        match code(answer.error_code) {
            ErrorCode::MemberIdRequired => first = Some((index, client, answer.member_id)),
            ErrorCode::NotCoordinator => {}
            other => panic!("{other}"),
        }
    }
    let (index, mut client, member) = first.expect("one of them coordinates");
    let joined = client.call(7, join(&member, None)).await;
    client.call(5, sync(&joined, &[(&member, "mine")])).await;
    agents[index].node.drain().await;
    let survivor = &agents[1 - index];
    let mut client = survivor.client().await;
    for _ in 0..100 {
        match heartbeat(&mut client, &joined).await {
            ErrorCode::None => {
                let synced = client.call(5, sync(&joined, &[])).await;
                assert_eq!(synced.assignment.as_ref(), b"mine");
                return;
            }
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                sleep(Duration::from_millis(50)).await
            }
            other => panic!("the group noticed: {other}"),
        }
    }
    panic!("nobody took the group over");
}

#[tokio::test]
async fn members_that_went_with_their_coordinator_expire_though_nobody_asks_for_their_group() {
    let cluster = Cluster::new();
    let mut settings = settings();
    settings.groups.session_timeout_min = Duration::from_millis(100);
    let first = cluster.agent(settings.clone()).await;
    let mut client = first.with_topic("orders", 1).await;
    let member = client.call(7, join("", None)).await.member_id;
    let joined = join(&member, None).with_session_timeout_ms(300);
    let joined = client.call(7, joined).await;
    client.call(5, sync(&joined, &[(&member, "mine")])).await;
    first.node.drain().await;

    let second = cluster.agent(settings).await;
    let mut views = second.node.metastore.watch();
    let emptied = views.wait_for(|view| view.groups["g"].members.is_empty());
    tokio::time::timeout(PATIENCE, emptied)
        .await
        .expect("the member expires")
        .expect("views go on");
    let mut client = second.client().await;
    assert_eq!(
        commit(&mut client, -1, "", "orders", 3).await,
        ErrorCode::None
    );
}

/// Longer than any cap on one member: what a consumer of 600 topics with long names offers in three
/// protocols, and is assigned. Apache Kafka takes it.
#[tokio::test]
async fn a_consumer_of_600_topics_joins() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let mut subscription = vec![0, 0, 0, 0, 2, 88];
    for topic in 0..600 {
        let name = format!("{topic:0>240}");
        subscription.extend_from_slice(&[0, 240]);
        subscription.extend_from_slice(name.as_bytes());
    }
    subscription.extend_from_slice(&(-1_i32).to_be_bytes());
    let asked = |member: &str| {
        let protocols = ["range", "roundrobin", "cooperative-sticky"].map(|protocol| {
            JoinGroupRequestProtocol::default()
                .with_name(text(protocol))
                .with_metadata(Bytes::from(subscription.clone()))
        });
        join(member, None).with_protocols(protocols.to_vec())
    };
    let first = client.call(7, asked("")).await;
    assert_eq!(code(first.error_code), ErrorCode::MemberIdRequired);
    let joined = client.call(7, asked(&first.member_id)).await;
    assert_eq!(code(joined.error_code), ErrorCode::None);
    let assignment = "a".repeat(200_000);
    let request = sync(&joined, &[(&joined.member_id, &assignment)]);
    let synced = client.call(5, request).await;
    assert_eq!(code(synced.error_code), ErrorCode::None);
    assert_eq!(synced.assignment.len(), assignment.len());
    assert_eq!(heartbeat(&mut client, &joined).await, ErrorCode::None);
    let logged = &agent.node.metastore.view().groups["g"];
    assert!(logged.brought.len() < 100 << 10, "{}", logged.brought.len());
}

/// KafkaJS commits −1 and −2 after OFFSET_OUT_OF_RANGE; Apache Kafka 4.3 keeps any number.
#[tokio::test]
async fn negative_offsets_are_committed_and_fetched() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    for offset in [-1, -2, -7, i64::MIN, i64::MAX] {
        assert_eq!(
            commit(&mut client, -1, "", "orders", offset).await,
            ErrorCode::None
        );
        assert_eq!(committed(&mut client, "orders").await, offset);
    }
}

/// Many groups of one client are bounded together, and what is given back can be had again.
#[tokio::test]
async fn what_all_groups_hold_is_bounded() {
    let mut settings = settings();
    settings.groups.bytes = ByteSize::mib(1);
    let agent = Cluster::new().agent(settings).await;
    let mut client = agent.client().await;
    let asked = |group: &str, member: &str| {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from(vec![7; 700_000]));
        join(member, None)
            .with_group_id(GroupId(text(group)))
            .with_protocols(vec![protocol])
    };
    // Below version 4 a member joins without asking for its id first.
    let first = client.call(3, asked("one", "")).await;
    assert_eq!(code(first.error_code), ErrorCode::None);
    let second = client.call(3, asked("two", "")).await;
    assert_eq!(code(second.error_code), ErrorCode::GroupMaxSizeReached);
    // Who is in already may ask again.
    let again = client.call(3, asked("one", &first.member_id)).await;
    assert_eq!(code(again.error_code), ErrorCode::None);
    let leave = LeaveGroupRequest::default()
        .with_group_id(GroupId(text("one")))
        .with_member_id(first.member_id.clone());
    assert_eq!(client.call(1, leave).await.error_code, 0);
    let second = client.call(3, asked("two", "")).await;
    assert_eq!(code(second.error_code), ErrorCode::None);
}
