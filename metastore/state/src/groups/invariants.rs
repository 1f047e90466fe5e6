//! What always holds of groups.

use super::types::{CommittedOffset, Group};
use crate::State;
use crate::invariants::{Check, broken, ensure};

impl State {
    pub(crate) fn check_groups(&self) -> Check {
        let bytes = self.groups.iter().map(|(name, group)| group.bytes(name));
        ensure("groups", self.group_bytes == bytes.sum(), || {
            format!("they weigh other than {}", self.group_bytes)
        })?;
        for (name, group) in &self.groups {
            check_group(group).map_err(|detail| broken("groups", format!("{name:?}: {detail}")))?;
            for at in group.offsets.keys() {
                // Those of deleted topics go one by one.
                let there =
                    self.partitions.contains_key(at) || !self.topics.contains_key(&at.topic);
                ensure("groups", there, || {
                    format!("{name:?} has an offset of {at}, which is gone")
                })?;
            }
        }
        Ok(())
    }
}

fn check_group(group: &Group) -> Result<(), &'static str> {
    let offsets = group.offsets.values().map(CommittedOffset::bytes);
    if group.offset_bytes != offsets.sum() {
        return Err("its offsets weigh other than it says");
    }
    if !group
        .members
        .windows(2)
        .all(|pair| matches!(pair, [one, next] if one.id < next.id))
    {
        return Err("its members are not in order");
    }
    let leads =
        group.leader.is_empty() || group.members.iter().any(|member| member.id == group.leader);
    if !leads {
        return Err("its leader is no member");
    }
    Ok(())
}
