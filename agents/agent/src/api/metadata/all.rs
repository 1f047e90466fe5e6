//! The answer that lists all topics, encoded once for all who ask while nothing moves.
//!
//! Holds: an answer is kept by everything that it says. Topics are the same while the views share their
//! map, so that to compare them costs nothing; brokers, leaders and the request's own wishes are few.
//! Whoever finds none waits for who is making it, so that it is made once.

use bytes::Bytes;
use kafka_protocol::messages::MetadataRequest;
use tarn_kafka::{EncodeError, ResponseBody, encode_response, frame};
use tarn_replica::View;
use tarn_state::advice::Leaders;
use tokio::task::yield_now;

use crate::agent::Agent;
use crate::context::Context;
use crate::frame::Frame;
use crate::placement;

use super::kept::{AllTopics, Kept, Of};
use super::{describe, leader_epoch, response};

/// Partitions that are described before others get their turn.
const PARTITIONS_PER_TURN: usize = 4_096;
/// Answers that are kept: for a few versions and zones. The one that was asked for least recently goes.
const KEPT_MAX: usize = 8;

impl AllTopics {
    /// The whole frame for this request.
    pub(super) async fn answer(
        &self,
        agent: &Agent,
        context: &Context,
        request: &MetadataRequest,
        view: &View,
    ) -> Result<Frame, EncodeError> {
        let leaders = Leaders::new(view, context.zone().as_deref(), agent.unheard());
        let Some(near) = leaders.settled() else {
            // Each moment has other leaders while an agent takes over.
            let frame = make(agent, context, request, view, &leaders).await?;
            return Ok(addressed(&frame, context.correlation_id));
        };
        let brokers = placement::brokers(view, agent.unheard());
        let of = Of {
            version: context.version,
            topic_operations: request.include_topic_authorized_operations,
            cluster_operations: request.include_cluster_authorized_operations,
            topics: view.topics.clone(),
            leader_epoch: leader_epoch(view),
            controller: placement::controller(&brokers, agent.metastore.node()),
            brokers,
            near,
        };
        let mut kept = self.kept.lock().await;
        let found = match kept.iter().position(|known| known.of.is(&of)) {
            Some(at) => kept.remove(at),
            None => Kept {
                frame: make(agent, context, request, view, &leaders).await?,
                of,
            },
        };
        let answer = addressed(&found.frame, context.correlation_id);
        // What was said of other topics is not asked for again.
        kept.retain(|known| known.of.topics.ptr_eq(&found.of.topics));
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(found);
        Ok(answer)
    }
}

fn addressed(frame: &Bytes, correlation_id: i32) -> Frame {
    Frame {
        pieces: frame::addressed(frame, correlation_id),
        permit: None,
    }
}

async fn make(
    agent: &Agent,
    context: &Context,
    request: &MetadataRequest,
    view: &View,
    leaders: &Leaders<'_>,
) -> Result<Bytes, EncodeError> {
    let mut topics = Vec::with_capacity(view.topic_names.len());
    let mut described = 0usize;
    for topic in view.topic_names.values().filter_map(|id| view.topic(*id)) {
        topics.push(describe(view, topic, request, leaders));
        described += topics.last().map_or(0, |topic| topic.partitions.len());
        if described >= PARTITIONS_PER_TURN {
            described = 0;
            yield_now().await;
        }
    }
    agent.metrics.topics_described.inc_by(topics.len() as u64);
    let body = ResponseBody::from(response(agent, context, request, view, topics));
    encode_response(0, context.version, &body)
}
