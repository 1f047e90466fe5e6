//! The task of one group: hands requests to [`Group`], keeps its timers and talks to the log.
//!
//! Holds: of each kind one thing is on its way to the log (a generation, a removal, an expiry), and nothing is
//! answered on a view that is older than the question.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tarn_model::NodeId;
use tarn_replica::{Metastore, ProposeError};
use tarn_runtime::Scope;
use tarn_state::commands::{CompleteGroup, RemoveGroupMembers};
use tarn_state::{Command, GroupRefusal, Refusal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::group::{Complete, Group, brought};
use super::message::{Answer, JoinRefused, Message};
use super::retention;
use super::shared::Shared;
use crate::error::GroupError;

/// How long a new task waits for a view that is behind nothing.
const LOAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a proposal of the coordinator may take.
const PROPOSE_WITHIN: Duration = Duration::from_secs(15);
/// A task whose group is empty ends after this long without a request.
const IDLE: Duration = Duration::from_secs(60);
/// Timers do not ring more often than this, whatever the timeouts are.
const TICK_MIN: Duration = Duration::from_millis(5);
/// When the process is fenced, or a removal failed, the next look comes after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Proposing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who waits for members to be gone from the log, and what they are told then.
type Leaving = (
    Answer<Vec<Result<(), GroupError>>>,
    Vec<Result<(), GroupError>>,
);

struct Task {
    shared: Arc<Shared>,
    name: String,
    group: Group,
    /// A generation on its way to the log.
    completing: Option<Proposing<(Complete, Result<(), GroupError>)>>,
    /// The members of an empty group on their way out of the log.
    removing: Option<Proposing<Result<(), GroupError>>>,
    leaving: Vec<Leaving>,
    remove_after: Instant,
    /// Offsets that the group no longer needs, on their way out of the log …
    expiring: Option<Proposing<()>>,
    /// … and when they are looked for next.
    next_look: Instant,
    unheard: u64,
    /// When the timer rings; unknown after anything but a sign of life. SUBTLE: those only move ends
    /// away, so it may ring too early, never too late, and nobody looks through all members for each
    /// one's heartbeat.
    rings: Option<Instant>,
    /// Its part of what all groups hold.
    held: u64,
}

pub(super) async fn run(shared: Arc<Shared>, name: String, mut inbox: mpsc::Receiver<Message>) {
    // What the group is can only be said by a view that is behind nothing.
    let now = Instant::now();
    let mut task = Task {
        group: Group::new(shared.initial_delay),
        completing: None,
        removing: None,
        leaving: Vec::new(),
        remove_after: now,
        expiring: None,
        next_look: now + retention::LOOK_AT_OFFSETS,
        unheard: shared.unheard.load(Ordering::Relaxed),
        shared,
        name,
        rings: None,
        held: 0,
    };
    let view = match task.shared.seat.metastore.barrier(now + LOAD_WITHIN).await {
        Ok(view) => view,
        Err(error) => {
            debug!(group = task.name, %error, "could not load a group");
            task.shared.adopt_again.store(true, Ordering::Relaxed);
            task.end(&mut inbox, GroupError::NotNow);
            return;
        }
    };
    if let Some(logged) = view.groups.get(&task.name) {
        task.group.load(logged, Instant::now());
    }
    let error = task.serve(&mut inbox).await;
    task.end(&mut inbox, error);
}

impl Task {
    /// Serves until the group is idle, or no longer ours. Says what to tell those who still wait.
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Message>) -> GroupError {
        let mut stopped = std::pin::pin!(self.shared.scope.stopped());
        let mut used = Instant::now();
        loop {
            if let Err(error) = self.look_at_log() {
                return error;
            }
            self.propose();
            self.expire_offsets();
            self.count_bytes();
            let ring = match self.rings {
                Some(ring) => ring,
                None => self.next_ring(used),
            };
            self.rings = Some(ring);
            tokio::select! {
                () = &mut stopped => return GroupError::NotCoordinator,
                message = inbox.recv() => match message {
                    Some(message) => {
                        used = Instant::now();
                        // It may have waited for long: nothing is answered on an old view.
                        if let Err(error) = self.look_at_log() {
                            refuse(message, error);
                            return error;
                        }
                        if !message.is_sign_of_life() {
                            self.rings = None;
                        }
                        self.handle(used, message);
                    }
                    None => return GroupError::NotNow,
                },
                (complete, result) = ready(&mut self.completing) => {
                    self.rings = None;
                    self.completing = None;
                    self.group.completed(Instant::now(), &complete, result);
                    self.shared.metrics.rebalances.inc_by(self.group.take_rebalances());
                    match result {
                        Ok(()) => info!(group = self.name, generation = complete.generation, members = complete.members.len(), "a generation is complete"),
                        Err(error) => warn!(group = self.name, generation = complete.generation, %error, "a generation could not be completed"),
                    }
                }
                result = ready(&mut self.removing) => {
                    self.rings = None;
                    self.removing = None;
                    if let Err(error) = result {
                        debug!(group = self.name, %error, "members could not be removed, trying again");
                        self.remove_after = Instant::now() + LOOK_AGAIN;
                    }
                    for (answer, verdicts) in self.leaving.drain(..) {
                        let _ = answer.send(result.map(|()| verdicts));
                    }
                }
                () = ready(&mut self.expiring) => self.expiring = None,
                () = sleep_until(ring) => {
                    self.rings = None;
                    let now = Instant::now();
                    if !self.shared.seat.metastore.is_fenced() {
                        self.renew_unheard(now);
                        self.group.tick(now);
                    }
                    let idle = self.group.is_empty() && self.completing.is_none() && self.removing.is_none();
                    if idle && now >= used + IDLE && self.shared.close_if_unasked(inbox) {
                        return GroupError::NotNow;
                    }
                }
            }
        }
    }

    fn handle(&mut self, now: Instant, message: Message) {
        self.renew_unheard(now);
        match message {
            Message::Join(join, answer) => {
                if self.has_room(join.offered(), self.group.bytes_replaced(&join)) {
                    self.group.join(now, join, answer);
                } else {
                    refuse(Message::Join(join, answer), GroupError::Full);
                }
            }
            Message::Sync(sync, answer) => {
                let assigned = sync.assignments.iter().map(|(_, bytes)| bytes.len()).sum();
                if self.has_room(assigned, self.group.assigned()) {
                    self.group.sync(now, sync, answer);
                } else {
                    refuse(Message::Sync(sync, answer), GroupError::Full);
                }
            }
            Message::Heartbeat(member, answer) => {
                let _ = answer.send(self.group.heartbeat(now, &member));
            }
            Message::Leave(members, answer) => {
                let verdicts = members
                    .iter()
                    .map(|member| self.group.leave(now, member))
                    .collect();
                if self.group.is_empty() {
                    // Whoever deletes the group next must find it empty in the log too.
                    self.remove_after = now;
                    self.leaving.push((answer, verdicts));
                } else {
                    let _ = answer.send(Ok(verdicts));
                }
            }
            Message::CheckCommit(member, answer) => {
                let _ = answer.send(self.group.check_commit(now, &member));
            }
            Message::Describe(answer) => {
                let logged = self
                    .shared
                    .seat
                    .metastore
                    .view()
                    .groups
                    .contains_key(&self.name);
                let there = logged || !self.group.is_empty();
                let _ = answer.send(if there {
                    Ok(self.group.describe())
                } else {
                    Err(GroupError::NotFound)
                });
            }
        }
    }

    /// May the group hold so much more, for so much less of its own? A member that asks again for what it
    /// brought before is never refused.
    fn has_room(&self, more: usize, less: usize) -> bool {
        let (held, max) = (
            self.shared.held.load(Ordering::Relaxed),
            self.shared.held_max,
        );
        let after = held.saturating_add(more as u64).saturating_sub(less as u64);
        let fits = more <= less || after <= max;
        if !fits {
            info!(
                group = self.name,
                bytes = more,
                held,
                max,
                "what a member brings does not fit beside what all groups hold"
            );
        }
        fits
    }

    /// Tells the others what this group holds now.
    fn count_bytes(&mut self) {
        let bytes = self.group.bytes() as u64;
        if bytes != self.held {
            self.shared.held.fetch_add(bytes, Ordering::Relaxed);
            self.shared.held.fetch_sub(self.held, Ordering::Relaxed);
            self.held = bytes;
        }
    }

    /// Members that could not be heard get a full session timeout.
    fn renew_unheard(&mut self, now: Instant) {
        let unheard = self.shared.unheard.load(Ordering::Relaxed);
        if unheard != self.unheard {
            self.unheard = unheard;
            self.group.renew_all(now);
        }
    }

    /// Is the group still ours, and as we know it?
    fn look_at_log(&mut self) -> Result<(), GroupError> {
        let view = self.shared.seat.metastore.view();
        if !self.shared.seat.coordinates(&view, &self.name) {
            info!(group = self.name, "another agent coordinates the group now");
            // It may be ours again by the time that anybody looks.
            self.shared.adopt_again.store(true, Ordering::Relaxed);
            return Err(GroupError::NotCoordinator);
        }
        if self
            .group
            .follow(view.groups.get(&self.name).map(Arc::as_ref), Instant::now())
        {
            self.rings = None;
            info!(
                group = self.name,
                "the group moved on elsewhere and was loaded anew"
            );
        }
        Ok(())
    }

    /// Sends what has to be in the log on its way.
    fn propose(&mut self) {
        let view = self.shared.seat.metastore.view();
        let node = self.shared.seat.metastore.node();
        if self.completing.is_none()
            && let Some(complete) = self.group.take_complete()
        {
            let metastore = self.shared.seat.metastore.clone();
            // The view holds everything that this task has seen, its own generations included.
            let previous = view
                .groups
                .get(&self.name)
                .map_or(0, |logged| logged.generation);
            self.completing = Some(Box::pin(complete_group(
                self.shared.scope.clone(),
                metastore,
                node,
                self.name.clone(),
                previous,
                complete,
            )));
        }
        if self.removing.is_some() {
            return;
        }
        let left: Vec<String> = match view.groups.get(&self.name) {
            Some(logged) if self.group.is_empty() && self.completing.is_none() => logged
                .members
                .iter()
                .map(|member| member.id.clone())
                .collect(),
            _ => Vec::new(),
        };
        if left.is_empty() {
            for (answer, verdicts) in self.leaving.drain(..) {
                let _ = answer.send(Ok(verdicts));
            }
        } else if Instant::now() >= self.remove_after {
            let metastore = self.shared.seat.metastore.clone();
            self.removing = Some(Box::pin(remove_members(
                metastore,
                node,
                self.name.clone(),
                left,
            )));
        }
    }

    /// Looks now and then for offsets of topics that the group no longer reads.
    fn expire_offsets(&mut self) {
        let now = Instant::now();
        if now < self.next_look || self.expiring.is_some() {
            return;
        }
        self.next_look = now + retention::LOOK_AT_OFFSETS;
        let Some(read) = self.group.subscribed() else {
            return;
        };
        let (metastore, name) = (self.shared.seat.metastore.clone(), self.name.clone());
        let view = metastore.view();
        if let Some((expired, until)) = retention::expired(&view, &name, &read) {
            let node = metastore.node();
            let deleting = retention::delete(metastore, node, name, expired, until);
            self.expiring = Some(Box::pin(deleting));
        }
    }

    fn next_ring(&self, used: Instant) -> Instant {
        let now = Instant::now();
        let mut ring = self.group.next_tick().unwrap_or(used + IDLE);
        if !self.group.is_empty() && self.expiring.is_none() {
            ring = ring.min(self.next_look);
        }
        if self.group.is_empty() && self.removing.is_none() && self.remove_after > now {
            ring = ring.min(self.remove_after);
        }
        if self.shared.seat.metastore.is_fenced() {
            ring = ring.max(now + LOOK_AGAIN);
        }
        ring.max(now + TICK_MIN)
    }

    /// Tells everybody who waits to look elsewhere, or later.
    fn end(&mut self, inbox: &mut mpsc::Receiver<Message>, error: GroupError) {
        self.group.refuse_all(error);
        for (answer, _) in self.leaving.drain(..) {
            let _ = answer.send(Err(error));
        }
        inbox.close();
        while let Ok(message) = inbox.try_recv() {
            refuse(message, error);
        }
        self.shared.held.fetch_sub(self.held, Ordering::Relaxed);
        self.held = 0;
        self.shared.forget_closed(&self.name);
    }
}

fn refuse(message: Message, error: GroupError) {
    match message {
        Message::Join(join, answer) => {
            let _ = answer.send(Err(JoinRefused {
                error,
                member: join.member,
            }));
        }
        Message::Sync(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Message::Heartbeat(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Message::Leave(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Message::CheckCommit(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Message::Describe(answer) => {
            let _ = answer.send(Err(error));
        }
    }
}

/// Waits for what is on its way; for ever if nothing is.
async fn ready<T>(proposing: &mut Option<Proposing<T>>) -> T {
    match proposing {
        Some(proposing) => proposing.await,
        None => pending().await,
    }
}

async fn complete_group(
    scope: Scope,
    metastore: Metastore,
    node: NodeId,
    group: String,
    previous: i32,
    complete: Complete,
) -> (Complete, Result<(), GroupError>) {
    let brought = complete.brought.clone();
    let bytes: usize = brought.iter().map(brought::size).sum();
    let written = scope
        .blocking("writing what a group brought", move || {
            brought::write(&brought)
        })
        .await;
    let Ok(Ok(written)) = written else {
        error!(
            group,
            bytes, "what a group's members brought could not be compressed"
        );
        return (complete, Err(GroupError::Full));
    };
    let compressed = written.len();
    let command = Command::CompleteGroup(CompleteGroup {
        group: group.clone(),
        node,
        previous,
        generation: complete.generation,
        protocol_type: complete.protocol_type.clone(),
        protocol: complete.protocol.clone(),
        leader: complete.leader.clone(),
        members: complete.members.clone(),
        brought: written.into(),
    });
    let result = if Metastore::fits(&command) {
        propose(&metastore, command).await
    } else {
        // No other attempt would fit either, so members must not be kept rebalancing for ever.
        let (members, max) = (complete.members.len(), Metastore::PROPOSAL_BYTES_MAX);
        info!(group, members, bytes, compressed, %max, "what a group's members brought does not fit into an entry of the log");
        Err(GroupError::Full)
    };
    (complete, result)
}

async fn remove_members(
    metastore: Metastore,
    node: NodeId,
    group: String,
    members: Vec<String>,
) -> Result<(), GroupError> {
    propose(
        &metastore,
        Command::RemoveGroupMembers(RemoveGroupMembers {
            group,
            node,
            members,
        }),
    )
    .await
}

async fn propose(metastore: &Metastore, command: Command) -> Result<(), GroupError> {
    match metastore
        .propose(vec![command], Instant::now() + PROPOSE_WITHIN)
        .await
    {
        Ok(_) => Ok(()),
        Err(ProposeError::Refused { refusal, .. }) => Err(match refusal {
            Refusal::Group(GroupRefusal::NotCoordinator(_)) => GroupError::NotCoordinator,
            // Another coordinator was at work; the group is loaded again at the next look.
            Refusal::Group(GroupRefusal::WrongGeneration { .. }) => GroupError::RebalanceInProgress,
            // Not the client's fault: groups expire, and then there is room again.
            Refusal::Full { .. } => {
                warn!(%refusal, "a group finds no room in the commit log's state");
                GroupError::NotNow
            }
            Refusal::Group(GroupRefusal::NoSuchGroup(_)) => return Ok(()),
            Refusal::AboveLevel { .. } => GroupError::NotSupported,
            other => {
                warn!(%other, "the group's coordinator was refused");
                GroupError::InvalidRequest
            }
        }),
        Err(
            ProposeError::NotDone { .. }
            | ProposeError::Unknown { .. }
            | ProposeError::Stopped { .. },
        ) => Err(GroupError::NotNow),
    }
}
