//! Kafka's wire format without I/O: frames, headers, request bodies, record batches, error codes.
//!
//! Holds: nothing that arrives from the wire can make this crate panic, loop, or allocate more
//! than a fixed multiple of its own length. Requests are walked ([`bounds`]) before they are
//! decoded, batches stay opaque bytes ([`ValidBatch`]), and records are opened only under
//! [`records::Limits`].
//! Leaves to others: sockets, budgets, and what a request means.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod api_key;
mod apis;
pub mod bounds;
mod builder;
mod compression;
mod error_code;
pub mod frame;
mod layout;
mod read;
mod record_batch;
pub mod records;
pub mod request;

pub use api_key::ApiKey;
pub use builder::{BatchBuilder, BuildError, Producer};
pub use compression::{Compression, DecompressError};
pub use error_code::ErrorCode;
pub use frame::{FrameError, HeaderError, RequestHeader};
pub use record_batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, Batches, CodecProblem, NO_PRODUCER_ID,
    NO_SEQUENCE, ProduceRules, ProducerProblem, StoredBatches, TimestampType, ValidBatch,
    add_to_sequence, split_batches, split_stored, stamp,
};
pub use records::{Record, RecordHeader, Records};
pub use request::{
    DecodeError, EncodeError, RequestBody, ResponseBody, decode_request, decode_response,
    encode_request, encode_response,
};
