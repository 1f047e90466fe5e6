//! The cluster as a client sees it: who the servers are, who leads and coordinates what, and one
//! connection to each.
//!
//! Holds: one connection per server address, opened by whoever needs it first. What is cached here
//! is advice; an answer that contradicts it makes the caller forget it and ask again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use tarn_kafka::ErrorCode;
use tarn_runtime::{Runtime, Scope};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{ClientSettings, Connection, Refused, RequestError};

/// A handle on a cluster. Clones share connections and what was learned.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    scope: Scope,
    settings: ClientSettings,
    connections: Mutex<BTreeMap<String, Slot>>,
    known: Mutex<Known>,
    /// Topics whose metadata somebody asks for right now.
    asking: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// One address's connection. The inner lock is held while connecting, so that nobody connects twice.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

#[derive(Debug, Default)]
struct Known {
    brokers: BTreeMap<i32, String>,
    /// Leaders by partition; −1 where there is none.
    topics: BTreeMap<String, Vec<i32>>,
    coordinators: BTreeMap<String, String>,
    /// Where the next question to any server starts in the bootstrap list.
    next_bootstrap: usize,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    /// `host:port`.
    pub address: String,
    pub rack: Option<String>,
}

/// Pauses between repetitions, up to a deadline.
#[derive(Debug)]
pub(crate) struct Retry<'a> {
    client: &'a Client,
    deadline: Instant,
    pause: Duration,
}

impl Retry<'_> {
    /// Waits before the next attempt; false if its time would be after the deadline.
    pub(crate) async fn pause(&mut self) -> bool {
        let settings = self.client.settings();
        let pause = self.client.runtime().random().jitter(self.pause);
        self.pause = self.pause.saturating_mul(2).min(settings.retry_backoff_max);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// Who leads a partition, or why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaderError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Client {
    /// Makes a client. Connects to nobody yet; its tasks live in a child of `scope`.
    pub fn new(runtime: &Runtime, scope: &Scope, settings: ClientSettings) -> Client {
        Client {
            inner: Arc::new(Inner {
                runtime: runtime.clone(),
                scope: scope.child("client"),
                settings,
                connections: Mutex::default(),
                known: Mutex::default(),
                asking: Mutex::default(),
            }),
        }
    }

    /// A client with connections of its own, in a child of this one's scope. Servers answer the
    /// requests of a connection in order, so whoever waits long (a fetch, a join) needs its own.
    pub(crate) fn fork(&self, name: &'static str) -> Client {
        Client {
            inner: Arc::new(Inner {
                runtime: self.inner.runtime.clone(),
                scope: self.inner.scope.child(name),
                settings: self.inner.settings.clone(),
                connections: Mutex::default(),
                known: Mutex::default(),
                asking: Mutex::default(),
            }),
        }
    }

    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    pub fn settings(&self) -> &ClientSettings {
        &self.inner.settings
    }

    /// The scope of this client's tasks: producers, consumers and connections.
    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// A deadline `operation_timeout` from now.
    pub fn operation_deadline(&self) -> Instant {
        Instant::now() + self.settings().operation_timeout
    }

    /// A deadline for one request, within the deadline of its operation.
    pub(crate) fn request_deadline(&self, operation: Instant) -> Instant {
        operation.min(Instant::now() + self.settings().request_timeout)
    }

    pub(crate) fn retry(&self, deadline: Instant) -> Retry<'_> {
        Retry {
            client: self,
            deadline,
            pause: self.settings().retry_backoff,
        }
    }

    /// The connection to an address, opened if there is none.
    pub async fn connection_to(&self, address: &str) -> Result<Connection, RequestError> {
        let slot = {
            let mut connections = self
                .inner
                .connections
                .lock()
                .expect("nobody panics while holding it");
            Arc::clone(connections.entry(address.to_owned()).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(open) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(open.clone());
        }
        let opened = Connection::open(
            &self.inner.runtime,
            &self.inner.scope,
            &self.inner.settings,
            address,
        )
        .await?;
        *slot = Some(opened.clone());
        Ok(opened)
    }

    /// A connection to any server: the bootstrap addresses in turn, then every server we know.
    pub async fn any_connection(&self) -> Result<Connection, RequestError> {
        let candidates = {
            let mut known = self
                .inner
                .known
                .lock()
                .expect("nobody panics while holding it");
            let mut candidates = self.inner.settings.bootstrap.clone();
            if !candidates.is_empty() {
                let start = known.next_bootstrap % candidates.len();
                candidates.rotate_left(start);
            }
            known.next_bootstrap = known.next_bootstrap.wrapping_add(1);
            for address in known.brokers.values() {
                if !candidates.contains(address) {
                    candidates.push(address.clone());
                }
            }
            candidates
        };
        let mut last = RequestError::NoServers;
        for address in candidates {
            match self.connection_to(&address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Like [`Client::any_connection`], within a deadline.
    async fn any_connection_by(&self, deadline: Instant) -> Result<Connection, RequestError> {
        within(deadline, "a connection", self.any_connection()).await
    }

    async fn connection_by(
        &self,
        address: &str,
        deadline: Instant,
    ) -> Result<Connection, RequestError> {
        within(deadline, "a connection", self.connection_to(address)).await
    }

    /// Asks any server, again and again until the deadline. Only for requests that may be carried
    /// out more than once.
    pub(crate) async fn ask_any<R: Request>(
        &self,
        body: &R,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        let mut retry = self.retry(deadline);
        loop {
            match self.ask_any_once(body, deadline).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    if !error.kind().is_retriable() || !retry.pause().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    pub(crate) async fn ask_any_once<R: Request>(
        &self,
        body: &R,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        let connection = self.any_connection_by(deadline).await?;
        connection.ask(body, self.request_deadline(deadline)).await
    }

    /// Asks for metadata (`None` = all topics) and remembers it. Creates no topics, unless the settings say so.
    pub async fn metadata(
        &self,
        topics: Option<&[String]>,
        deadline: Instant,
    ) -> Result<MetadataResponse, RequestError> {
        let asked = topics.map(|topics| {
            topics
                .iter()
                .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))))
                .collect()
        });
        let request = MetadataRequest::default()
            .with_topics(asked)
            .with_allow_auto_topic_creation(self.inner.settings.create_topics);
        let connection = {
            let mut retry = self.retry(deadline);
            loop {
                match self.any_connection_by(deadline).await {
                    Ok(connection) => break connection,
                    Err(error) => {
                        if !retry.pause().await {
                            return Err(error);
                        }
                    }
                }
            }
        };
        // Before version 4 a server takes the flag for true, whatever we would send.
        let request = if connection.version_of::<MetadataRequest>()? < 4 {
            request.with_allow_auto_topic_creation(true)
        } else {
            request
        };
        let response = match connection
            .ask(&request, self.request_deadline(deadline))
            .await
        {
            Ok(response) => response,
            Err(error) if error.kind().is_retriable() => self.ask_any(&request, deadline).await?,
            Err(error) => return Err(error),
        };
        self.remember(&response);
        Ok(response)
    }

    fn remember(&self, response: &MetadataResponse) {
        let mut known = self
            .inner
            .known
            .lock()
            .expect("nobody panics while holding it");
        known.brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, host_port(&broker.host, broker.port)))
            .collect();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code != ErrorCode::None.code() {
                known.topics.remove(name.as_str());
                continue;
            }
            // Only the number of partitions bounds an index from the wire.
            let mut leaders = vec![-1; topic.partitions.len()];
            for partition in &topic.partitions {
                let slot = usize::try_from(partition.partition_index)
                    .ok()
                    .and_then(|at| leaders.get_mut(at));
                if let Some(leader) = slot {
                    *leader = partition.leader_id.0;
                }
            }
            known.topics.insert(name.to_string(), leaders);
        }
    }

    /// How many partitions a topic has.
    pub async fn partition_count(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<i32, crate::AdminError> {
        if let Some(count) = self.known_partitions(topic) {
            return Ok(count);
        }
        let asking = self.asking(topic);
        let _asking = timeout_at(deadline, asking.lock()).await;
        if let Some(count) = self.known_partitions(topic) {
            return Ok(count);
        }
        let mut retry = self.retry(deadline);
        loop {
            let response = self.metadata(Some(&[topic.to_owned()]), deadline).await?;
            if let Some(count) = self.known_partitions(topic) {
                return Ok(count);
            }
            let refused = topic_refusal(&response, topic);
            let retriable =
                refused.error_code().is_retriable() && refused.kind() != tarn_model::Kind::NotFound;
            if !retriable || !retry.pause().await {
                return Err(refused.into());
            }
        }
    }

    /// Held while asking for a topic's metadata, so that ten thousand who want to know ask once: what
    /// they ask for may have ten thousand partitions.
    fn asking(&self, topic: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self
            .inner
            .asking
            .lock()
            .expect("nobody panics while holding it");
        // Whom nobody waits for is not asked for.
        asking.retain(|_, asking| Arc::strong_count(asking) > 1);
        Arc::clone(asking.entry(topic.to_owned()).or_default())
    }

    fn known_partitions(&self, topic: &str) -> Option<i32> {
        let known = self
            .inner
            .known
            .lock()
            .expect("nobody panics while holding it");
        known
            .topics
            .get(topic)
            .and_then(|leaders| i32::try_from(leaders.len()).ok())
            .filter(|count| *count > 0)
    }

    /// The connection to a partition's leader, from what is known or by asking once.
    pub(crate) async fn leader(
        &self,
        topic: &str,
        partition: i32,
        deadline: Instant,
    ) -> Result<Connection, LeaderError> {
        let address = match self.known_leader(topic, partition) {
            Some(address) => address,
            None => {
                let asking = self.asking(topic);
                let _asking = timeout_at(deadline, asking.lock()).await;
                match self.known_leader(topic, partition) {
                    Some(address) => address,
                    None => {
                        let response = self.metadata(Some(&[topic.to_owned()]), deadline).await?;
                        match self.known_leader(topic, partition) {
                            Some(address) => address,
                            None => return Err(topic_refusal(&response, topic).into()),
                        }
                    }
                }
            }
        };
        match self.connection_by(&address, deadline).await {
            Ok(connection) => Ok(connection),
            Err(error) => {
                self.forget_topic(topic);
                Err(error.into())
            }
        }
    }

    /// The address of a partition's leader, as far as it is known.
    pub(crate) fn known_leader(&self, topic: &str, partition: i32) -> Option<String> {
        let known = self
            .inner
            .known
            .lock()
            .expect("nobody panics while holding it");
        let leader = known
            .topics
            .get(topic)?
            .get(usize::try_from(partition).ok()?)?;
        known.brokers.get(leader).cloned()
    }

    /// Makes the next question about this topic's leaders go to a server.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.inner
            .known
            .lock()
            .expect("nobody panics while holding it")
            .topics
            .remove(topic);
    }

    /// The connection to a group's coordinator.
    pub(crate) async fn coordinator(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<Connection, LeaderError> {
        let mut retry = self.retry(deadline);
        loop {
            let error = match self.coordinator_once(group, deadline).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            self.forget_coordinator(group);
            let retriable = match &error {
                LeaderError::Request(error) => error.kind().is_retriable(),
                LeaderError::Refused(refused) => refused.error_code().is_retriable(),
            };
            if !retriable || !retry.pause().await {
                return Err(error);
            }
        }
    }

    async fn coordinator_once(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<Connection, LeaderError> {
        let known = {
            let known = self
                .inner
                .known
                .lock()
                .expect("nobody panics while holding it");
            known.coordinators.get(group).cloned()
        };
        let address = match known {
            Some(address) => address,
            None => {
                let request = FindCoordinatorRequest::default()
                    .with_key(StrBytes::from_string(group.to_owned()));
                let response = self.ask_any_once(&request, deadline).await?;
                let message = response.error_message.as_ref().map(StrBytes::as_str);
                Refused::check(
                    || format!("coordinator of group {group}"),
                    response.error_code,
                    message,
                )?;
                let address = host_port(&response.host, response.port);
                let mut known = self
                    .inner
                    .known
                    .lock()
                    .expect("nobody panics while holding it");
                known.coordinators.insert(group.to_owned(), address.clone());
                address
            }
        };
        Ok(self.connection_by(&address, deadline).await?)
    }

    pub(crate) fn forget_coordinator(&self, group: &str) {
        self.inner
            .known
            .lock()
            .expect("nobody panics while holding it")
            .coordinators
            .remove(group);
    }
}

fn topic_refusal(response: &MetadataResponse, topic: &str) -> Refused {
    let answered = response.topics.iter().find(|answer| {
        answer
            .name
            .as_ref()
            .is_some_and(|name| name.as_str() == topic)
    });
    let code = match answered {
        Some(answer) if answer.error_code != ErrorCode::None.code() => answer.error_code,
        Some(answer) if answer.partitions.is_empty() => ErrorCode::UnknownTopicOrPartition.code(),
        // The topic is there, but not this partition or not its leader.
        Some(_) => ErrorCode::LeaderNotAvailable.code(),
        None => ErrorCode::UnknownTopicOrPartition.code(),
    };
    Refused {
        what: format!("topic {topic}"),
        code,
        message: None,
    }
}

/// Bounds what has no deadline of its own.
async fn within<T>(
    deadline: Instant,
    api: &'static str,
    future: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    match timeout_at(deadline, future).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RequestError::Timeout {
            address: "the server".to_owned(),
            api,
            sent: false,
        }),
    }
}

pub(crate) fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

pub(crate) fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
