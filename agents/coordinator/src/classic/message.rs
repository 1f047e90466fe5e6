//! What members of classic groups ask, and how they are answered.

use std::time::Duration;

use bytes::Bytes;
use tarn_model::caps;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::error::GroupError;

/// A member as its requests name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberRef {
    pub id: String,
    pub instance: Option<String>,
    /// Negative where the request has none.
    pub generation: i32,
}

/// A request to join.
#[derive(Debug, Clone)]
pub struct Join {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
    /// Must a new member first ask for its id (KIP-394)?
    pub id_required: bool,
    /// Does the client know `skip_assignment` (KIP-814)?
    pub knows_skip: bool,
    /// For the id of a new member.
    pub fresh: Uuid,
}

/// A member is in; the leader hears of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub member: String,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub skip_assignment: bool,
    pub members: Vec<JoinedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// A join that was refused, and the id to come back with if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRefused {
    pub error: GroupError,
    pub member: String,
}

impl From<GroupError> for JoinRefused {
    fn from(error: GroupError) -> JoinRefused {
        JoinRefused {
            error,
            member: String::new(),
        }
    }
}

/// A request for the own assignment; the leader brings everybody's.
#[derive(Debug, Clone)]
pub struct Sync {
    pub member: MemberRef,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

/// A group as DescribeGroups and ListGroups show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// In Kafka's words.
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

pub(crate) type JoinAnswer = Result<Joined, JoinRefused>;
pub(super) type Answer<T> = oneshot::Sender<Result<T, GroupError>>;

/// What a group's task can be asked.
#[derive(Debug)]
pub(super) enum Message {
    Join(Join, oneshot::Sender<JoinAnswer>),
    Sync(Sync, Answer<Synced>),
    Heartbeat(MemberRef, Answer<()>),
    /// A verdict per member.
    Leave(Vec<MemberRef>, Answer<Vec<Result<(), GroupError>>>),
    /// May this member commit offsets, and under which id does the log know it?
    CheckCommit(MemberRef, Answer<String>),
    Describe(Answer<Described>),
}

impl Message {
    /// Says that a member lives, and changes nothing else.
    pub(super) fn is_sign_of_life(&self) -> bool {
        matches!(self, Message::Heartbeat(..) | Message::CheckCommit(..))
    }
}

impl Join {
    /// Bytes of the protocols that it offers.
    pub(super) fn offered(&self) -> usize {
        let protocols = self.protocols.iter();
        protocols
            .map(|(name, metadata)| name.len() + metadata.len())
            .sum()
    }
}

/// Which name of a join is longer than the log takes it.
pub(super) fn too_long(join: &Join) -> Option<&'static str> {
    /// What the agent adds to a name to make a member id of it.
    const ID_SUFFIX: usize = 64;
    let instance = join.instance.as_deref().unwrap_or_default();
    let protocols = join.protocols.iter();
    let longest = protocols.max_by_key(|(name, _)| name.len());
    [
        ("the member id is too long", join.member.as_str()),
        ("the group instance id is too long", instance),
        ("the client id is too long", &join.client_id),
        ("the protocol type is too long", &join.protocol_type),
        (
            "a protocol's name is too long",
            longest.map_or("", |(name, _)| name.as_str()),
        ),
    ]
    .into_iter()
    .find(|(_, name)| name.len() > caps::NAME_BYTES_MAX - ID_SUFFIX)
    .map(|(cause, _)| cause)
}
