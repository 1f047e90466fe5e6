//! Reads records, from partitions of its own choice or as a member of a group.
//!
//! A poll keeps one fetch in flight per server and returns what the first answer brings, so a quiet
//! server does not hold up a busy one.
//!
//! Holds: records of a partition come in order, each once, from the position on; positions advance
//! only over what [`Consumer::poll`] returned. With [`Isolation::ReadCommitted`] nothing of an
//! aborted transaction is returned.
//! Leaves to others: when to commit, unless `auto_commit` is set.

mod read;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select_all;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use tarn_kafka::{ErrorCode, RecordHeader};
use tarn_model::{ByteSize, Offset, Timestamp};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::{LeaderError, topic_name};
use crate::offsets::Committer;
use crate::{
    Assignment, Client, ConsumeError, Group, GroupError, GroupSettings, MemberState, OffsetSpec,
    Refused, RequestError,
};

use read::read_partition;
pub use settings::{ConsumerSettings, StartAt};

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

type TopicPartition = (String, i32);

/// Where a partition's reader is.
#[derive(Debug)]
struct Position {
    topic: Arc<str>,
    start: StartAt,
    /// The next offset to read, once known.
    next: Option<Offset>,
    high_watermark: Option<Offset>,
}

/// A fetch in flight.
struct Fetching {
    address: String,
    asked: BTreeMap<TopicPartition, Offset>,
    answer: Pin<Box<dyn Future<Output = Result<FetchResponse, RequestError>> + Send>>,
}

/// Reads records.
pub struct Consumer {
    client: Client,
    settings: ConsumerSettings,
    group: Option<Group>,
    positions: BTreeMap<TopicPartition, Position>,
    fetching: Vec<Fetching>,
    /// What a fetch was answered but poll has not returned an error for yet.
    last_error: Option<ConsumeError>,
    errors: u64,
    next_commit: Option<Instant>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("positions", &self.positions)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// How long to leave a server alone after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

impl Consumer {
    /// Makes a consumer that reads nothing until it is assigned partitions.
    pub fn new(client: &Client, settings: ConsumerSettings) -> Consumer {
        let next_commit = settings
            .auto_commit
            .map(|interval| Instant::now() + interval);
        Consumer {
            // A long poll holds up what follows on its connection.
            client: client.fork("consumer"),
            settings,
            group: None,
            positions: BTreeMap::new(),
            fetching: Vec::new(),
            last_error: None,
            errors: 0,
            next_commit,
        }
    }

    /// Makes a consumer that reads what its group assigns to it.
    pub async fn join(
        client: &Client,
        settings: ConsumerSettings,
        group: GroupSettings,
        deadline: Instant,
    ) -> Result<Consumer, ConsumeError> {
        let mut consumer = Consumer::new(client, settings);
        let group = Group::join(&consumer.client, group, deadline).await?;
        consumer.take_assignment(group.assignment(), group.committed(deadline).await?);
        consumer.group = Some(group);
        Ok(consumer)
    }

    /// Reads these partitions, and no others, from now on.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (String, i32, StartAt)>) {
        self.positions = partitions
            .into_iter()
            .map(|(topic, partition, start)| {
                let position = Position {
                    topic: topic.as_str().into(),
                    start,
                    next: None,
                    high_watermark: None,
                };
                ((topic, partition), position)
            })
            .collect();
    }

    /// Goes on reading an assigned partition somewhere else.
    pub fn seek(
        &mut self,
        topic: &str,
        partition: i32,
        start: StartAt,
    ) -> Result<(), ConsumeError> {
        let position = self
            .positions
            .get_mut(&(topic.to_owned(), partition))
            .ok_or_else(|| ConsumeError::NotAssigned {
                topic: topic.to_owned(),
                partition,
            })?;
        position.start = start;
        position.next = None;
        Ok(())
    }

    /// The next offset to read, once the first poll has found it.
    pub fn position(&self, topic: &str, partition: i32) -> Option<Offset> {
        self.positions.get(&(topic.to_owned(), partition))?.next
    }

    /// The high watermark as of the last answer about this partition.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<Offset> {
        self.positions
            .get(&(topic.to_owned(), partition))?
            .high_watermark
    }

    /// The partitions that this consumer reads.
    pub fn assignment(&self) -> impl Iterator<Item = (&str, i32)> {
        self.positions
            .keys()
            .map(|(topic, partition)| (topic.as_str(), *partition))
    }

    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Returns the next records, or none if there are none within `wait`. An error is returned if
    /// it kept this poll from returning anything; the next poll tries again.
    ///
    /// Finding a position or a leader and joining the group again may take longer than `wait`: up
    /// to the client's request timeout, or its operation timeout for the group.
    pub async fn poll(&mut self, wait: Duration) -> Result<Vec<ConsumerRecord>, ConsumeError> {
        let deadline = Instant::now() + wait;
        self.last_error = None;
        self.keep_group().await?;
        self.commit_if_due().await?;
        loop {
            let errors_before = self.errors;
            self.find_positions(deadline).await?;
            self.start_fetches(deadline).await;
            if !self.fetching.is_empty() {
                let records = self.next_answer(deadline).await?;
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            if self.errors > errors_before || self.positions.is_empty() {
                // Whoever refused would do so again if asked at once.
                sleep_until(deadline.min(Instant::now() + ERROR_PAUSE)).await;
            }
            if self
                .group
                .as_ref()
                .is_some_and(|group| group.state() != MemberState::Stable)
            {
                return Ok(Vec::new());
            }
            if Instant::now() >= deadline {
                return self.last_error.take().map_or(Ok(Vec::new()), Err);
            }
        }
    }

    /// Commits the positions: everything that polls have returned so far.
    pub async fn commit(&mut self) -> Result<(), ConsumeError> {
        let offsets: BTreeMap<TopicPartition, Offset> = self
            .positions
            .iter()
            .filter_map(|(partition, position)| Some((partition.clone(), position.next?)))
            .collect();
        let deadline = self.client.operation_deadline();
        if let Some(group) = &self.group {
            group.commit(&offsets, deadline).await?;
        } else if let Some(group) = &self.settings.group {
            let outsider = Committer {
                generation: -1,
                ..Committer::default()
            };
            self.client
                .commit_offsets(group, &outsider, &offsets, deadline)
                .await?;
        }
        Ok(())
    }

    /// Commits if `auto_commit` is set, leaves the group and closes the connections.
    pub async fn close(mut self) -> Result<(), ConsumeError> {
        let committed = if self.settings.auto_commit.is_some() {
            self.commit().await
        } else {
            Ok(())
        };
        self.fetching.clear();
        let left = match self.group.take() {
            Some(group) => group.leave(self.client.operation_deadline()).await,
            None => Ok(()),
        };
        self.client.scope().drain().await;
        committed?;
        Ok(left?)
    }

    /// Joins again if the group asks for it.
    async fn keep_group(&mut self) -> Result<(), ConsumeError> {
        let state = self.group.as_ref().map(Group::state);
        if matches!(state, None | Some(MemberState::Stable)) {
            return Ok(());
        }
        if state == Some(MemberState::Rebalancing) && self.settings.auto_commit.is_some() {
            // Whoever reads these partitions next goes on where we stopped. If it fails, they
            // read some records again.
            match self.commit().await {
                Ok(()) | Err(ConsumeError::Group(GroupError::Refused(_))) => {}
                Err(error) => return Err(error),
            }
        }
        self.positions.clear();
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        let deadline = self.client.operation_deadline();
        group.rejoin(deadline).await?;
        let assignment = group.assignment().clone();
        let committed = group.committed(deadline).await?;
        self.take_assignment(&assignment, committed);
        Ok(())
    }

    fn take_assignment(
        &mut self,
        assignment: &Assignment,
        committed: BTreeMap<TopicPartition, Offset>,
    ) {
        let start_at = self.settings.start_at;
        let partitions: Vec<_> = assignment
            .partitions()
            .map(|(topic, partition)| {
                let start = committed
                    .get(&(topic.to_owned(), partition))
                    .copied()
                    .map_or(start_at, StartAt::Offset);
                (topic.to_owned(), partition, start)
            })
            .collect();
        self.assign(partitions);
    }

    async fn commit_if_due(&mut self) -> Result<(), ConsumeError> {
        let (Some(interval), Some(next)) = (self.settings.auto_commit, self.next_commit) else {
            return Ok(());
        };
        if Instant::now() < next {
            return Ok(());
        }
        self.next_commit = Some(Instant::now() + interval);
        match self.commit().await {
            // The group moved on; the next poll joins it again.
            Err(ConsumeError::Group(GroupError::Refused(_))) => Ok(()),
            outcome => outcome,
        }
    }

    fn note_error(&mut self, error: ConsumeError) {
        self.errors += 1;
        self.last_error = Some(error);
    }

    /// A deadline for requests that a poll depends on. One that is given up closes its connection,
    /// so a short poll must not shorten them.
    fn patience(&self, deadline: Instant) -> Instant {
        deadline.max(Instant::now() + self.client.settings().request_timeout)
    }

    /// Turns starts into offsets.
    async fn find_positions(&mut self, deadline: Instant) -> Result<(), ConsumeError> {
        let unknown: Vec<(TopicPartition, StartAt)> = self
            .positions
            .iter()
            .filter(|(_, position)| position.next.is_none())
            .map(|(partition, position)| (partition.clone(), position.start))
            .collect();
        let deadline = self.patience(deadline);
        for ((topic, partition), start) in unknown {
            let isolation = self.settings.isolation;
            let spec = match start {
                StartAt::Offset(_) => None,
                StartAt::Earliest => Some(OffsetSpec::Earliest),
                StartAt::Latest => Some(OffsetSpec::Latest),
                StartAt::Timestamp(timestamp) => Some(OffsetSpec::Timestamp(timestamp)),
            };
            let found = match (start, spec) {
                (StartAt::Offset(offset), _) => Some(offset),
                (_, Some(spec)) => {
                    self.client
                        .offset_of(&topic, partition, spec, isolation, deadline)
                        .await?
                }
                (_, None) => None,
            };
            let found = match found {
                Some(offset) => offset,
                // Nothing is that young: read what comes.
                None => {
                    let end = self.client.offset_of(
                        &topic,
                        partition,
                        OffsetSpec::Latest,
                        isolation,
                        deadline,
                    );
                    end.await?.unwrap_or(Offset::ZERO)
                }
            };
            if let Some(position) = self.positions.get_mut(&(topic, partition)) {
                position.next = Some(found);
            }
        }
        Ok(())
    }

    /// Starts a fetch at every leader that has none in flight.
    async fn start_fetches(&mut self, deadline: Instant) {
        let busy: BTreeSet<String> = self
            .fetching
            .iter()
            .map(|fetching| fetching.address.clone())
            .collect();
        let mut by_leader: BTreeMap<String, BTreeMap<TopicPartition, Offset>> = BTreeMap::new();
        let positions: Vec<(TopicPartition, Offset)> = self
            .positions
            .iter()
            .filter_map(|(partition, position)| Some((partition.clone(), position.next?)))
            .collect();
        for ((topic, partition), offset) in positions {
            let address = match self.client.known_leader(&topic, partition) {
                Some(address) => address,
                None => match self
                    .client
                    .leader(&topic, partition, self.patience(deadline))
                    .await
                {
                    Ok(connection) => connection.address().to_owned(),
                    Err(error) => {
                        self.note_error(leader_error(error));
                        continue;
                    }
                },
            };
            by_leader
                .entry(address)
                .or_default()
                .insert((topic, partition), offset);
        }
        for (address, asked) in by_leader {
            if busy.contains(&address) {
                continue;
            }
            let client = self.client.clone();
            let request = self.fetch_request(&asked);
            let patience = self.settings.wait_max + client.settings().request_timeout;
            let server = address.clone();
            let answer = Box::pin(async move {
                let connection = client.connection_to(&server).await?;
                connection.ask(&request, Instant::now() + patience).await
            });
            self.fetching.push(Fetching {
                address,
                asked,
                answer,
            });
        }
    }

    fn fetch_request(&self, asked: &BTreeMap<TopicPartition, Offset>) -> FetchRequest {
        let bytes = |size: ByteSize| i32::try_from(size.0).unwrap_or(i32::MAX);
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in asked {
            let partition = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(offset.to_wire())
                .with_partition_max_bytes(bytes(self.settings.partition_bytes_max));
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics
            .into_iter()
            .map(|(topic, partitions)| {
                FetchTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(partitions)
            })
            .collect();
        FetchRequest::default()
            .with_max_wait_ms(i32::try_from(self.settings.wait_max.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(self.settings.bytes_min)
            .with_max_bytes(bytes(self.settings.bytes_max))
            .with_isolation_level(self.settings.isolation.wire())
            .with_topics(topics)
    }

    /// Waits for the first answer, or until the deadline or a change in the group.
    async fn next_answer(
        &mut self,
        deadline: Instant,
    ) -> Result<Vec<ConsumerRecord>, ConsumeError> {
        let answers = select_all(
            self.fetching
                .iter_mut()
                .map(|fetching| &mut fetching.answer),
        );
        let unstable = async {
            match &self.group {
                Some(group) => group.unstable().await,
                None => std::future::pending().await,
            }
        };
        let (answer, at) = tokio::select! {
            biased;
            answered = timeout_at(deadline, answers) => match answered {
                Ok((answer, at, _)) => (answer, at),
                Err(_) => return Ok(Vec::new()),
            },
            _ = unstable => return Ok(Vec::new()),
        };
        let Fetching { asked, .. } = self.fetching.remove(at);
        let outcome = match answer {
            Ok(response) => {
                let refused = Refused::check(|| "a fetch".to_owned(), response.error_code, None);
                refused.map(|()| response).map_err(ConsumeError::Refused)
            }
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(response) => self.take_response(response, &asked),
            Err(error) => {
                for (topic, _) in asked.keys() {
                    self.client.forget_topic(topic);
                }
                self.note_error(error);
                Ok(Vec::new())
            }
        }
    }

    fn take_response(
        &mut self,
        response: FetchResponse,
        asked: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Vec<ConsumerRecord>, ConsumeError> {
        let mut records = Vec::new();
        for topic in response.responses {
            for partition in topic.partitions {
                let key = (topic.topic.to_string(), partition.partition_index);
                let Some(position) = self.positions.get_mut(&key) else {
                    continue;
                };
                // Sought elsewhere, or assigned anew, while the answer was under way.
                if position.next.is_none() || position.next != asked.get(&key).copied() {
                    continue;
                }
                let what = || format!("{}/{}", key.0, key.1);
                match Refused::check(what, partition.error_code, None) {
                    Ok(()) => {
                        position.high_watermark = Offset::from_wire(partition.high_watermark);
                        let read =
                            read_partition(position, partition, &self.settings, &mut records);
                        if let Err(error) = read {
                            // What came before is returned now; the next poll meets the error again.
                            if records.is_empty() {
                                return Err(error);
                            }
                            return Ok(records);
                        }
                    }
                    Err(refused) if refused.error_code() == ErrorCode::OffsetOutOfRange => {
                        match self.settings.out_of_range {
                            Some(start) => {
                                position.start = start;
                                position.next = None;
                            }
                            None => {
                                self.errors += 1;
                                self.last_error = Some(refused.into());
                            }
                        }
                    }
                    Err(refused) => {
                        self.client.forget_topic(&key.0);
                        self.errors += 1;
                        self.last_error = Some(refused.into());
                    }
                }
            }
        }
        Ok(records)
    }
}

fn leader_error(error: LeaderError) -> ConsumeError {
    match error {
        LeaderError::Request(error) => ConsumeError::Request(error),
        LeaderError::Refused(refused) => ConsumeError::Refused(refused),
    }
}

#[cfg(test)]
mod tests;
