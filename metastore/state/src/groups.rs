//! Consumer groups: the last completed generation and the committed offsets. Joins in progress are
//! memory of the coordinator.

use std::sync::Arc;

use imbl::OrdMap;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, ClusterTime, NodeId, Offset, TopicPartition, caps};

use crate::advice::is_coordinator;
use crate::{Context, Refusal, State};

/// A group. `members` is empty when it has only offsets, or everybody left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Of the last completed rebalance; 0 before the first.
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    /// Member id of the leader.
    pub leader: String,
    /// In the order of their ids. Shared: a commit of offsets copies none of them.
    pub members: Arc<[GroupMember]>,
    /// What the members offered and were assigned, as the coordinator wrote it; may name more members
    /// than are left. Nobody needs it but a coordinator that takes over.
    pub brought: Arc<[u8]>,
    pub offsets: OrdMap<TopicPartition, CommittedOffset>,
    pub changed: ClusterTime,
}

/// A member of a completed generation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupMember {
    #[n(0)]
    pub id: String,
    /// `group.instance.id` of a static member (KIP-345).
    #[n(1)]
    pub instance: Option<String>,
    #[n(2)]
    pub client_id: String,
    #[n(3)]
    pub client_host: String,
    #[n(4)]
    pub session_timeout_ms: i32,
    #[n(5)]
    pub rebalance_timeout_ms: i32,
}

/// What one member brought into its generation. Those of a group are encoded together and compressed
/// (zstd): members mostly say the same, and the whole has to fit into an entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BroughtByMember {
    #[n(0)]
    pub id: String,
    /// Every protocol the member offered, with its metadata, by preference.
    #[n(1)]
    pub protocols: Vec<(String, ByteVec)>,
    #[n(2)]
    pub assignment: ByteVec,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommittedOffset {
    /// As the client said. Kafka takes negative ones too, which stand for no offset: KafkaJS commits
    /// −1 and −2 for "the end" and "the start".
    #[n(0)]
    pub offset: i64,
    /// −1 when the client did not say.
    #[n(1)]
    pub leader_epoch: i32,
    #[n(2)]
    pub metadata: String,
    #[n(3)]
    pub committed: ClusterTime,
}

impl Group {
    pub fn member(&self, id: &str) -> Option<&GroupMember> {
        let at = self
            .members
            .binary_search_by(|member| member.id.as_str().cmp(id))
            .ok()?;
        self.members.get(at)
    }
}

impl CommittedOffset {
    /// Where the group goes on; `None` where the client committed no offset.
    pub fn next(&self) -> Option<Offset> {
        Offset::from_wire(self.offset)
    }
}

/// Is the text that a client commits beside an offset too long? Kafka counts Java's characters.
pub fn is_metadata_too_long(metadata: &str) -> bool {
    metadata.encode_utf16().count() > caps::COMMIT_METADATA_CHARS_MAX
}

impl State {
    /// Is `node`, for which a command speaks, the coordinator, and the command's proposer?
    pub(crate) fn check_coordinator(
        &self,
        group: &str,
        node: NodeId,
        ctx: &Context,
    ) -> Result<(), Refusal> {
        if node != ctx.node || !is_coordinator(self, group, node) {
            return Err(Refusal::NotCoordinator(node));
        }
        Ok(())
    }

    pub(crate) fn group_or_new(
        &mut self,
        name: &str,
        ctx: &Context,
    ) -> Result<&mut Arc<Group>, Refusal> {
        if !self.groups.contains_key(name) {
            if name.len() > caps::NAME_BYTES_MAX {
                return Err(Refusal::TooLong {
                    max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
                });
            }
            if self.groups.len() >= caps::GROUPS_MAX {
                return Err(Refusal::Full {
                    what: "groups".into(),
                    max: caps::GROUPS_MAX as u64,
                });
            }
            let group = Group {
                generation: 0,
                protocol_type: String::new(),
                protocol: String::new(),
                leader: String::new(),
                members: Arc::default(),
                brought: Arc::default(),
                offsets: OrdMap::new(),
                changed: ctx.cluster_time,
            };
            self.groups.insert(name.to_owned(), Arc::new(group));
        }
        Ok(self.groups.get_mut(name).expect("it is there by now"))
    }
}
