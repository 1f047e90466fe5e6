//! Requests of tools and consoles.

use kafka_protocol::messages as m;

use super::{
    ALL, BOOL, Field, INT8, INT8_ARRAY, INT32, INT32_ARRAY, INT64, INT64_ARRAY, Kind, Layout,
    NULLABLE_STRING, STRING, STRING_ARRAY, array, nullable_array, since,
};

layouts! {
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
