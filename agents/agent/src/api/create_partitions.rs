//! CreatePartitions, key 37, v0–v3.
//!
//! - The count is the new total; a topic never gets fewer. Assignments are counted and otherwise
//!   ignored: there are no replicas to place.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::caps;
use tarn_state::commands::CreatePartitions;
use tarn_state::{Command, Topic};
use tokio::time::Instant;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;

use super::create_topics::why;
use super::refused::Refused;
use super::text::text;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let deadline = context.deadline_in(request.timeout_ms);
    let mut names = BTreeSet::new();
    let twice: BTreeSet<&str> = request
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .filter(|name| !names.insert(*name))
        .collect();
    let creating = request.topics.iter().map(|asked| async {
        let result = if twice.contains(asked.name.as_str()) {
            Err((
                ErrorCode::InvalidRequest,
                "the request names this topic twice".to_owned(),
            ))
        } else {
            create(agent, asked, request.validate_only, deadline).await
        };
        let response = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        match result {
            Ok(()) => response,
            Err((code, message)) => {
                context.log_refusal(code, &message);
                response
                    .with_error_code(code.code())
                    .with_error_message(Some(text(message)))
            }
        }
    });
    CreatePartitionsResponse::default().with_results(join_all(creating).await)
}

async fn create(
    agent: &Agent,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
    deadline: Instant,
) -> Result<(), Refused> {
    // What is wrong with the count is as negative as a topic that is not there.
    let view = agent
        .metastore
        .barrier(deadline)
        .await
        .map_err(|error| (not_now(ApiKey::CreatePartitions), error.to_string()))?;
    let topic = view.topic_named(&asked.name).ok_or_else(|| {
        (
            ErrorCode::UnknownTopicOrPartition,
            "there is no such topic".to_owned(),
        )
    })?;
    check(topic, asked)?;
    if validate_only {
        return Ok(());
    }
    let command = Command::CreatePartitions(CreatePartitions {
        id: topic.id,
        total: asked.count,
    });
    match agent.metastore.propose(vec![command], deadline).await {
        Ok(_) => Ok(()),
        Err(error) => Err((
            error_code::of_propose(&error, not_now(ApiKey::CreatePartitions)),
            why(&error),
        )),
    }
}

fn check(topic: &Topic, asked: &CreatePartitionsTopic) -> Result<(), Refused> {
    if asked.count <= topic.partitions {
        let why = format!(
            "the topic has {} partitions already, more than {} are needed",
            topic.partitions, asked.count
        );
        return Err((ErrorCode::InvalidPartitions, why));
    }
    if asked.count > caps::PARTITIONS_PER_TOPIC_MAX {
        let why = format!(
            "a topic has at most {} partitions",
            caps::PARTITIONS_PER_TOPIC_MAX
        );
        return Err((ErrorCode::InvalidPartitions, why));
    }
    let added = usize::try_from(asked.count - topic.partitions).unwrap_or(0);
    if asked
        .assignments
        .as_ref()
        .is_some_and(|assignments| assignments.len() != added)
    {
        let why = format!("an assignment names the replicas of each of the {added} new partitions");
        return Err((ErrorCode::InvalidReplicaAssignment, why));
    }
    Ok(())
}
