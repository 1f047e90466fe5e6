//! DeleteTopics, key 20, v1–v6.
//!
//! - The topic's id goes with it: a topic that is created again under the name is another one.
//! - v5: error messages. v6: topics by id.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_state::Command;
use tarn_state::commands::DeleteTopic;
use tokio::time::Instant;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;

use super::TopicKey;
use super::create_topics::why;
use super::refused::Refused;
use super::text::{text, topic_name};

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let deadline = context.deadline_in(request.timeout_ms);
    let keys: Vec<TopicKey> = if context.version >= 6 {
        let key = |topic: &kafka_protocol::messages::delete_topics_request::DeleteTopicState| {
            match &topic.name {
                Some(name) => TopicKey::Name(name.0.clone()),
                None => TopicKey::id(topic.topic_id),
            }
        };
        request.topics.iter().map(key).collect()
    } else {
        request
            .topic_names
            .iter()
            .map(|name| TopicKey::Name(name.0.clone()))
            .collect()
    };
    let deleting = keys.iter().map(|key| async {
        let (name, result) = delete(agent, key, deadline).await;
        let response = DeletableTopicResult::default();
        let response = match key {
            TopicKey::Name(name) => response.with_name(Some(topic_name(name))),
            TopicKey::Id(id) => response
                .with_topic_id(id.uuid())
                .with_name(name.as_deref().map(topic_name)),
        };
        match result {
            Ok(()) => response,
            Err((code, message)) => response
                .with_error_code(code.code())
                .with_error_message(Some(text(message))),
        }
    });
    DeleteTopicsResponse::default().with_responses(join_all(deleting).await)
}

/// Gives the topic's name too, where only its id was known.
async fn delete(
    agent: &Agent,
    key: &TopicKey,
    deadline: Instant,
) -> (Option<String>, Result<(), Refused>) {
    let found = agent.find(deadline, |state| key.find(state).cloned()).await;
    let topic = match found {
        Ok(Some(topic)) => topic,
        Ok(None) => {
            let code = match key {
                TopicKey::Name(_) => ErrorCode::UnknownTopicOrPartition,
                TopicKey::Id(_) => ErrorCode::UnknownTopicId,
            };
            return (None, Err((code, "there is no such topic".to_owned())));
        }
        Err(error) => {
            return (
                None,
                Err((not_now(ApiKey::DeleteTopics), error.to_string())),
            );
        }
    };
    let command = Command::DeleteTopic(DeleteTopic { id: topic.id });
    let result = match agent.metastore.propose(vec![command], deadline).await {
        Ok(_) => Ok(()),
        Err(error) => Err((
            error_code::of_propose(&error, not_now(ApiKey::DeleteTopics)),
            why(&error),
        )),
    };
    (Some(topic.name.clone()), result)
}
