//! The one table of the Kafka APIs that an agent serves: what each one needs, in which lane of its
//! connection it runs, what it says while the commit log does not answer, and who handles it.
//!
//! Keys and versions stand in `tarn_kafka::ApiKey`; a key that is served there and has no line here
//! does not compile. Dispatch, ApiVersions, the metric's label and the access check follow from the
//! two. A new API is a file in `api/`, a line here and its test.

mod alter_configs;
mod altering;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod operations;
mod produce;
mod refused;
mod security;
mod sync_group;
mod text;
mod topic_key;

pub(crate) use metadata::AllTopics;
use security::{
    alter_client_quotas, create_acls, delete_acls, describe_acls, describe_client_quotas,
    describe_user_scram_credentials,
};
pub(crate) use topic_key::TopicKey;

use std::sync::Arc;

use tarn_kafka::{ApiKey, ErrorCode, RequestBody};
use tarn_state::State;

use crate::agent::Agent;
use crate::context::{Access, Context};
use crate::frame::Answer;

/// How a request stands to the others of its connection. Answers keep the order of the requests in
/// every lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Runs beside everything else.
    Free,
    /// Reaches the writer in the order in which it came, then runs beside everything else.
    Produce,
    /// May answer with much more than it asks with: begins when every earlier answer is written, so
    /// that a connection holds one large answer at a time, however slowly it is read.
    Serial,
}

macro_rules! apis {
    ($($name:ident => $handler:ident, $lane:ident, $access:ident, $not_now:ident;)*) => {
        /// What a request needs to be allowed to do.
        pub(crate) fn access(api: ApiKey) -> Access {
            match api {
                $(ApiKey::$name => Access::$access,)*
            }
        }

        /// Where in its connection a request runs.
        pub(crate) fn lane(api: ApiKey) -> Lane {
            match api {
                $(ApiKey::$name => Lane::$lane,)*
            }
        }

        /// What a client is told when the commit log did not say in time what it asks for, or what
        /// became of what it wanted: the code after which clients of this API ask again.
        fn not_now(api: ApiKey) -> ErrorCode {
            match api {
                $(ApiKey::$name => ErrorCode::$not_now,)*
            }
        }

        /// Lets the API's handler answer.
        pub(crate) async fn handle(agent: &Arc<Agent>, context: &mut Context, body: RequestBody) -> Answer {
            // Boxed one by one: the largest handler would else be the size of them all.
            match body {
                $(RequestBody::$name(request) => Box::pin($handler::handle(agent, context, request)).await.into(),)*
            }
        }
    };
}

// Where answers name topics or coordinators, clients refresh and retry. The Java consumer takes
// COORDINATOR_NOT_AVAILABLE of an OffsetFetch for an unexpected, final error; a second producer id does no
// harm, so that InitProducerId may be repeated likewise. What needs no log never says that it is late, and a
// fetch is answered empty instead.
apis! {
    Produce => produce, Produce, WriteTopic, RequestTimedOut;
    Fetch => fetch, Serial, ReadTopic, RequestTimedOut;
    ListOffsets => list_offsets, Free, DescribeTopic, OffsetNotAvailable;
    Metadata => metadata, Serial, DescribeTopic, LeaderNotAvailable;
    OffsetCommit => offset_commit, Free, ReadGroup, CoordinatorNotAvailable;
    OffsetFetch => offset_fetch, Serial, ReadGroup, CoordinatorLoadInProgress;
    FindCoordinator => find_coordinator, Free, DescribeGroup, CoordinatorNotAvailable;
    JoinGroup => join_group, Free, ReadGroup, CoordinatorNotAvailable;
    Heartbeat => heartbeat, Free, ReadGroup, CoordinatorNotAvailable;
    LeaveGroup => leave_group, Free, ReadGroup, CoordinatorNotAvailable;
    SyncGroup => sync_group, Free, ReadGroup, CoordinatorNotAvailable;
    DescribeGroups => describe_groups, Serial, DescribeGroup, CoordinatorNotAvailable;
    ListGroups => list_groups, Serial, DescribeGroup, CoordinatorNotAvailable;
    ApiVersions => api_versions, Free, Open, RequestTimedOut;
    CreateTopics => create_topics, Free, CreateTopic, RequestTimedOut;
    DeleteTopics => delete_topics, Free, DeleteTopic, RequestTimedOut;
    DeleteRecords => delete_records, Free, DeleteTopic, RequestTimedOut;
    InitProducerId => init_producer_id, Free, IdempotentWrite, CoordinatorLoadInProgress;
    OffsetForLeaderEpoch => offset_for_leader_epoch, Free, DescribeTopic, OffsetNotAvailable;
    DescribeConfigs => describe_configs, Serial, DescribeTopic, RequestTimedOut;
    CreatePartitions => create_partitions, Free, AlterTopic, RequestTimedOut;
    DeleteGroups => delete_groups, Free, DeleteGroup, CoordinatorNotAvailable;
    ElectLeaders => elect_leaders, Serial, AlterCluster, RequestTimedOut;
    IncrementalAlterConfigs => incremental_alter_configs, Free, AlterTopic, RequestTimedOut;
    DescribeCluster => describe_cluster, Free, DescribeCluster, RequestTimedOut;
    AlterConfigs => alter_configs, Free, AlterTopic, RequestTimedOut;
    OffsetDelete => offset_delete, Free, DeleteGroup, CoordinatorNotAvailable;
    DescribeLogDirs => describe_log_dirs, Serial, DescribeCluster, RequestTimedOut;
    DescribeProducers => describe_producers, Serial, ReadTopic, RequestTimedOut;
    DescribeTopicPartitions => describe_topic_partitions, Serial, DescribeTopic, RequestTimedOut;
    ListConfigResources => list_config_resources, Serial, DescribeCluster, RequestTimedOut;
    ListPartitionReassignments => list_partition_reassignments, Free, DescribeCluster, UnknownServerError;
    ListTransactions => list_transactions, Free, DescribeCluster, UnknownServerError;
    DescribeQuorum => describe_quorum, Free, DescribeCluster, RequestTimedOut;
    DescribeAcls => describe_acls, Free, DescribeCluster, UnknownServerError;
    CreateAcls => create_acls, Free, AlterCluster, UnknownServerError;
    DeleteAcls => delete_acls, Free, AlterCluster, UnknownServerError;
    DescribeUserScramCredentials => describe_user_scram_credentials, Free, DescribeCluster, UnknownServerError;
    DescribeClientQuotas => describe_client_quotas, Free, DescribeCluster, UnknownServerError;
    AlterClientQuotas => alter_client_quotas, Free, AlterCluster, UnknownServerError;
}

/// What is wrong with the leader epoch that a client believes in (KIP-320); a negative one says
/// nothing. Ours is the generation of the commit log, which no view of a living process leaves.
fn leader_epoch_problem(state: &State, epoch: i32) -> Option<ErrorCode> {
    let generation = leader_epoch(state);
    if epoch < 0 || epoch == generation {
        None
    } else if epoch < generation {
        Some(ErrorCode::FencedLeaderEpoch)
    } else {
        Some(ErrorCode::UnknownLeaderEpoch)
    }
}

/// The leader epoch of every partition.
fn leader_epoch(state: &State) -> i32 {
    i32::try_from(state.generation.0).unwrap_or(i32::MAX)
}
