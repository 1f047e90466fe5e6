//! IncrementalAlterConfigs, key 44, v0–v1.
//!
//! - Topics only; an agent is configured by its settings. The changes of one topic are made together
//!   or not at all; `apply` merges lists, so that two who append at the same time both count.
//! - Names and values are checked against the table of topic configs.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::TopicId;
use tarn_state::commands::{AlterTopicConfigs, ConfigChange};
use tarn_state::{Command, Topic, topic_configs};
use tokio::time::Instant;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;

use super::altering::{Named, each, told};
use super::create_topics::why;
use super::describe_configs::{BROKER, TOPIC};
use super::refused::Refused;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let deadline = context.deadline;
    let resources = &request.resources;
    let altered = each(context, resources, named, |resource| {
        alter(agent, resource, request.validate_only, deadline)
    });
    let responses = resources
        .iter()
        .zip(altered.await)
        .map(|(resource, result)| {
            let (code, message) = told(result);
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message)
        });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

async fn alter(
    agent: &Agent,
    resource: &AlterConfigsResource,
    validate_only: bool,
    deadline: Instant,
) -> Result<(), Refused> {
    let changes = changes(resource)?;
    let api = ApiKey::IncrementalAlterConfigs;
    let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
    let topic = find_topic(agent, api, kind, name, deadline).await?;
    if validate_only || changes.is_empty() {
        return Ok(());
    }
    propose(agent, api, topic.id, changes, deadline).await
}

/// The topic whose configs are to be altered.
pub(super) async fn find_topic(
    agent: &Agent,
    api: ApiKey,
    kind: i8,
    name: &str,
    deadline: Instant,
) -> Result<Arc<Topic>, Refused> {
    if kind != TOPIC {
        let why = if kind == BROKER {
            "an agent is configured by its settings, not by clients".to_owned()
        } else {
            format!("configs of resource type {kind} are not served")
        };
        return Err((ErrorCode::InvalidRequest, why));
    }
    let topic = agent
        .find(deadline, |state| state.topic_named(name).cloned())
        .await
        .map_err(|error| (not_now(api), error.to_string()))?;
    topic.ok_or_else(|| {
        let why = "there is no such topic".to_owned();
        (ErrorCode::UnknownTopicOrPartition, why)
    })
}

pub(super) async fn propose(
    agent: &Agent,
    api: ApiKey,
    id: TopicId,
    changes: BTreeMap<String, ConfigChange>,
    deadline: Instant,
) -> Result<(), Refused> {
    let command = Command::AlterTopicConfigs(AlterTopicConfigs { id, changes });
    match agent.metastore.propose(vec![command], deadline).await {
        Ok(_) => Ok(()),
        Err(error) => Err((error_code::of_propose(&error, not_now(api)), why(&error))),
    }
}

fn changes(resource: &AlterConfigsResource) -> Result<BTreeMap<String, ConfigChange>, Refused> {
    let mut changes = BTreeMap::new();
    for asked in &resource.configs {
        let config = topic_configs::find(&asked.name).ok_or_else(|| {
            (
                ErrorCode::InvalidConfig,
                format!("unknown topic config {:?}", asked.name.as_str()),
            )
        })?;
        let value = || {
            let value = asked.value.as_ref().map(|value| value.to_string());
            let value = value
                .ok_or_else(|| (ErrorCode::InvalidConfig, format!("{} is null", config.name)))?;
            match config.problem(&value) {
                Some(problem) => Err((
                    ErrorCode::InvalidConfig,
                    format!("{}: {problem}", config.name),
                )),
                None => Ok(value),
            }
        };
        let items = || {
            if config.is_list() {
                Ok((value()?, config.default.to_owned()))
            } else {
                Err((
                    ErrorCode::InvalidConfig,
                    format!("{} is no list", config.name),
                ))
            }
        };
        let change = match asked.config_operation {
            SET => ConfigChange::Set(value()?),
            DELETE => ConfigChange::Delete,
            APPEND => items().map(|(items, start)| ConfigChange::Append(items, start))?,
            SUBTRACT => items().map(|(items, start)| ConfigChange::Subtract(items, start))?,
            other => {
                return Err((
                    ErrorCode::InvalidRequest,
                    format!("there is no config operation {other}"),
                ));
            }
        };
        if changes.insert(config.name.to_owned(), change).is_some() {
            return Err((
                ErrorCode::InvalidRequest,
                format!("the request names {} twice", config.name),
            ));
        }
    }
    Ok(changes)
}

fn named(resource: &AlterConfigsResource) -> Named<'_> {
    (resource.resource_type, resource.resource_name.as_str())
}
