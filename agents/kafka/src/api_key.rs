//! The Kafka APIs that we serve: one line each, and everything else follows from the line.
//!
//! A line gives the key, the versions we accept (the lower of Kafka 4.2's and those that
//! `kafka-protocol` knows), the first flexible version, the message types and the layout that
//! bounds the request. The request and response enums, decoding, encoding and the bounds walker
//! are derived from these lines.

use std::fmt;
use std::ops::RangeInclusive;

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

macro_rules! define_api_key {
    ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
        /// An API of the Kafka protocol that we serve.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every API we serve, in the order of their keys.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            /// The API a key stands for; `None` if we do not serve it.
            pub const fn from_key(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The versions whose requests we accept.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $first..=$last,)*
                }
            }

            /// The first version with compact lengths and tagged fields.
            pub const fn first_flexible(self) -> i16 {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }

            /// Its name, as in Kafka's documentation.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }
        }
    };
}
for_each_api!(define_api_key);

impl ApiKey {
    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// The versions that ApiVersions lists.
    ///
    /// SUBTLE: Produce starts at 0 although we accept it from 3 on, as in Kafka 4: librdkafka
    /// reads the minimum to decide which compression types it may use (KAFKA-18659).
    pub fn advertised_versions(self) -> RangeInclusive<i16> {
        match self {
            ApiKey::Produce => 0..=*self.versions().end(),
            _ => self.versions(),
        }
    }

    /// Whether we accept requests of this version.
    pub fn accepts(self, version: i16) -> bool {
        self.versions().contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    /// The version of the request header: 2 has tagged fields, 1 has not.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header: 1 has tagged fields, 0 has not.
    ///
    /// SUBTLE: always 0 for ApiVersions, because the client does not know our versions before it
    /// has read that response (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            ApiKey::ApiVersions => 0,
            _ => {
                if self.is_flexible(version) {
                    1
                } else {
                    0
                }
            }
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::ApiKey as Reference;

    #[test]
    fn every_line_agrees_with_the_decoder() {
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_key(api.key()), Some(*api));
            let reference = Reference::try_from(api.key()).expect("the decoder knows the key");
            assert_eq!(format!("{reference:?}"), api.name());
            for version in api.versions() {
                assert_eq!(
                    reference.request_header_version(version),
                    api.request_header_version(version),
                    "{api} {version}"
                );
                assert_eq!(
                    reference.response_header_version(version),
                    api.response_header_version(version),
                    "{api} {version}"
                );
            }
        }
    }

    #[test]
    fn every_line_ends_where_the_decoder_ends() {
        use kafka_protocol::messages::*;
        use kafka_protocol::protocol::Message;

        macro_rules! compare {
            ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
                $(
                    assert!($request::VERSIONS.min <= $first, stringify!($name));
                    assert_eq!($request::VERSIONS.max, $last, stringify!($name));
                    assert!($response::VERSIONS.min <= $first, stringify!($name));
                    assert!($response::VERSIONS.max >= $last, stringify!($name));
                )*
            };
        }
        for_each_api!(compare);
    }

    #[test]
    fn produce_is_advertised_from_0_and_accepted_from_3() {
        assert_eq!(ApiKey::Produce.advertised_versions(), 0..=13);
        assert!(!ApiKey::Produce.accepts(2));
        assert!(ApiKey::Produce.accepts(3));
    }

    #[test]
    fn keys_we_do_not_serve_are_unknown() {
        assert_eq!(ApiKey::from_key(4), None);
        assert_eq!(ApiKey::from_key(-1), None);
        assert_eq!(ApiKey::from_key(i16::MAX), None);
    }
}
