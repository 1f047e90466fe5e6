//! What a state snapshot holds of groups.
//!
//! A group is a value with all but its offsets and how many of them follow, then a value per offset.

use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, TopicPartition};

use super::types::{CommittedOffset, Group, GroupMember};
use crate::level::FeatureLevel;
use crate::snapshot::section::{Ascending, Frames, Reader, Section, SnapshotError};
use crate::{GroupCursor, State};

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        number: 30,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            frames.put(&Numbers {
                group_cursor: state.group_cursor.clone(),
            })
        },
        read: |state, reader| {
            let numbers: Numbers = reader.frame()?;
            state.group_cursor = numbers.group_cursor;
            Ok(())
        },
    },
    Section {
        number: 31,
        since: FeatureLevel::ONE,
        write: put_groups,
        read: read_groups,
    },
];

#[derive(Debug, Encode, Decode)]
struct Numbers {
    #[n(0)]
    group_cursor: Option<GroupCursor>,
}

/// A group without its offsets.
#[derive(Debug, Encode, Decode)]
struct GroupHead {
    #[n(0)]
    name: String,
    #[n(1)]
    generation: i32,
    #[n(2)]
    protocol_type: String,
    #[n(3)]
    protocol: String,
    #[n(4)]
    leader: String,
    #[n(5)]
    members: Vec<GroupMember>,
    #[n(6)]
    changed: ClusterTime,
    #[n(7)]
    offsets: u64,
    #[n(8)]
    brought: ByteVec,
}

fn put_groups(state: &State, frames: &mut Frames<'_>) {
    for (name, group) in &state.groups {
        frames.put(&GroupHead {
            name: name.clone(),
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            members: group.members.to_vec(),
            changed: group.changed,
            offsets: group.offsets.len() as u64,
            brought: group.brought.to_vec().into(),
        });
        for offset in &group.offsets {
            frames.put(&offset);
        }
    }
}

fn read_groups(state: &mut State, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
    let mut groups = Ascending::empty();
    while let Some(head) = reader.value::<GroupHead>()? {
        let mut offsets: Ascending<TopicPartition, CommittedOffset> = Ascending::empty();
        let mut offset_bytes = 0;
        for _ in 0..head.offsets {
            let (at, offset): (_, CommittedOffset) = reader.frame()?;
            offset_bytes += offset.bytes();
            offsets.push(at, offset)?;
        }
        let mut group = Group {
            generation: head.generation,
            protocol_type: head.protocol_type,
            protocol: head.protocol,
            leader: head.leader,
            offsets: offsets.map,
            offset_bytes,
            ..Group::empty(head.changed)
        };
        group.set_members(head.members.into(), Vec::from(head.brought).into());
        groups.push(head.name, Arc::new(group))?;
    }
    state.groups = groups.map;
    Ok(())
}

impl State {
    pub(crate) fn derive_groups(&mut self) {
        let groups = self.groups.iter().map(|(name, group)| group.bytes(name));
        self.group_bytes = groups.sum();
    }
}
