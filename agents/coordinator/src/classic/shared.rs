//! What all groups of one agent share.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tarn_runtime::{Scope, gauge};
use tokio::sync::mpsc;

use crate::metrics::CoordinatorMetrics;
use crate::seat::Seat;

use super::message::Message;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) seat: Seat,
    pub(super) metrics: CoordinatorMetrics,
    pub(super) initial_delay: Duration,
    pub(super) session_timeout_min: Duration,
    pub(super) session_timeout_max: Duration,
    pub(super) scope: Scope,
    /// Bytes that the members of all groups brought and were assigned.
    pub(super) held: AtomicU64,
    pub(super) held_max: u64,
    pub(super) groups: Mutex<BTreeMap<String, mpsc::Sender<Message>>>,
    /// Counts the times that members could not be heard, because this process was fenced or their
    /// requests waited to be read: they get a full session timeout afterwards.
    pub(super) unheard: AtomicU64,
    /// Requests have waited for long to be read.
    pub(super) waiting_outside: AtomicBool,
    /// A task has ended that may have left members behind.
    pub(super) adopt_again: AtomicBool,
}

impl Shared {
    /// Closes a task's inbox, if nobody has asked it anything meanwhile.
    pub(super) fn close_if_unasked(&self, inbox: &mut mpsc::Receiver<Message>) -> bool {
        // Under the lock, so that nobody is handed the task while it goes.
        let _groups = self.groups.lock().expect("nobody panics while holding it");
        if !inbox.is_empty() {
            return false;
        }
        inbox.close();
        true
    }

    /// Takes a task that has closed its inbox off the list; its successor may stand there already.
    pub(super) fn forget_closed(&self, group: &str) {
        let mut groups = self.groups.lock().expect("nobody panics while holding it");
        if groups.get(group).is_some_and(mpsc::Sender::is_closed) {
            groups.remove(group);
        }
        self.metrics.groups.set(gauge(groups.len()));
    }
}
