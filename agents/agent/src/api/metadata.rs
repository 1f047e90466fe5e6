//! Metadata, key 3, v0–v13.
//!
//! - Any agent serves any partition; the leader is advice for the client's zone
//!   (`tarn_state::advice`), alike on all agents. There is never an empty list of brokers, so no
//!   client has to begin from its bootstrap servers again (KIP-899): while nobody says that it answers, and
//!   none is left that does not leave, the request waits, or its connection is closed.
//! - A topic that is asked for by name is created where the request and the settings allow it.
//! - An agent that the log does not hear names itself to nobody, as long as there is another one.
//! - The list of all topics is made once for all who ask while nothing moves, see `metadata/all.rs`.
//! - What is not there is said behind a barrier only, and the list of all topics is always read
//!   behind one: it says of every other topic that it does not exist. Without a barrier in time v13
//!   has an error code; before it there is no way to say "ask again" but to hang up.
//! - v1: null is all topics, empty is none (v0: empty is all). v8: authorized operations. v10: topic
//!   ids (asked by id from v12 on).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{PartitionId, TopicPartition};
use tarn_replica::View;
use tarn_state::advice::Leaders;
use tarn_state::{State, Topic, topic_names};
use tokio::time::Instant;
use tracing::error;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::frame::Answer;
use crate::placement;

use super::create_topics::{self, NewTopic};
use super::operations;
use super::text::{text, topic_name as wire_name};
use super::{TopicKey, leader_epoch};

mod all;
mod kept;

pub(crate) use kept::AllTopics;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: MetadataRequest,
) -> Answer {
    let zone = context.zone();
    let wanted: Option<Vec<TopicKey>> = match &request.topics {
        None => None,
        Some(topics) if topics.is_empty() && context.version == 0 => None,
        Some(topics) => {
            // An id goes first: the Java client sends an empty name beside it, not null.
            let keys = topics.iter().map(|topic| match &topic.name {
                _ if !topic.topic_id.is_nil() => TopicKey::id(topic.topic_id),
                Some(name) => TopicKey::Name(name.0.clone()),
                None => TopicKey::id(topic.topic_id),
            });
            Some(keys.collect())
        }
    };
    let Some(wanted) = wanted else {
        let fresh = agent.metastore.barrier(context.deadline).await;
        let view = fresh.clone().unwrap_or_else(|_| agent.metastore.view());
        let Some(view) = agent.with_agents(view, context.deadline).await else {
            return nobody();
        };
        return match fresh {
            Ok(_) => match agent
                .all_topics
                .answer(agent, context, &request, &view)
                .await
            {
                Ok(frame) => Answer::Frame(frame),
                Err(error) => {
                    // Only a defect of ours gets here: the answer does not fit its version.
                    error!(version = context.version, %error, "a list of all topics could not be encoded");
                    Answer::Close("unencodable answer", error.to_string())
                }
            },
            Err(_) if context.version >= 13 => {
                let response = response(agent, context, &request, &view, Vec::new());
                response
                    .with_error_code(not_now(ApiKey::Metadata).code())
                    .into()
            }
            Err(error) => Answer::Close("no barrier for a list of all topics", error.to_string()),
        };
    };

    // A topic that is named twice is answered once.
    let wanted: BTreeSet<TopicKey> = wanted.into_iter().collect();
    let known = agent
        .view_with(context.deadline, |state| {
            wanted.iter().all(|key| key.find(state).is_some())
        })
        .await;
    let (mut view, fresh) = match known {
        Ok(view) => (view, true),
        Err(_) => (agent.metastore.view(), false),
    };
    let create =
        fresh && agent.settings.topics.auto_create_topics && request.allow_auto_topic_creation;
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|key| key.find(&view).is_none())
        .filter_map(|key| match key {
            TopicKey::Name(name) if topic_names::check(name).is_ok() => Some(name.as_str()),
            TopicKey::Name(_) | TopicKey::Id(_) => None,
        })
        .collect();
    let mut refused = BTreeMap::new();
    if create && !missing.is_empty() {
        refused = create_missing(agent, missing, context.deadline).await;
        view = agent.metastore.view();
    }
    let Some(view) = agent.with_agents(view, context.deadline).await else {
        return nobody();
    };
    let code_of = |key: &TopicKey| match key {
        TopicKey::Name(name) => refused.get(name.as_str()).copied(),
        TopicKey::Id(_) => None,
    };
    let leaders = Leaders::new(&view, zone.as_deref(), agent.unheard());
    agent.metrics.topics_described.inc_by(wanted.len() as u64);
    let topics = wanted
        .iter()
        .map(|key| match key.find(&view) {
            Some(topic) => describe(&view, topic, &request, &leaders),
            None if !fresh => missing_topic(key, not_now(ApiKey::Metadata)),
            None => missing_topic(key, code_of(key).unwrap_or(unknown(key))),
        })
        .collect();
    response(agent, context, &request, &view, topics).into()
}

fn nobody() -> Answer {
    Answer::Close(
        "no agent to name",
        "this agent leaves, or nobody answers yet".to_owned(),
    )
}

/// Creates topics that were asked for; says why those are not there that still are not.
async fn create_missing<'n>(
    agent: &Agent,
    missing: Vec<&'n str>,
    deadline: Instant,
) -> BTreeMap<&'n str, ErrorCode> {
    let creating = missing.into_iter().map(|name| {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: agent.settings.topics.partitions,
            configs: BTreeMap::new(),
        };
        async move { (name, create_topics::create(agent, topic, deadline).await) }
    });
    let mut refused = BTreeMap::new();
    for (name, result) in join_all(creating).await {
        match result {
            // Somebody else was quicker: it is there.
            Ok(_) | Err((ErrorCode::TopicAlreadyExists, _)) => {}
            Err((ErrorCode::RequestTimedOut, _)) => {
                refused.insert(name, not_now(ApiKey::Metadata));
            }
            Err((code, _)) => {
                refused.insert(name, code);
            }
        }
    }
    refused
}

fn unknown(key: &TopicKey) -> ErrorCode {
    match key {
        TopicKey::Name(_) => ErrorCode::UnknownTopicOrPartition,
        TopicKey::Id(_) => ErrorCode::UnknownTopicId,
    }
}

fn missing_topic(key: &TopicKey, code: ErrorCode) -> MetadataResponseTopic {
    let topic = MetadataResponseTopic::default();
    match key {
        TopicKey::Name(name) => {
            let code = if topic_names::check(name).is_err() {
                ErrorCode::InvalidTopic
            } else {
                code
            };
            topic
                .with_error_code(code.code())
                .with_name(Some(wire_name(name)))
        }
        TopicKey::Id(id) => topic
            .with_error_code(code.code())
            .with_name(None)
            .with_topic_id(id.uuid()),
    }
}

fn describe(
    view: &State,
    topic: &Topic,
    request: &MetadataRequest,
    leaders: &Leaders<'_>,
) -> MetadataResponseTopic {
    let partitions = (0..topic.partitions)
        .map(|index| {
            let at = TopicPartition::new(topic.id, PartitionId(index));
            let partition = MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_epoch(leader_epoch(view));
            match leaders.of(at) {
                Some(session) => {
                    let node = BrokerId(session.node.0);
                    partition
                        .with_leader_id(node)
                        .with_replica_nodes(vec![node])
                        .with_isr_nodes(vec![node])
                }
                None => partition
                    .with_error_code(ErrorCode::LeaderNotAvailable.code())
                    .with_leader_id(BrokerId(-1)),
            }
        })
        .collect();
    let described = MetadataResponseTopic::default()
        .with_name(Some(wire_name(&topic.name)))
        .with_topic_id(topic.id.uuid())
        .with_is_internal(topic_names::is_internal(&topic.name))
        .with_partitions(partitions);
    if request.include_topic_authorized_operations {
        described.with_topic_authorized_operations(operations::TOPIC)
    } else {
        described
    }
}

fn response(
    agent: &Agent,
    context: &Context,
    request: &MetadataRequest,
    view: &View,
    topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    let brokers = placement::brokers(view, agent.unheard());
    let controller = placement::controller(&brokers, agent.metastore.node());
    let brokers = brokers
        .into_iter()
        .map(|broker| {
            MetadataResponseBroker::default()
                .with_node_id(broker.id)
                .with_host(broker.host)
                .with_port(broker.port)
                .with_rack(broker.rack)
        })
        .collect();
    let response = MetadataResponse::default()
        .with_brokers(brokers)
        .with_cluster_id(Some(text(view.cluster.to_string())))
        .with_controller_id(controller)
        .with_topics(topics);
    if request.include_cluster_authorized_operations && (8..=10).contains(&context.version) {
        response.with_cluster_authorized_operations(operations::CLUSTER)
    } else {
        response
    }
}
