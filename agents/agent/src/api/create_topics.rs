//! CreateTopics, key 19, v2–v7.
//!
//! - Each topic stands for itself. An answer comes when the view of this agent has the topic, so
//!   that who asks here next finds it; other agents find it behind their barriers.
//! - Any positive replication factor is taken, and −1: object storage replicates. A setting has those
//!   refused that Kafka would refuse.
//! - `validate_only` checks as much, behind a barrier, and creates nothing.
//! - v4: −1 partitions is the default. v5: the configs that hold come back. v7: topic ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::caps;
use tarn_replica::ProposeError;
use tarn_state::commands::CreateTopic;
use tarn_state::topic_configs::{self, TOPIC_CONFIGS};
use tarn_state::{Command, State, Topic, topic_names};
use tokio::time::Instant;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;
use crate::placement;

use super::describe_configs::holds;
use super::refused::Refused;
use super::text::text;

/// A topic to create, checked as far as one agent can.
#[derive(Debug, Clone)]
pub(super) struct NewTopic {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) configs: BTreeMap<String, String>,
}

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let deadline = context.deadline_in(request.timeout_ms);
    let mut names = BTreeSet::new();
    let twice: BTreeSet<&str> = request
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .filter(|name| !names.insert(*name))
        .collect();
    let too_many = request.topics.len() > caps::TOPICS_MAX;
    let creating = request.topics.iter().map(|asked| async {
        if too_many {
            // Each would be answered with all its configs, of a few bytes that ask for it.
            let why = format!("a cluster holds at most {} topics", caps::TOPICS_MAX);
            return failed(asked, (ErrorCode::PolicyViolation, why));
        }
        if twice.contains(asked.name.as_str()) {
            let why = "the request names this topic twice".to_owned();
            context.log_refusal(ErrorCode::InvalidRequest, &why);
            return failed(asked, (ErrorCode::InvalidRequest, why));
        }
        let topic = match check(agent, asked) {
            Ok(topic) => topic,
            Err(refused) => {
                context.log_refusal(refused.0, &refused.1);
                return failed(asked, refused);
            }
        };
        let result = if request.validate_only {
            validate(agent, &topic, deadline).await.map(|()| None)
        } else {
            create(agent, topic.clone(), deadline).await.map(Some)
        };
        match result {
            Ok(created) => succeeded(agent, asked, &topic, created.as_deref()),
            Err(refused) => failed(asked, refused),
        }
    });
    CreateTopicsResponse::default().with_topics(join_all(creating).await)
}

/// Everything that does not depend on the state.
fn check(agent: &Agent, asked: &CreatableTopic) -> Result<NewTopic, Refused> {
    topic_names::check(&asked.name)
        .map_err(|problem| (ErrorCode::InvalidTopic, problem.to_string()))?;
    let assigned = i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX);
    let partitions = if assigned > 0 {
        if asked.num_partitions != -1 || asked.replication_factor != -1 {
            let why = "with an assignment, partitions and replication factor are -1".to_owned();
            return Err((ErrorCode::InvalidRequest, why));
        }
        let mut indexes: Vec<i32> = asked
            .assignments
            .iter()
            .map(|assignment| assignment.partition_index)
            .collect();
        indexes.sort_unstable();
        if !indexes.iter().copied().eq(0..assigned) {
            return Err((
                ErrorCode::InvalidReplicaAssignment,
                "partitions are numbered from 0 without gaps".to_owned(),
            ));
        }
        assigned
    } else if asked.num_partitions == -1 {
        agent.settings.topics.partitions
    } else {
        asked.num_partitions
    };
    if !(1..=caps::PARTITIONS_PER_TOPIC_MAX).contains(&partitions) {
        let why = format!(
            "a topic has between 1 and {} partitions",
            caps::PARTITIONS_PER_TOPIC_MAX
        );
        return Err((ErrorCode::InvalidPartitions, why));
    }
    if asked.replication_factor == 0 || asked.replication_factor < -1 {
        let why = "the replication factor is positive, or -1 for the default".to_owned();
        return Err((ErrorCode::InvalidReplicationFactor, why));
    }
    let agents = placement::brokers(&agent.metastore.view(), None).len();
    let replicas = usize::try_from(asked.replication_factor).unwrap_or(0);
    if agent.settings.replication_factor.strict && replicas > agents {
        let why = format!(
            "Unable to replicate the partition {replicas} time(s): The target replication factor of {replicas} cannot be reached because only {agents} broker(s) are registered."
        );
        return Err((ErrorCode::InvalidReplicationFactor, why));
    }
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        let (name, value) = checked_config(&config.name, config.value.as_deref())?;
        configs.insert(name.to_owned(), value);
    }
    Ok(NewTopic {
        name: asked.name.to_string(),
        partitions,
        configs,
    })
}

/// A config of the table with a value that it takes.
pub(super) fn checked_config(
    name: &str,
    value: Option<&str>,
) -> Result<(&'static str, String), Refused> {
    let invalid = |why: String| (ErrorCode::InvalidConfig, why);
    let known = topic_configs::find(name)
        .ok_or_else(|| invalid(format!("unknown topic config {name:?}")))?;
    let value = value.ok_or_else(|| invalid(format!("{} is null", known.name)))?;
    match known.problem(value) {
        Some(problem) => Err(invalid(format!("{}: {problem}", known.name))),
        None => Ok((known.name, value.to_owned())),
    }
}

async fn validate(agent: &Agent, topic: &NewTopic, deadline: Instant) -> Result<(), Refused> {
    let view = agent
        .metastore
        .barrier(deadline)
        .await
        .map_err(|error| (not_now(ApiKey::CreateTopics), error.to_string()))?;
    if view.topic_named(&topic.name).is_some() {
        return Err((
            ErrorCode::TopicAlreadyExists,
            format!("topic {} exists already", topic.name),
        ));
    }
    let partitions = usize::try_from(topic.partitions).unwrap_or(0);
    if view.topics.len() >= caps::TOPICS_MAX
        || view.partitions.len() + partitions > caps::PARTITIONS_MAX
    {
        return Err((
            ErrorCode::PolicyViolation,
            "the cluster holds no more topics or partitions".to_owned(),
        ));
    }
    Ok(())
}

/// Creates a topic. When this returns, the agent's view has it.
pub(super) async fn create(
    agent: &Agent,
    topic: NewTopic,
    deadline: Instant,
) -> Result<Arc<Topic>, Refused> {
    let random = agent.runtime.random();
    let NewTopic {
        name,
        partitions,
        configs,
    } = topic;
    let id = random.topic_id();
    let command = CreateTopic {
        id,
        name: name.clone(),
        partitions,
        configs,
        table: random.table_uuid(),
    };
    let find = |state: &State| state.topic(id).cloned();
    match agent
        .metastore
        .propose(vec![Command::CreateTopic(command)], deadline)
        .await
    {
        Ok(committed) => find(&committed.view).ok_or_else(|| {
            (
                not_now(ApiKey::CreateTopics),
                "the topic was deleted again at once".to_owned(),
            )
        }),
        Err(error @ ProposeError::Refused { .. }) => Err(refused(&error)),
        // Not known: what is there now counts, also in a later view.
        Err(error) => find(&agent.metastore.view()).ok_or_else(|| refused(&error)),
    }
}

fn refused(error: &ProposeError) -> Refused {
    (
        error_code::of_propose(error, not_now(ApiKey::CreateTopics)),
        why(error),
    )
}

/// The refusal's own words, without our numbering of commands.
pub(super) fn why(error: &ProposeError) -> String {
    match error {
        ProposeError::Refused { refusal, .. } => refusal.to_string(),
        ProposeError::NotDone { .. }
        | ProposeError::Unknown { .. }
        | ProposeError::Stopped { .. } => error.to_string(),
    }
}

fn failed(asked: &CreatableTopic, (code, message): Refused) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

fn succeeded(
    agent: &Agent,
    asked: &CreatableTopic,
    topic: &NewTopic,
    created: Option<&Topic>,
) -> CreatableTopicResult {
    let configs = TOPIC_CONFIGS
        .iter()
        .map(|config| {
            let (value, source) = holds(config, &topic.configs, &agent.defaults);
            CreatableTopicConfigs::default()
                .with_name(text(config.name))
                .with_value(Some(text(value)))
                .with_config_source(source)
        })
        .collect();
    let result = CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_num_partitions(topic.partitions)
        .with_replication_factor(if asked.replication_factor > 0 {
            asked.replication_factor
        } else {
            1
        })
        .with_configs(Some(configs));
    match created {
        Some(topic) => result.with_topic_id(topic.id.uuid()),
        None => result,
    }
}
