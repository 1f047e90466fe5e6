//! What all handlers share.

use tarn_coordinator::Coordinators;
use tarn_model::{NodeId, PartitionId};
use tarn_replica::{BarrierError, Metastore, View};
use tarn_runtime::{Budget, Runtime, Scope};
use tarn_state::topic_configs::Defaults;
use tarn_state::{State, Topic, advice};
use tarn_topics::{Reader, Writer};
use tokio::time::{Instant, timeout_at};

use std::sync::Arc;

use crate::AgentSettings;
use crate::api::AllTopics;
use crate::fetch_session::FetchSessions;
use crate::intake::Intake;
use crate::metrics::AgentMetrics;
use crate::moves::Moves;

/// One agent. Handlers borrow it; whoever outlives a request holds the `Arc`.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) runtime: Runtime,
    pub(crate) metastore: Metastore,
    /// Of topics that do not say.
    pub(crate) defaults: Defaults,
    /// Where the requests of Kafka clients wait for them.
    pub(crate) intake: Intake,
    /// Bytes of fetched records.
    pub(crate) responses: Budget,
    /// Bytes of batches that are opened while they are produced. Of their own: who reads slowly holds up
    /// no producer.
    pub(crate) opened: Budget,
    /// Bytes of batches that are opened to find an offset by its timestamp.
    pub(crate) searches: Budget,
    /// Who waits for which partitions to move.
    pub(crate) moves: Moves,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) coordinators: Coordinators,
    pub(crate) fetch_sessions: FetchSessions,
    /// The answer to who asks for all topics.
    pub(crate) all_topics: AllTopics,
    pub(crate) metrics: AgentMetrics,
    pub(crate) settings: AgentSettings,
    /// Of the connections: who waits for long asks it whether to go on.
    pub(crate) connections: Scope,
    /// Of the listener: it stops when the agent has left.
    pub(crate) door: Scope,
}

impl Agent {
    /// Looks in the present view, and, if it is not there, in one that is behind nothing: a lagging
    /// view is no ground to say that something does not exist.
    pub(crate) async fn find<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&State) -> Option<T>,
    ) -> Result<Option<T>, BarrierError> {
        if let Some(found) = look(&self.metastore.view()) {
            return Ok(Some(found));
        }
        let fresh = self.metastore.barrier(deadline).await?;
        Ok(look(&fresh))
    }

    /// This node, while the log does not hear it: others should not be told of it then.
    pub(crate) fn unheard(&self) -> Option<NodeId> {
        self.metastore.is_fenced().then(|| self.metastore.node())
    }

    /// A view that names an agent, this one or a newer one: who begins or ends a cluster may be alone, and a
    /// client that is told of nobody begins anew. `None` if there is none until the deadline, or until this
    /// agent has left.
    pub(crate) async fn with_agents(&self, view: View, deadline: Instant) -> Option<View> {
        let names = |view: &View| !advice::agents(view).is_empty();
        if names(&view) {
            return Some(view);
        }
        let mut views = self.metastore.watch();
        tokio::select! {
            biased;
            () = self.door.stopped() => None,
            found = timeout_at(deadline, views.wait_for(names)) => {
                Some(Arc::clone(&*found.ok()?.ok()?))
            }
        }
    }

    /// A view in which every one of these is there, or else one that is behind nothing.
    pub(crate) async fn view_with(
        &self,
        deadline: Instant,
        all_there: impl Fn(&State) -> bool,
    ) -> Result<View, BarrierError> {
        let view = self.metastore.view();
        if all_there(&view) {
            return Ok(view);
        }
        self.metastore.barrier(deadline).await
    }
}

/// Does the topic have this partition?
pub(crate) fn has_partition(topic: &Arc<Topic>, partition: i32) -> bool {
    (0..topic.partitions).contains(&partition)
}

/// As Kafka numbers it; `None` for a negative one.
pub(crate) fn partition_id(index: i32) -> Option<PartitionId> {
    (index >= 0).then_some(PartitionId(index))
}
