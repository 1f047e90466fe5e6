//! OffsetForLeaderEpoch, key 23, v2–v4 (KIP-320).
//!
//! - The leader epoch is the generation of the commit log. The end of the present one is the high
//!   watermark; an older one ends where the first extent of a later one begins. A consumer learns
//!   from it what a recovery of the log cut off.
//! - Always behind a barrier.

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_state::{Partition, State, Topic};

use super::not_now;
use crate::agent::{Agent, partition_id};
use crate::context::Context;

use super::{leader_epoch, leader_epoch_problem};

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let view = agent.metastore.barrier(context.deadline).await.ok();
    let topics = request
        .topics
        .iter()
        .map(|asked| {
            let topic = view
                .as_ref()
                .and_then(|view| view.topic_named(&asked.topic));
            let partitions = asked
                .partitions
                .iter()
                .map(|partition| answer(view.as_deref(), topic, partition))
                .collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(asked.topic.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

fn answer(
    view: Option<&State>,
    topic: Option<&Arc<Topic>>,
    asked: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let response = EpochEndOffset::default()
        .with_partition(asked.partition)
        .with_leader_epoch(-1)
        .with_end_offset(-1);
    match find(view, topic, asked) {
        Ok((epoch, end)) => response.with_leader_epoch(epoch).with_end_offset(end),
        Err(code) => response.with_error_code(code.code()),
    }
}

fn find(
    view: Option<&State>,
    topic: Option<&Arc<Topic>>,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let view = view.ok_or(not_now(ApiKey::OffsetForLeaderEpoch))?;
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = partition_id(asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = view
        .partition(topic.id, index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if let Some(code) = leader_epoch_problem(view, asked.current_leader_epoch) {
        return Err(code);
    }
    Ok(end_of(partition, leader_epoch(view), asked.leader_epoch))
}

/// The newest epoch up to `asked` that has records, and where it ends; −1 twice if there is none.
fn end_of(partition: &Partition, present: i32, asked: i32) -> (i32, i64) {
    if asked == present {
        return (present, partition.high_watermark.to_wire());
    }
    if asked > present || asked < 0 {
        return (-1, -1);
    }
    let mut newest = -1;
    for extent in partition.extents.values() {
        let epoch = i32::try_from(extent.leader_epoch).unwrap_or(i32::MAX);
        if epoch > asked {
            // Older records may be gone; the epoch before still ended here.
            return (newest, extent.offsets.start.to_wire());
        }
        newest = epoch;
    }
    (newest, partition.high_watermark.to_wire())
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterTime, Offset, OffsetRange, SegmentId, Timestamp};
    use tarn_state::{Extent, Position};

    use super::*;

    #[test]
    fn an_epoch_ends_where_a_later_one_begins() {
        let mut partition = Partition::empty();
        for (start, end, leader_epoch) in [(0, 10, 1), (10, 15, 1), (15, 20, 3)] {
            let extent = Extent {
                offsets: OffsetRange::new(Offset(start), Offset(end)),
                segment: SegmentId::new(ClusterTime(0), 0),
                position: Position {
                    start: 0,
                    length: 1,
                },
                max_timestamp: Timestamp(0),
                committed_at: 1,
                committed_time: ClusterTime(0),
                leader_epoch,
                hides_timestamps: false,
            };
            partition.extents.insert(Offset(start), extent);
        }
        partition.high_watermark = Offset(20);
        assert_eq!(end_of(&partition, 3, 3), (3, 20));
        assert_eq!(end_of(&partition, 3, 2), (1, 15));
        assert_eq!(end_of(&partition, 3, 1), (1, 15));
        assert_eq!(end_of(&partition, 3, 0), (-1, 0));
        assert_eq!(end_of(&partition, 3, 4), (-1, -1));
        assert_eq!(end_of(&partition, 4, 3), (3, 20));
    }
}
