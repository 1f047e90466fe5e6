//! DescribeLogDirs, key 35, v1–v4.
//!
//! - There are no folders of logs. Each agent says of the partitions that it leads how many bytes they
//!   have in object storage, so that who adds up the agents' answers counts each partition once.
//! - v2: tagged fields. v3: an error code. v4: bytes of the volume, which object storage does not know.

use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use tarn_kafka::ApiKey;
use tarn_model::{NodeId, PartitionId, TopicPartition};
use tarn_state::advice::Leaders;
use tarn_state::{State, Topic};

use super::not_now;
use crate::agent::{Agent, has_partition};
use crate::context::Context;

use super::text::{text, topic_name};

/// What the one place is called where records are.
const LOG_DIR: &str = "object-storage";

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let Ok(view) = agent.metastore.barrier(context.deadline).await else {
        let code = not_now(ApiKey::DescribeLogDirs).code();
        return if context.version >= 3 {
            DescribeLogDirsResponse::default().with_error_code(code)
        } else {
            let result = DescribeLogDirsResult::default().with_error_code(code);
            DescribeLogDirsResponse::default().with_results(vec![result])
        };
    };
    let node = agent.metastore.node();
    let leaders = Leaders::new(&view, None, None);
    let topics = match &request.topics {
        None => view
            .topic_names
            .values()
            .filter_map(|id| view.topic(*id))
            .filter_map(|topic| of_topic(&view, topic, node, &leaders, 0..topic.partitions))
            .collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                let topic = view.topic_named(&asked.topic)?;
                let there = |index: &i32| has_partition(topic, *index);
                let indexes = asked.partitions.iter().copied().filter(there);
                of_topic(&view, topic, node, &leaders, indexes)
            })
            .collect(),
    };
    let result = DescribeLogDirsResult::default()
        .with_log_dir(text(LOG_DIR))
        .with_topics(topics);
    let result = if context.version >= 4 {
        result.with_total_bytes(-1).with_usable_bytes(-1)
    } else {
        result
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn of_topic(
    view: &State,
    topic: &Topic,
    node: NodeId,
    leaders: &Leaders<'_>,
    indexes: impl Iterator<Item = i32>,
) -> Option<DescribeLogDirsTopic> {
    let partitions: Vec<DescribeLogDirsPartition> = indexes
        .map(|index| TopicPartition::new(topic.id, PartitionId(index)))
        .filter(|at| leaders.of(*at).is_some_and(|leader| leader.node == node))
        .filter_map(|at| {
            let bytes = view.partitions.get(&at)?.bytes;
            let partition = DescribeLogDirsPartition::default()
                .with_partition_index(at.partition.0)
                .with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX));
            Some(partition)
        })
        .collect();
    (!partitions.is_empty()).then(|| {
        DescribeLogDirsTopic::default()
            .with_name(topic_name(&topic.name))
            .with_partitions(partitions)
    })
}
