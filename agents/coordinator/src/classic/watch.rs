//! Watches over groups that nobody asks about, and over requests that cannot be heard.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tarn_model::NodeId;
use tarn_state::{State, advice};
use tokio::time::sleep;
use tracing::debug;

use super::Classic;

/// How often the coordinator looks whether the process is fenced, and whether it has become the
/// coordinator of other groups.
const LOOK: Duration = Duration::from_millis(500);
/// Logged groups that are looked at before others get their turn.
const GROUPS_PER_TURN: usize = 1_000;
impl Classic {
    /// Looks for groups that nobody asks about: a session ends by the clock of the group's task, so a
    /// group whose members went together with its coordinator needs one without being asked.
    pub(super) async fn watch(self) {
        let mut stopped = std::pin::pin!(self.shared.scope.stopped());
        let mut coordinators: Vec<NodeId> = Vec::new();
        loop {
            let outside = self.shared.waiting_outside.swap(false, Ordering::Relaxed);
            if outside || self.shared.seat.metastore.is_fenced() {
                self.shared.unheard.fetch_add(1, Ordering::Relaxed);
            }
            let view = self.shared.seat.metastore.view();
            let agents: Vec<NodeId> = advice::agents(&view)
                .iter()
                .map(|session| session.node)
                .collect();
            let left_behind = self.shared.adopt_again.swap(false, Ordering::Relaxed);
            if left_behind || agents != coordinators {
                coordinators = agents;
                self.adopt(&view).await;
            }
            tokio::select! {
                () = &mut stopped => return,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Starts the tasks of the groups that are ours and have members.
    async fn adopt(&self, view: &State) {
        for (at, (name, group)) in view.groups.iter().enumerate() {
            if at % GROUPS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
            if group.members.is_empty() || !self.shared.seat.coordinates(view, name) {
                continue;
            }
            if let Err(error) = self.task(name, true) {
                debug!(group = name, %error, "a group's members are not watched");
                return;
            }
        }
    }

    /// Requests have waited for long to be read, heartbeats among them perhaps: all members get a
    /// full session timeout.
    pub(crate) fn members_unheard(&self) {
        self.shared.waiting_outside.store(true, Ordering::Relaxed);
    }
}
