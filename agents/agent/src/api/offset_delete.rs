//! OffsetDelete, key 47, v0.
//!
//! - Forgets what a group has committed of single partitions. As in Kafka a group whose members read a
//!   topic keeps that topic's offsets, and one with members of another protocol keeps them all.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use tarn_coordinator::classic::{CONSUMER, subscribed};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{PartitionId, TopicPartition};
use tarn_replica::{Metastore, View};
use tarn_state::Command;
use tarn_state::commands::DeleteGroupOffsets;

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;
use crate::error_code;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    match delete(agent, context, &request).await {
        Ok(topics) => OffsetDeleteResponse::default().with_topics(topics),
        Err(code) => OffsetDeleteResponse::default().with_error_code(code.code()),
    }
}

async fn delete(
    agent: &Agent,
    context: &Context,
    request: &OffsetDeleteRequest,
) -> Result<Vec<OffsetDeleteResponseTopic>, ErrorCode> {
    let described = agent
        .coordinators
        .classic
        .describe(&request.group_id, context.deadline)
        .await
        .map_err(error_code::of_group)?;
    let read = if described.members.is_empty() {
        Some(BTreeSet::new())
    } else if described.protocol_type == CONSUMER {
        subscribed(described.members.iter().map(|member| &member.metadata))
    } else {
        return Err(ErrorCode::NonEmptyGroup);
    };
    let view = agent
        .metastore
        .barrier(context.deadline)
        .await
        .map_err(|_| not_now(ApiKey::OffsetDelete))?;
    let mut partitions = Vec::new();
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let is_read = read
                .as_ref()
                .is_none_or(|read| read.contains(topic.name.as_str()));
            let of_topic = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let code = match find(&view, &topic.name, index) {
                    None => ErrorCode::UnknownTopicOrPartition,
                    Some(_) if is_read => ErrorCode::GroupSubscribedToTopic,
                    Some(at) => {
                        partitions.push(at);
                        ErrorCode::None
                    }
                };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code.code())
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(of_topic.collect())
        })
        .collect();
    if !partitions.is_empty() {
        let command = Command::DeleteGroupOffsets(DeleteGroupOffsets {
            group: request.group_id.to_string(),
            node: agent.metastore.node(),
            partitions,
            until: None,
        });
        if !Metastore::fits(&command) {
            let code = ErrorCode::InvalidRequest;
            context.log_refusal(
                code,
                "it names more partitions than an entry of the log takes",
            );
            return Err(code);
        }
        let proposed = agent.metastore.propose(vec![command], context.deadline);
        proposed
            .await
            .map_err(|error| error_code::of_propose(&error, not_now(ApiKey::OffsetDelete)))?;
    }
    Ok(topics)
}

fn find(view: &View, topic: &str, index: i32) -> Option<TopicPartition> {
    let topic = view.topic_named(topic)?;
    has_partition(topic, index).then(|| TopicPartition::new(topic.id, PartitionId(index)))
}
