//! The segment: our immutable object with batches of many partitions.
//!
//! ```text
//! magic  "TARNSEG1"                                            8 bytes
//! body   batches as their producers sent them, by topic, partition and then order of arrival
//! footer canonical CBOR: cluster id, generation, CommitSegment
//! length of the footer u32 │ CRC-32C of the footer u32         8 bytes
//! CRC-64/NVME of everything before it u64                      8 bytes
//! magic  "TARNEND1"                                            8 bytes
//! ```
//!
//! Numbers are big-endian. The footer *is* the command that commits the segment, so there is one
//! encoding of both: positions of extents count from the start of the object, and a batch begins
//! where the one before it ends.
//!
//! Holds: what [`Builder::finish`] makes, [`Footer::parse`] and [`Reader`] read back; anything torn,
//! truncated or foreign is an error.
//! Leaves to others: I/O, and the order and the verdict of the batches, which only the log knows.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod builder;
mod footer;
mod reader;

pub use builder::{Builder, COMMIT_OVERHEAD_BYTES, Finished, commit_bytes_of, rename};
pub use footer::Footer;
pub use reader::Reader;

use tarn_kafka::BatchError;
use tarn_model::{ClusterId, DecodeError, TopicPartition};

/// First bytes of a segment. The digit is the version of the layout.
const MAGIC: &[u8; 8] = b"TARNSEG1";
/// Last bytes of a segment: an object that has them was written whole.
const END_MAGIC: &[u8; 8] = b"TARNEND1";
/// Footer length, footer checksum, object checksum, end magic.
const TRAILER_BYTES: usize = 4 + 4 + 8 + 8;
/// Where the object's checksum ends what it covers, counted from the end.
const CHECKSUM_FROM_END: usize = 8 + 8;

/// Why bytes are not a segment that we take.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SegmentError {
    #[error("these {bytes} bytes are no segment")]
    Foreign { bytes: usize },
    #[error("the segment ends too early: {bytes} bytes are not enough")]
    Truncated { bytes: usize },
    #[error("the checksum of the {part} is wrong")]
    Checksum { part: &'static str },
    #[error("the footer cannot be read: {0}")]
    Footer(#[from] DecodeError),
    #[error("the footer contradicts the object: {0}")]
    Contradiction(&'static str),
    #[error("the segment belongs to cluster {found}")]
    OtherCluster { found: ClusterId },
    #[error("batch {batch} of {at}: {source}")]
    Batch {
        at: TopicPartition,
        batch: usize,
        source: BatchError,
    },
}

#[cfg(test)]
mod tests;
