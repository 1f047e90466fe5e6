//! The one table of the Kafka APIs that we serve: a line and the layout of its request for each, and everything
//! else that this crate does follows from the two.
//!
//! A line gives the key, the versions we accept (the lower of Kafka 4.2's and those that
//! `kafka-protocol` knows), the first flexible version, the message types and the layout that
//! bounds the request. The request and response enums, decoding, encoding and the bounds walker
//! are derived from these lines. The tests hold every layout against `kafka-protocol`'s decoder and
//! encoder, byte for byte.

use kafka_protocol::messages as m;

use crate::layout::{
    ALL, BOOL, BYTES, Field, INT8, INT8_ARRAY, INT16, INT32, INT32_ARRAY, INT64, INT64_ARRAY, Kind,
    Layout, NULLABLE_BYTES, NULLABLE_STRING, NULLABLE_STRING_ARRAY, STRING, STRING_ARRAY,
    TaggedField, UUID, array, between, layouts, nullable_array, since, until,
};

/// Hands the table of APIs to another macro:
/// `Name = key, first..=last accepted, first flexible, Request => Response, LAYOUT;`
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
            Produce = 0, 3..=13, 9, ProduceRequest => ProduceResponse, PRODUCE;
            Fetch = 1, 4..=18, 12, FetchRequest => FetchResponse, FETCH;
            ListOffsets = 2, 1..=10, 6, ListOffsetsRequest => ListOffsetsResponse, LIST_OFFSETS;
            Metadata = 3, 0..=13, 9, MetadataRequest => MetadataResponse, METADATA;
            OffsetCommit = 8, 2..=9, 8, OffsetCommitRequest => OffsetCommitResponse, OFFSET_COMMIT;
            OffsetFetch = 9, 1..=9, 6, OffsetFetchRequest => OffsetFetchResponse, OFFSET_FETCH;
            FindCoordinator = 10, 0..=6, 3, FindCoordinatorRequest => FindCoordinatorResponse, FIND_COORDINATOR;
            JoinGroup = 11, 0..=9, 6, JoinGroupRequest => JoinGroupResponse, JOIN_GROUP;
            Heartbeat = 12, 0..=4, 4, HeartbeatRequest => HeartbeatResponse, HEARTBEAT;
            LeaveGroup = 13, 0..=5, 4, LeaveGroupRequest => LeaveGroupResponse, LEAVE_GROUP;
            SyncGroup = 14, 0..=5, 4, SyncGroupRequest => SyncGroupResponse, SYNC_GROUP;
            DescribeGroups = 15, 0..=6, 5, DescribeGroupsRequest => DescribeGroupsResponse, DESCRIBE_GROUPS;
            ListGroups = 16, 0..=5, 3, ListGroupsRequest => ListGroupsResponse, LIST_GROUPS;
            ApiVersions = 18, 0..=4, 3, ApiVersionsRequest => ApiVersionsResponse, API_VERSIONS;
            CreateTopics = 19, 2..=7, 5, CreateTopicsRequest => CreateTopicsResponse, CREATE_TOPICS;
            DeleteTopics = 20, 1..=6, 4, DeleteTopicsRequest => DeleteTopicsResponse, DELETE_TOPICS;
            DeleteRecords = 21, 0..=2, 2, DeleteRecordsRequest => DeleteRecordsResponse, DELETE_RECORDS;
            InitProducerId = 22, 0..=5, 2, InitProducerIdRequest => InitProducerIdResponse, INIT_PRODUCER_ID;
            OffsetForLeaderEpoch = 23, 2..=4, 4, OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, OFFSET_FOR_LEADER_EPOCH;
            DescribeAcls = 29, 1..=3, 2, DescribeAclsRequest => DescribeAclsResponse, DESCRIBE_ACLS;
            CreateAcls = 30, 1..=3, 2, CreateAclsRequest => CreateAclsResponse, CREATE_ACLS;
            DeleteAcls = 31, 1..=3, 2, DeleteAclsRequest => DeleteAclsResponse, DELETE_ACLS;
            DescribeConfigs = 32, 1..=4, 4, DescribeConfigsRequest => DescribeConfigsResponse, DESCRIBE_CONFIGS;
            AlterConfigs = 33, 0..=2, 2, AlterConfigsRequest => AlterConfigsResponse, ALTER_CONFIGS;
            DescribeLogDirs = 35, 1..=4, 2, DescribeLogDirsRequest => DescribeLogDirsResponse, DESCRIBE_LOG_DIRS;
            CreatePartitions = 37, 0..=3, 2, CreatePartitionsRequest => CreatePartitionsResponse, CREATE_PARTITIONS;
            DeleteGroups = 42, 0..=2, 2, DeleteGroupsRequest => DeleteGroupsResponse, DELETE_GROUPS;
            ElectLeaders = 43, 0..=2, 2, ElectLeadersRequest => ElectLeadersResponse, ELECT_LEADERS;
            IncrementalAlterConfigs = 44, 0..=1, 1, IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, INCREMENTAL_ALTER_CONFIGS;
            ListPartitionReassignments = 46, 0..=0, 0, ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse, LIST_PARTITION_REASSIGNMENTS;
            OffsetDelete = 47, 0..=0, 1, OffsetDeleteRequest => OffsetDeleteResponse, OFFSET_DELETE;
            DescribeClientQuotas = 48, 0..=1, 1, DescribeClientQuotasRequest => DescribeClientQuotasResponse, DESCRIBE_CLIENT_QUOTAS;
            AlterClientQuotas = 49, 0..=1, 1, AlterClientQuotasRequest => AlterClientQuotasResponse, ALTER_CLIENT_QUOTAS;
            DescribeUserScramCredentials = 50, 0..=0, 0, DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse, DESCRIBE_USER_SCRAM_CREDENTIALS;
            DescribeQuorum = 55, 0..=2, 0, DescribeQuorumRequest => DescribeQuorumResponse, DESCRIBE_QUORUM;
            DescribeCluster = 60, 0..=2, 0, DescribeClusterRequest => DescribeClusterResponse, DESCRIBE_CLUSTER;
            DescribeProducers = 61, 0..=0, 0, DescribeProducersRequest => DescribeProducersResponse, DESCRIBE_PRODUCERS;
            ListTransactions = 66, 0..=2, 0, ListTransactionsRequest => ListTransactionsResponse, LIST_TRANSACTIONS;
            ListConfigResources = 74, 0..=1, 0, ListConfigResourcesRequest => ListConfigResourcesResponse, LIST_CONFIG_RESOURCES;
            DescribeTopicPartitions = 75, 0..=0, 0, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse, DESCRIBE_TOPIC_PARTITIONS;
        }
    };
}
pub(crate) use for_each_api;

layouts! {
    PRODUCE: m::ProduceRequest {
        ALL => NULLABLE_STRING,
        ALL => INT16,
        ALL => INT32,
        ALL => array(&PRODUCE_TOPIC),
    }
    PRODUCE_TOPIC: m::produce_request::TopicProduceData {
        until(12) => STRING,
        since(13) => UUID,
        ALL => array(&PRODUCE_PARTITION),
    }
    PRODUCE_PARTITION: m::produce_request::PartitionProduceData {
        ALL => INT32,
        ALL => NULLABLE_BYTES,
    }

    FETCH: m::FetchRequest {
        until(14) => INT32,
        ALL => INT32,
        ALL => INT32,
        ALL => INT32,
        ALL => INT8,
        since(7) => INT32,
        since(7) => INT32,
        ALL => array(&FETCH_TOPIC),
        since(7) => array(&FORGOTTEN_TOPIC),
        since(11) => STRING,
        @tagged 0: ALL => NULLABLE_STRING,
        @tagged 1: since(15) => Kind::Struct(&REPLICA_STATE),
    }
    FETCH_TOPIC: m::fetch_request::FetchTopic {
        until(12) => STRING,
        since(13) => UUID,
        ALL => array(&FETCH_PARTITION),
    }
    FETCH_PARTITION: m::fetch_request::FetchPartition {
        ALL => INT32,
        since(9) => INT32,
        ALL => INT64,
        since(12) => INT32,
        since(5) => INT64,
        ALL => INT32,
        @tagged 0: since(17) => UUID,
        @tagged 1: since(18) => INT64,
    }
    FORGOTTEN_TOPIC: m::fetch_request::ForgottenTopic {
        between(7, 12) => STRING,
        since(13) => UUID,
        since(7) => INT32_ARRAY,
    }
    REPLICA_STATE: m::fetch_request::ReplicaState {
        since(15) => INT32,
        since(15) => INT64,
    }

    LIST_OFFSETS: m::ListOffsetsRequest {
        ALL => INT32,
        since(2) => INT8,
        ALL => array(&LIST_OFFSETS_TOPIC),
        since(10) => INT32,
    }
    LIST_OFFSETS_TOPIC: m::list_offsets_request::ListOffsetsTopic {
        ALL => STRING,
        ALL => array(&LIST_OFFSETS_PARTITION),
    }
    LIST_OFFSETS_PARTITION: m::list_offsets_request::ListOffsetsPartition {
        ALL => INT32,
        since(4) => INT32,
        ALL => INT64,
    }

    METADATA: m::MetadataRequest {
        ALL => nullable_array(&METADATA_TOPIC),
        since(4) => BOOL,
        between(8, 10) => BOOL,
        since(8) => BOOL,
    }
    METADATA_TOPIC: m::metadata_request::MetadataRequestTopic {
        since(10) => UUID,
        ALL => NULLABLE_STRING,
    }

    OFFSET_COMMIT: m::OffsetCommitRequest {
        ALL => STRING,
        ALL => INT32,
        ALL => STRING,
        since(7) => NULLABLE_STRING,
        until(4) => INT64,
        ALL => array(&OFFSET_COMMIT_TOPIC),
    }
    OFFSET_COMMIT_TOPIC: m::offset_commit_request::OffsetCommitRequestTopic {
        ALL => STRING,
        ALL => array(&OFFSET_COMMIT_PARTITION),
    }
    OFFSET_COMMIT_PARTITION: m::offset_commit_request::OffsetCommitRequestPartition {
        ALL => INT32,
        ALL => INT64,
        since(6) => INT32,
        ALL => NULLABLE_STRING,
    }

    OFFSET_FETCH: m::OffsetFetchRequest {
        until(7) => STRING,
        until(7) => nullable_array(&OFFSET_FETCH_TOPIC),
        since(8) => array(&OFFSET_FETCH_GROUP),
        since(7) => BOOL,
    }
    OFFSET_FETCH_TOPIC: m::offset_fetch_request::OffsetFetchRequestTopic {
        until(7) => STRING,
        until(7) => INT32_ARRAY,
    }
    OFFSET_FETCH_GROUP: m::offset_fetch_request::OffsetFetchRequestGroup {
        since(8) => STRING,
        since(9) => NULLABLE_STRING,
        since(9) => INT32,
        since(8) => nullable_array(&OFFSET_FETCH_TOPICS),
    }
    OFFSET_FETCH_TOPICS: m::offset_fetch_request::OffsetFetchRequestTopics {
        since(8) => STRING,
        since(8) => INT32_ARRAY,
    }

    FIND_COORDINATOR: m::FindCoordinatorRequest {
        until(3) => STRING,
        since(1) => INT8,
        since(4) => STRING_ARRAY,
    }

    JOIN_GROUP: m::JoinGroupRequest {
        ALL => STRING,
        ALL => INT32,
        since(1) => INT32,
        ALL => STRING,
        since(5) => NULLABLE_STRING,
        ALL => STRING,
        ALL => array(&JOIN_GROUP_PROTOCOL),
        since(8) => NULLABLE_STRING,
    }
    JOIN_GROUP_PROTOCOL: m::join_group_request::JoinGroupRequestProtocol {
        ALL => STRING,
        ALL => BYTES,
    }

    HEARTBEAT: m::HeartbeatRequest {
        ALL => STRING,
        ALL => INT32,
        ALL => STRING,
        since(3) => NULLABLE_STRING,
    }

    LEAVE_GROUP: m::LeaveGroupRequest {
        ALL => STRING,
        until(2) => STRING,
        since(3) => array(&LEAVE_GROUP_MEMBER),
    }
    LEAVE_GROUP_MEMBER: m::leave_group_request::MemberIdentity {
        since(3) => STRING,
        since(3) => NULLABLE_STRING,
        since(5) => NULLABLE_STRING,
    }

    SYNC_GROUP: m::SyncGroupRequest {
        ALL => STRING,
        ALL => INT32,
        ALL => STRING,
        since(3) => NULLABLE_STRING,
        since(5) => NULLABLE_STRING,
        since(5) => NULLABLE_STRING,
        ALL => array(&SYNC_GROUP_ASSIGNMENT),
    }
    SYNC_GROUP_ASSIGNMENT: m::sync_group_request::SyncGroupRequestAssignment {
        ALL => STRING,
        ALL => BYTES,
    }

    DESCRIBE_GROUPS: m::DescribeGroupsRequest {
        ALL => STRING_ARRAY,
        since(3) => BOOL,
    }

    LIST_GROUPS: m::ListGroupsRequest {
        since(4) => STRING_ARRAY,
        since(5) => STRING_ARRAY,
    }

    API_VERSIONS: m::ApiVersionsRequest {
        since(3) => STRING,
        since(3) => STRING,
    }

    CREATE_TOPICS: m::CreateTopicsRequest {
        ALL => array(&CREATE_TOPIC),
        ALL => INT32,
        ALL => BOOL,
    }
    CREATE_TOPIC: m::create_topics_request::CreatableTopic {
        ALL => STRING,
        ALL => INT32,
        ALL => INT16,
        ALL => array(&CREATE_TOPIC_ASSIGNMENT),
        ALL => array(&CREATE_TOPIC_CONFIG),
    }
    CREATE_TOPIC_ASSIGNMENT: m::create_topics_request::CreatableReplicaAssignment {
        ALL => INT32,
        ALL => INT32_ARRAY,
    }
    CREATE_TOPIC_CONFIG: m::create_topics_request::CreatableTopicConfig {
        ALL => STRING,
        ALL => NULLABLE_STRING,
    }

    DELETE_TOPICS: m::DeleteTopicsRequest {
        since(6) => array(&DELETE_TOPIC),
        until(5) => STRING_ARRAY,
        ALL => INT32,
    }
    DELETE_TOPIC: m::delete_topics_request::DeleteTopicState {
        since(6) => NULLABLE_STRING,
        since(6) => UUID,
    }

    INIT_PRODUCER_ID: m::InitProducerIdRequest {
        ALL => NULLABLE_STRING,
        ALL => INT32,
        since(3) => INT64,
        since(3) => INT16,
    }

    OFFSET_FOR_LEADER_EPOCH: m::OffsetForLeaderEpochRequest {
        since(3) => INT32,
        ALL => array(&OFFSET_FOR_LEADER_TOPIC),
    }
    OFFSET_FOR_LEADER_TOPIC: m::offset_for_leader_epoch_request::OffsetForLeaderTopic {
        ALL => STRING,
        ALL => array(&OFFSET_FOR_LEADER_PARTITION),
    }
    OFFSET_FOR_LEADER_PARTITION: m::offset_for_leader_epoch_request::OffsetForLeaderPartition {
        ALL => INT32,
        ALL => INT32,
        ALL => INT32,
    }

    DESCRIBE_CONFIGS: m::DescribeConfigsRequest {
        ALL => array(&DESCRIBE_CONFIGS_RESOURCE),
        ALL => BOOL,
        since(3) => BOOL,
    }
    DESCRIBE_CONFIGS_RESOURCE: m::describe_configs_request::DescribeConfigsResource {
        ALL => INT8,
        ALL => STRING,
        ALL => NULLABLE_STRING_ARRAY,
    }

    CREATE_PARTITIONS: m::CreatePartitionsRequest {
        ALL => array(&CREATE_PARTITIONS_TOPIC),
        ALL => INT32,
        ALL => BOOL,
    }
    CREATE_PARTITIONS_TOPIC: m::create_partitions_request::CreatePartitionsTopic {
        ALL => STRING,
        ALL => INT32,
        ALL => nullable_array(&CREATE_PARTITIONS_ASSIGNMENT),
    }
    CREATE_PARTITIONS_ASSIGNMENT: m::create_partitions_request::CreatePartitionsAssignment {
        ALL => INT32_ARRAY,
    }

    DELETE_GROUPS: m::DeleteGroupsRequest {
        ALL => STRING_ARRAY,
    }

    INCREMENTAL_ALTER_CONFIGS: m::IncrementalAlterConfigsRequest {
        ALL => array(&ALTER_CONFIGS_RESOURCE),
        ALL => BOOL,
    }
    ALTER_CONFIGS_RESOURCE: m::incremental_alter_configs_request::AlterConfigsResource {
        ALL => INT8,
        ALL => STRING,
        ALL => array(&ALTERABLE_CONFIG),
    }
    ALTERABLE_CONFIG: m::incremental_alter_configs_request::AlterableConfig {
        ALL => STRING,
        ALL => INT8,
        ALL => NULLABLE_STRING,
    }

    DESCRIBE_CLUSTER: m::DescribeClusterRequest {
        ALL => BOOL,
        since(1) => INT8,
        since(2) => BOOL,
    }

    DESCRIBE_ACLS: m::DescribeAclsRequest {
        ALL => INT8,
        ALL => NULLABLE_STRING,
        ALL => INT8,
        ALL => NULLABLE_STRING,
        ALL => NULLABLE_STRING,
        ALL => INT8,
        ALL => INT8,
    }

    CREATE_ACLS: m::CreateAclsRequest {
        ALL => array(&ACL_CREATION),
    }
    ACL_CREATION: m::create_acls_request::AclCreation {
        ALL => INT8,
        ALL => STRING,
        ALL => INT8,
        ALL => STRING,
        ALL => STRING,
        ALL => INT8,
        ALL => INT8,
    }

    DELETE_ACLS: m::DeleteAclsRequest {
        ALL => array(&DELETE_ACLS_FILTER),
    }
    DELETE_ACLS_FILTER: m::delete_acls_request::DeleteAclsFilter {
        ALL => INT8,
        ALL => NULLABLE_STRING,
        ALL => INT8,
        ALL => NULLABLE_STRING,
        ALL => NULLABLE_STRING,
        ALL => INT8,
        ALL => INT8,
    }

    ALTER_CONFIGS: m::AlterConfigsRequest {
        ALL => array(&REPLACED_CONFIGS),
        ALL => BOOL,
    }
    REPLACED_CONFIGS: m::alter_configs_request::AlterConfigsResource {
        ALL => INT8,
        ALL => STRING,
        ALL => array(&REPLACED_CONFIG),
    }
    REPLACED_CONFIG: m::alter_configs_request::AlterableConfig {
        ALL => STRING,
        ALL => NULLABLE_STRING,
    }

    DESCRIBE_LOG_DIRS: m::DescribeLogDirsRequest {
        ALL => nullable_array(&DESCRIBE_LOG_DIRS_TOPIC),
    }
    DESCRIBE_LOG_DIRS_TOPIC: m::describe_log_dirs_request::DescribableLogDirTopic {
        ALL => STRING,
        ALL => INT32_ARRAY,
    }

    LIST_PARTITION_REASSIGNMENTS: m::ListPartitionReassignmentsRequest {
        ALL => INT32,
        ALL => nullable_array(&REASSIGNED_TOPIC),
    }
    REASSIGNED_TOPIC: m::list_partition_reassignments_request::ListPartitionReassignmentsTopics {
        ALL => STRING,
        ALL => INT32_ARRAY,
    }

    OFFSET_DELETE: m::OffsetDeleteRequest {
        ALL => STRING,
        ALL => array(&OFFSET_DELETE_TOPIC),
    }
    OFFSET_DELETE_TOPIC: m::offset_delete_request::OffsetDeleteRequestTopic {
        ALL => STRING,
        ALL => array(&OFFSET_DELETE_PARTITION),
    }
    OFFSET_DELETE_PARTITION: m::offset_delete_request::OffsetDeleteRequestPartition {
        ALL => INT32,
    }

    DELETE_RECORDS: m::DeleteRecordsRequest {
        ALL => array(&DELETE_RECORDS_TOPIC),
        ALL => INT32,
    }
    DELETE_RECORDS_TOPIC: m::delete_records_request::DeleteRecordsTopic {
        ALL => STRING,
        ALL => array(&DELETE_RECORDS_PARTITION),
    }
    DELETE_RECORDS_PARTITION: m::delete_records_request::DeleteRecordsPartition {
        ALL => INT32,
        ALL => INT64,
    }

    ELECT_LEADERS: m::ElectLeadersRequest {
        since(1) => INT8,
        ALL => nullable_array(&ELECT_LEADERS_TOPIC),
        ALL => INT32,
    }
    ELECT_LEADERS_TOPIC: m::elect_leaders_request::TopicPartitions {
        ALL => STRING,
        ALL => INT32_ARRAY,
    }

    DESCRIBE_CLIENT_QUOTAS: m::DescribeClientQuotasRequest {
        ALL => array(&QUOTA_COMPONENT),
        ALL => BOOL,
    }
    QUOTA_COMPONENT: m::describe_client_quotas_request::ComponentData {
        ALL => STRING,
        ALL => INT8,
        ALL => NULLABLE_STRING,
    }

    ALTER_CLIENT_QUOTAS: m::AlterClientQuotasRequest {
        ALL => array(&QUOTA_ENTRY),
        ALL => BOOL,
    }
    QUOTA_ENTRY: m::alter_client_quotas_request::EntryData {
        ALL => array(&QUOTA_ENTITY),
        ALL => array(&QUOTA_OPERATION),
    }
    QUOTA_ENTITY: m::alter_client_quotas_request::EntityData {
        ALL => STRING,
        ALL => NULLABLE_STRING,
    }
    QUOTA_OPERATION: m::alter_client_quotas_request::OpData {
        ALL => STRING,
        ALL => INT64,
        ALL => BOOL,
    }

    DESCRIBE_USER_SCRAM_CREDENTIALS: m::DescribeUserScramCredentialsRequest {
        ALL => nullable_array(&SCRAM_USER),
    }
    SCRAM_USER: m::describe_user_scram_credentials_request::UserName {
        ALL => STRING,
    }

    DESCRIBE_QUORUM: m::DescribeQuorumRequest {
        ALL => array(&QUORUM_TOPIC),
    }
    QUORUM_TOPIC: m::describe_quorum_request::TopicData {
        ALL => STRING,
        ALL => array(&QUORUM_PARTITION),
    }
    QUORUM_PARTITION: m::describe_quorum_request::PartitionData {
        ALL => INT32,
    }

    DESCRIBE_PRODUCERS: m::DescribeProducersRequest {
        ALL => array(&DESCRIBE_PRODUCERS_TOPIC),
    }
    DESCRIBE_PRODUCERS_TOPIC: m::describe_producers_request::TopicRequest {
        ALL => STRING,
        ALL => INT32_ARRAY,
    }

    LIST_TRANSACTIONS: m::ListTransactionsRequest {
        ALL => STRING_ARRAY,
        ALL => INT64_ARRAY,
        since(1) => INT64,
        since(2) => NULLABLE_STRING,
    }

    LIST_CONFIG_RESOURCES: m::ListConfigResourcesRequest {
        since(1) => INT8_ARRAY,
    }

    DESCRIBE_TOPIC_PARTITIONS: m::DescribeTopicPartitionsRequest {
        ALL => array(&DESCRIBE_TOPIC_PARTITIONS_TOPIC),
        ALL => INT32,
        ALL => Kind::NullableStruct(&DESCRIBE_TOPIC_PARTITIONS_CURSOR),
    }
    DESCRIBE_TOPIC_PARTITIONS_TOPIC: m::describe_topic_partitions_request::TopicRequest {
        ALL => STRING,
    }
    DESCRIBE_TOPIC_PARTITIONS_CURSOR: m::describe_topic_partitions_request::Cursor {
        ALL => STRING,
        ALL => INT32,
    }
}
