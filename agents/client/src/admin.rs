//! Topics, groups and settings from the outside.
//!
//! Holds: questions are repeated until the deadline; changes are sent once, and an error says
//! whether the change may have been made.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, IncrementalAlterConfigsRequest,
    ListGroupsRequest, MetadataRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tarn_model::Offset;
use tokio::time::Instant;

use crate::client::{host_port, topic_name};
use crate::offsets::{Committer, group_id};
use crate::{
    AdminError, Assignment, Broker, Client, ConsumeError, GroupError, Isolation, OffsetSpec,
    Refused,
};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// −1 for the server's default.
    pub partitions: i32,
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic {
            name: name.into(),
            partitions,
            configs: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// A topic as the servers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// The topic's id; nil before version 10 of Metadata.
    pub id: u128,
    pub internal: bool,
    pub partitions: Vec<PartitionDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    pub partition: i32,
    /// The server to ask; −1 for none.
    pub leader: i32,
    pub replicas: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: String,
    pub protocol_type: String,
    /// Empty before version 4 of ListGroups.
    pub state: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    pub state: String,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<GroupMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Empty where the group is no consumer group.
    pub assignment: Assignment,
}

/// What has settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    Topic(String),
    Broker(String),
}

impl ConfigResource {
    fn wire(&self) -> (i8, StrBytes) {
        match self {
            ConfigResource::Topic(name) => (2, text(name)),
            ConfigResource::Broker(id) => (4, text(id)),
        }
    }

    fn what(&self) -> String {
        match self {
            ConfigResource::Topic(name) => format!("topic {name}"),
            ConfigResource::Broker(id) => format!("broker {id}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for what must not be shown.
    pub value: Option<String>,
    /// For this topic, rather than a default of all.
    pub is_set: bool,
    pub read_only: bool,
    pub sensitive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    Set {
        name: String,
        value: String,
    },
    /// Back to the default.
    Delete {
        name: String,
    },
}

/// Kafka's number for a value that was set for the topic itself.
const SET_FOR_TOPIC: i8 = 1;

/// Administrative requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn owned(text: &Option<StrBytes>) -> Option<&str> {
    text.as_ref().map(StrBytes::as_str)
}

impl Admin {
    pub fn new(client: &Client) -> Admin {
        Admin {
            client: client.clone(),
        }
    }

    /// Sends a change once.
    async fn change<R: Request>(
        &self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, AdminError> {
        Ok(self.client.ask_any_once(request, deadline).await?)
    }

    fn timeout_ms(deadline: Instant) -> i32 {
        let left: Duration = deadline.saturating_duration_since(Instant::now());
        i32::try_from(left.as_millis()).unwrap_or(i32::MAX)
    }

    /// Creates a topic, or with `validate_only` says whether it could be created.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<(), AdminError> {
        let deadline = self.client.operation_deadline();
        let configs = topic
            .configs
            .iter()
            .map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(text(name))
                    .with_value(Some(text(value)))
            })
            .collect();
        let asked = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(-1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![asked])
            .with_timeout_ms(Self::timeout_ms(deadline))
            .with_validate_only(validate_only);
        let response = self.change(&request, deadline).await?;
        let what = || format!("topic {}", topic.name);
        let answer = response
            .topics
            .first()
            .ok_or_else(|| AdminError::NoAnswer(what()))?;
        self.client.forget_topic(&topic.name);
        Ok(Refused::check(
            what,
            answer.error_code,
            owned(&answer.error_message),
        )?)
    }

    pub async fn delete_topic(&self, topic: &str) -> Result<(), AdminError> {
        let deadline = self.client.operation_deadline();
        let connection = self.client.any_connection().await?;
        let request = DeleteTopicsRequest::default().with_timeout_ms(Self::timeout_ms(deadline));
        let request = if connection.version_of::<DeleteTopicsRequest>()? >= 6 {
            request.with_topics(vec![
                DeleteTopicState::default().with_name(Some(topic_name(topic))),
            ])
        } else {
            request.with_topic_names(vec![topic_name(topic)])
        };
        let response = connection
            .ask(&request, self.client.request_deadline(deadline))
            .await?;
        let what = || format!("topic {topic}");
        let answer = response
            .responses
            .first()
            .ok_or_else(|| AdminError::NoAnswer(what()))?;
        self.client.forget_topic(topic);
        Ok(Refused::check(
            what,
            answer.error_code,
            owned(&answer.error_message),
        )?)
    }

    /// Raises a topic's number of partitions to `total`.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        let deadline = self.client.operation_deadline();
        let asked = CreatePartitionsTopic::default()
            .with_name(topic_name(topic))
            .with_count(total)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![asked])
            .with_timeout_ms(Self::timeout_ms(deadline));
        let response = self.change(&request, deadline).await?;
        let what = || format!("topic {topic}");
        let answer = response
            .results
            .first()
            .ok_or_else(|| AdminError::NoAnswer(what()))?;
        self.client.forget_topic(topic);
        Ok(Refused::check(
            what,
            answer.error_code,
            owned(&answer.error_message),
        )?)
    }

    /// Every topic, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let response = self
            .client
            .metadata(None, self.client.operation_deadline())
            .await?;
        let mut topics = Vec::new();
        for topic in &response.topics {
            topics.extend(describe(topic)?);
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    pub async fn describe_topic(&self, topic: &str) -> Result<TopicDescription, AdminError> {
        let deadline = self.client.operation_deadline();
        let response = self
            .client
            .metadata(Some(&[topic.to_owned()]), deadline)
            .await?;
        let answer = response
            .topics
            .first()
            .ok_or_else(|| AdminError::NoAnswer(format!("topic {topic}")))?;
        describe(answer)?.ok_or_else(|| AdminError::NoAnswer(format!("topic {topic}")))
    }

    /// One offset of every partition of a topic; `None` where no record fits the question.
    pub async fn topic_offsets(
        &self,
        topic: &str,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<BTreeMap<i32, Option<Offset>>, ConsumeError> {
        let deadline = self.client.operation_deadline();
        let partitions = self
            .client
            .partition_count(topic, deadline)
            .await
            .map_err(|error| match error {
                AdminError::Request(error) => ConsumeError::Request(error),
                AdminError::Refused(refused) => ConsumeError::Refused(refused),
                AdminError::NoAnswer(what) => ConsumeError::Refused(Refused {
                    what,
                    code: -1,
                    message: None,
                }),
            })?;
        let mut offsets = BTreeMap::new();
        for partition in 0..partitions {
            let offset = self
                .client
                .offset_of(topic, partition, spec, isolation, deadline)
                .await?;
            offsets.insert(partition, offset);
        }
        Ok(offsets)
    }

    /// The servers of the cluster.
    pub async fn brokers(&self) -> Result<Vec<Broker>, AdminError> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let response = self
            .client
            .ask_any(&request, self.client.operation_deadline())
            .await?;
        Ok(response
            .brokers
            .iter()
            .map(|broker| Broker {
                id: broker.node_id.0,
                address: host_port(&broker.host, broker.port),
                rack: broker.rack.as_ref().map(StrBytes::to_string),
            })
            .collect())
    }

    /// Every group, as the coordinators of all servers list them.
    pub async fn list_groups(&self) -> Result<Vec<GroupSummary>, AdminError> {
        let deadline = self.client.operation_deadline();
        let mut groups = BTreeMap::new();
        for broker in self.brokers().await? {
            let connection = self.client.connection_to(&broker.address).await?;
            let request = ListGroupsRequest::default();
            let response = connection
                .ask(&request, self.client.request_deadline(deadline))
                .await?;
            Refused::check(
                || "the list of groups".to_owned(),
                response.error_code,
                None,
            )?;
            for group in response.groups {
                let summary = GroupSummary {
                    group: group.group_id.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    state: group.group_state.to_string(),
                };
                groups.insert(summary.group.clone(), summary);
            }
        }
        Ok(groups.into_values().collect())
    }

    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, GroupError> {
        let deadline = self.client.operation_deadline();
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let mut retry = self.client.retry(deadline);
        loop {
            let connection = self.client.coordinator_of(group, deadline).await?;
            let answered = connection
                .ask(&request, self.client.request_deadline(deadline))
                .await;
            let outcome = answered.map_err(GroupError::Request).and_then(|response| {
                let answer = response.groups.into_iter().next();
                let answer = answer.ok_or(GroupError::Malformed("the answer has no group"))?;
                Refused::check(
                    || format!("group {group}"),
                    answer.error_code,
                    owned(&answer.error_message),
                )?;
                let is_consumer_group = answer.protocol_type.as_str() == "consumer";
                let mut members = Vec::new();
                for member in answer.members {
                    members.push(GroupMember {
                        member_id: member.member_id.to_string(),
                        instance_id: member.group_instance_id.as_ref().map(StrBytes::to_string),
                        client_id: member.client_id.to_string(),
                        client_host: member.client_host.to_string(),
                        assignment: if is_consumer_group {
                            Assignment::decode(member.member_assignment)?
                        } else {
                            Assignment::default()
                        },
                    });
                }
                Ok(GroupDescription {
                    group: answer.group_id.to_string(),
                    state: answer.group_state.to_string(),
                    protocol_type: answer.protocol_type.to_string(),
                    protocol: answer.protocol_data.to_string(),
                    members,
                })
            });
            match outcome {
                Ok(description) => return Ok(description),
                Err(error) => self.client.again_or(group, error, &mut retry).await?,
            }
        }
    }

    pub async fn delete_group(&self, group: &str) -> Result<(), GroupError> {
        let deadline = self.client.operation_deadline();
        let connection = self.client.coordinator_of(group, deadline).await?;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        let response = connection
            .ask(&request, self.client.request_deadline(deadline))
            .await?;
        let answer = response
            .results
            .first()
            .ok_or(GroupError::Malformed("the answer has no group"))?;
        Ok(Refused::check(
            || format!("group {group}"),
            answer.error_code,
            None,
        )?)
    }

    /// What a group has committed.
    pub async fn group_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<(String, i32), Offset>, GroupError> {
        self.client
            .committed_offsets(group, None, self.client.operation_deadline())
            .await
    }

    /// Sets the offsets of a group without members.
    pub async fn set_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<(String, i32), Offset>,
    ) -> Result<(), GroupError> {
        let outsider = Committer {
            generation: -1,
            ..Committer::default()
        };
        self.client
            .commit_offsets(group, &outsider, offsets, self.client.operation_deadline())
            .await
    }

    /// The settings of a topic or a server, by name.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
    ) -> Result<Vec<ConfigEntry>, AdminError> {
        let (kind, name) = resource.wire();
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
        let response = self
            .client
            .ask_any(&request, self.client.operation_deadline())
            .await?;
        let answer = response
            .results
            .into_iter()
            .next()
            .ok_or_else(|| AdminError::NoAnswer(resource.what()))?;
        Refused::check(
            || resource.what(),
            answer.error_code,
            owned(&answer.error_message),
        )?;
        let mut entries: Vec<ConfigEntry> = answer
            .configs
            .into_iter()
            .map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.as_ref().map(StrBytes::to_string),
                is_set: config.config_source == SET_FOR_TOPIC,
                read_only: config.read_only,
                sensitive: config.is_sensitive,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Changes settings, or with `validate_only` says whether they could be changed.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), AdminError> {
        let configs = changes
            .iter()
            .map(|change| match change {
                ConfigChange::Set { name, value } => AlterableConfig::default()
                    .with_name(text(name))
                    .with_config_operation(0)
                    .with_value(Some(text(value))),
                ConfigChange::Delete { name } => AlterableConfig::default()
                    .with_name(text(name))
                    .with_config_operation(1)
                    .with_value(None),
            })
            .collect();
        let (kind, name) = resource.wire();
        let asked = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(configs);
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![asked])
            .with_validate_only(validate_only);
        let response = self
            .change(&request, self.client.operation_deadline())
            .await?;
        let answer = response
            .responses
            .first()
            .ok_or_else(|| AdminError::NoAnswer(resource.what()))?;
        Ok(Refused::check(
            || resource.what(),
            answer.error_code,
            owned(&answer.error_message),
        )?)
    }
}

/// A topic's description; `None` for an answer without a name.
fn describe(topic: &MetadataResponseTopic) -> Result<Option<TopicDescription>, AdminError> {
    let Some(name) = &topic.name else {
        return Ok(None);
    };
    Refused::check(
        || format!("topic {}", name.as_str()),
        topic.error_code,
        None,
    )?;
    let mut partitions: Vec<PartitionDescription> = topic
        .partitions
        .iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: partition.leader_id.0,
            replicas: partition
                .replica_nodes
                .iter()
                .map(|replica| replica.0)
                .collect(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    Ok(Some(TopicDescription {
        name: name.to_string(),
        id: topic.topic_id.as_u128(),
        internal: topic.is_internal,
        partitions,
    }))
}
