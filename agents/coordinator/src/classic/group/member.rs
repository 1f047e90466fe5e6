//! One member as its coordinator knows it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::classic::message::{Answer, JoinAnswer, Synced};

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    pub(super) expires: Instant,
    pub(super) join: Option<oneshot::Sender<JoinAnswer>>,
    pub(super) sync: Option<Answer<Synced>>,
    /// The id under which the log knows it, if it does.
    pub(super) logged: Option<String>,
}

impl Member {
    /// Bytes that it brought into the group.
    pub(super) fn offered(&self) -> usize {
        let protocols = self.protocols.iter();
        let offered: usize = protocols
            .map(|(name, metadata)| name.len() + metadata.len())
            .sum();
        self.client_id.len() + offered
    }

    pub(super) fn has_joined(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_closed())
    }

    /// Somebody who waits for our answer cannot send heartbeats, and need not.
    pub(super) fn waits(&self) -> bool {
        self.has_joined() || self.sync.as_ref().is_some_and(|sync| !sync.is_closed())
    }
}

pub(super) fn metadata(member: &Member, protocol: &str) -> Bytes {
    let offered = member.protocols.iter().find(|(name, _)| name == protocol);
    offered
        .map(|(_, metadata)| metadata.clone())
        .unwrap_or_default()
}

/// The incarnation in a static member's id; 0 if there is none.
pub(super) fn incarnation(id: &str, instance: &str) -> u32 {
    id.strip_prefix(instance)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}
