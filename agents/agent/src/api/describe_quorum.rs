//! DescribeQuorum, key 55, v0–v2.
//!
//! - Tools show with it who keeps the cluster's metadata. Here it is the commit log, which every agent
//!   follows: this agent is named as the leader, all agents as voters that are at the end of the log.
//! - v1: times. v2: where the nodes listen, and error messages.

use std::sync::Arc;

use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_replica::View;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::placement;

use super::leader_epoch;

/// The one topic, and the one partition, that Kafka has a quorum of.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// What Kafka calls the listener of plain connections.
const LISTENER: &str = "PLAINTEXT";

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let Ok(view) = agent.metastore.barrier(context.deadline).await else {
        let code = not_now(ApiKey::DescribeQuorum).code();
        return DescribeQuorumResponse::default().with_error_code(code);
    };
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                if topic.topic_name.as_str() == METADATA_TOPIC && index == 0 {
                    return quorum(agent, context, &view);
                }
                PartitionData::default()
                    .with_partition_index(index)
                    .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
            });
            // Once each: a short request must not be answered with the same quorum for ever.
            TopicData::default()
                .with_topic_name(topic.topic_name.clone())
                .with_partitions(partitions.take(1).collect())
        })
        .take(1)
        .collect();
    let response = DescribeQuorumResponse::default().with_topics(topics);
    if context.version < 2 {
        return response;
    }
    let nodes = placement::brokers(&view, agent.unheard())
        .into_iter()
        .map(|broker| {
            let listener = Listener::default()
                .with_name(StrBytes::from_static_str(LISTENER))
                .with_host(broker.host)
                .with_port(u16::try_from(broker.port).unwrap_or(0));
            Node::default()
                .with_node_id(broker.id)
                .with_listeners(vec![listener])
        });
    response.with_nodes(nodes.collect())
}

fn quorum(agent: &Agent, context: &Context, view: &View) -> PartitionData {
    let end = i64::try_from(view.lsn().n).unwrap_or(i64::MAX);
    let now = agent.runtime.clock().wall().0;
    let voters = placement::brokers(view, agent.unheard())
        .into_iter()
        .map(|broker| {
            let voter = ReplicaState::default()
                .with_replica_id(broker.id)
                .with_log_end_offset(end);
            if context.version >= 1 {
                voter
                    .with_last_fetch_timestamp(now)
                    .with_last_caught_up_timestamp(now)
            } else {
                voter
            }
        });
    PartitionData::default()
        .with_leader_id(BrokerId(agent.metastore.node().0))
        .with_leader_epoch(leader_epoch(view))
        .with_high_watermark(end)
        .with_current_voters(voters.collect())
}
