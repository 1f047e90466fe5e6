//! Consumer groups: the last completed generation and the committed offsets. Joins in progress are
//! memory of the coordinator.
//!
//! Leaves to others: what members bring, which is bytes here and read by the coordinator alone.

use std::sync::Arc;

use imbl::OrdMap;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, ClusterTime, NodeId, Offset, TopicPartition, caps};

use super::refusal::GroupRefusal;
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
    /// What its members weigh, and its offsets; both follow from the rest.
    pub member_bytes: u64,
    pub offset_bytes: u64,
}

/// What a group weighs without anything in it, and a committed offset without its metadata; about what
/// they take in memory.
const GROUP_BYTES: u64 = 256;
const OFFSET_BYTES: u64 = 96;

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
    /// A group that nobody has joined and that has committed nothing.
    pub fn empty(changed: ClusterTime) -> Group {
        Group {
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: Arc::default(),
            brought: Arc::default(),
            offsets: OrdMap::new(),
            changed,
            member_bytes: 0,
            offset_bytes: 0,
        }
    }

    /// What it weighs in `caps::GROUPS_BYTES_MAX`.
    pub(crate) fn bytes(&self, name: &str) -> u64 {
        GROUP_BYTES + name.len() as u64 + self.member_bytes + self.offset_bytes
    }

    pub(crate) fn set_members(&mut self, members: Arc<[GroupMember]>, brought: Arc<[u8]>) {
        let of_member = |member: &GroupMember| {
            let instance = member.instance.as_ref().map_or(0, String::len);
            member.id.len() + member.client_id.len() + member.client_host.len() + instance
        };
        let of_members: usize = members.iter().map(of_member).sum();
        self.member_bytes = (of_members + brought.len()) as u64;
        self.members = members;
        self.brought = brought;
    }

    pub(crate) fn put_offset(&mut self, at: TopicPartition, committed: CommittedOffset) {
        self.offset_bytes += committed.bytes();
        if let Some(before) = self.offsets.insert(at, committed) {
            self.offset_bytes -= before.bytes();
        }
    }

    pub(crate) fn remove_offsets<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) {
        for at in partitions {
            if let Some(before) = self.offsets.remove(at) {
                self.offset_bytes -= before.bytes();
            }
        }
    }

    pub fn member(&self, id: &str) -> Option<&GroupMember> {
        let at = self
            .members
            .binary_search_by(|member| member.id.as_str().cmp(id))
            .ok()?;
        self.members.get(at)
    }
}

impl CommittedOffset {
    pub(crate) fn bytes(&self) -> u64 {
        OFFSET_BYTES + self.metadata.len() as u64
    }

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
            return Err(GroupRefusal::NotCoordinator(node).into());
        }
        Ok(())
    }

    /// Changes a group that may be new. What would add to all groups beyond their bound is refused.
    pub(crate) fn change_or_add_group(
        &mut self,
        name: &str,
        ctx: &Context,
        change: impl FnOnce(&mut Group),
    ) -> Result<(), Refusal> {
        let before = self.group_bytes;
        self.add_group(name, ctx)?;
        self.change_group(name, change);
        if self.group_bytes > before.max(caps::GROUPS_BYTES_MAX) {
            return Err(Refusal::Full {
                what: "bytes of groups".into(),
                max: caps::GROUPS_BYTES_MAX,
            });
        }
        Ok(())
    }

    /// Changes a group, if it is there.
    pub(crate) fn change_group(&mut self, name: &str, change: impl FnOnce(&mut Group)) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let group = Arc::make_mut(group);
        let before = group.bytes(name);
        change(group);
        self.group_bytes = self.group_bytes - before + group.bytes(name);
    }

    pub(crate) fn remove_group(&mut self, name: &str) {
        if let Some(group) = self.groups.remove(name) {
            self.group_bytes -= group.bytes(name);
        }
    }

    fn add_group(&mut self, name: &str, ctx: &Context) -> Result<(), Refusal> {
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
            let group = Group::empty(ctx.cluster_time);
            self.group_bytes += group.bytes(name);
            self.groups.insert(name.to_owned(), Arc::new(group));
        }
        Ok(())
    }
}
