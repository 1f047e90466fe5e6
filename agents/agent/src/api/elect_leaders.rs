//! ElectLeaders, key 43, v0–v2.
//!
//! - Any agent serves any partition, so every partition has the leader that it should have: there is
//!   nothing to elect, and Kafka's word for that is ELECTION_NOT_NEEDED. Asked for all partitions at once,
//!   it names every topic, and of each only the partitions that get another leader, which are none.
//! - v1: the kind of election, of which there are two.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use tarn_kafka::{ApiKey, ErrorCode};

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;

use super::text::{text, topic_name};

/// Of the preferred replica, and of one that is behind.
const KINDS: [i8; 2] = [0, 1];

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let response = ElectLeadersResponse::default();
    if !KINDS.contains(&request.election_type) {
        let code = ErrorCode::InvalidRequest;
        context.log_refusal(
            code,
            format!("there is no election of kind {}", request.election_type),
        );
        return response.with_error_code(code.code());
    }
    let Ok(view) = agent
        .metastore
        .barrier(context.deadline_in(request.timeout_ms))
        .await
    else {
        return response.with_error_code(not_now(ApiKey::ElectLeaders).code());
    };
    let Some(topics) = &request.topic_partitions else {
        let all = view.topic_names.keys();
        let named = all.map(|name| ReplicaElectionResult::default().with_topic(topic_name(name)));
        return response.with_replica_election_results(named.collect());
    };
    let results = topics.iter().map(|asked| {
        let topic = view.topic_named(&asked.topic);
        let indexes: BTreeSet<i32> = asked.partitions.iter().copied().collect();
        let partitions = indexes.into_iter().map(|index| {
            let (code, why) = match topic {
                None => {
                    let why = format!("No such topic as {}", asked.topic.as_str());
                    (ErrorCode::UnknownTopicOrPartition, why)
                }
                Some(topic) if !has_partition(topic, index) => {
                    let why = format!("No such partition as {}-{index}", asked.topic.as_str());
                    (ErrorCode::UnknownTopicOrPartition, why)
                }
                Some(_) => {
                    let why = "Leader election not needed for topic partition.".to_owned();
                    (ErrorCode::ElectionNotNeeded, why)
                }
            };
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(code.code())
                .with_error_message(Some(text(why)))
        });
        ReplicaElectionResult::default()
            .with_topic(asked.topic.clone())
            .with_partition_result(partitions.collect())
    });
    response.with_replica_election_results(results.collect())
}
