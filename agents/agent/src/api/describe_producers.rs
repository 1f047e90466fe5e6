//! DescribeProducers, key 61, v0.
//!
//! - The idempotent producers that a partition remembers, with the last of their batches.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, ProducerId as WireProducerId,
};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{PartitionId, ProducerId, TopicPartition};
use tarn_replica::View;
use tarn_state::{Producer, State};

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;

use super::text::text;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let view = agent.metastore.barrier(context.deadline).await.ok();
    // Once each: a short request must not be answered with the same producers for ever.
    let mut seen = BTreeSet::new();
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic
                .partition_indexes
                .iter()
                .filter(|index| seen.insert((topic.name.as_str(), **index)))
                .map(|index| partition(view.as_ref(), &topic.name, *index))
                .collect();
            TopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    DescribeProducersResponse::default().with_topics(topics)
}

fn partition(view: Option<&View>, topic: &str, index: i32) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index);
    let Some(view) = view else {
        return response.with_error_code(not_now(ApiKey::DescribeProducers).code());
    };
    match view.topic_named(topic) {
        Some(topic) if has_partition(topic, index) => {
            let at = TopicPartition::new(topic.id, PartitionId(index));
            response.with_active_producers(producers(view, at))
        }
        Some(_) | None => response
            .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
            .with_error_message(Some(text("there is no such partition"))),
    }
}

fn producers(view: &State, at: TopicPartition) -> Vec<ProducerState> {
    let all = view
        .producers
        .range((at, ProducerId(i64::MIN))..=(at, ProducerId(i64::MAX)));
    all.map(|((_, id), producer)| producer_state(*id, producer))
        .collect()
}

fn producer_state(id: ProducerId, producer: &Producer) -> ProducerState {
    let last = producer.batches.last();
    ProducerState::default()
        .with_producer_id(WireProducerId(id.0))
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(last.map_or(-1, |batch| batch.last_sequence))
        .with_last_timestamp(last.map_or(-1, |batch| batch.max_timestamp.0))
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}
