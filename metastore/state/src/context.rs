//! What a command may know besides the state.

use tarn_model::{ClusterTime, LivenessTime, Lsn, NodeId, SessionId};

/// The entry that a command stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    pub lsn: Lsn,
    /// Who proposes it …
    pub session: SessionId,
    /// … and its node id.
    pub node: NodeId,
    /// Including this entry.
    pub cluster_time: ClusterTime,
    /// Including this entry.
    pub liveness_time: LivenessTime,
}

/// Whose proposal a trial is, see [`crate::State::try_proposal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionContext {
    pub session: SessionId,
    pub node: NodeId,
}
