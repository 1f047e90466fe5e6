//! Small conversions between our types and the protocol's.

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use tarn_state::{State, Topic};
use uuid::Uuid;

use std::sync::Arc;

use tarn_model::TopicId;

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// How a request names a topic: by id where the version has ids, else by name.
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

/// The operations that everybody may do, as the bits of KIP-430.
pub(crate) mod operations {
    /// Read, write, create, delete, alter, describe, describe configs, alter configs.
    pub(crate) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
    /// Create, alter, describe, describe configs, alter configs, idempotent write.
    pub(crate) const CLUSTER: i32 = bits(&[5, 7, 8, 10, 11, 12]);
    /// Read, delete, describe.
    pub(crate) const GROUP: i32 = bits(&[3, 6, 8]);

    const fn bits(operations: &[u32]) -> i32 {
        let mut bits = 0;
        let mut i = 0;
        while i < operations.len() {
            bits |= 1 << operations[i];
            i += 1;
        }
        bits
    }
}
