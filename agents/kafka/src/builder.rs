//! Builds batches: records in, one valid batch with its checksum out.
//!
//! Holds: what is built passes [`ValidBatch::from_produce`] (given its limits) and its records
//! read back unchanged.

use std::io;

use bytes::{BufMut, BytesMut};

use crate::read::{put_varint, put_varlong};
use crate::record_batch::{BATCH_HEADER_BYTES, NO_PRODUCER_ID, NO_SEQUENCE};
use crate::{BatchError, Compression, RecordHeader, ValidBatch};

/// What an idempotent producer writes into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    /// The sequence of the batch's first record.
    pub base_sequence: i32,
}

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("a batch needs at least one record")]
    Empty,
    #[error("the record or the batch is too large for Kafka's format")]
    TooLarge,
    #[error("compression failed: {0}")]
    Compress(#[from] io::Error),
    #[error("the batch is not valid: {0}")]
    Invalid(#[from] BatchError),
}

const MAGIC: i8 = 2;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
/// Checksum and everything before it.
const CRC_ENDS_AT: usize = 21;

/// Collects records and builds one batch of them.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    producer: Option<Producer>,
    flags: i16,
    records: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            compression,
            producer: None,
            flags: 0,
            records: Vec::new(),
            count: 0,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
        }
    }

    /// Makes it a batch of an idempotent producer.
    pub fn set_producer(&mut self, producer: Producer) -> &mut BatchBuilder {
        self.producer = Some(producer);
        self
    }

    /// Makes it a batch of a transaction.
    pub fn set_transactional(&mut self) -> &mut BatchBuilder {
        self.flags |= TRANSACTIONAL;
        self
    }

    /// Makes it a control batch, which only servers write.
    pub fn set_control(&mut self) -> &mut BatchBuilder {
        self.flags |= CONTROL;
        self
    }

    /// Adds a record. The timestamp is in milliseconds since 1970.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<(), BuildError> {
        let next_count = self.count.checked_add(1).ok_or(BuildError::TooLarge)?;
        let base_timestamp = if self.count == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let mut record = vec![0];
        put_varlong(&mut record, timestamp.wrapping_sub(base_timestamp));
        put_varint(&mut record, self.count);
        put_nullable(&mut record, key)?;
        put_nullable(&mut record, value)?;
        put_varint(&mut record, length(headers.len())?);
        for header in headers {
            put_nullable(&mut record, Some(&header.name))?;
            put_nullable(&mut record, header.value.as_deref())?;
        }
        let record_length = length(record.len())?;
        length(
            self.records
                .len()
                .saturating_add(record.len())
                .saturating_add(BATCH_HEADER_BYTES),
        )?;
        put_varint(&mut self.records, record_length);
        self.records.extend_from_slice(&record);
        self.base_timestamp = base_timestamp;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count = next_count;
        Ok(())
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression.
    pub fn size_bytes(&self) -> usize {
        self.records.len().saturating_add(BATCH_HEADER_BYTES)
    }

    /// Builds the batch, at base offset 0.
    pub fn build(self) -> Result<ValidBatch, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let records = match self.compression {
            Compression::None => self.records,
            codec => codec.compress(&self.records)?,
        };
        let producer = self.producer.unwrap_or(Producer {
            id: NO_PRODUCER_ID,
            epoch: -1,
            base_sequence: NO_SEQUENCE,
        });

        let mut covered = BytesMut::with_capacity(BATCH_HEADER_BYTES.saturating_add(records.len()));
        covered.put_i16(self.compression.bits() | self.flags);
        covered.put_i32(self.count.saturating_sub(1));
        covered.put_i64(self.base_timestamp);
        covered.put_i64(self.max_timestamp);
        covered.put_i64(producer.id);
        covered.put_i16(producer.epoch);
        covered.put_i32(producer.base_sequence);
        covered.put_i32(self.count);
        covered.put_slice(&records);

        let size = covered.len().saturating_add(CRC_ENDS_AT);
        let mut batch = BytesMut::with_capacity(size);
        batch.put_i64(0);
        batch.put_i32(length(size)?.saturating_sub(12));
        batch.put_i32(-1);
        batch.put_i8(MAGIC);
        batch.put_u32(crc_fast::crc32_iscsi(&covered));
        batch.put_slice(&covered);
        Ok(ValidBatch::from_stored(batch.freeze())?)
    }
}

fn length(bytes: usize) -> Result<i32, BuildError> {
    i32::try_from(bytes).map_err(|_| BuildError::TooLarge)
}

fn put_nullable(record: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), BuildError> {
    match bytes {
        None => put_varint(record, -1),
        Some(bytes) => {
            put_varint(record, length(bytes.len())?);
            record.extend_from_slice(bytes);
        }
    }
    Ok(())
}
