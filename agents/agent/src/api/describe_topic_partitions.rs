//! DescribeTopicPartitions, key 75, v0 (KIP-966).
//!
//! - Topics in the order of their names, at most as many partitions as the client or the cap says; where
//!   it ends, and where the client goes on, is the cursor. No topics are all topics.
//! - What is not there is said behind a barrier only.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{PartitionId, TopicPartition};
use tarn_state::advice::Leaders;
use tarn_state::topic_names::{self, is_internal};
use tarn_state::{State, Topic};

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;

use super::leader_epoch;
use super::operations;
use super::text::topic_name as wire_name;

/// Partitions of one answer, Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2_000;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let from = request.cursor.as_ref().map_or(("", 0), |cursor| {
        (cursor.topic_name.as_str(), cursor.partition_index)
    });
    let barrier = agent.metastore.barrier(context.deadline).await;
    let view = barrier
        .as_ref()
        .map_or_else(|_| agent.metastore.view(), Clone::clone);
    let missing = match barrier {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => not_now(ApiKey::DescribeTopicPartitions),
    };
    let asked: BTreeSet<&str> = if request.topics.is_empty() {
        view.topic_names.keys().map(String::as_str).collect()
    } else {
        let names = request.topics.iter();
        names.map(|topic| topic.name.as_str()).collect()
    };
    let leaders = Leaders::new(&view, None, agent.unheard());
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut room = limit.clamp(1, PARTITIONS_MAX);
    let mut topics = Vec::new();
    let mut next = None;
    for name in asked.range(from.0..) {
        let first = if *name == from.0 { from.1.max(0) } else { 0 };
        let Some(topic) = view.topic_named(name) else {
            topics.push(missing_topic(name, missing));
            continue;
        };
        if room == 0 {
            next = Some((*name, 0));
            break;
        }
        let last = i32::try_from(room)
            .unwrap_or(i32::MAX)
            .saturating_add(first)
            .min(topic.partitions);
        topics.push(describe(&view, topic, &leaders, first..last));
        room = room.saturating_sub(usize::try_from(last - first).unwrap_or(0));
        if has_partition(topic, last) {
            next = Some((*name, last));
            break;
        }
    }
    let next = next.map(|(name, index)| {
        Cursor::default()
            .with_topic_name(wire_name(name))
            .with_partition_index(index)
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics)
        .with_next_cursor(next)
}

fn missing_topic(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    let code = match topic_names::check(name) {
        Ok(()) => code,
        Err(_) => ErrorCode::InvalidTopic,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_name(name)))
        .with_error_code(code.code())
}

fn describe(
    view: &State,
    topic: &Topic,
    leaders: &Leaders<'_>,
    indexes: std::ops::Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = indexes.map(|index| {
        let at = TopicPartition::new(topic.id, PartitionId(index));
        let partition = DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_epoch(leader_epoch(view))
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()));
        match leaders.of(at) {
            Some(session) => {
                let node = BrokerId(session.node.0);
                partition
                    .with_leader_id(node)
                    .with_replica_nodes(vec![node])
                    .with_isr_nodes(vec![node])
            }
            None => partition
                .with_error_code(ErrorCode::LeaderNotAvailable.code())
                .with_leader_id(BrokerId(-1)),
        }
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_name(&topic.name)))
        .with_topic_id(topic.id.uuid())
        .with_is_internal(is_internal(&topic.name))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations::TOPIC)
}
