//! Record batches as opaque bytes: their header, what makes one valid, and where it is stamped.
//!
//! ```text
//!  0 base offset i64        21 attributes i16          43 producer id i64
//!  8 length i32             23 last offset delta i32   51 producer epoch i16
//! 12 leader epoch i32       27 base timestamp i64      53 base sequence i32
//! 16 magic i8               35 max timestamp i64       57 record count i32
//! 17 CRC-32C u32                                       61 records, maybe compressed
//! ```
//!
//! The length counts from byte 12, the checksum covers everything from byte 21 on. So the base
//! offset and the leader epoch can be written into a stored batch without touching its records.
//!
//! Holds: a [`ValidBatch`] was checked when it was made; its header agrees with its bytes.
//! Leaves to others: what is inside the records ([`crate::records`]), and whether the producer
//! may write there.

mod error;

use bytes::{Bytes, BytesMut};

use crate::Compression;
use crate::read::{ReadError, Reader};

pub use error::{BatchError, CodecProblem, ProducerProblem};

/// Length, attributes, two deltas, two lengths and a count take a byte each.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// The producer id of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// The sequence of a batch from a producer that is not idempotent.
pub const NO_SEQUENCE: i32 = -1;

/// Bytes that the length does not count.
const LENGTH_STARTS_AT: usize = 12;
const CRC_STARTS_AT: usize = 21;
/// Bytes up to and with the magic.
const MAGIC_ENDS_AT: usize = 17;
/// The shortest message that any Kafka format had; a shorter length is corrupt in all of them.
const LENGTH_MIN: usize = 14;
const MAGIC: i8 = 2;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// What a batch's timestamps mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer chose them.
    CreateTime,
    /// All records have the batch's max timestamp, which the server set.
    LogAppendTime,
}

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after the length field; see [`BatchHeader::size_bytes`].
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub compression: Compression,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// [`NO_PRODUCER_ID`] where the producer is not idempotent.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads and checks the header of a batch in the current format. Needs no bytes beyond the
    /// header and does not look at the checksum.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if let Some(size) = announced_size(bytes)?
            && size < BATCH_HEADER_BYTES
        {
            // A message of an old format may be this short, and gets its own error.
            check_magic(bytes)?;
            let batch_length = size.saturating_sub(LENGTH_STARTS_AT);
            return Err(BatchError::TooShort(
                i32::try_from(batch_length).unwrap_or(i32::MAX),
            ));
        }
        let truncated = |_: ReadError| BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            present: bytes.len(),
        };
        check_magic(bytes)?;
        let mut reader = Reader::new(bytes);
        let base_offset = reader.i64().map_err(truncated)?;
        let batch_length = reader.i32().map_err(truncated)?;
        let partition_leader_epoch = reader.i32().map_err(truncated)?;
        reader.i8().map_err(truncated)?;
        let crc = reader.u32().map_err(truncated)?;
        let attributes = reader.i16().map_err(truncated)?;
        let last_offset_delta = reader.i32().map_err(truncated)?;
        let base_timestamp = reader.i64().map_err(truncated)?;
        let max_timestamp = reader.i64().map_err(truncated)?;
        let producer_id = reader.i64().map_err(truncated)?;
        let producer_epoch = reader.i16().map_err(truncated)?;
        let base_sequence = reader.i32().map_err(truncated)?;
        let record_count = reader.i32().map_err(truncated)?;
        let compression = Compression::from_attributes(attributes).ok_or(
            BatchError::Compression(CodecProblem::Unknown(attributes & 0b111)),
        )?;
        // Key compaction removes records but keeps the offsets, so there may be fewer records
        // than offsets, never more.
        if last_offset_delta < 0
            || record_count < 0
            || i64::from(record_count) > i64::from(last_offset_delta).saturating_add(1)
        {
            return Err(BatchError::RecordCount {
                record_count,
                last_offset_delta,
            });
        }
        Ok(BatchHeader {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc,
            attributes,
            compression,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count,
        })
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        usize::try_from(self.batch_length)
            .unwrap_or(0)
            .saturating_add(LENGTH_STARTS_AT)
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether an idempotent producer wrote it.
    pub fn has_producer(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Whether the largest timestamp in the header cannot be believed: it is none, it is below the
    /// first record's, or many records are all said to be of the same millisecond as the first. Old
    /// clients write such headers; Apache Kafka computes the truth from the records of every batch.
    pub fn may_hide_timestamps(&self) -> bool {
        self.timestamp_type() == TimestampType::CreateTime
            && (self.max_timestamp < self.base_timestamp
                || self.max_timestamp < 0 && self.base_timestamp >= 0
                || self.max_timestamp == self.base_timestamp && self.record_count > 1)
    }

    /// How many offsets it takes, which is the number of records it was produced with.
    pub fn offset_count(&self) -> i64 {
        i64::from(self.last_offset_delta).saturating_add(1)
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// The sequence of its last record.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        add_to_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// What a produced batch must keep besides Kafka's fixed rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceRules {
    /// Largest batch, `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// Latest timestamp in milliseconds: now and `message.timestamp.after.max.ms`.
    pub timestamp_latest: i64,
    /// Whether zstd may be used: from version 7 of Produce on.
    pub zstd_allowed: bool,
}

/// A batch whose header, length and checksum were checked. The only ways to have one are
/// [`ValidBatch::from_produce`], [`ValidBatch::from_stored`], [`split_batches`] and
/// [`crate::BatchBuilder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidBatch {
    bytes: Bytes,
    header: BatchHeader,
}

impl ValidBatch {
    /// Takes the records of one partition from a Produce request, with the checks of Apache Kafka.
    ///
    /// As there, an incomplete batch that trails a complete one is dropped.
    pub fn from_produce(records: Bytes, rules: &ProduceRules) -> Result<ValidBatch, BatchError> {
        if records.is_empty() {
            return Err(BatchError::Empty);
        }
        let size = complete_size(&records)?.ok_or_else(|| truncated(&records))?;
        if let Some(magic @ (0 | 1)) = magic(&records) {
            return Err(BatchError::OldMagic(magic));
        }
        let (batch, rest) = records
            .split_at_checked(size)
            .ok_or_else(|| truncated(&records))?;
        if complete_size(rest)?.is_some() {
            return Err(BatchError::MoreThanOne);
        }
        if size > rules.batch_bytes_max {
            return Err(BatchError::TooLarge {
                bytes: size,
                max: rules.batch_bytes_max,
            });
        }
        let header = check(batch)?;
        if header.base_offset != 0 {
            return Err(BatchError::BaseOffset(header.base_offset));
        }
        if i64::from(header.record_count) != header.offset_count() {
            return Err(BatchError::RecordCount {
                record_count: header.record_count,
                last_offset_delta: header.last_offset_delta,
            });
        }
        // Of a compressed batch only opening it could tell; here a wrong count would take offsets, and
        // every reader would learn of it.
        let records_bytes = size.saturating_sub(BATCH_HEADER_BYTES);
        let fit = i64::try_from(records_bytes / RECORD_BYTES_MIN).unwrap_or(i64::MAX);
        if header.compression == Compression::None && i64::from(header.record_count) > fit {
            return Err(BatchError::TooManyRecords {
                records: header.record_count,
                bytes: records_bytes,
            });
        }
        if header.is_control() {
            return Err(BatchError::Control);
        }
        if header.has_producer() {
            if header.base_sequence < 0 {
                return Err(BatchError::Producer(ProducerProblem::Sequence));
            }
            if header.producer_epoch < 0 {
                return Err(BatchError::Producer(ProducerProblem::Epoch));
            }
        } else if header.is_transactional() {
            return Err(BatchError::Producer(ProducerProblem::Producer));
        }
        if header.compression == Compression::Zstd && !rules.zstd_allowed {
            return Err(BatchError::Compression(CodecProblem::ZstdTooEarly));
        }
        if header.timestamp_type() == TimestampType::LogAppendTime {
            return Err(BatchError::LogAppendTime);
        }
        let timestamp = header.max_timestamp.max(header.base_timestamp);
        if timestamp > rules.timestamp_latest {
            return Err(BatchError::TimestampTooLate {
                timestamp,
                latest: rules.timestamp_latest,
            });
        }
        let bytes = records.slice_ref(batch);
        Ok(ValidBatch { bytes, header })
    }

    /// Takes exactly one batch that was stored or fetched: any base offset, control batches and
    /// batches that key compaction emptied are fine.
    pub fn from_stored(bytes: Bytes) -> Result<ValidBatch, BatchError> {
        if bytes.is_empty() {
            return Err(BatchError::Empty);
        }
        let size = complete_size(&bytes)?.ok_or_else(|| truncated(&bytes))?;
        if size < bytes.len() {
            return Err(BatchError::MoreThanOne);
        }
        let header = check(&bytes)?;
        Ok(ValidBatch { bytes, header })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same records at log-append time: the type and the batch's largest timestamp, which is then
    /// every record's, are written anew, and the checksum with them. The records are not opened.
    pub fn with_append_time(self, timestamp: i64) -> ValidBatch {
        let attributes = self.header.attributes | LOG_APPEND_TIME;
        self.with_largest_timestamp(attributes, timestamp)
    }

    /// The same records under the largest timestamp that they have, as Apache Kafka corrects a header.
    pub fn with_max_timestamp(self, timestamp: i64) -> ValidBatch {
        if self.header.max_timestamp == timestamp {
            return self;
        }
        let attributes = self.header.attributes;
        self.with_largest_timestamp(attributes, timestamp)
    }

    fn with_largest_timestamp(self, attributes: i16, timestamp: i64) -> ValidBatch {
        let mut bytes = BytesMut::from(self.bytes);
        if let Some(header) = bytes.first_chunk_mut::<BATCH_HEADER_BYTES>() {
            let (_, rest) = header.split_at_mut(CRC_STARTS_AT);
            let (attributes_field, rest) = rest.split_at_mut(2);
            attributes_field.copy_from_slice(&attributes.to_be_bytes());
            let (_last_offset_delta_and_base_timestamp, rest) = rest.split_at_mut(12);
            let (max_timestamp_field, _) = rest.split_at_mut(8);
            max_timestamp_field.copy_from_slice(&timestamp.to_be_bytes());
        }
        let crc = crc_fast::crc32_iscsi(bytes.get(CRC_STARTS_AT..).unwrap_or_default());
        if let Some(field) = bytes.get_mut(MAGIC_ENDS_AT..CRC_STARTS_AT) {
            field.copy_from_slice(&crc.to_be_bytes());
        }
        let header = BatchHeader {
            attributes,
            max_timestamp: timestamp,
            crc,
            ..self.header
        };
        ValidBatch {
            bytes: bytes.freeze(),
            header,
        }
    }

    /// The records, compressed as they are.
    pub fn records(&self) -> Bytes {
        self.bytes.slice(BATCH_HEADER_BYTES..)
    }
}

/// Writes a batch's place into its bytes. Both fields are outside the checksum.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) -> Result<(), BatchError> {
    let present = batch.len();
    let Some(header) = batch.first_chunk_mut::<BATCH_HEADER_BYTES>() else {
        return Err(BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            present,
        });
    };
    let (offset_field, rest) = header.split_at_mut(8);
    offset_field.copy_from_slice(&base_offset.to_be_bytes());
    let (_length_field, rest) = rest.split_at_mut(4);
    let (epoch_field, _) = rest.split_at_mut(4);
    epoch_field.copy_from_slice(&leader_epoch.to_be_bytes());
    Ok(())
}

/// Splits concatenated batches, and checks each one like [`ValidBatch::from_stored`].
///
/// Ends after the first error. A fetch response may end in a part of a batch
/// ([`BatchError::Truncated`]): a consumer ignores that if there was a batch before it.
pub fn split_batches(bytes: Bytes) -> Batches {
    Batches { bytes }
}

/// The iterator of [`split_batches`].
#[derive(Debug, Clone)]
pub struct Batches {
    bytes: Bytes,
}

impl Iterator for Batches {
    type Item = Result<ValidBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = take_next(&mut self.bytes)?;
        let checked = next.and_then(|bytes| {
            let header = check(&bytes)?;
            Ok(ValidBatch { bytes, header })
        });
        if checked.is_err() {
            self.bytes.clear();
        }
        Some(checked)
    }
}

/// Splits concatenated batches by their headers alone, for bytes whose own checksum the caller
/// has already compared (a segment's). Ends after the first error.
pub fn split_stored(bytes: Bytes) -> StoredBatches {
    StoredBatches { bytes }
}

/// The iterator of [`split_stored`].
#[derive(Debug, Clone)]
pub struct StoredBatches {
    bytes: Bytes,
}

impl Iterator for StoredBatches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = take_next(&mut self.bytes)?;
        let parsed = next.and_then(|bytes| Ok((BatchHeader::parse(&bytes)?, bytes)));
        if parsed.is_err() {
            self.bytes.clear();
        }
        Some(parsed)
    }
}

/// The sequence `increment` records after `sequence`; the one after `i32::MAX` is 0.
pub fn add_to_sequence(sequence: i32, increment: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(increment);
    i32::try_from(sum.rem_euclid(1 << 31)).expect("the remainder by 2^31 fits in 31 bits")
}

/// Splits the next batch off the front, unchecked but complete.
fn take_next(bytes: &mut Bytes) -> Option<Result<Bytes, BatchError>> {
    if bytes.is_empty() {
        return None;
    }
    let next = match complete_size(bytes) {
        Ok(Some(size)) => Ok(bytes.split_to(size)),
        Ok(None) => Err(truncated(bytes)),
        Err(error) => Err(error),
    };
    Some(next)
}

/// Checks the header and the checksum of exactly one complete batch.
fn check(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let covered = batch.get(CRC_STARTS_AT..).unwrap_or_default();
    let computed = crc_fast::crc32_iscsi(covered);
    if computed != header.crc {
        return Err(BatchError::WrongCrc {
            stated: header.crc,
            computed,
        });
    }
    Ok(header)
}

fn magic(bytes: &[u8]) -> Option<i8> {
    let (_, magic) = bytes
        .first_chunk::<MAGIC_ENDS_AT>()?
        .split_last_chunk::<1>()?;
    Some(i8::from_be_bytes(*magic))
}

fn check_magic(bytes: &[u8]) -> Result<(), BatchError> {
    match magic(bytes) {
        Some(MAGIC) => Ok(()),
        Some(old @ (0 | 1)) => Err(BatchError::OldMagic(old)),
        Some(unknown) => Err(BatchError::UnknownMagic(unknown)),
        None => Err(BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            present: bytes.len(),
        }),
    }
}

/// The size of the batch that begins here, as far as its length field tells.
fn announced_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let mut reader = Reader::new(bytes);
    let (Ok(_), Ok(batch_length)) = (reader.i64(), reader.i32()) else {
        return Ok(None);
    };
    match usize::try_from(batch_length) {
        Ok(length) if length >= LENGTH_MIN => Ok(Some(length.saturating_add(LENGTH_STARTS_AT))),
        _ => Err(BatchError::TooShort(batch_length)),
    }
}

/// The size of the batch that begins here if all of it is present. The rules, and their order, are
/// those of Apache Kafka's `ByteBufferLogInputStream`.
fn complete_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let Some(size) = announced_size(bytes)? else {
        return Ok(None);
    };
    match magic(bytes) {
        None => Ok(None),
        Some(magic) if !(0..=MAGIC).contains(&magic) => Err(BatchError::UnknownMagic(magic)),
        Some(_) if size > bytes.len() => Ok(None),
        Some(_) => Ok(Some(size)),
    }
}

fn truncated(bytes: &[u8]) -> BatchError {
    let needed = announced_size(bytes)
        .ok()
        .flatten()
        .unwrap_or(BATCH_HEADER_BYTES);
    BatchError::Truncated {
        needed,
        present: bytes.len(),
    }
}

#[cfg(test)]
mod tests;
