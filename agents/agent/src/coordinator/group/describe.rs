//! A group as tools see it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::subscription::{CONSUMER, subscribed};
use super::member::metadata;
use super::{Group, Phase};

/// A group as DescribeGroups and ListGroups show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// In Kafka's words.
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<DescribedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

impl Group {
    /// The topics that its members read; `None` unless it is stable, and of consumers who all say so.
    pub(in crate::coordinator) fn subscribed(&self) -> Option<BTreeSet<String>> {
        if self.phase != Phase::Stable || self.protocol_type != CONSUMER {
            return None;
        }
        let brought: Vec<Bytes> = self
            .members
            .values()
            .map(|member| metadata(member, &self.protocol))
            .collect();
        subscribed(brought.iter())
    }

    pub(in crate::coordinator) fn describe(&self) -> Described {
        let state = match self.phase {
            Phase::Empty => "Empty",
            Phase::Joining { .. } => "PreparingRebalance",
            Phase::Syncing { .. } => "CompletingRebalance",
            Phase::Stable => "Stable",
        };
        let stable = self.phase == Phase::Stable;
        let members = self
            .members
            .iter()
            .map(|(id, member)| DescribedMember {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: if stable {
                    metadata(member, &self.protocol)
                } else {
                    Bytes::new()
                },
                assignment: if stable {
                    member.assignment.clone()
                } else {
                    Bytes::new()
                },
            })
            .collect();
        let protocol = if stable {
            self.protocol.clone()
        } else {
            String::new()
        };
        Described {
            state,
            protocol_type: self.protocol_type.clone(),
            protocol,
            members,
        }
    }
}
