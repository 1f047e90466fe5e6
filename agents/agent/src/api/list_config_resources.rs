//! ListConfigResources, key 74, v0–v1.
//!
//! - What has configs here: topics and agents. v0 asks for client metrics only, of which there are none.

use std::sync::Arc;

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use tarn_kafka::{ApiKey, ErrorCode};

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::placement;

use super::describe_configs::{BROKER, TOPIC};
use super::text::text;

/// Kafka has configs of these too: loggers of brokers, client metrics, groups. Here nobody set any.
const WITHOUT_ANY: [i8; 3] = [8, 16, 32];

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    if context.version == 0 {
        return ListConfigResourcesResponse::default();
    }
    let asked = &request.resource_types;
    let known = |kind: &i8| [TOPIC, BROKER].contains(kind) || WITHOUT_ANY.contains(kind);
    if !asked.iter().all(known) {
        return ListConfigResourcesResponse::default()
            .with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let wanted = |kind: i8| asked.is_empty() || asked.contains(&kind);
    let Ok(view) = agent.metastore.barrier(context.deadline).await else {
        let code = not_now(ApiKey::ListConfigResources).code();
        return ListConfigResourcesResponse::default().with_error_code(code);
    };
    let mut resources = Vec::new();
    let resource = |kind: i8, name: String| {
        ConfigResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
    };
    if wanted(TOPIC) {
        let names = view.topic_names.keys();
        resources.extend(names.map(|name| resource(TOPIC, name.clone())));
    }
    if wanted(BROKER) {
        let brokers = placement::brokers(&view, agent.unheard()).into_iter();
        resources.extend(brokers.map(|broker| resource(BROKER, broker.id.0.to_string())));
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}
