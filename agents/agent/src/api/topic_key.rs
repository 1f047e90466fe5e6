//! How a request names a topic.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use tarn_model::TopicId;
use tarn_state::{State, Topic};
use uuid::Uuid;

/// By id where the version has ids, else by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(StrBytes),
    Id(TopicId),
}

impl TopicKey {
    pub(crate) fn id(uuid: Uuid) -> TopicKey {
        TopicKey::Id(TopicId::from_uuid(uuid))
    }

    pub(crate) fn find<'s>(&self, state: &'s State) -> Option<&'s Arc<Topic>> {
        match self {
            TopicKey::Name(name) => state.topic_named(name),
            TopicKey::Id(id) => state.topic(*id),
        }
    }
}
