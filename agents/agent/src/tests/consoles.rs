//! What consoles ask when they are opened, call by call in their order: kafka-ui, Redpanda Console and
//! AKHQ. What a real Redpanda Console asks is in `consoles/recorded.rs`. An error that makes a console hide a feature is as good an answer as any; one that it does not
//! expect ends its page.

mod recorded;

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest as ProducersOf;
use kafka_protocol::messages::describe_quorum_request as quorum;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::*;
use tarn_kafka::{Compression, ErrorCode, Producer};

use super::harness::{Client, TestAgent, agent, batch_of, code, name, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// An agent with a topic of three partitions, ten records in the first, and a group that read five.
async fn cluster() -> (TestAgent, Client) {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 3).await;
    let producer = Producer {
        id: 7,
        epoch: 2,
        base_sequence: 0,
    };
    let records = batch_of(Compression::None, Some(producer), &["v"; 10]);
    assert_eq!(client.produce("orders", 0, records).await.error_code, 0);
    commit(&mut client, "readers", 5).await;
    (agent, client)
}

/// A group without members commits an offset of the first partition.
async fn commit(client: &mut Client, group: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("orders"))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = client.call(8, commit).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

async fn configs_of(client: &mut Client, kind: i8, of: &str) -> Vec<(String, String)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(of))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(4, request).await;
    assert_eq!(answer.results[0].error_code, 0);
    let shown = answer.results[0].configs.iter();
    shown
        .map(|config| {
            let value = config.value.as_deref().unwrap_or_default();
            (config.name.to_string(), value.to_owned())
        })
        .collect()
}

/// A cluster's page: which features there are, what version it is, how much each broker holds.
#[tokio::test]
async fn kafka_ui_opens_a_cluster() {
    let (agent, mut client) = cluster().await;
    let described = client
        .call(2, DescribeClusterRequest::default().with_endpoint_type(1))
        .await;
    let node = described.brokers[0].broker_id.0.to_string();
    let configs = configs_of(&mut client, BROKER, &node).await;
    for wanted in [
        "inter.broker.protocol.version",
        "delete.topic.enable",
        "node.id",
    ] {
        assert!(configs.iter().any(|(name, _)| name == wanted), "{wanted}");
    }
    // Without an authorizer it shows no ACLs.
    let any = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    let acls = client.call(3, any).await;
    assert_eq!(code(acls.error_code), ErrorCode::SecurityDisabled);
    let quotas = client.call(1, DescribeClientQuotasRequest::default()).await;
    assert_eq!(
        (quotas.error_code, quotas.entries.map(|all| all.len())),
        (0, Some(0))
    );

    let dirs = client
        .call(4, DescribeLogDirsRequest::default().with_topics(None))
        .await;
    assert_eq!((dirs.error_code, dirs.results.len()), (0, 1));
    let sizes: Vec<(i32, i64)> = dirs.results[0].topics[0]
        .partitions
        .iter()
        .map(|partition| (partition.partition_index, partition.partition_size))
        .collect();
    assert_eq!(sizes.len(), 3, "the only agent leads all of them");
    assert!(sizes[0].1 > 0 && sizes[1].1 == 0, "{sizes:?}");
    let asked = DescribableLogDirTopic::default()
        .with_topic(name("orders"))
        .with_partitions(vec![0, 99]);
    let one = client
        .call(
            2,
            DescribeLogDirsRequest::default().with_topics(Some(vec![asked])),
        )
        .await;
    assert_eq!(one.results[0].topics[0].partitions.len(), 1);
    let moving = client
        .call(0, ListPartitionReassignmentsRequest::default())
        .await;
    assert_eq!((moving.error_code, moving.topics.len()), (0, 0));
    drop(agent);
}

/// A topic's page: partitions, who writes, configs, and a config that is edited as of old.
#[tokio::test]
async fn kafka_ui_opens_a_topic() {
    let (_agent, mut client) = cluster().await;
    let asked = ProducersOf::default()
        .with_name(name("orders"))
        .with_partition_indexes(vec![0, 1, 9]);
    let answer = client
        .call(
            0,
            DescribeProducersRequest::default().with_topics(vec![asked]),
        )
        .await;
    let partitions = &answer.topics[0].partitions;
    let writer = &partitions[0].active_producers[0];
    assert_eq!(
        (
            writer.producer_id.0,
            writer.producer_epoch,
            writer.last_sequence
        ),
        (7, 2, 9)
    );
    assert!(partitions[1].active_producers.is_empty());
    assert_eq!(
        code(partitions[2].error_code),
        ErrorCode::UnknownTopicOrPartition
    );

    // What is named is set, what is not goes back to its default.
    let mut alter = async |configs: &[(&str, Option<&str>)], validate_only: bool| {
        let configs = configs.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_value(value.map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("orders"))
            .with_configs(configs.collect());
        let request = AlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(validate_only);
        code(client.call(2, request).await.responses[0].error_code)
    };
    let both = [
        ("retention.ms", Some("1000")),
        ("retention.bytes", Some("5")),
    ];
    assert_eq!(alter(&both, false).await, ErrorCode::None);
    assert_eq!(
        alter(&[("retention.ms", Some("2000"))], false).await,
        ErrorCode::None
    );
    assert_eq!(alter(&[], true).await, ErrorCode::None);
    assert_eq!(
        alter(&[("retention.ms", None)], false).await,
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter(&[("no.such", Some("1"))], false).await,
        ErrorCode::InvalidConfig
    );
    let configs = configs_of(&mut client, TOPIC, "orders").await;
    let value = |wanted: &str| {
        configs
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|found| found.1.clone())
    };
    assert_eq!(value("retention.ms").as_deref(), Some("2000"));
    assert_eq!(value("retention.bytes").as_deref(), Some("-1"));
}

/// Topics page by page, with a cursor where an answer ends in the middle of one.
#[tokio::test]
async fn topics_are_described_page_by_page() {
    let (_agent, mut client) = cluster().await;
    client.create("payments", 2, &[]).await;
    let mut seen = Vec::new();
    let mut cursor = None;
    for _ in 0..9 {
        let request = DescribeTopicPartitionsRequest::default()
            .with_response_partition_limit(2)
            .with_cursor(cursor);
        let answer = client.call(0, request).await;
        for topic in &answer.topics {
            assert_eq!(topic.error_code, 0);
            let name = topic.name.as_ref().expect("named").to_string();
            let indexes = topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index);
            seen.extend(indexes.map(|index| (name.clone(), index)));
        }
        let Some(next) = answer.next_cursor else {
            break;
        };
        cursor = Some(
            Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    let expected: Vec<(String, i32)> = [("orders", 3), ("payments", 2)]
        .into_iter()
        .flat_map(|(name, count)| (0..count).map(move |index| (name.to_owned(), index)))
        .collect();
    assert_eq!(seen, expected);

    let topics = ["gone", "orders", "no/name"]
        .map(|topic| TopicRequest::default().with_name(name(topic)))
        .to_vec();
    let request = DescribeTopicPartitionsRequest::default()
        .with_response_partition_limit(2_000)
        .with_topics(topics);
    let answer = client.call(0, request).await;
    let codes: Vec<ErrorCode> = answer
        .topics
        .iter()
        .map(|topic| code(topic.error_code))
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidTopic,
            ErrorCode::None
        ]
    );
}

/// The overview, the quorum, users and transactions.
#[tokio::test]
async fn redpanda_console_opens_its_overview() {
    let (_agent, mut client) = cluster().await;
    let all = client
        .call(12, MetadataRequest::default().with_topics(None))
        .await;
    assert_eq!(all.topics.len(), 1);
    let partition = quorum::PartitionData::default().with_partition_index(0);
    let topic = quorum::TopicData::default()
        .with_topic_name(name("__cluster_metadata"))
        .with_partitions(vec![partition]);
    for version in 0..=2 {
        let request = DescribeQuorumRequest::default().with_topics(vec![topic.clone()]);
        let answer = client.call(version, request).await;
        let quorum = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, quorum.error_code), (0, 0));
        assert_eq!(quorum.leader_id, all.brokers[0].node_id);
        assert_eq!(quorum.current_voters.len(), 1);
        assert!(quorum.high_watermark > 0);
    }
    let users = client
        .call(
            0,
            DescribeUserScramCredentialsRequest::default().with_users(None),
        )
        .await;
    assert_eq!((users.error_code, users.results.len()), (0, 0));
    let open = client.call(2, ListTransactionsRequest::default()).await;
    assert_eq!((open.error_code, open.transaction_states.len()), (0, 0));
    let resources = client.call(1, ListConfigResourcesRequest::default()).await;
    let names: Vec<(i8, &str)> = resources
        .config_resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.as_str()))
        .collect();
    assert_eq!(names.first(), Some(&(TOPIC, "orders")));
    assert_eq!(names.last().map(|last| last.0), Some(BROKER));
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("readers")))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let offsets = client.call(9, request).await;
    assert_eq!(
        offsets.groups[0].topics[0].partitions[0].committed_offset,
        5
    );
}

/// A group's page: its offsets of one topic are deleted.
#[tokio::test]
async fn akhq_deletes_the_offsets_of_a_topic() {
    let (_agent, mut client) = cluster().await;
    let mut delete = async |group: &str, topic: &str, partition: i32| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(vec![topic]);
        let answer = client.call(0, request).await;
        let of_partition = answer
            .topics
            .first()
            .map(|topic| topic.partitions[0].error_code);
        (code(answer.error_code), of_partition.map(code))
    };
    assert_eq!(
        delete("nobody", "orders", 0).await,
        (ErrorCode::GroupIdNotFound, None)
    );
    assert_eq!(
        delete("readers", "orders", 7).await,
        (ErrorCode::None, Some(ErrorCode::UnknownTopicOrPartition))
    );
    assert_eq!(
        delete("readers", "orders", 0).await,
        (ErrorCode::None, Some(ErrorCode::None))
    );
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("readers")))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let offsets = client.call(9, request).await;
    assert!(offsets.groups[0].topics.is_empty());
}
