//! Why a coordinator says no, whatever protocol its group speaks.

/// Why a coordinator says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
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
    #[error("not every process of the cluster has the version yet that can do this")]
    NotSupported,
}

impl GroupError {
    /// Says that something is not there or is over: no lagging view may say so.
    pub(crate) fn is_negative(self) -> bool {
        match self {
            GroupError::UnknownMember
            | GroupError::FencedInstance
            | GroupError::IllegalGeneration
            | GroupError::NotFound => true,
            GroupError::NotCoordinator
            | GroupError::NotNow
            | GroupError::NotSupported
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
