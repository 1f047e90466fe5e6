//! DescribeConfigs, key 32, v1–v4.
//!
//! - Topics: every config of the table, behind a barrier: what was set, else the setting that is the
//!   default, else the default. Synonyms are all three, in this order, the latter two under the broker's
//!   name.
//! - Brokers: what of the agent's settings has a name in Kafka. Only the agent itself knows them;
//!   asked about another one it says so.
//! - Other resources are not served. v3: types and documentation.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_replica::View;
use tarn_state::topic_configs::{Defaults, TOPIC_CONFIGS, TopicConfig};
use tarn_state::{Topic, topic_names};

use super::not_now;
use crate::agent::Agent;
use crate::broker_configs;
use crate::context::Context;

use super::refused::Refused;
use super::text::text;

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// Sources of a value: set for the topic, from the broker's settings, the default.
const SET_HERE: i8 = 1;
const SETTINGS: i8 = 4;
const DEFAULT: i8 = 5;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let view = if request
        .resources
        .iter()
        .any(|resource| resource.resource_type == TOPIC)
    {
        agent
            .metastore
            .barrier(context.deadline)
            .await
            .map_err(|error| error.to_string())
    } else {
        Ok(agent.metastore.view())
    };
    // Once each: a short request must not be answered with the same configs for ever.
    let mut seen = BTreeSet::new();
    let results = request
        .resources
        .iter()
        .filter(|resource| {
            seen.insert((
                resource.resource_type,
                resource.resource_name.as_str(),
                resource.configuration_keys.as_deref(),
            ))
        })
        .map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match describe(agent, &view, &request, resource) {
                Ok(configs) => result.with_configs(configs),
                Err((code, message)) => {
                    context.log_refusal(code, &message);
                    result
                        .with_error_code(code.code())
                        .with_error_message(Some(text(message)))
                }
            }
        })
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn describe(
    agent: &Agent,
    view: &Result<View, String>,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let keys = resource.configuration_keys.as_ref();
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
    match resource.resource_type {
        TOPIC => {
            topic_names::check(&resource.resource_name)
                .map_err(|problem| (ErrorCode::InvalidTopic, problem.to_string()))?;
            let view = view
                .as_ref()
                .map_err(|why| (not_now(ApiKey::DescribeConfigs), why.clone()))?;
            let topic = view.topic_named(&resource.resource_name).ok_or_else(|| {
                (
                    ErrorCode::UnknownTopicOrPartition,
                    "there is no such topic".to_owned(),
                )
            })?;
            Ok(of_topic(agent, topic, request, wanted))
        }
        BROKER => {
            let node = agent.metastore.node().0;
            // The empty name stands for what all brokers share.
            if !resource.resource_name.is_empty() && resource.resource_name.parse() != Ok(node) {
                let why = format!(
                    "this is agent {node}; ask agent {} itself",
                    resource.resource_name.as_str()
                );
                return Err((ErrorCode::InvalidRequest, why));
            }
            let all = broker_configs::all(&agent.settings, &agent.defaults, node);
            let shown = all
                .into_iter()
                .filter(|config| wanted(config.name))
                .map(|config| {
                    DescribeConfigsResourceResult::default()
                        .with_name(StrBytes::from_static_str(config.name))
                        .with_value(Some(text(config.value)))
                        .with_read_only(true)
                        .with_config_source(SETTINGS)
                        .with_config_type(config.kind.wire())
                        .with_documentation(doc(request, config.doc))
                });
            Ok(shown.collect())
        }
        other => Err((
            ErrorCode::InvalidRequest,
            format!("configs of resource type {other} are not served"),
        )),
    }
}

/// Values of a topic's config with their sources, the one that holds first.
fn sources<'t>(
    config: &TopicConfig,
    set: &'t BTreeMap<String, String>,
    defaults: &Defaults,
) -> Vec<(Cow<'t, str>, i8)> {
    let mut sources = Vec::new();
    if let Some(value) = set.get(config.name) {
        sources.push((Cow::Borrowed(value.as_str()), SET_HERE));
    }
    let default = config.default_in(defaults);
    if default != config.default {
        sources.push((default, SETTINGS));
    }
    sources.push((Cow::Borrowed(config.default), DEFAULT));
    sources
}

/// The value that holds for a topic of which so much was set, and its source.
pub(super) fn holds<'t>(
    config: &TopicConfig,
    set: &'t BTreeMap<String, String>,
    defaults: &Defaults,
) -> (Cow<'t, str>, i8) {
    sources(config, set, defaults).swap_remove(0)
}

fn of_topic(
    agent: &Agent,
    topic: &Topic,
    request: &DescribeConfigsRequest,
    wanted: impl Fn(&str) -> bool,
) -> Vec<DescribeConfigsResourceResult> {
    let shown = TOPIC_CONFIGS
        .iter()
        .filter(|config| wanted(config.name))
        .map(|config| {
            let sources = sources(config, &topic.configs, &agent.defaults);
            let (value, source) = &sources[0];
            let synonyms = sources.iter().map(|(value, source)| {
                let name = match *source {
                    SET_HERE => config.name,
                    _ => config.broker_name.unwrap_or(config.name),
                };
                DescribeConfigsSynonym::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_value(Some(text(&**value)))
                    .with_source(*source)
            });
            let synonyms = request.include_synonyms.then(|| synonyms.collect());
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(config.name))
                .with_value(Some(text(&**value)))
                .with_config_source(*source)
                .with_synonyms(synonyms.unwrap_or_default())
                .with_config_type(config.kind.wire())
                .with_documentation(doc(request, config.doc))
        });
    shown.collect()
}

fn doc(request: &DescribeConfigsRequest, doc: &'static str) -> Option<StrBytes> {
    request
        .include_documentation
        .then(|| StrBytes::from_static_str(doc))
}
