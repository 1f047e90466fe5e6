//! Caps: numbers that bound memory or protect a peer. Each says what happens beyond it.

use std::time::Duration;

use crate::ByteSize;

/// Largest entry that is written to the commit log; a proposal that does not fit is refused.
pub const ENTRY_BYTES_MAX: ByteSize = ByteSize::mib(1);
/// An entry whose proposer had applied more than this many entries less is a no-op.
pub const PROPOSER_LAG_MAX: u64 = 100_000;
/// How long a closed session's tombstone stays, in entries. Equal to the lag: no copy of an entry
/// that could still be accepted outlives the tombstone that refuses it.
pub const TOMBSTONE_ENTRIES: u64 = PROPOSER_LAG_MAX;
/// Log hashes kept for comparison, in entries.
pub const LOG_HASHES_KEPT: u64 = PROPOSER_LAG_MAX;
/// Batches remembered per producer and partition, as in Kafka.
pub const PRODUCER_WINDOW: usize = 5;
/// A segment older than this, in cluster time at the entry that would commit it, is refused.
pub const SEGMENT_COMMIT_DEADLINE: Duration = Duration::from_secs(600);
/// A session without an entry for this long, in liveness time, is silent and may be expired.
pub const SESSION_SILENT_AFTER: Duration = Duration::from_secs(15);
/// Clients are sent to no agent without an entry for this long, in liveness time, while there is another.
pub const AGENT_UNHEARD_AFTER: Duration = Duration::from_secs(6);
/// Every process appends at least this often.
pub const TICK_INTERVAL: Duration = Duration::from_secs(3);
/// Most that one entry can add to liveness time.
pub const LIVENESS_STEP_MAX: Duration = Duration::from_secs(5);
/// A process that sent its last applied entry longer ago than this fences itself.
pub const SELF_FENCE_AFTER: Duration = Duration::from_secs(10);
/// A clock further than this from the store's opens no session, and gets no vote.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// Longest name of a node; a process with a longer one opens no session.
pub const NODE_NAME_BYTES_MAX: usize = 255;
/// Names whose node ids are known. Beyond it the name that nobody has used for longest is forgotten.
pub const NODE_NAMES_MAX: usize = 10_000;

/// Topics in a cluster; creating one more is refused.
pub const TOPICS_MAX: usize = 20_000;
/// Partitions of one topic; more are refused.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;
/// Partitions in a cluster; more are refused.
pub const PARTITIONS_MAX: usize = 50_000;
/// Largest batch that a segment takes, and so the most that a topic can be set to take.
pub const BATCH_BYTES_MAX: ByteSize = ByteSize::mib(64);
/// Longest topic name, as in Kafka.
pub const TOPIC_NAME_MAX: usize = 249;
/// Longest group id, member id and client id that we keep.
pub const NAME_BYTES_MAX: usize = 4096;
/// Longest text that a client may commit beside an offset, in UTF-16 units as in Kafka's
/// `offset.metadata.max.bytes`, which counts them in spite of its name.
pub const COMMIT_METADATA_CHARS_MAX: usize = 4096;
/// Members of one group; the next gets GROUP_MAX_SIZE_REACHED.
pub const GROUP_MEMBERS_MAX: usize = 10_000;
/// What the members of one group may bring together, protocols and assignments, before compression;
/// whoever would bring more gets GROUP_MAX_SIZE_REACHED. The log takes it compressed.
pub const GROUP_BYTES_MAX: usize = 64 << 20;
/// Claims of tasks in a cluster. Beyond it a new one takes the place of one that is lost, or is refused.
pub const CLAIMS_MAX: usize = 10_000;
/// Longest name of a task; a longer one is refused.
pub const CLAIM_TASK_BYTES_MAX: usize = 256;
/// How long a holder may go without progress at most; a claim that asks for more is refused.
pub const CLAIM_PATIENCE_MS_MAX: u64 = 3_600_000;
/// Groups in a cluster; a new one beyond it is refused.
pub const GROUPS_MAX: usize = 100_000;
/// Bytes of all groups in a cluster, with their committed offsets. Beyond it what would add to them is
/// refused, until some expire or are deleted; who commits again what it committed before adds nothing.
pub const GROUPS_BYTES_MAX: u64 = 1 << 30;
/// Above so many bytes of groups, offsets of groups without members expire sooner …
pub const GROUPS_BYTES_HIGH: u64 = GROUPS_BYTES_MAX / 4 * 3;
/// … after so long.
pub const OFFSETS_RETENTION_SHORT: Duration = Duration::from_secs(24 * 3600);
/// Committed offsets of one group; more are refused. A group's offsets of topics that it no longer reads
/// expire, and can be deleted.
pub const GROUP_OFFSETS_MAX: usize = 100_000;
/// Committed offsets of a group without members stay for so long, Kafka's `offsets.retention.minutes`.
pub const OFFSETS_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// A group with neither members nor offsets stays for so long.
pub const EMPTY_GROUP_KEPT: Duration = Duration::from_secs(600);
/// Tables that no topic has, and SQL views.
pub const TABLES_MAX: usize = 10_000;
/// Namespaces that have a table.
pub const NAMESPACES_MAX: usize = 1_000;
/// Characters of a namespace's name.
pub const NAMESPACE_NAME_MAX: usize = 128;
/// Bytes of the properties of a table, names and values.
pub const TABLE_PROPERTIES_BYTES_MAX: usize = 64 << 10;
/// Bytes of the text of a SQL view.
pub const VIEW_BYTES_MAX: usize = 64 << 10;
/// Tables that one commit moves together.
pub const COMMIT_TABLES_MAX: usize = 64;
/// Tables of deleted topics. Beyond it the one that was detached first is forgotten.
pub const DETACHED_TABLES_MAX: usize = 10_000;
/// The table of a deleted topic that never had a row is known for so long.
pub const EMPTY_TABLE_KEPT: Duration = Duration::from_secs(600);
/// A deleted topic's records wait so long for its table to take them.
pub const DETACHED_PARTITIONS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest schema text, with the names of what it refers to, and likewise with the texts of all that it
/// refers to.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Schemas that one refers to, directly or by others.
pub const SCHEMA_REFERENCES_MAX: usize = 256;
/// Registered schemas in a cluster; one more is refused until some are deleted for good: versions of
/// subjects by request, and those of a topic's table with the topic.
pub const SCHEMAS_MAX: usize = 100_000;
/// Bytes of the texts of all registered schemas, and of the names of what they refer to; likewise.
pub const SCHEMAS_BYTES_MAX: u64 = 256 << 20;
/// Columns that one registered schema may flatten to, nested ones counted.
pub const SCHEMA_COLUMNS_MAX: usize = 2_000;
/// Idempotent producers remembered per partition; the one idle for longest goes.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;
/// A producer that was idle for this long, in cluster time, is forgotten.
pub const PRODUCER_IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
