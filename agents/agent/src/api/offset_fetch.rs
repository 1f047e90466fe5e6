//! OffsetFetch, key 9, v1–v9.
//!
//! - Always behind a barrier, so any agent answers rightly, the group's coordinator or not. A group,
//!   a topic or a partition without an offset gets −1 and no error, as in Kafka.
//! - v2: null topics are all of the group's. v5: leader epochs. v7: `require_stable`, which holds
//!   always while there are no transactions. v8: many groups at once (KIP-709).

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::{PartitionId, TopicPartition};
use tarn_state::{CommittedOffset, State};

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;

use super::text::{text, topic_name};

/// A topic with its partitions.
type Topics<'r> = Option<Vec<(&'r TopicName, &'r [i32])>>;

/// A topic's offsets, each with its partition; `None` where nothing was committed.
type Found = (TopicName, Vec<(i32, Option<CommittedOffset>)>);

/// An offset as every version tells it; −1 and an empty text where nothing was committed.
struct Told {
    offset: i64,
    leader_epoch: i32,
    metadata: Option<StrBytes>,
}

impl Told {
    fn of(committed: Option<CommittedOffset>) -> Told {
        let (offset, leader_epoch, metadata) = match committed {
            Some(found) => (found.offset, found.leader_epoch, text(found.metadata)),
            None => (-1, -1, text("")),
        };
        Told {
            offset,
            leader_epoch,
            metadata: Some(metadata),
        }
    }
}

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let view = agent.metastore.barrier(context.deadline).await.ok();
    let late = not_now(ApiKey::OffsetFetch);
    if context.version >= 8 {
        let groups = groups(&request, view.as_deref(), late);
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let code = if view.is_some() {
        ErrorCode::None
    } else {
        late
    };
    let topics: Topics<'_> = request.topics.as_ref().map(|topics| {
        topics
            .iter()
            .map(|topic| (&topic.name, topic.partition_indexes.as_slice()))
            .collect()
    });
    let found = match &view {
        Some(view) => find(view, &request.group_id, topics),
        // v1 has no place for an error but its partitions.
        None => topics
            .unwrap_or_default()
            .into_iter()
            .map(|(name, partitions)| {
                (
                    name.clone(),
                    partitions.iter().map(|index| (*index, None)).collect(),
                )
            })
            .collect(),
    };
    let topics = found
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(index, offset)| {
                    let Told {
                        offset,
                        leader_epoch,
                        metadata,
                    } = Told::of(offset);
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(code.code())
                        .with_committed_offset(offset)
                        .with_committed_leader_epoch(leader_epoch)
                        .with_metadata(metadata)
                })
                .collect();
            OffsetFetchResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions)
        })
        .collect();
    OffsetFetchResponse::default()
        .with_topics(topics)
        .with_error_code(code.code())
}

fn groups(
    request: &OffsetFetchRequest,
    view: Option<&State>,
    late: ErrorCode,
) -> Vec<OffsetFetchResponseGroup> {
    // Once each: a short request must not be answered with the same group for ever.
    let mut seen = BTreeSet::new();
    request
        .groups
        .iter()
        .filter(|group| seen.insert(group.group_id.as_str()))
        .map(|group| {
            let response =
                OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            let Some(view) = view else {
                return response.with_error_code(late.code());
            };
            let topics: Topics<'_> = group.topics.as_ref().map(|topics| {
                topics
                    .iter()
                    .map(|topic| (&topic.name, topic.partition_indexes.as_slice()))
                    .collect()
            });
            let found =
                find(view, &group.group_id, topics)
                    .into_iter()
                    .map(|(name, partitions)| {
                        let partitions = partitions
                            .into_iter()
                            .map(|(index, offset)| {
                                let Told {
                                    offset,
                                    leader_epoch,
                                    metadata,
                                } = Told::of(offset);
                                OffsetFetchResponsePartitions::default()
                                    .with_partition_index(index)
                                    .with_committed_offset(offset)
                                    .with_committed_leader_epoch(leader_epoch)
                                    .with_metadata(metadata)
                            })
                            .collect();
                        OffsetFetchResponseTopics::default()
                            .with_name(name)
                            .with_partitions(partitions)
                    });
            response.with_topics(found.collect())
        })
        .collect()
}

fn find(view: &State, group: &str, topics: Topics<'_>) -> Vec<Found> {
    let group = view.groups.get(group);
    match topics {
        Some(topics) => topics
            .into_iter()
            .map(|(name, partitions)| {
                let topic = view.topic_named(name);
                let partitions = partitions
                    .iter()
                    .map(|index| {
                        let at =
                            topic.map(|topic| TopicPartition::new(topic.id, PartitionId(*index)));
                        (*index, at.and_then(|at| group?.offsets.get(&at).cloned()))
                    })
                    .collect();
                (name.clone(), partitions)
            })
            .collect(),
        None => {
            let mut found: Vec<Found> = Vec::new();
            let mut last = None;
            for (at, offset) in group.into_iter().flat_map(|group| group.offsets.iter()) {
                let Some(topic) = view.topic(at.topic) else {
                    continue;
                };
                let entry = (at.partition.0, Some(offset.clone()));
                match found.last_mut() {
                    Some((_, partitions)) if last == Some(at.topic) => partitions.push(entry),
                    _ => found.push((topic_name(&topic.name), vec![entry])),
                }
                last = Some(at.topic);
            }
            found
        }
    }
}
