//! AlterConfigs, key 33, v0–v2, the older way that tools still use.
//!
//! - Topics only, as in IncrementalAlterConfigs. What the request names is set; what it does not name
//!   goes back to its default.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_state::commands::ConfigChange;

use crate::agent::Agent;
use crate::context::Context;

use super::altering::{Named, each, told};
use super::create_topics::checked_config;
use super::incremental_alter_configs::{find_topic, propose};
use super::refused::Refused;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let context = &*context;
    let resources = &request.resources;
    let altered = each(context, resources, named, |resource| {
        alter(agent, context, resource, request.validate_only)
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
    AlterConfigsResponse::default().with_responses(responses.collect())
}

async fn alter(
    agent: &Agent,
    context: &Context,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    let mut set = BTreeMap::new();
    for config in &resource.configs {
        let (name, value) = checked_config(&config.name, config.value.as_deref())?;
        if set.insert(name, value).is_some() {
            let why = format!("the request names {name} twice");
            return Err((ErrorCode::InvalidRequest, why));
        }
    }
    let (api, deadline) = (ApiKey::AlterConfigs, context.deadline);
    let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
    let topic = find_topic(agent, api, kind, name, deadline).await?;
    let mut changes: BTreeMap<String, ConfigChange> = topic
        .configs
        .keys()
        .map(|name| (name.clone(), ConfigChange::Delete))
        .collect();
    let set = set
        .into_iter()
        .map(|(name, value)| (name.to_owned(), ConfigChange::Set(value)));
    changes.extend(set);
    if validate_only || changes.is_empty() {
        return Ok(());
    }
    propose(agent, api, topic.id, changes, deadline).await
}

fn named(resource: &AlterConfigsResource) -> Named<'_> {
    (resource.resource_type, resource.resource_name.as_str())
}
