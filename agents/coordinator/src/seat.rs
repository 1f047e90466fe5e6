//! Whether a group is this agent's to coordinate.
//!
//! Holds: a process that is fenced coordinates nothing, and *not I* is said only behind a read barrier.

use tarn_replica::Metastore;
use tarn_state::{State, advice};
use tokio::time::Instant;

use crate::error::GroupError;

/// An agent's place among those that coordinate. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) metastore: Metastore,
}

impl Seat {
    pub(crate) fn new(metastore: &Metastore) -> Seat {
        Seat {
            metastore: metastore.clone(),
        }
    }

    /// By this view.
    pub(crate) fn coordinates(&self, view: &State, group: &str) -> bool {
        advice::is_coordinator(view, group, self.metastore.node())
    }

    /// By a view that is behind nothing, unless an older one says yes. Which entry is the last of the one
    /// that said so.
    pub(crate) async fn check(&self, group: &str, deadline: Instant) -> Result<u64, GroupError> {
        if self.metastore.is_fenced() {
            return Err(GroupError::NotNow);
        }
        let view = self.metastore.view();
        if self.coordinates(&view, group) {
            return Ok(view.n);
        }
        let fresh = self.metastore.barrier(deadline).await;
        let fresh = fresh.map_err(|_| GroupError::NotNow)?;
        if self.coordinates(&fresh, group) {
            Ok(fresh.n)
        } else {
            Err(GroupError::NotCoordinator)
        }
    }

    /// Waits until the view is behind nothing.
    pub(crate) async fn confirm(&self, deadline: Instant) -> Result<(), GroupError> {
        let fresh = self.metastore.barrier(deadline).await;
        fresh.map(|_| ()).map_err(|_| GroupError::NotNow)
    }
}
