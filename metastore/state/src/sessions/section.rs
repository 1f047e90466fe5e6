//! What a state snapshot holds of sessions.

use minicbor::{Decode, Encode};
use tarn_model::NodeId;

use crate::level::FeatureLevel;
use crate::snapshot::section::Section;

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        number: 10,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            frames.put(&Numbers {
                next_node: state.next_node,
                agents_changed: state.agents_changed,
            })
        },
        read: |state, reader| {
            let numbers: Numbers = reader.frame()?;
            state.next_node = numbers.next_node;
            state.agents_changed = numbers.agents_changed;
            Ok(())
        },
    },
    Section {
        number: 11,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.map(&state.sessions),
        read: |state, reader| {
            state.sessions = reader.map()?;
            Ok(())
        },
    },
    Section {
        number: 12,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.map(&state.tombstones),
        read: |state, reader| {
            state.tombstones = reader.map()?;
            Ok(())
        },
    },
    Section {
        number: 13,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.map(&state.nodes),
        read: |state, reader| {
            state.nodes = reader.map()?;
            Ok(())
        },
    },
];

#[derive(Debug, Encode, Decode)]
struct Numbers {
    #[n(0)]
    next_node: NodeId,
    #[n(1)]
    agents_changed: u64,
}
