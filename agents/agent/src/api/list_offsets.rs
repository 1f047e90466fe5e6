//! ListOffsets, key 2, v1–v10.
//!
//! - Always behind a barrier: who asks for the end wants the end, not what this agent knows of it.
//! - −1 latest (the last stable offset for read_committed), −2 earliest, −3 the first record with the
//!   largest timestamp (v7, KIP-734), −4 earliest local (v8, KIP-405), −5 last tiered (v9, KIP-1005):
//!   there is one tier, so the earliest local is the earliest and nothing is tiered. Other negative
//!   numbers name nothing. A timestamp gets the first record that is not earlier.
//! - v4: leader epochs. v10: a timeout.

use std::sync::Arc;

use futures::StreamExt;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{Offset, Timestamp, TopicPartition};
use tarn_replica::View;
use tarn_state::Topic;
use tarn_topics::SEARCH_BYTES;
use tracing::warn;

use super::not_now;
use crate::agent::{Agent, partition_id};
use crate::context::Context;
use crate::error_code;

use super::{leader_epoch, leader_epoch_problem};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LAST_TIERED: i64 = -5;

/// Partitions that are searched by timestamp at the same time.
const SEARCHES_AT_ONCE: usize = 16;

/// Where, when, and in which epoch. No offset and no timestamp are −1.
#[derive(Debug, Clone, Copy)]
struct Found {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let deadline = if request.timeout_ms > 0 {
        context.deadline_in(request.timeout_ms)
    } else {
        context.deadline
    };
    let view = agent.metastore.barrier(deadline).await.ok();
    let (version, committed) = (context.version, request.isolation_level == 1);
    let view = view.as_ref();
    // Owned futures, one by one: closures over borrowed items are not general enough for a task.
    let mut looking = Vec::new();
    for (index, topic) in request.topics.iter().enumerate() {
        let found = view.and_then(|view| view.topic_named(&topic.name));
        for partition in &topic.partitions {
            looking.push(indexed(
                index,
                answer(agent, version, committed, view, found, partition),
            ));
        }
    }
    let found: Vec<_> = futures::stream::iter(looking)
        .buffered(SEARCHES_AT_ONCE)
        .collect()
        .await;
    let mut topics: Vec<ListOffsetsTopicResponse> = request
        .topics
        .iter()
        .map(|topic| ListOffsetsTopicResponse::default().with_name(topic.name.clone()))
        .collect();
    for (index, partition) in found {
        if let Some(topic) = topics.get_mut(index) {
            topic.partitions.push(partition);
        }
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn indexed<T>(index: usize, answer: impl Future<Output = T>) -> (usize, T) {
    (index, answer.await)
}

async fn answer(
    agent: &Agent,
    version: i16,
    committed: bool,
    view: Option<&View>,
    topic: Option<&Arc<Topic>>,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_offset(-1)
        .with_timestamp(-1)
        .with_leader_epoch(-1);
    match find(agent, version, committed, view, topic, asked).await {
        Ok(found) => {
            let response = response
                .with_offset(found.offset)
                .with_timestamp(found.timestamp);
            if version >= 4 {
                response.with_leader_epoch(found.epoch)
            } else {
                response
            }
        }
        Err(code) => response.with_error_code(code.code()),
    }
}

async fn find(
    agent: &Agent,
    version: i16,
    committed: bool,
    view: Option<&View>,
    topic: Option<&Arc<Topic>>,
    asked: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    let view = view.ok_or(if version >= 5 {
        not_now(ApiKey::ListOffsets)
    } else {
        ErrorCode::LeaderNotAvailable
    })?;
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = partition_id(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let at = TopicPartition::new(topic.id, index);
    let partition = view
        .partitions
        .get(&at)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if let Some(code) = leader_epoch_problem(view, asked.current_leader_epoch) {
        return Err(code);
    }
    let place = |offset: Offset| Found {
        offset: offset.to_wire(),
        timestamp: -1,
        epoch: leader_epoch(view),
    };
    let nothing = Found {
        offset: -1,
        timestamp: -1,
        epoch: -1,
    };
    let search = || async {
        // Batches are opened for it, within these bytes. Of a budget of their own: searches keep no
        // fetch waiting, nor fetches them.
        agent.searches.acquire(SEARCH_BYTES).await.ok()
    };
    let searched = match asked.timestamp {
        LATEST if committed => return Ok(place(partition.last_stable())),
        LATEST => return Ok(place(partition.high_watermark)),
        EARLIEST | EARLIEST_LOCAL => return Ok(place(partition.log_start)),
        LAST_TIERED => return Ok(nothing),
        MAX_TIMESTAMP => {
            let _permit = search().await;
            agent.reader.offset_of_max_timestamp(view, at).await
        }
        timestamp if timestamp >= 0 => {
            let _permit = search().await;
            agent
                .reader
                .offset_for_timestamp(view, at, Timestamp(timestamp))
                .await
        }
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    match searched {
        Ok(None) => Ok(nothing),
        Ok(Some(found)) => Ok(Found {
            offset: found.offset.to_wire(),
            timestamp: found.timestamp.0,
            epoch: i32::try_from(found.leader_epoch).unwrap_or(i32::MAX),
        }),
        Err(error) => {
            warn!(%at, %error, "offsets could not be searched by timestamp");
            Err(error_code::of_read(&error))
        }
    }
}
