//! What became of each batch of a segment, as its producer is answered.

use minicbor::{Decode, Encode};
use tarn_model::{Offset, ProducerEpoch};

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum BatchOutcome {
    #[n(0)]
    Appended(#[n(0)] Offset),
    /// It was taken before, at this offset.
    #[n(1)]
    Duplicate(#[n(0)] Offset),
    /// It was taken before, too long ago to know where.
    #[n(2)]
    DuplicateForgotten,
    #[n(3)]
    OutOfOrder {
        #[n(0)]
        expected: i32,
    },
    #[n(4)]
    FencedEpoch {
        #[n(0)]
        current: ProducerEpoch,
    },
    /// The topic was deleted, or never had this partition.
    #[n(5)]
    NoSuchPartition,
}
