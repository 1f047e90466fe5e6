//! AlterConfigs, key 33, v0–v2, the older way that tools still use.
//!
//! - Topics only, as in IncrementalAlterConfigs. What the request names is set; what it does not name
//!   goes back to its default.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_state::commands::ConfigChange;

use crate::agent::Agent;
use crate::context::Context;

use super::create_topics::{Refused, checked_config};
use super::incremental_alter_configs::{find_topic, propose};
use super::text::text;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<(i8, &str)> = request
        .resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.as_str()))
        .filter(|resource| !seen.insert(*resource))
        .collect();
    let context = &*context;
    let altering = request.resources.iter().map(|resource| async {
        let result = if twice.contains(&(resource.resource_type, resource.resource_name.as_str())) {
            let why = "the request names this resource twice";
            Err((ErrorCode::InvalidRequest, why.to_owned()))
        } else {
            alter(agent, context, resource, request.validate_only).await
        };
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
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
    AlterConfigsResponse::default().with_responses(join_all(altering).await)
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
