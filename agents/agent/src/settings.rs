//! Settings of the agent. The doc comments are the manual.

use std::time::Duration;

use tarn_coordinator::CoordinatorSettings;
use tarn_model::{ByteSize, caps, settings};
use tarn_topics::WriterSettings;

settings! {
    /// Topics that are created without saying how.
    pub struct TopicSettings {
        /// Does a Metadata request create the topics that it names, Kafka's `auto.create.topics.enable`? A
        /// Produce request never does.
        pub auto_create_topics: bool = true;
        /// Partitions of a topic that is created without saying how many, Kafka's `num.partitions`.
        pub partitions: i32 = 1, within 1..=caps::PARTITIONS_PER_TOPIC_MAX;
    }
}

settings! {
    /// Object storage replicates, so a topic's replication factor is a number that clients bring along.
    pub struct ReplicationFactorSettings {
        /// Refuse a topic whose replication factor is larger than the number of agents, with Kafka's error, as
        /// a cluster of as many brokers would. Else any positive one is taken.
        pub strict: bool = false;
    }
}

/// How an agent serves its clients.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSettings {
    /// Largest request, Kafka's `socket.request.max.bytes`. A connection that announces more is
    /// closed.
    pub request_bytes_max: ByteSize,
    /// Connections at the same time. One more is closed at once.
    pub connections_max: usize,
    /// A connection that asks nothing for this long is closed, Kafka's `connections.max.idle.ms`.
    pub connection_idle: Duration,
    /// A client that stops in the middle of a request, or takes no byte of an answer, for this long
    /// loses its connection; so does one that needs this long and another second for every 64 KiB.
    pub connection_stall: Duration,
    /// Requests of one connection that are worked on at the same time.
    pub pipeline_max: usize,
    /// Bytes of small requests that are worked on, over all connections: a part that no backlog of
    /// batches takes from them. Beyond it they share the node's budget with the rest.
    pub small_request_bytes: ByteSize,
    /// Bytes of fetched records that wait to be written, over all connections.
    pub response_bytes: ByteSize,
    /// Most bytes of records that one Fetch returns, Kafka's `fetch.max.bytes`.
    pub fetch_bytes_max: ByteSize,
    /// Longest long poll, whatever the client asks for.
    pub fetch_wait_max: Duration,
    /// Incremental fetch sessions kept, Kafka's `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// How topics are created.
    pub topics: TopicSettings,
    pub replication_factor: ReplicationFactorSettings,
    /// How groups are coordinated.
    pub groups: CoordinatorSettings,
    /// Time that a request has to be answered when it brings no timeout of its own.
    pub request_deadline: Duration,
    /// How long an agent that leaves accepts and serves clients after the others know of it: clients ask
    /// only now and then where to go. Longer than `caps::SELF_FENCE_AFTER`, so that no agent that still
    /// answers names one that does not.
    pub serve_on: Duration,
    /// How long requests under way may take when the agent stops.
    pub drain: Duration,
    /// How batches become segments.
    pub writer: WriterSettings,
}

impl Default for AgentSettings {
    fn default() -> AgentSettings {
        AgentSettings {
            request_bytes_max: ByteSize::mib(100),
            connections_max: 10_000,
            connection_idle: Duration::from_secs(600),
            connection_stall: Duration::from_secs(60),
            pipeline_max: 64,
            small_request_bytes: ByteSize::mib(16),
            response_bytes: ByteSize::mib(256),
            fetch_bytes_max: ByteSize::mib(55),
            fetch_wait_max: Duration::from_secs(60),
            fetch_sessions_max: 10_000,
            topics: TopicSettings::default(),
            replication_factor: ReplicationFactorSettings::default(),
            groups: CoordinatorSettings::default(),
            request_deadline: Duration::from_secs(30),
            serve_on: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            writer: WriterSettings::default(),
        }
    }
}
