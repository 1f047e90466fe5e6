//! Frames, versions, order, and what is not a request.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use tarn_kafka::{ApiKey, ErrorCode, decode_response, encode_request};
use tokio::time::{Instant, sleep};

use super::harness::{
    Cluster, agent, batch, code, fetch, only_fetch, produce, records, settings, text,
};

#[tokio::test]
async fn api_versions_lists_the_table_and_advertises_produce_from_0() {
    let agent = agent().await;
    let mut client = agent.client().await;
    for version in 0..=4 {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1.0"));
        let response: ApiVersionsResponse = client
            .call(
                version,
                if version >= 3 {
                    request
                } else {
                    ApiVersionsRequest::default()
                },
            )
            .await;
        assert_eq!(response.error_code, 0);
        assert_eq!(response.api_keys.len(), ApiKey::ALL.len());
        let produce = &response.api_keys[0];
        assert_eq!(
            (produce.api_key, produce.min_version, produce.max_version),
            (0, 0, 13)
        );
    }
    let unnamed = client.call(3, ApiVersionsRequest::default()).await;
    assert_eq!(code(unnamed.error_code), ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let mut frame = BytesMut::new();
    frame.put_i32(15);
    frame.put_slice(&[0, 18, 0, 99, 0, 0, 0, 5, 0, 1, b'x', 0, 0, 0, 0]);
    client.send_bytes(&frame).await;
    let answer = client
        .receive_frame()
        .await
        .expect("an answer, not a closed connection");
    let response = decode_response::<ApiVersionsRequest>(0, answer).expect("version 0");
    assert_eq!(code(response.error_code), ErrorCode::UnsupportedVersion);
    assert_eq!(response.api_keys[0].api_key, 18);
    // The connection goes on.
    assert_eq!(
        client
            .call(0, ApiVersionsRequest::default())
            .await
            .error_code,
        0
    );
}

#[tokio::test]
async fn what_is_no_request_closes_the_connection_and_nothing_else() {
    let agent = agent().await;
    let frame = |body: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(body.len()).expect("small"));
        frame.put_slice(body);
        frame
    };
    let wrong: Vec<(&str, BytesMut)> = vec![
        ("an empty frame", frame(&[])),
        ("a header that is cut", frame(&[0, 3, 0, 9, 0, 0])),
        (
            "an unknown key",
            frame(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ),
        (
            "an unknown version",
            frame(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
        ),
        (
            "two billion topics",
            frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "a negative length",
            BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]),
        ),
        (
            "a length beyond the cap",
            BytesMut::from(&[0x7f, 0, 0, 0][..]),
        ),
        ("HTTP", BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..])),
        (
            "TLS",
            BytesMut::from(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..]),
        ),
    ];
    for (what, bytes) in wrong {
        let mut client = agent.client().await;
        client.send_bytes(&bytes).await;
        assert!(client.is_closed().await, "{what}");
    }
    assert_eq!(
        agent
            .client()
            .await
            .call(0, ApiVersionsRequest::default())
            .await
            .error_code,
        0
    );
    assert_eq!(
        agent.node.budget.available(),
        agent.node.budget.total(),
        "all bytes were given back"
    );
}

#[tokio::test]
async fn what_was_asked_before_a_malformed_frame_is_answered() {
    let agent = agent().await;
    let mut client = agent.client().await;
    client.send(0, &ApiVersionsRequest::default()).await;
    client.send_bytes(&[0, 0, 0, 2, 0xff, 0xff]).await;
    assert_eq!(client.receive::<ApiVersionsRequest>(0).await.error_code, 0);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn answers_keep_the_order_of_the_requests() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    let started = Instant::now();
    // A long poll, then requests that could be answered at once.
    client.send(11, &fetch("orders", &[(0, 0)], 400)).await;
    client
        .send(9, &MetadataRequest::default().with_topics(Some(Vec::new())))
        .await;
    client.send(0, &ApiVersionsRequest::default()).await;
    let last = client.last_correlation_id();
    let data = only_fetch(client.receive_of::<FetchRequest>(11, last - 2).await);
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert!(records(&data).is_empty());
    assert_eq!(
        client
            .receive_of::<MetadataRequest>(9, last - 1)
            .await
            .brokers
            .len(),
        1
    );
    assert_eq!(
        client
            .receive_of::<ApiVersionsRequest>(0, last)
            .await
            .error_code,
        0
    );
}

#[tokio::test]
async fn a_request_larger_than_the_setting_is_refused_before_it_is_read() {
    let mut small = settings();
    small.request_bytes_max = tarn_model::ByteSize::kib(1);
    let agent = Cluster::new().agent(small).await;
    let mut client = agent.client().await;
    client.send_bytes(&2000u32.to_be_bytes()).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let mut few = settings();
    few.connections_max = 1;
    let agent = Cluster::new().agent(few).await;
    let mut first = agent.client().await;
    assert_eq!(
        first
            .call(0, ApiVersionsRequest::default())
            .await
            .error_code,
        0
    );
    let mut second = agent.client().await;
    assert!(second.is_closed().await);
    drop(first);
    for _ in 0..100 {
        let mut third = agent.client().await;
        third.send(0, &ApiVersionsRequest::default()).await;
        if third.receive_frame().await.is_some() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the place was not given back");
}

#[tokio::test]
async fn a_client_that_stalls_or_idles_loses_its_connection() {
    let mut impatient = settings();
    impatient.connection_stall = Duration::from_millis(50);
    impatient.connection_idle = Duration::from_millis(300);
    let agent = Cluster::new().agent(impatient).await;
    let mut stalls = agent.client().await;
    stalls.send_bytes(&[0, 0, 1, 0, 0, 18]).await;
    assert!(stalls.is_closed().await);
    let mut idles = agent.client().await;
    assert!(idles.is_closed().await);
    assert_eq!(agent.node.budget.available(), agent.node.budget.total());
}

#[tokio::test]
async fn a_request_that_only_trickles_in_is_cut_off() {
    let mut impatient = settings();
    impatient.connection_stall = Duration::from_millis(300);
    let agent = Cluster::new().agent(impatient).await;
    let mut trickles = agent.client().await;
    trickles.send_bytes(&[0, 0, 1, 0]).await;
    for _ in 0..60 {
        sleep(Duration::from_millis(50)).await;
        if !trickles.try_send_bytes(&[0]).await {
            assert_eq!(agent.node.budget.available(), agent.node.budget.total());
            return;
        }
    }
    panic!("it held its bytes for as long as it liked");
}

#[tokio::test]
async fn draining_answers_what_is_in_flight_and_closes() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    client.produce("orders", 0, batch(&["a"])).await;
    client.send(11, &fetch("orders", &[(0, 1)], 30_000)).await;
    sleep(Duration::from_millis(100)).await;
    let node = agent.node.clone();
    let started = Instant::now();
    let (data, ()) = tokio::join!(client.receive::<FetchRequest>(11), async move {
        node.drain().await
    });
    assert!(records(&only_fetch(data)).is_empty());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn the_cluster_and_its_coordinators_are_found() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let node = agent.node.metastore.node().0;
    for version in 0..=2 {
        let request = DescribeClusterRequest::default().with_endpoint_type(1);
        let cluster = client.call(version, request).await;
        assert_eq!(
            (
                cluster.error_code,
                cluster.brokers[0].broker_id.0,
                cluster.controller_id.0
            ),
            (0, node, node)
        );
    }
    for version in 0..=6 {
        let request = FindCoordinatorRequest::default();
        let request = if version < 4 {
            request.with_key(text("g"))
        } else {
            request.with_coordinator_keys(vec![text("g"), text("h")])
        };
        let found = client.call(version, request).await;
        if version < 4 {
            assert_eq!(
                (found.error_code, found.node_id.0, found.port > 0),
                (0, node, true)
            );
        } else {
            assert_eq!(found.coordinators.len(), 2);
            assert!(
                found
                    .coordinators
                    .iter()
                    .all(|found| found.error_code == 0 && found.node_id.0 == node)
            );
        }
    }
    // Transactions are refused in a way that clients take for final.
    let request = FindCoordinatorRequest::default()
        .with_key(text("tx"))
        .with_key_type(1);
    let refused = client.call(3, request).await;
    assert_eq!(
        code(refused.error_code),
        ErrorCode::TransactionalIdAuthorizationFailed
    );
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(text("tx").into()))
        .with_transaction_timeout_ms(1);
    let refused = client.call(4, request).await;
    assert_eq!(
        code(refused.error_code),
        ErrorCode::TransactionalIdAuthorizationFailed
    );
    assert_eq!((refused.producer_id.0, refused.producer_epoch), (-1, -1));
    let first = client
        .call(
            4,
            InitProducerIdRequest::default().with_transactional_id(None),
        )
        .await;
    let second = client
        .call(
            4,
            InitProducerIdRequest::default().with_transactional_id(None),
        )
        .await;
    assert!(
        first.error_code == 0
            && second.producer_id.0 > first.producer_id.0
            && second.producer_epoch == 0
    );
}

#[tokio::test]
async fn who_does_not_read_holds_one_answer_and_nobody_else_up() {
    let mut tight = settings();
    tight.response_bytes = tarn_model::ByteSize::mib(4);
    tight.connection_stall = Duration::from_secs(1);
    let agent = Cluster::new().agent(tight).await;
    let mut slow = agent.with_topic("orders", 1).await;
    let large = "x".repeat(900 << 10);
    for _ in 0..3 {
        assert_eq!(
            slow.produce("orders", 0, batch(&[&large])).await.error_code,
            0
        );
    }
    // Far more than sockets buffer, and never read.
    let mut wishes = fetch("orders", &[(0, 0)], 0);
    wishes.topics[0].partitions[0].partition_max_bytes = 3 << 20;
    for _ in 0..20 {
        slow.send(11, &wishes).await;
    }
    sleep(Duration::from_millis(200)).await;
    let mut other = agent.client().await;
    for _ in 0..3 {
        let data = other.fetch("orders", 0, 1).await;
        assert_eq!(records(&data).len(), 1, "{}", data.error_code);
    }
    // Whoever takes nothing for too long is cut off, and gives its bytes back.
    sleep(Duration::from_millis(2500)).await;
    let text = agent.node.runtime.metrics().encode();
    assert!(
        text.contains("tarn_kafka_responses_in_flight_bytes 0"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_is_answered_harms_nobody() {
    let agent = agent().await;
    let mut first = agent.with_topic("orders", 1).await;
    let large = "x".repeat(900 << 10);
    for _ in 0..3 {
        let produced = first.produce("orders", 0, batch(&[&large])).await;
        assert_eq!(produced.error_code, 0);
    }
    let mut wishes = fetch("orders", &[(0, 0)], 0);
    wishes.topics[0].partitions[0].partition_max_bytes = 3 << 20;
    for round in 0..40 {
        let mut client = agent.client().await;
        for _ in 0..5 {
            client.send(11, &wishes).await;
        }
        // At another place within the first answer each time.
        sleep(Duration::from_millis(round)).await;
        drop(client);
    }
    sleep(Duration::from_millis(300)).await;
    let panicked = futures::FutureExt::now_or_never(agent.node.scope.panicked());
    assert_eq!(panicked, None);
    assert_eq!(records(&first.fetch("orders", 0, 1).await).len(), 1);
}

#[tokio::test]
async fn a_backlog_of_batches_keeps_no_heartbeat_and_no_small_request_waiting() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 1).await;
    let budget = &agent.node.budget;
    let _backlog = budget.acquire(budget.total().0).await.expect("it is free");
    let mut producer = agent.client().await;
    producer
        .send(9, &produce("orders", 0, batch(&["waits"])))
        .await;
    let beat = HeartbeatRequest::default().with_group_id(GroupId(text("g")));
    let answer = client.call(4, beat).await;
    assert_eq!(code(answer.error_code), ErrorCode::UnknownMemberId);
    client.call(9, MetadataRequest::default()).await;
    client.fetch("orders", 0, 0).await;
}

macro_rules! ask_every_version {
    ($client:ident, $asked:ident: $($request:ident $(. $with:ident($value:expr))*,)*) => {
        $(
            let api = ApiKey::from_key(<$request as Request>::KEY).expect("served");
            for version in api.versions() {
                let request = $request::default()$(.$with($value))*;
                if encode_request(1, None, version, &request).is_err() {
                    // Its defaults are not for this version.
                    continue;
                }
                let _: <$request as Request>::Response = $client.call(version, request).await;
                $asked += 1;
            }
        )*
    };
}

#[tokio::test]
async fn every_api_answers_every_version_even_when_it_is_asked_for_nothing() {
    let agent = agent().await;
    let mut client = agent.client().await;
    let mut asked = 0;
    ask_every_version! { client, asked:
        ProduceRequest.with_acks(-1),
        FetchRequest.with_session_epoch(-1),
        ListOffsetsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        FindCoordinatorRequest,
        JoinGroupRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        SyncGroupRequest,
        DescribeGroupsRequest,
        ListGroupsRequest,
        ApiVersionsRequest,
        CreateTopicsRequest,
        DeleteTopicsRequest,
        InitProducerIdRequest,
        OffsetForLeaderEpochRequest,
        DescribeConfigsRequest,
        CreatePartitionsRequest,
        DeleteGroupsRequest,
        IncrementalAlterConfigsRequest,
        DescribeClusterRequest,
        DescribeAclsRequest,
        CreateAclsRequest,
        DeleteAclsRequest,
        AlterConfigsRequest,
        DescribeLogDirsRequest,
        ListPartitionReassignmentsRequest,
        OffsetDeleteRequest,
        DeleteRecordsRequest,
        ElectLeadersRequest,
        DescribeClientQuotasRequest,
        AlterClientQuotasRequest,
        DescribeUserScramCredentialsRequest,
        DescribeQuorumRequest,
        DescribeProducersRequest,
        ListTransactionsRequest,
        ListConfigResourcesRequest,
        DescribeTopicPartitionsRequest,
    }
    let served: usize = ApiKey::ALL.iter().map(|api| api.versions().count()).sum();
    assert_eq!(asked, served);
}
