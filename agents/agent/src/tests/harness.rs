//! Agents in memory, and a client that speaks in single requests over a real loopback socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tarn_commit_log::{CommitLog, MemoryLog};
use tarn_kafka::{BatchBuilder, Compression, ErrorCode, Producer, decode_response, encode_request};
use tarn_model::{ByteSize, TopicId};
use tarn_replica::{Node, NodeSettings, Parts, View};
use tarn_runtime::{Runtime, SimulatedHost, Stream};
use tarn_state::topic_configs::Defaults;
use tarn_state::{Advertised, advice};
use tarn_store::Store;
use tarn_topics::WriterSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::{AgentHandle, AgentSettings, start};

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What agents of one cluster share.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn CommitLog>,
    /// Of the store.
    runtime: Runtime,
}

pub(crate) struct TestAgent {
    pub(crate) node: Node,
    pub(crate) handle: AgentHandle,
}

pub(crate) fn settings() -> AgentSettings {
    AgentSettings {
        writer: WriterSettings::local(),
        serve_on: Duration::ZERO,
        ..AgentSettings::default()
    }
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        let runtime = Runtime::real();
        Cluster {
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            runtime,
        }
    }

    pub(crate) async fn agent(&self, settings: AgentSettings) -> TestAgent {
        self.agent_over(Arc::clone(&self.log), settings).await
    }

    /// An agent that sees the log through another's eyes.
    pub(crate) async fn agent_over(
        &self,
        log: Arc<dyn CommitLog>,
        settings: AgentSettings,
    ) -> TestAgent {
        self.agent_with(Runtime::real(), log, settings).await
    }

    /// On a simulated machine, in a cluster of its own.
    pub(crate) async fn simulated(host: &SimulatedHost, settings: AgentSettings) -> TestAgent {
        let runtime = Runtime::simulated(host);
        let cluster = Cluster {
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            runtime: runtime.clone(),
        };
        let log = Arc::clone(&cluster.log);
        cluster.agent_with(runtime, log, settings).await
    }

    async fn agent_with(
        &self,
        runtime: Runtime,
        log: Arc<dyn CommitLog>,
        settings: AgentSettings,
    ) -> TestAgent {
        let _ = &self.runtime;
        let listener = runtime
            .net()
            .listen("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_address().expect("bound").port();
        let node_settings = NodeSettings {
            cache_bytes: ByteSize::mib(64),
            memory_budget: ByteSize::mib(256),
            tick: Duration::from_secs(1),
            // Not what it is without settings.
            defaults: Defaults::tables_every(Duration::from_secs(7)),
            // The clock of a store in memory is the real one.
            alone: runtime.is_simulated(),
            ..NodeSettings::default()
        };
        let parts = Parts {
            store: self.store.clone(),
            log,
            name: format!("127.0.0.1:{port}"),
            runtime: runtime.clone(),
        };
        let scope = runtime.root_scope("test");
        let node = Box::pin(Node::open(node_settings, parts, scope))
            .await
            .expect("a node in memory opens");
        let at = Advertised {
            host: "127.0.0.1".to_owned(),
            port,
            zone: None,
        };
        let handle = start(&node, settings, listener, at).expect("an agent starts");
        let (mut views, this) = (node.metastore.watch(), node.metastore.node());
        let is_named = |view: &View| advice::agents(view).iter().any(|it| it.node == this);
        let named = timeout(PATIENCE, views.wait_for(is_named)).await;
        drop(named.expect("soon").expect("the node lives"));
        TestAgent { node, handle }
    }
}

/// One agent, alone.
pub(crate) async fn agent() -> TestAgent {
    Cluster::new().agent(settings()).await
}

impl TestAgent {
    pub(crate) async fn client(&self) -> Client {
        let address = format!("127.0.0.1:{}", self.handle.kafka_address.port());
        let stream = self
            .node
            .runtime
            .net()
            .connect(&address)
            .await
            .expect("the agent accepts");
        Client {
            stream,
            correlation_id: 0,
            name: StrBytes::from_static_str("test"),
        }
    }

    /// A client with a topic of so many partitions.
    pub(crate) async fn with_topic(&self, name: &str, partitions: i32) -> Client {
        let mut client = self.client().await;
        client.create(name, partitions, &[]).await;
        client
    }

    pub(crate) fn topic_id(&self, name: &str) -> TopicId {
        self.node
            .metastore
            .view()
            .topic_named(name)
            .expect("created")
            .id
    }
}

pub(crate) struct Client {
    stream: Stream,
    correlation_id: i32,
    name: StrBytes,
}

impl Client {
    pub(crate) fn named(mut self, name: &'static str) -> Client {
        self.name = StrBytes::from_static_str(name);
        self
    }

    pub(crate) async fn call<R: Request>(&mut self, version: i16, body: R) -> R::Response {
        self.send(version, &body).await;
        self.receive::<R>(version).await
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, body: &R) {
        self.correlation_id += 1;
        let frame = encode_request(self.correlation_id, Some(&self.name), version, body)
            .expect("encodable");
        self.send_bytes(&frame).await;
    }

    /// Says whether the connection took them.
    pub(crate) async fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send_bytes(bytes).await, "the agent reads");
    }

    /// The answer to the request that was sent last.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let id = self.correlation_id;
        self.receive_of::<R>(version, id).await
    }

    pub(crate) async fn receive_of<R: Request>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> R::Response {
        let frame = self.receive_frame().await.expect("an answer");
        assert_eq!(
            frame.get(..4),
            Some(correlation_id.to_be_bytes().as_slice()),
            "answers keep their order"
        );
        decode_response::<R>(version, frame).expect("decodable")
    }

    pub(crate) fn last_correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// The next frame; `None` if the agent hung up.
    pub(crate) async fn receive_frame(&mut self) -> Option<Bytes> {
        let reading = async {
            let mut prefix = [0; 4];
            self.stream.read_exact(&mut prefix).await.ok()?;
            let length = usize::try_from(u32::from_be_bytes(prefix)).expect("a length");
            let mut body = BytesMut::zeroed(length);
            self.stream.read_exact(&mut body).await.ok()?;
            Some(body.freeze())
        };
        timeout(PATIENCE, reading).await.expect("an answer in time")
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.receive_frame().await.is_none()
    }

    pub(crate) async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let response = self.call(7, create_topics(name, partitions, configs)).await;
        assert_eq!(
            response.topics[0].error_code, 0,
            "{:?}",
            response.topics[0].error_message
        );
    }

    /// Produces one batch to one partition.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let response = self.call(9, produce(topic, partition, records)).await;
        only_produce(response)
    }

    /// Fetches one partition without waiting.
    pub(crate) async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> PartitionData {
        let response = self.call(11, fetch(topic, &[(partition, offset)], 0)).await;
        only_fetch(response)
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn create_topics(
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreateTopicsRequest {
    let configs = configs
        .iter()
        .map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        })
        .collect();
    let topic = CreatableTopic::default()
        .with_name(self::name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(3)
        .with_configs(configs);
    CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000)
}

pub(crate) fn produce(topic: &str, partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn fetch(topic: &str, partitions: &[(i32, i64)], max_wait_ms: i32) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| {
            FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20)
        })
        .collect();
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(partitions),
        ])
}

pub(crate) fn only_produce(mut response: ProduceResponse) -> PartitionProduceResponse {
    assert_eq!(
        (
            response.responses.len(),
            response.responses[0].partition_responses.len()
        ),
        (1, 1)
    );
    response.responses.remove(0).partition_responses.remove(0)
}

pub(crate) fn only_fetch(mut response: FetchResponse) -> PartitionData {
    assert_eq!(response.throttle_time_ms, 0);
    assert_eq!(
        (
            response.responses.len(),
            response.responses[0].partitions.len()
        ),
        (1, 1)
    );
    response.responses.remove(0).partitions.remove(0)
}

/// A batch with these values.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_of(Compression::None, None, values)
}

pub(crate) fn batch_of(
    compression: Compression,
    producer: Option<Producer>,
    values: &[&str],
) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    for (n, value) in (0i64..).zip(values) {
        builder
            .push(1_700_000_000_000 + n, None, Some(value.as_bytes()), &[])
            .expect("small");
    }
    builder.build().expect("a batch").into_bytes()
}

/// Offsets and values in fetched bytes.
pub(crate) fn records(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut found = Vec::new();
    for batch in tarn_kafka::split_batches(bytes) {
        let batch = batch.expect("a valid batch");
        let records = tarn_kafka::Records::open(&batch, &tarn_kafka::records::Limits::default())
            .expect("readable");
        for record in records {
            let record = record.expect("readable");
            let value = record.value.unwrap_or_default();
            found.push((record.offset, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    found
}

pub(crate) fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("a code of Kafka")
}
