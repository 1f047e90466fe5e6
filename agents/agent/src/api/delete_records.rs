//! DeleteRecords, key 21, v0–v2.
//!
//! - Moves log starts; −1 is the high watermark. An offset above that is out of range, one below the
//!   start changes nothing. The answer says where each partition starts from now on.
//! - As in Kafka a topic whose `cleanup.policy` does not delete keeps its records, and so do internal
//!   topics. Tables keep the rows that they have; records that a table has not taken yet never get there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{Offset, PartitionId, TopicPartition};
use tarn_replica::Metastore;
use tarn_state::commands::{DeleteRecords, RecordsBelow};
use tarn_state::topic_names::is_internal;
use tarn_state::{Command, State};

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;
use crate::error_code;

/// Up to the high watermark.
const ALL: i64 = -1;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let deadline = context.deadline_in(request.timeout_ms);
    let view = agent.metastore.barrier(deadline).await.ok();
    // What is asked of a partition twice is asked once: the last counts.
    let mut asked: BTreeMap<(&str, i32), Result<RecordsBelow, ErrorCode>> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let (name, index) = (topic.name.as_str(), partition.partition_index);
            let checked = match &view {
                Some(view) => check(view, name, index, partition.offset),
                None => Err(not_now(ApiKey::DeleteRecords)),
            };
            asked.insert((name, index), checked);
        }
    }
    let partitions: Vec<RecordsBelow> = asked.values().flatten().cloned().collect();
    let command = Command::DeleteRecords(DeleteRecords { partitions });
    let after = if asked.values().all(Result::is_err) {
        Ok(view)
    } else if !Metastore::fits(&command) {
        let code = ErrorCode::InvalidRequest;
        context.log_refusal(
            code,
            "it names more partitions than an entry of the log takes",
        );
        Err(code)
    } else {
        let proposed = agent.metastore.propose(vec![command], deadline).await;
        proposed
            .map(|committed| Some(committed.view))
            .map_err(|error| error_code::of_propose(&error, not_now(ApiKey::DeleteRecords)))
    };
    let low_watermark = |below: &RecordsBelow| {
        let view = after.as_ref().map_err(|code| *code)?;
        let partition = view
            .as_ref()
            .and_then(|view| view.partitions.get(&below.at));
        // Deleted meanwhile.
        partition
            .map(|partition| partition.log_start)
            .ok_or(ErrorCode::UnknownTopicOrPartition)
    };
    let topics = request.topics.iter().map(|topic| {
        let indexes: BTreeSet<i32> = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index)
            .collect();
        let partitions = indexes.into_iter().map(|index| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            let known = asked.get(&(topic.name.as_str(), index));
            let checked = known.map_or(Err(ErrorCode::UnknownTopicOrPartition), |known| {
                known.as_ref().map_err(|code| *code)
            });
            match checked.and_then(low_watermark) {
                Ok(start) => result.with_low_watermark(start.to_wire()),
                Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
            }
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn check(view: &State, name: &str, index: i32, offset: i64) -> Result<RecordsBelow, ErrorCode> {
    let topic = view
        .topic_named(name)
        .filter(|topic| has_partition(topic, index))
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let at = TopicPartition::new(topic.id, PartitionId(index));
    let partition = view
        .partition(at.topic, at.partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(name) {
        return Err(ErrorCode::InvalidTopic);
    }
    if !topic.deletes() {
        return Err(ErrorCode::PolicyViolation);
    }
    let offset = match offset {
        ALL => None,
        offset => Some(Offset::from_wire(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    if offset.is_some_and(|offset| offset > partition.high_watermark) {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok(RecordsBelow { at, offset })
}
