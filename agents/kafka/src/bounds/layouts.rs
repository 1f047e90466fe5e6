//! The layout of every request that we accept, in all versions that we accept.
//!
//! A layout lists the fields of one message struct in the order of the wire, each with the
//! versions that have it. Lengths and tagged fields follow from the version alone. The tests
//! hold every layout against `kafka-protocol`'s decoder and encoder, byte for byte.

use kafka_protocol::messages as m;

/// One struct on the wire.
#[derive(Debug)]
pub(super) struct Layout {
    /// What the decoder allocates for one of them in an array.
    pub(super) memory_bytes: usize,
    pub(super) fields: &'static [Field],
    /// The tagged fields that the decoder knows; it keeps the others as they are.
    pub(super) tagged: &'static [TaggedField],
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) versions: Versions,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) struct TaggedField {
    pub(super) tag: u32,
    pub(super) versions: Versions,
    pub(super) kind: Kind,
}

/// How a field looks on the wire.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    /// Numbers and UUIDs: always so many bytes.
    Fixed(usize),
    String {
        nullable: bool,
    },
    Bytes {
        nullable: bool,
    },
    Array {
        nullable: bool,
        of: Element,
    },
    Struct(&'static Layout),
    /// A byte says whether it is there: 1 if it is.
    NullableStruct(&'static Layout),
}

#[derive(Debug)]
pub(super) enum Element {
    Fixed(usize),
    String,
    Struct(&'static Layout),
}

/// The versions of the request that have a field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions {
    first: i16,
    last: i16,
}

impl Versions {
    pub(super) const fn contain(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

const ALL: Versions = Versions {
    first: 0,
    last: i16::MAX,
};

const fn since(first: i16) -> Versions {
    Versions {
        first,
        last: i16::MAX,
    }
}

const fn until(last: i16) -> Versions {
    Versions { first: 0, last }
}

const fn between(first: i16, last: i16) -> Versions {
    Versions { first, last }
}

const BOOL: Kind = Kind::Bool;
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const STRING: Kind = Kind::String { nullable: false };
const NULLABLE_STRING: Kind = Kind::String { nullable: true };
const BYTES: Kind = Kind::Bytes { nullable: false };
const NULLABLE_BYTES: Kind = Kind::Bytes { nullable: true };
const INT32_ARRAY: Kind = plain_array(Element::Fixed(4));
const INT8_ARRAY: Kind = plain_array(Element::Fixed(1));
const INT64_ARRAY: Kind = plain_array(Element::Fixed(8));
const STRING_ARRAY: Kind = plain_array(Element::String);
const NULLABLE_STRING_ARRAY: Kind = Kind::Array {
    nullable: true,
    of: Element::String,
};

const fn plain_array(of: Element) -> Kind {
    let nullable = false;
    Kind::Array { nullable, of }
}

const fn array(of: &'static Layout) -> Kind {
    plain_array(Element::Struct(of))
}

const fn nullable_array(of: &'static Layout) -> Kind {
    Kind::Array {
        nullable: true,
        of: Element::Struct(of),
    }
}

macro_rules! layouts {
    ($(
        $name:ident: $message:ty {
            $($versions:expr => $kind:expr,)*
            $(@tagged $tag:literal: $tagged_versions:expr => $tagged_kind:expr,)*
        }
    )*) => {
        $(
            pub(in crate::bounds) static $name: Layout = Layout {
                memory_bytes: size_of::<$message>(),
                fields: &[$(Field { versions: $versions, kind: $kind }),*],
                tagged: &[$(TaggedField {
                    tag: $tag,
                    versions: $tagged_versions,
                    kind: $tagged_kind,
                }),*],
            };
        )*
    };
}

mod admin;

pub(super) use admin::*;

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
}
