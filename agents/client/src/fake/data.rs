//! Topics and their records.

use bytes::BytesMut;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{ErrorCode, ProduceRules, ValidBatch};

use super::{State, name};

pub(super) fn metadata(state: &State, request: MetadataRequest) -> MetadataResponse {
    let names: Vec<String> = match request.topics {
        None => state.topics.keys().cloned().collect(),
        Some(topics) => topics
            .into_iter()
            .filter_map(|topic| Some(topic.name?.to_string()))
            .collect(),
    };
    let topics = names
        .into_iter()
        .map(|topic| {
            let answer = MetadataResponseTopic::default().with_name(Some(name(&topic)));
            let Some(partitions) = state.topics.get(&topic) else {
                return answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code());
            };
            let partitions = (0..).take(partitions.len()).map(|index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(1.into())
            });
            answer.with_partitions(partitions.collect())
        })
        .collect();
    let broker = MetadataResponseBroker::default()
        .with_node_id(1.into())
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(state.port);
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(topics)
}

pub(super) fn produce(
    state: &mut State,
    request: ProduceRequest,
    refused: Option<ErrorCode>,
) -> ProduceResponse {
    let rules = ProduceRules {
        batch_bytes_max: 1 << 20,
        timestamp_latest: i64::MAX,
        zstd_allowed: true,
    };
    let mut responses = Vec::new();
    for topic in request.topic_data {
        let mut partitions = Vec::new();
        for data in topic.partition_data {
            let target = state
                .topics
                .get_mut(topic.name.as_str())
                .and_then(|partitions| partitions.get_mut(usize::try_from(data.index).ok()?));
            let outcome = match (refused, target) {
                (Some(code), _) => Err(code),
                (None, None) => Err(ErrorCode::UnknownTopicOrPartition),
                (None, Some(partition)) => {
                    ValidBatch::from_produce(data.records.unwrap_or_default(), &rules)
                        .map_err(|error| error.error_code())
                        .and_then(|batch| partition.append(&batch))
                }
            };
            let response = PartitionProduceResponse::default().with_index(data.index);
            partitions.push(match outcome {
                Ok(offset) => response.with_base_offset(offset),
                Err(code) => response.with_base_offset(-1).with_error_code(code.code()),
            });
        }
        responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_partition_responses(partitions),
        );
    }
    ProduceResponse::default().with_responses(responses)
}

pub(super) fn fetch(state: &State, request: &FetchRequest) -> FetchResponse {
    let mut responses = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let answer = PartitionData::default().with_partition_index(asked.partition);
            let found = state
                .topics
                .get(topic.topic.as_str())
                .and_then(|partitions| partitions.get(usize::try_from(asked.partition).ok()?));
            partitions.push(match found {
                None => answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
                Some(partition) if asked.fetch_offset > partition.end => {
                    answer.with_error_code(ErrorCode::OffsetOutOfRange.code())
                }
                Some(partition) => {
                    let mut records = BytesMut::new();
                    for batch in &partition.batches {
                        if batch.header().last_offset() >= asked.fetch_offset {
                            records.extend_from_slice(batch.bytes());
                        }
                    }
                    let aborted = partition.aborted.iter().map(|(producer, first)| {
                        AbortedTransaction::default()
                            .with_producer_id((*producer).into())
                            .with_first_offset(*first)
                    });
                    answer
                        .with_high_watermark(partition.end)
                        .with_last_stable_offset(partition.end)
                        .with_aborted_transactions(Some(aborted.collect()))
                        .with_records(Some(records.freeze()))
                }
            });
        }
        responses.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions),
        );
    }
    FetchResponse::default().with_responses(responses)
}

pub(super) fn list_offsets(state: &State, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let found = state
                .topics
                .get(topic.name.as_str())
                .and_then(|partitions| {
                    partitions.get(usize::try_from(asked.partition_index).ok()?)
                });
            partitions.push(match found {
                None => answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
                Some(_) if asked.timestamp == -2 => answer.with_offset(0),
                Some(partition) if asked.timestamp == -1 => answer.with_offset(partition.end),
                Some(partition) => {
                    let later = partition
                        .batches
                        .iter()
                        .find(|batch| batch.header().max_timestamp >= asked.timestamp);
                    answer.with_offset(later.map_or(-1, |batch| batch.header().base_offset))
                }
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}
