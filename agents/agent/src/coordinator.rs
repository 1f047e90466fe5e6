//! Coordinates consumer groups of the classic protocol.
//!
//! ```text
//! request ─▶ Coordinator ─▶ the group's task (group::Group decides) ─▶ commit log
//!              who coordinates?   joins, votes, timers                  generations, removals
//! ```
//!
//! Holds: a completed generation is in the log before anybody hears of its assignment; a heartbeat
//! gets OK only while this process is not fenced; what says that a member, a generation or an
//! instance is not there is said only after a read barrier; joins in progress are memory, so after a
//! move members join again, while a stable group does not notice.
//! Leaves to others: offsets, which handlers propose themselves and `apply` checks.

mod group;
mod retention;
mod run;
mod subscription;
mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tarn_model::{caps, encode};
use tarn_replica::Metastore;
use tarn_runtime::Scope;
use tarn_state::{Command, State, advice};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};
use uuid::Uuid;

use crate::AgentSettings;
use crate::metrics::AgentMetrics;

pub(crate) use group::Described;
pub(crate) use subscription::{CONSUMER, subscribed};

/// Requests that may wait for one group's task, which never blocks for long.
const INBOX: usize = 1024;
/// How often a question is asked again when the group's task ended under it.
const ASKS: usize = 3;

/// Why a coordinator says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("another agent coordinates this group")]
    NotCoordinator,
    #[error("the commit log did not answer in time")]
    NotNow,
    #[error("this is no group id")]
    InvalidGroupId,
    #[error("the session timeout is not within the allowed range")]
    InvalidSessionTimeout,
    #[error("a name or a member's metadata is too long")]
    InvalidRequest,
    #[error("the group has no such member")]
    UnknownMember,
    #[error("the member must join again with the id that it was given")]
    MemberIdRequired,
    #[error("another member has taken the static member's place")]
    FencedInstance,
    #[error("this is not the group's generation")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the member has no protocol in common with the group")]
    InconsistentProtocol,
    #[error("the group, or this agent, is full")]
    Full,
    #[error("the group has members")]
    NotEmpty,
    #[error("there is no such group")]
    NotFound,
}

impl GroupError {
    /// Says that something is not there or is over: no lagging view may say so.
    fn is_negative(self) -> bool {
        match self {
            GroupError::UnknownMember
            | GroupError::FencedInstance
            | GroupError::IllegalGeneration
            | GroupError::NotFound => true,
            GroupError::NotCoordinator
            | GroupError::NotNow
            | GroupError::InvalidGroupId
            | GroupError::InvalidSessionTimeout
            | GroupError::InvalidRequest
            | GroupError::MemberIdRequired
            | GroupError::RebalanceInProgress
            | GroupError::InconsistentProtocol
            | GroupError::Full
            | GroupError::NotEmpty => false,
        }
    }
}

/// A member as its requests name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberRef {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    /// Negative where the request has none.
    pub(crate) generation: i32,
}

/// A request to join.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Must a new member first ask for its id (KIP-394)?
    pub(crate) id_required: bool,
    /// Does the client know `skip_assignment` (KIP-814)?
    pub(crate) knows_skip: bool,
    /// For the id of a new member.
    pub(crate) fresh: Uuid,
}

/// A member is in; the leader hears of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) member: String,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) skip_assignment: bool,
    pub(crate) members: Vec<JoinedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Bytes,
}

/// A join that was refused, and the id to come back with if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinRefused {
    pub(crate) error: GroupError,
    pub(crate) member: String,
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
pub(crate) struct Sync {
    pub(crate) member: MemberRef,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

pub(crate) type JoinAnswer = Result<Joined, JoinRefused>;
type Answer<T> = oneshot::Sender<Result<T, GroupError>>;

/// What a group's task can be asked.
#[derive(Debug)]
enum Message {
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
    fn is_sign_of_life(&self) -> bool {
        matches!(self, Message::Heartbeat(..) | Message::CheckCommit(..))
    }
}

/// The coordinator of one agent. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    metastore: Metastore,
    metrics: AgentMetrics,
    initial_delay: Duration,
    session_timeout_min: Duration,
    session_timeout_max: Duration,
    scope: Scope,
    /// Bytes that the members of all groups brought and were assigned.
    held: AtomicU64,
    held_max: u64,
    groups: Mutex<BTreeMap<String, mpsc::Sender<Message>>>,
    /// Counts the times that members could not be heard, because this process was fenced or their
    /// requests waited to be read: they get a full session timeout afterwards.
    unheard: AtomicU64,
    /// Requests have waited for long to be read.
    waiting_outside: AtomicBool,
    /// A task has ended that may have left members behind.
    adopt_again: AtomicBool,
}

impl Coordinator {
    pub(crate) fn start(
        metastore: &Metastore,
        settings: &AgentSettings,
        metrics: AgentMetrics,
        scope: Scope,
    ) -> Coordinator {
        let inner = Arc::new(Inner {
            metastore: metastore.clone(),
            metrics,
            initial_delay: settings.group_initial_delay,
            session_timeout_min: settings.group_session_timeout_min,
            session_timeout_max: settings.group_session_timeout_max,
            scope: scope.clone(),
            held: AtomicU64::new(0),
            held_max: settings.group_bytes.0,
            groups: Mutex::default(),
            unheard: AtomicU64::new(0),
            waiting_outside: AtomicBool::new(false),
            adopt_again: AtomicBool::new(false),
        });
        let coordinator = Coordinator { inner };
        drop(scope.spawn("group watch", coordinator.clone().watch()));
        coordinator
    }

    pub(crate) async fn join(&self, group: &str, join: Join, deadline: Instant) -> JoinAnswer {
        let (min, max) = (
            self.inner.session_timeout_min,
            self.inner.session_timeout_max,
        );
        if group.is_empty() || group.len() > caps::NAME_BYTES_MAX {
            return Err(GroupError::InvalidGroupId.into());
        }
        let refuse = |error| {
            Err(JoinRefused {
                error,
                member: join.member.clone(),
            })
        };
        if !(min..=max).contains(&join.session_timeout) {
            return refuse(GroupError::InvalidSessionTimeout);
        }
        if let Some(cause) = too_long(&join) {
            info!(
                group,
                client_id = join.client_id,
                cause,
                "a join is answered with INVALID_REQUEST"
            );
            return refuse(GroupError::InvalidRequest);
        }
        let asked = || {
            let join = join.clone();
            move |answer| Message::Join(join, answer)
        };
        let mut confirmed = false;
        loop {
            let refused = match self.ask(group, true, deadline, asked()).await {
                Ok(Ok(joined)) => return Ok(joined),
                Ok(Err(refused)) => refused,
                Err(error) => JoinRefused {
                    error,
                    member: join.member.clone(),
                },
            };
            if confirmed || !refused.error.is_negative() {
                return Err(refused);
            }
            if let Err(error) = self.confirm(deadline).await {
                return refuse(error);
            }
            confirmed = true;
        }
    }

    pub(crate) async fn sync(
        &self,
        group: &str,
        sync: Sync,
        deadline: Instant,
    ) -> Result<Synced, GroupError> {
        self.ask_surely(group, deadline, |answer| {
            Message::Sync(sync.clone(), answer)
        })
        .await
        .map_err(of_member)
    }

    pub(crate) async fn heartbeat(
        &self,
        group: &str,
        member: MemberRef,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        self.ask_surely(group, deadline, |answer| {
            Message::Heartbeat(member.clone(), answer)
        })
        .await
        .map_err(of_member)
    }

    pub(crate) async fn leave(
        &self,
        group: &str,
        members: Vec<MemberRef>,
        deadline: Instant,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        // Verdicts on single members are negative too; the barrier before them is cheaper than a
        // second try that has to tell who left the first time.
        self.confirm(deadline).await?;
        self.ask_surely(group, deadline, |answer| {
            Message::Leave(members.clone(), answer)
        })
        .await
        .map_err(of_member)
    }

    /// May the member commit offsets? Gives the id under which the log knows it.
    pub(crate) async fn check_commit(
        &self,
        group: &str,
        member: MemberRef,
        deadline: Instant,
    ) -> Result<String, GroupError> {
        self.ask_surely(group, deadline, |answer| {
            Message::CheckCommit(member.clone(), answer)
        })
        .await
        .map_err(of_member)
    }

    /// The group as its task has it in memory, which is newer than the log while it rebalances.
    pub(crate) async fn describe(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<Described, GroupError> {
        self.ask_surely(group, deadline, Message::Describe).await
    }

    /// Groups that have a task here.
    pub(crate) fn in_memory(&self) -> Vec<String> {
        self.inner
            .groups
            .lock()
            .expect("nobody panics while holding it")
            .keys()
            .cloned()
            .collect()
    }

    /// Coordinates this agent the group, as far as a view can tell that is behind nothing?
    pub(crate) async fn check_coordinator(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        if self.inner.metastore.is_fenced() {
            return Err(GroupError::NotNow);
        }
        if self.inner.coordinates(&self.inner.metastore.view(), group) {
            return Ok(());
        }
        let fresh = self
            .inner
            .metastore
            .barrier(deadline)
            .await
            .map_err(|_| GroupError::NotNow)?;
        if self.inner.coordinates(&fresh, group) {
            Ok(())
        } else {
            Err(GroupError::NotCoordinator)
        }
    }

    /// May somebody who is no member commit offsets? Only while the group has no members: those that
    /// the log has are watched from now on, if they were not.
    pub(crate) async fn check_simple_commit(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        self.check_coordinator(group, deadline).await?;
        let view = self.inner.metastore.view();
        let has_members = |group: &Arc<tarn_state::Group>| !group.members.is_empty();
        if view.groups.get(group).is_some_and(has_members) {
            self.task(group, true)?;
        }
        Ok(())
    }

    async fn confirm(&self, deadline: Instant) -> Result<(), GroupError> {
        self.inner
            .metastore
            .barrier(deadline)
            .await
            .map(|_| ())
            .map_err(|_| GroupError::NotNow)
    }

    /// Asks, and after a negative answer asks again behind a barrier.
    async fn ask_surely<T>(
        &self,
        group: &str,
        deadline: Instant,
        message: impl Fn(Answer<T>) -> Message,
    ) -> Result<T, GroupError> {
        if group.len() > caps::NAME_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        match self
            .ask(group, false, deadline, &message)
            .await
            .and_then(|answer| answer)
        {
            Err(error) if error.is_negative() => {
                self.confirm(deadline).await?;
                self.ask(group, false, deadline, &message)
                    .await
                    .and_then(|answer| answer)
            }
            answer => answer,
        }
    }

    /// Asks the group's task, which is started if there is none: always, or if the log has the group.
    async fn ask<T>(
        &self,
        group: &str,
        start: bool,
        deadline: Instant,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, GroupError> {
        self.check_coordinator(group, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let mut message = message(answer);
        for _ in 0..ASKS {
            let task = self.task(group, start)?;
            match timeout_at(deadline, task.send(message)).await {
                Ok(Ok(())) => {
                    // Joins and syncs may wait for others, up to the group's own timeouts. A task
                    // that ends answers nobody: the client asks again.
                    return answered.await.map_err(|_| GroupError::NotNow);
                }
                // The task ended between two requests; the next one takes its place.
                Ok(Err(mpsc::error::SendError(back))) => message = back,
                Err(_) => return Err(GroupError::NotNow),
            }
        }
        Err(GroupError::NotNow)
    }

    fn task(&self, group: &str, start: bool) -> Result<mpsc::Sender<Message>, GroupError> {
        let mut groups = self
            .inner
            .groups
            .lock()
            .expect("nobody panics while holding it");
        if let Some(task) = groups.get(group)
            && !task.is_closed()
        {
            return Ok(task.clone());
        }
        if self.inner.scope.is_stopping() {
            return Err(GroupError::NotCoordinator);
        }
        if !start && !self.inner.metastore.view().groups.contains_key(group) {
            return Err(GroupError::NotFound);
        }
        if groups.len() >= caps::GROUPS_MAX {
            warn!(
                group,
                max = caps::GROUPS_MAX,
                "this agent coordinates no more groups"
            );
            return Err(GroupError::NotNow);
        }
        let (task, inbox) = mpsc::channel(INBOX);
        groups.insert(group.to_owned(), task.clone());
        self.inner
            .metrics
            .groups
            .set(i64::try_from(groups.len()).unwrap_or(i64::MAX));
        drop(self.inner.scope.spawn(
            "group",
            run::run(Arc::clone(&self.inner), group.to_owned(), inbox),
        ));
        Ok(task)
    }
}

impl Inner {
    fn coordinates(&self, view: &State, group: &str) -> bool {
        advice::is_coordinator(view, group, self.metastore.node())
    }

    /// Closes a task's inbox, if nobody has asked it anything meanwhile.
    fn close_if_unasked(&self, inbox: &mut mpsc::Receiver<Message>) -> bool {
        // Under the lock, so that nobody is handed the task while it goes.
        let _groups = self.groups.lock().expect("nobody panics while holding it");
        if !inbox.is_empty() {
            return false;
        }
        inbox.close();
        true
    }

    /// Takes a task that has closed its inbox off the list; its successor may stand there already.
    fn forget_closed(&self, group: &str) {
        let mut groups = self.groups.lock().expect("nobody panics while holding it");
        if groups.get(group).is_some_and(mpsc::Sender::is_closed) {
            groups.remove(group);
        }
        self.metrics
            .groups
            .set(i64::try_from(groups.len()).unwrap_or(i64::MAX));
    }
}

/// Who asks as a member of a group that is not there is no member.
fn of_member(error: GroupError) -> GroupError {
    if error == GroupError::NotFound {
        GroupError::UnknownMember
    } else {
        error
    }
}

/// Does this fit into an entry of the log, alone?
pub(crate) fn fits_log(command: &Command) -> bool {
    /// What stands around a command in its entry.
    const AROUND: u64 = 256;
    encode(command).len() as u64 + AROUND <= Metastore::PROPOSAL_BYTES_MAX.0
}

impl Join {
    /// Bytes of the protocols that it offers.
    fn offered(&self) -> usize {
        let protocols = self.protocols.iter();
        protocols
            .map(|(name, metadata)| name.len() + metadata.len())
            .sum()
    }
}

/// Which name of a join is longer than the log takes it.
fn too_long(join: &Join) -> Option<&'static str> {
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
