//! OffsetCommit, key 8, v2–v9.
//!
//! - By a member of the present generation, or by anybody while the group has no members (generation
//!   −1). The coordinator's memory says no first; `apply` has the last word.
//! - The offsets of a request that can be committed are committed together, in one proposal.
//! - Any number is taken for an offset, negative ones too, as in Kafka.
//! - A member's commit counts as its heartbeat. If the log does not say what became of it,
//!   COORDINATOR_NOT_AVAILABLE: clients commit again, which does no harm. What fits into no entry of
//!   the log gets INVALID_COMMIT_OFFSET_SIZE.
//! - v6: leader epochs. v7: static members.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tarn_coordinator::classic::MemberRef;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{PartitionId, TopicPartition, caps};
use tarn_replica::{Metastore, ProposeError, View};
use tarn_state::commands::{CommitGroupOffsets, GroupOffset};
use tarn_state::{Command, GroupRefusal, Refusal, is_metadata_too_long};
use tracing::warn;

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;
use crate::error_code;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let view = agent
        .view_with(context.deadline, |state| {
            request.topics.iter().all(|topic| {
                state.topic_named(&topic.name).is_some_and(|found| {
                    topic
                        .partitions
                        .iter()
                        .all(|partition| has_partition(found, partition.partition_index))
                })
            })
        })
        .await;
    let mut offsets = Vec::new();
    let checked: Vec<Vec<Result<(), ErrorCode>>> = match &view {
        Ok(view) => check(view, &request, &mut offsets),
        Err(_) => {
            let code = not_now(ApiKey::OffsetCommit);
            request
                .topics
                .iter()
                .map(|topic| vec![Err(code); topic.partitions.len()])
                .collect()
        }
    };
    let committed = if offsets.is_empty() {
        Ok(())
    } else {
        commit(agent, context, &request, offsets).await
    };

    let topics = request
        .topics
        .iter()
        .zip(checked)
        .map(|(topic, checked)| {
            let partitions = topic
                .partitions
                .iter()
                .zip(checked)
                .map(|(partition, checked)| {
                    let code = checked.and(committed).err().unwrap_or(ErrorCode::None);
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code.code())
                })
                .collect();
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
}

/// What is wrong with each partition; what is right goes into `offsets`.
fn check(
    view: &View,
    request: &OffsetCommitRequest,
    offsets: &mut Vec<GroupOffset>,
) -> Vec<Vec<Result<(), ErrorCode>>> {
    let mut checked = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let found = view.topic_named(&topic.name);
        let of_topic = topic.partitions.iter().map(|partition| {
            let found = found.filter(|found| has_partition(found, partition.partition_index));
            let found = found.ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            if is_metadata_too_long(metadata) {
                return Err(ErrorCode::OffsetMetadataTooLarge);
            }
            offsets.push(GroupOffset {
                at: TopicPartition::new(found.id, PartitionId(partition.partition_index)),
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: metadata.to_owned(),
            });
            Ok(())
        });
        checked.push(of_topic.collect());
    }
    checked
}

async fn commit(
    agent: &Agent,
    context: &Context,
    request: &OffsetCommitRequest,
    offsets: Vec<GroupOffset>,
) -> Result<(), ErrorCode> {
    let (group, generation) = (
        request.group_id.to_string(),
        request.generation_id_or_member_epoch,
    );
    if group.len() > caps::NAME_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let instance = request
        .group_instance_id
        .as_ref()
        .map(|instance| instance.to_string());
    // Before anything is checked: who coordinates the group in between has committed what is newer.
    let seen = agent
        .coordinators
        .check(&group, context.deadline)
        .await
        .map_err(error_code::of_group)?;
    let member = if generation < 0 && request.member_id.is_empty() {
        agent
            .coordinators
            .classic
            .check_simple_commit(&group, context.deadline)
            .await
            .map_err(error_code::of_group)?;
        String::new()
    } else {
        let member = MemberRef {
            id: request.member_id.to_string(),
            instance: instance.clone(),
            generation,
        };
        let checked = agent
            .coordinators
            .classic
            .check_commit(&group, member, context.deadline)
            .await;
        checked.map_err(error_code::of_group)?
    };
    let command = CommitGroupOffsets {
        group,
        node: agent.metastore.node(),
        generation,
        member,
        instance,
        offsets,
        seen,
    };
    let command = Command::CommitGroupOffsets(command);
    if !Metastore::fits(&command) {
        return Err(ErrorCode::InvalidCommitOffsetSize);
    }
    match agent
        .metastore
        .propose(vec![command], context.deadline)
        .await
    {
        Ok(_) => Ok(()),
        Err(ProposeError::Refused { refusal, .. }) => {
            Err(of_refusal(&request.group_id.0, &refusal))
        }
        Err(error) => Err(error_code::of_propose(
            &error,
            not_now(ApiKey::OffsetCommit),
        )),
    }
}

/// Where clients of this API know a better code than those of others.
fn of_refusal(group: &str, refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Full { .. } => {
            warn!(group, %refusal, "offsets were not committed");
            // Clients try that again; every other code would be final, though offsets expire.
            ErrorCode::CoordinatorNotAvailable
        }
        Refusal::TooLong { .. } => ErrorCode::OffsetMetadataTooLarge,
        // A consumer without membership that commits while the group has members is none of them; and
        // a group can be deleted under its member.
        Refusal::Group(GroupRefusal::GroupNotEmpty | GroupRefusal::NoSuchGroup(_)) => {
            ErrorCode::UnknownMemberId
        }
        other => error_code::of_refusal(other),
    }
}
