//! Offsets from the outside: where a partition begins and ends, and what a group has committed.
//!
//! Leaves to others: who is in a group (`group`), and when a consumer commits (`consumer`).
//! Nothing is kept here: each call asks.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::ErrorCode;
use tarn_model::{Offset, Timestamp};
use tokio::time::Instant;

use crate::client::{LeaderError, topic_name};
use crate::{Client, ConsumeError, GroupError, Refused};

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    ReadUncommitted,
    /// Nothing of open or aborted transactions.
    #[default]
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn wire(self) -> i8 {
        match self {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        }
    }
}

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start.
    Earliest,
    /// The end: the last stable offset for readers of committed records, else the high watermark.
    Latest,
    /// That of the record with the largest timestamp.
    MaxTimestamp,
    /// That of the first record at or after this time.
    Timestamp(Timestamp),
}

impl OffsetSpec {
    fn wire(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::Timestamp(timestamp) => timestamp.0,
        }
    }
}

/// Who commits offsets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committer {
    /// Empty for whoever commits from outside of the group.
    pub(crate) member_id: StrBytes,
    pub(crate) instance_id: Option<StrBytes>,
    /// −1 from outside of the group.
    pub(crate) generation: i32,
}

impl Client {
    /// Asks for one partition's offset; `None` where no record fits the question.
    pub async fn offset_of(
        &self,
        topic: &str,
        partition: i32,
        spec: OffsetSpec,
        isolation: Isolation,
        deadline: Instant,
    ) -> Result<Option<Offset>, ConsumeError> {
        let mut retry = self.retry(deadline);
        loop {
            let error = match self
                .offset_once(topic, partition, spec, isolation, deadline)
                .await
            {
                Ok(offset) => return Ok(offset),
                Err(error) => error,
            };
            self.forget_topic(topic);
            let retriable = match &error {
                ConsumeError::Request(error) => error.kind().is_retriable(),
                ConsumeError::Refused(refused) => {
                    refused.error_code().is_retriable()
                        && refused.error_code() != ErrorCode::UnknownTopicOrPartition
                }
                ConsumeError::Group(_)
                | ConsumeError::Corrupt { .. }
                | ConsumeError::NotAssigned { .. } => false,
            };
            if !retriable || !retry.pause().await {
                return Err(error);
            }
        }
    }

    async fn offset_once(
        &self,
        topic: &str,
        partition: i32,
        spec: OffsetSpec,
        isolation: Isolation,
        deadline: Instant,
    ) -> Result<Option<Offset>, ConsumeError> {
        let connection =
            self.leader(topic, partition, deadline)
                .await
                .map_err(|error| match error {
                    LeaderError::Request(error) => ConsumeError::Request(error),
                    LeaderError::Refused(refused) => ConsumeError::Refused(refused),
                })?;
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(spec.wire());
        let asked = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![asked]);
        let mut request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![asked]);
        if connection.version_of::<ListOffsetsRequest>()? >= 2 {
            request = request.with_isolation_level(isolation.wire());
        }
        let response = connection
            .ask(&request, self.request_deadline(deadline))
            .await?;
        let what = || format!("{topic}/{partition}");
        let answer = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next();
        let unknown = ErrorCode::UnknownServerError.code();
        let Some(answer) = answer else {
            return Err(Refused {
                what: what(),
                code: unknown,
                message: Some("no answer".to_owned()),
            }
            .into());
        };
        Refused::check(what, answer.error_code, None)?;
        Ok(Offset::from_wire(answer.offset))
    }

    /// Commits a group's offsets. Committing the same again changes nothing, so it is repeated
    /// until the deadline.
    pub(crate) async fn commit_offsets(
        &self,
        group: &str,
        committer: &Committer,
        offsets: &BTreeMap<(String, i32), Offset>,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            let committed = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(offset.to_wire())
                .with_committed_metadata(Some(StrBytes::new()));
            topics.entry(topic).or_default().push(committed);
        }
        let topics = topics
            .into_iter()
            .map(|(topic, partitions)| {
                OffsetCommitRequestTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(partitions)
            })
            .collect();
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(committer.generation)
            .with_member_id(committer.member_id.clone())
            .with_group_instance_id(committer.instance_id.clone())
            .with_topics(topics);
        let mut retry = self.retry(deadline);
        loop {
            let connection = self.coordinator_of(group, deadline).await?;
            let answered = connection
                .ask(&request, self.request_deadline(deadline))
                .await;
            let outcome = answered.map_err(GroupError::Request).and_then(|response| {
                for topic in &response.topics {
                    for partition in &topic.partitions {
                        let what =
                            || format!("{}/{}", topic.name.as_str(), partition.partition_index);
                        Refused::check(what, partition.error_code, None)?;
                    }
                }
                Ok(())
            });
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) => self.again_or(group, error, &mut retry).await?,
            }
        }
    }

    /// A group's committed offsets: of these partitions, or of all.
    pub(crate) async fn committed_offsets(
        &self,
        group: &str,
        partitions: Option<&BTreeMap<String, Vec<i32>>>,
        deadline: Instant,
    ) -> Result<BTreeMap<(String, i32), Offset>, GroupError> {
        let topics = partitions.map(|topics| {
            topics
                .iter()
                .map(|(topic, partitions)| {
                    OffsetFetchRequestTopic::default()
                        .with_name(topic_name(topic))
                        .with_partition_indexes(partitions.clone())
                })
                .collect()
        });
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(topics);
        let mut retry = self.retry(deadline);
        loop {
            let connection = self.coordinator_of(group, deadline).await?;
            let answered = connection
                .ask(&request, self.request_deadline(deadline))
                .await;
            let outcome = answered.map_err(GroupError::Request).and_then(|response| {
                Refused::check(|| format!("group {group}"), response.error_code, None)?;
                let mut offsets = BTreeMap::new();
                for topic in &response.topics {
                    for partition in &topic.partitions {
                        let name =
                            || format!("{}/{}", topic.name.as_str(), partition.partition_index);
                        Refused::check(name, partition.error_code, None)?;
                        if let Some(offset) = Offset::from_wire(partition.committed_offset) {
                            offsets.insert(
                                (topic.name.to_string(), partition.partition_index),
                                offset,
                            );
                        }
                    }
                }
                Ok(offsets)
            });
            match outcome {
                Ok(offsets) => return Ok(offsets),
                Err(error) => self.again_or(group, error, &mut retry).await?,
            }
        }
    }

    /// The coordinator's connection, with the errors of a group.
    pub(crate) async fn coordinator_of(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<crate::Connection, GroupError> {
        self.coordinator(group, deadline)
            .await
            .map_err(|error| match error {
                LeaderError::Request(error) => GroupError::Request(error),
                LeaderError::Refused(refused) => GroupError::Refused(refused),
            })
    }

    /// Pauses if the coordinator may do better next time; else gives the error back.
    pub(crate) async fn again_or(
        &self,
        group: &str,
        error: GroupError,
        retry: &mut crate::client::Retry<'_>,
    ) -> Result<(), GroupError> {
        let retriable = match &error {
            GroupError::Request(error) => error.kind().is_retriable(),
            GroupError::Refused(refused) => refused.error_code().is_retriable(),
            GroupError::Malformed(_) => false,
        };
        if retriable {
            self.forget_coordinator(group);
        }
        if retriable && retry.pause().await {
            Ok(())
        } else {
            Err(error)
        }
    }
}

pub(crate) fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}
