//! A group as tools see it.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::classic::message::{Described, DescribedMember};
use crate::classic::subscription::{CONSUMER, subscribed};

use super::member::metadata;
use super::{Group, Phase};

impl Group {
    /// The topics that its members read; `None` unless it is stable, and of consumers who all say so.
    pub(in crate::classic) fn subscribed(&self) -> Option<BTreeSet<String>> {
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

    pub(in crate::classic) fn describe(&self) -> Described {
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
