//! Coordinators: who is in a group, and what each of its members is assigned.
//!
//! [`Coordinators`] is one agent's. What a protocol has of its own stands in a folder of its own, behind a
//! handle of its own (`classic/`: the consumer protocol in which a member assigns); what all share stands here.
//! Holds: any agent can tell who coordinates a group, by the state alone; and what says that a group or
//! a member is not there is said only after a read barrier.
//! Leaves to others: the Kafka requests and their error codes (`tarn-agent`), and offsets, which handlers
//! propose themselves and `apply` checks.

pub mod classic;
mod error;
mod metrics;
mod seat;
mod settings;

use tarn_replica::Node;
use tarn_runtime::Scope;
use tokio::time::Instant;

use classic::Classic;
use metrics::CoordinatorMetrics;
use seat::Seat;

pub use error::GroupError;
pub use settings::CoordinatorSettings;

/// The coordinators of one agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Coordinators {
    pub classic: Classic,
    seat: Seat,
}

impl Coordinators {
    /// Coordinates the groups that fall to this node, until `scope` stops.
    pub fn start(node: &Node, settings: &CoordinatorSettings, scope: Scope) -> Coordinators {
        let seat = Seat::new(&node.metastore);
        let metrics = node
            .runtime
            .metrics()
            .register(CoordinatorMetrics::register);
        Coordinators {
            classic: Classic::start(seat.clone(), settings, metrics, scope),
            seat,
        }
    }

    /// Coordinates this agent the group, as far as a view can tell that is behind nothing? The last entry of
    /// that view.
    pub async fn check(&self, group: &str, deadline: Instant) -> Result<u64, GroupError> {
        self.seat.check(group, deadline).await
    }

    /// Requests have waited for long to be read, heartbeats among them perhaps: all members get a
    /// full session timeout.
    pub fn members_unheard(&self) {
        self.classic.members_unheard();
    }
}
