//! A topic, as the log decided it.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{ClusterTime, ProducerId, TopicId};

/// A topic, without its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Topic {
    #[n(0)]
    pub id: TopicId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub partitions: i32,
    /// What was set for this topic; the rest has defaults, see [`crate::topic_configs`].
    #[n(3)]
    pub configs: BTreeMap<String, String>,
    #[n(4)]
    pub created_at: ClusterTime,
    /// Producer ids from here on were given out after the topic was made.
    #[n(5)]
    pub first_producer: ProducerId,
}
