//! Records to Arrow rows: one decoder for the materializer and for the hot tier, so that a record
//! is the same row, or is undecodable for the same reason, wherever and whenever it is read.
//!
//! ```text
//! record ──framing──▶ writer schema ──plan──▶ appended to the table's columns
//!                          │ compiled once per table shape: which column takes which field,
//!                          │ promoted how; what the writer lacks is null
//! ```
//!
//! - Rows keep the order of the records; records of different schema versions may alternate freely.
//! - Payloads are outside input. A record either decodes to exactly its last byte or leaves no trace
//!   in the columns; the work and memory that it can cause are bounded by its length.
//! - The Arrow types are those of Iceberg's Arrow mapping, with `PARQUET:field_id` on every field.
//!
//! The decoder is ours and not `arrow-avro` 58, which is made for trusted records. Of outside ones a
//! record with invalid UTF-8 or an unknown symbol fails the whole batch when it is flushed, a
//! truncated one poisons what follows, a union's branch that does not exist is read as another, any
//! byte is a boolean, and nine bytes can claim 2^62 nulls, which it counts through. It also wants
//! records sorted by schema, and its rows put back in order and cast to the table's types. Before
//! that work it is half again as fast: 3.7 against 2.4 million records of 800 bytes a second.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod arrow_schema;
mod chunk;
mod column;
mod cursor;
mod decoder;
mod decoders;
mod event_time;
mod plan;
mod reason;
mod shape;

pub use arrow_schema::{FIELD_ID_KEY, arrow_schema, data_type};
pub use chunk::{
    Chunk, Loss, NO_RECORD, Named, OPENED_BYTES_MAX, Run, UNREADABLE_BATCH, decode_batches,
};
pub use decoder::{
    BATCH_BYTES_MAX, BATCH_ROWS_MAX, DecodeError, DecodeRecord, Decoded, Decoder, Odd, TableShape,
    Undecodable, WriterSchema,
};
pub use decoders::Decoders;
pub use reason::{Reason, UnusableSchema};
