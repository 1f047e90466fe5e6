//! Produce, key 0, v3–v13 (advertised from 0, see `ApiKey::advertised_versions`).
//!
//! - Batches stay compressed and opaque. Their headers are checked as Apache Kafka does, and a bad
//!   one fails its partition only. In a topic with log-append time the header is written anew. Which
//!   batches are opened all the same, and what for, stands in `produce/records.rs`.
//! - acks=1 is acks=all. acks=0 gets no answer; its connection is closed on an error, as in Kafka.
//! - A batch that was taken before is answered with its first offset. An error never comes with one.
//! - Transactions are not served yet: a transactional id or batch gets
//!   TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53), the error that Kafka itself gives to a transactional
//!   batch without an id, and which every client takes for final.
//! - v7: zstd. v8: error messages (KIP-467). v9: tagged fields. v13: topic ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use tarn_kafka::{BatchHeader, ErrorCode, ProduceRules, ValidBatch};
use tarn_model::{Kind, PartitionId, Timestamp};
use tarn_replica::View;
use tarn_state::Topic;
use tarn_state::topic_configs::TimestampRule;
use tarn_topics::{Appended, NewBatch};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::agent::{Agent, has_partition};
use crate::context::Context;
use crate::error_code;
use crate::frame::Answer;
use crate::metrics::TopicLabel;

use super::{TopicKey, text};

mod records;

/// Why a partition's batch is refused before it reaches the writer, or by it.
#[derive(Debug, Clone)]
struct Refused {
    code: ErrorCode,
    message: Option<String>,
    /// The records that are to blame, by their place in the batch.
    records: Vec<(i32, String)>,
}

impl Refused {
    fn of(code: ErrorCode) -> Refused {
        Refused {
            code,
            message: None,
            records: Vec::new(),
        }
    }

    fn because(code: ErrorCode, message: impl ToString) -> Refused {
        Refused {
            code,
            message: Some(message.to_string()),
            records: Vec::new(),
        }
    }
}

/// What is said of a batch that was appended.
#[derive(Debug, Clone, Copy)]
struct Done {
    appended: Appended,
    /// −1 unless the topic keeps log-append time.
    append_time: i64,
}

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    mut request: ProduceRequest,
) -> Answer {
    let topics = std::mem::take(&mut request.topic_data);
    let results = match check_request(&request) {
        Err(refused) => {
            // Its turn is passed on in order too: those before it may still wait for a barrier.
            if let Some(turn) = &mut context.submission {
                turn.come().await;
            }
            topics
                .iter()
                .map(|topic| {
                    topic
                        .partition_data
                        .iter()
                        .map(|_| Err(refused.clone()))
                        .collect()
                })
                .collect::<Vec<Vec<_>>>()
        }
        Ok(()) => append(agent, context, &request, &topics).await,
    };
    if request.acks == 0 {
        return match results
            .iter()
            .flatten()
            .find_map(|result| result.as_ref().err())
        {
            Some(refused) => {
                let why = refused.message.as_deref().unwrap_or_default();
                let detail = format!("{} {why}", refused.code.name());
                Answer::Close("a produce without acknowledgement failed", detail)
            }
            None => Answer::Nothing,
        };
    }
    let responses = topics
        .into_iter()
        .zip(results)
        .map(|(topic, results)| {
            let partitions = topic
                .partition_data
                .iter()
                .zip(results)
                .map(|(partition, result)| partition_response(partition.index, result))
                .collect();
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partition_responses(partitions)
        })
        .collect();
    ProduceResponse::default().with_responses(responses).into()
}

/// What is wrong with the request as a whole.
fn check_request(request: &ProduceRequest) -> Result<(), Refused> {
    if !matches!(request.acks, -1..=1) {
        return Err(Refused::because(
            ErrorCode::InvalidRequiredAcks,
            "acks is -1, 0 or 1",
        ));
    }
    if request.transactional_id.is_some() {
        return Err(no_transactions());
    }
    Ok(())
}

fn no_transactions() -> Refused {
    Refused::because(
        ErrorCode::TransactionalIdAuthorizationFailed,
        "transactions are not served yet",
    )
}

async fn append(
    agent: &Agent,
    context: &mut Context,
    request: &ProduceRequest,
    topics: &[TopicProduceData],
) -> Vec<Vec<Result<Done, Refused>>> {
    let deadline = context.deadline_in(request.timeout_ms);
    let keys: Vec<TopicKey> = topics
        .iter()
        .map(|topic| topic_key(topic, context.version))
        .collect();
    let view = view_of(agent, &keys, topics, deadline).await;

    // In the order of the request, so that each answer finds its way back.
    let mut results: Vec<Vec<Result<Done, Refused>>> = Vec::with_capacity(topics.len());
    let mut batches = Vec::new();
    let mut accepted = Vec::new();
    for (topic_index, (key, topic)) in keys.iter().zip(topics).enumerate() {
        let mut of_topic = Vec::with_capacity(topic.partition_data.len());
        for (partition_index, data) in topic.partition_data.iter().enumerate() {
            match prepare(agent, context.version, view.as_ref(), key, data).await {
                Ok((found, batch, append_time)) => {
                    let records = u64::try_from(batch.header().record_count).unwrap_or(0);
                    accepted.push((
                        topic_index,
                        partition_index,
                        append_time,
                        found.name.as_str(),
                        records,
                    ));
                    batches.push(NewBatch {
                        topic: found.id,
                        partition: PartitionId(data.index),
                        batch,
                    });
                    // Replaced by the writer's answer, or the truth if there is none.
                    of_topic.push(Err(Refused::of(ErrorCode::RequestTimedOut)));
                }
                Err(refused) => of_topic.push(Err(refused)),
            }
        }
        results.push(of_topic);
    }

    // Barriers may have ended in another order than the requests came in.
    if let Some(turn) = &mut context.submission {
        turn.come().await;
    }
    let permit = context
        .permit
        .take()
        .expect("a request keeps its permit until somebody takes it");
    let appending = agent.writer.append(batches, permit, deadline);
    context.submission = None;

    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for ((topic_index, partition_index, append_time, name, records), result) in
        accepted.into_iter().zip(appending.await)
    {
        let result = match result {
            Ok(appended) => {
                *counted.entry(name).or_default() += records;
                Ok(Done {
                    appended,
                    append_time,
                })
            }
            Err(error) => {
                if error.kind() == Kind::Internal {
                    warn!(topic = name, %error, "a batch could not be appended");
                }
                Err(Refused::because(
                    append_code(context.version, &error),
                    error,
                ))
            }
        };
        if let Some(slot) = results
            .get_mut(topic_index)
            .and_then(|topic| topic.get_mut(partition_index))
        {
            *slot = result;
        }
    }
    for (topic, records) in counted {
        agent
            .metrics
            .produce_records
            .get_or_create(&TopicLabel {
                topic: topic.to_owned(),
            })
            .inc_by(records);
    }
    results
}

/// A view that has all of these partitions, or is behind nothing; `None` if there was none in time.
async fn view_of(
    agent: &Agent,
    keys: &[TopicKey],
    topics: &[TopicProduceData],
    deadline: Instant,
) -> Option<View> {
    let view = agent
        .view_with(deadline, |state| {
            keys.iter().zip(topics).all(|(key, topic)| {
                key.find(state).is_some_and(|found| {
                    topic
                        .partition_data
                        .iter()
                        .all(|data| has_partition(found, data.index))
                })
            })
        })
        .await;
    match view {
        Ok(view) => Some(view),
        Err(error) => {
            debug!(%error, "no barrier for a produce to an unknown topic");
            None
        }
    }
}

/// With ids a topic that is gone has its own code, after which clients learn the new id.
fn append_code(version: i16, error: &tarn_topics::AppendError) -> ErrorCode {
    match error_code::of_append(error) {
        ErrorCode::UnknownTopicOrPartition if version >= 13 => ErrorCode::UnknownTopicId,
        code => code,
    }
}

fn topic_key(topic: &TopicProduceData, version: i16) -> TopicKey {
    if version >= 13 {
        TopicKey::id(topic.topic_id)
    } else {
        TopicKey::Name(topic.name.0.clone())
    }
}

/// Finds the partition and checks its batch.
async fn prepare<'v>(
    agent: &Agent,
    version: i16,
    view: Option<&'v View>,
    key: &TopicKey,
    data: &PartitionProduceData,
) -> Result<(&'v Arc<Topic>, ValidBatch, i64), Refused> {
    let view = view.ok_or_else(|| Refused::of(ErrorCode::NotEnoughReplicas))?;
    let topic = key.find(view).ok_or_else(|| {
        Refused::of(match key {
            TopicKey::Name(_) => ErrorCode::UnknownTopicOrPartition,
            TopicKey::Id(_) => ErrorCode::UnknownTopicId,
        })
    })?;
    if !has_partition(topic, data.index) {
        return Err(Refused::of(ErrorCode::UnknownTopicOrPartition));
    }
    let records = data.records.clone().unwrap_or_default();
    let now = agent.runtime.clock().wall();
    let (batch, append_time) = check_batch(topic, version, records, now)?;
    if batch.header().is_transactional() {
        return Err(no_transactions());
    }
    let batch = match records::reasons(topic, batch.header(), now) {
        Some(reasons) => records::open(agent, batch, reasons).await?,
        None => batch,
    };
    Ok((topic, batch, append_time))
}

fn check_batch(
    topic: &Topic,
    version: i16,
    records: Bytes,
    now: Timestamp,
) -> Result<(ValidBatch, i64), Refused> {
    let rule = topic.timestamp_rule();
    let batch_bytes_max = topic.max_message_bytes();
    let zstd_allowed = version >= 7;
    let timestamp_latest = match rule {
        TimestampRule::Create { after, .. } => now.0.saturating_add(millis(after)),
        TimestampRule::LogAppend => i64::MAX,
    };
    let rules = ProduceRules {
        batch_bytes_max,
        timestamp_latest,
        zstd_allowed,
    };
    let batch = ValidBatch::from_produce(records, &rules)
        .map_err(|error| Refused::because(error.error_code(), error))?;
    match rule {
        TimestampRule::Create { before, .. } => {
            too_early(batch.header(), now, before)?;
            Ok((batch, -1))
        }
        TimestampRule::LogAppend => Ok((batch.with_append_time(now.0), now.0)),
    }
}

/// The header only tells the first record's timestamp; −1 is none.
fn too_early(header: &BatchHeader, now: Timestamp, before: Duration) -> Result<(), Refused> {
    let earliest = now.0.saturating_sub(millis(before));
    if header.base_timestamp >= 0 && header.base_timestamp < earliest {
        let message = format!(
            "the timestamp {} is earlier than {earliest}, the earliest allowed",
            header.base_timestamp
        );
        return Err(Refused::because(ErrorCode::InvalidTimestamp, message));
    }
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn partition_response(index: i32, result: Result<Done, Refused>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(done) => response
            .with_base_offset(done.appended.base.to_wire())
            .with_log_append_time_ms(done.append_time)
            .with_log_start_offset(done.appended.log_start.to_wire()),
        Err(refused) => {
            let records = refused.records.into_iter().map(|(index, why)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(index)
                    .with_batch_index_error_message(Some(text::text(why)))
            });
            response
                .with_error_code(refused.code.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1)
                .with_record_errors(records.collect())
                .with_error_message(refused.message.map(text::text))
        }
    }
}
