//! What a state snapshot holds of claims.

use minicbor::{Decode, Encode};

use super::types::ClaimEpoch;
use crate::level::FeatureLevel;
use crate::snapshot::section::Section;

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        number: 60,
        since: FeatureLevel::ONE,
        write: |state, frames| {
            frames.put(&Numbers {
                next_claim: state.next_claim,
            })
        },
        read: |state, reader| {
            let numbers: Numbers = reader.frame()?;
            state.next_claim = numbers.next_claim;
            Ok(())
        },
    },
    Section {
        number: 61,
        since: FeatureLevel::ONE,
        write: |state, frames| frames.map(&state.claims),
        read: |state, reader| {
            state.claims = reader.map()?;
            Ok(())
        },
    },
];

#[derive(Debug, Encode, Decode)]
struct Numbers {
    #[n(0)]
    next_claim: ClaimEpoch,
}
