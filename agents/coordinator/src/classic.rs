//! Coordinates consumer groups of the classic protocol.
//!
//! ```text
//! request ─▶ Classic ─▶ the group's task (group::Group decides) ─▶ commit log
//!              who coordinates?   joins, votes, timers                  generations, removals
//! ```
//!
//! Holds: a completed generation is in the log before anybody hears of its assignment; a heartbeat
//! gets OK only while this process is not fenced; what says that a member, a generation or an
//! instance is not there is said only after a read barrier; joins in progress are memory, so after a
//! move members join again, while a stable group does not notice.
//! Leaves to others: offsets, which handlers propose themselves and `apply` checks.

mod group;
mod message;
mod retention;
mod run;
mod shared;
mod subscription;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use tarn_model::caps;
use tarn_runtime::{Scope, gauge};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::error::GroupError;
use crate::metrics::CoordinatorMetrics;
use crate::seat::Seat;
use crate::settings::CoordinatorSettings;

use message::{Answer, JoinAnswer, Message, too_long};
use shared::Shared;

pub use message::{
    Described, DescribedMember, Join, JoinRefused, Joined, JoinedMember, MemberRef, Sync, Synced,
};
pub use subscription::{CONSUMER, subscribed};

/// Requests that may wait for one group's task, which never blocks for long.
const INBOX: usize = 1024;
/// How often a question is asked again when the group's task ended under it.
const ASKS: usize = 3;

/// The coordinator of classic groups. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Classic {
    shared: Arc<Shared>,
}

impl Classic {
    pub(crate) fn start(
        seat: Seat,
        settings: &CoordinatorSettings,
        metrics: CoordinatorMetrics,
        scope: Scope,
    ) -> Classic {
        let shared = Arc::new(Shared {
            seat,
            metrics,
            initial_delay: settings.initial_delay,
            session_timeout_min: settings.session_timeout_min,
            session_timeout_max: settings.session_timeout_max,
            scope: scope.clone(),
            held: AtomicU64::new(0),
            held_max: settings.bytes.0,
            groups: Mutex::default(),
            unheard: AtomicU64::new(0),
            waiting_outside: AtomicBool::new(false),
            adopt_again: AtomicBool::new(false),
        });
        let classic = Classic { shared };
        drop(scope.spawn("group watch", classic.clone().watch()));
        classic
    }

    pub async fn join(&self, group: &str, join: Join, deadline: Instant) -> JoinAnswer {
        let (min, max) = (
            self.shared.session_timeout_min,
            self.shared.session_timeout_max,
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
            if let Err(error) = self.shared.seat.confirm(deadline).await {
                return refuse(error);
            }
            confirmed = true;
        }
    }

    pub async fn sync(
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

    pub async fn heartbeat(
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

    pub async fn leave(
        &self,
        group: &str,
        members: Vec<MemberRef>,
        deadline: Instant,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        // Verdicts on single members are negative too; the barrier before them is cheaper than a
        // second try that has to tell who left the first time.
        self.shared.seat.confirm(deadline).await?;
        self.ask_surely(group, deadline, |answer| {
            Message::Leave(members.clone(), answer)
        })
        .await
        .map_err(of_member)
    }

    /// May the member commit offsets? Gives the id under which the log knows it.
    pub async fn check_commit(
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
    pub async fn describe(&self, group: &str, deadline: Instant) -> Result<Described, GroupError> {
        self.ask_surely(group, deadline, Message::Describe).await
    }

    /// Groups that have a task here.
    pub fn in_memory(&self) -> Vec<String> {
        self.shared
            .groups
            .lock()
            .expect("nobody panics while holding it")
            .keys()
            .cloned()
            .collect()
    }

    /// May somebody who is no member commit offsets? Only while the group has no members: those that
    /// the log has are watched from now on, if they were not.
    pub async fn check_simple_commit(
        &self,
        group: &str,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        self.shared.seat.check(group, deadline).await?;
        let view = self.shared.seat.metastore.view();
        let has_members = |group: &Arc<tarn_state::Group>| !group.members.is_empty();
        if view.groups.get(group).is_some_and(has_members) {
            self.task(group, true)?;
        }
        Ok(())
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
                self.shared.seat.confirm(deadline).await?;
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
        self.shared.seat.check(group, deadline).await?;
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
            .shared
            .groups
            .lock()
            .expect("nobody panics while holding it");
        if let Some(task) = groups.get(group)
            && !task.is_closed()
        {
            return Ok(task.clone());
        }
        if self.shared.scope.is_stopping() {
            return Err(GroupError::NotCoordinator);
        }
        if !start && !self.shared.seat.metastore.view().groups.contains_key(group) {
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
        self.shared.metrics.groups.set(gauge(groups.len()));
        drop(self.shared.scope.spawn(
            "group",
            run::run(Arc::clone(&self.shared), group.to_owned(), inbox),
        ));
        Ok(task)
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
