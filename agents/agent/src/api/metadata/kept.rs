//! The answers to who asks for all topics, as they are kept.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use kafka_protocol::messages::BrokerId;
use tarn_model::{NodeId, TopicId};
use tarn_state::Topic;
use tokio::sync::Mutex;

use crate::placement::Broker;

#[derive(Debug, Default)]
pub(crate) struct AllTopics {
    /// The one that was asked for last is last.
    pub(super) kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) of: Of,
    pub(super) frame: Bytes,
}

/// All that the answer depends on.
#[derive(Debug)]
pub(super) struct Of {
    pub(super) version: i16,
    pub(super) topic_operations: bool,
    pub(super) cluster_operations: bool,
    pub(super) topics: OrdMap<TopicId, Arc<Topic>>,
    pub(super) leader_epoch: i32,
    pub(super) brokers: Vec<Broker>,
    /// Who leads for this client.
    pub(super) near: Vec<NodeId>,
    pub(super) controller: BrokerId,
}

impl Of {
    pub(super) fn is(&self, other: &Of) -> bool {
        self.version == other.version
            && self.topic_operations == other.topic_operations
            && self.cluster_operations == other.cluster_operations
            && self.topics.ptr_eq(&other.topics)
            && self.leader_epoch == other.leader_epoch
            && self.brokers == other.brokers
            && self.near == other.near
            && self.controller == other.controller
    }
}
