//! The records inside a batch, opened under limits.
//!
//! ```text
//! record  length varint │ attributes i8 │ timestamp delta varlong │ offset delta varint
//!         │ key length varint, -1 = null │ key │ value length varint, -1 = null │ value
//!         │ header count varint │ headers
//! header  name length varint │ name │ value length varint, -1 = null │ value
//! ```
//!
//! Holds: every record lies inside its announced length, offset deltas rise and stay within the
//! batch, and there are exactly as many records as the header says. Malformed bytes are errors.
//! Leaves to others: what keys and values mean.

use bytes::Bytes;

use crate::read::{ReadError, Reader};
use crate::record_batch::{RECORD_BYTES_MIN, TimestampType};
use crate::{BatchHeader, Compression, DecompressError, ValidBatch};

/// How much memory the records of one batch may take once decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Never more than this many bytes.
    pub bytes_max: usize,
    /// Never more than this many times the compressed bytes, once beyond `ratio_free_bytes`.
    pub ratio_max: usize,
    /// Up to here any ratio is fine: equal records compress very well.
    pub ratio_free_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes_max: 128 << 20,
            ratio_max: 1024,
            ratio_free_bytes: 16 << 20,
        }
    }
}

impl Limits {
    /// What so many compressed bytes may become.
    pub fn allowance(&self, compressed_bytes: usize) -> usize {
        compressed_bytes
            .saturating_mul(self.ratio_max)
            .max(self.ratio_free_bytes)
            .min(self.bytes_max)
    }
}

/// One record. Keys, values and headers are slices of the opened batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset, if the batch was stamped with its base offset.
    pub offset: i64,
    /// Its place within the batch.
    pub offset_delta: i32,
    /// Milliseconds since 1970; the batch's append time where that is what the topic keeps.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

/// One header of a record. Names may repeat, and their order counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordHeader {
    pub name: Bytes,
    pub value: Option<Bytes>,
}

impl RecordHeader {
    pub fn new(name: impl Into<Bytes>, value: Option<Bytes>) -> RecordHeader {
        RecordHeader {
            name: name.into(),
            value,
        }
    }
}

impl Record {
    /// The value of the last header with this name, as Kafka's own `lastHeader`.
    pub fn header(&self, name: &[u8]) -> Option<&Bytes> {
        self.headers
            .iter()
            .rev()
            .find(|header| header.name == name)?
            .value
            .as_ref()
    }
}

/// Why the records of a batch cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error("record {index} is malformed: {detail}")]
    Malformed { index: i32, detail: &'static str },
    #[error("{bytes} bytes follow the last record")]
    Trailing { bytes: usize },
    #[error("{records} records cannot fit in {bytes} bytes")]
    Count { records: i32, bytes: usize },
}

/// The lengths of its name and its value take a byte each.
const HEADER_BYTES_MIN: usize = 2;

/// What [`Records::glance`] sees of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Its place within the batch.
    pub offset_delta: i32,
    pub timestamp: i64,
    pub has_key: bool,
}

/// Iterates over the records of a batch; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    batch: BatchHeader,
    body: Bytes,
    at: usize,
    index: i32,
    last_offset_delta: i32,
    ended: bool,
}

impl Records {
    /// Decompresses a batch within the limits. Uncompressed batches are not copied.
    pub fn open(batch: &ValidBatch, limits: &Limits) -> Result<Records, RecordsError> {
        let header = *batch.header();
        let stored = batch.records();
        let body = match header.compression {
            Compression::None => {
                if stored.len() > limits.bytes_max {
                    return Err(DecompressError::TooLarge {
                        limit: limits.bytes_max,
                    }
                    .into());
                }
                stored
            }
            // A batch that key compaction emptied has no compressed stream either.
            _ if header.record_count == 0 && stored.is_empty() => stored,
            codec => Bytes::from(codec.decompress(&stored, limits.allowance(stored.len()))?),
        };
        let records = usize::try_from(header.record_count).unwrap_or(0);
        if records.saturating_mul(RECORD_BYTES_MIN) > body.len() {
            return Err(RecordsError::Count {
                records: header.record_count,
                bytes: body.len(),
            });
        }
        Ok(Records {
            batch: header,
            body,
            at: 0,
            index: 0,
            last_offset_delta: -1,
            ended: false,
        })
    }

    /// Bytes of the opened records.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Looks at the beginning of every record, in place, without making one of it. Holds the records
    /// against the header's count as iterating does.
    pub fn glance(self, mut look: impl FnMut(Glance)) -> Result<(), RecordsError> {
        let mut rest = Reader::new(&self.body);
        let mut last = -1;
        for index in 0..self.batch.record_count {
            let malformed = |detail| RecordsError::Malformed { index, detail };
            let cut = |_: ReadError| malformed("it ends too early");
            let length = rest.varint().map_err(cut)?;
            let length =
                usize::try_from(length).map_err(|_| malformed("its length is negative"))?;
            let mut record = Reader::new(rest.take(length).map_err(cut)?);
            record.i8().map_err(cut)?;
            let timestamp_delta = record.varlong().map_err(cut)?;
            let offset_delta = record.varint().map_err(cut)?;
            if offset_delta <= last || offset_delta > self.batch.last_offset_delta {
                return Err(malformed(
                    "its offset delta is not within the batch, or does not rise",
                ));
            }
            last = offset_delta;
            look(Glance {
                offset_delta,
                timestamp: self.batch.base_timestamp.wrapping_add(timestamp_delta),
                has_key: record.varint().map_err(cut)? >= 0,
            });
        }
        match rest.left() {
            0 => Ok(()),
            bytes => Err(RecordsError::Trailing { bytes }),
        }
    }

    fn read_next(&mut self) -> Result<Record, RecordsError> {
        let index = self.index;
        let malformed = |detail| RecordsError::Malformed { index, detail };
        let read_error = |error: ReadError| {
            malformed(match error {
                ReadError::Truncated => "it ends too early",
                ReadError::Varint => "a variable-length number is too long",
            })
        };
        let rest = self.body.get(self.at..).unwrap_or_default();
        let mut outer = Reader::new(rest);
        let length = outer.varint().map_err(read_error)?;
        let length = usize::try_from(length).map_err(|_| malformed("its length is negative"))?;
        let record = outer.take(length).map_err(read_error)?;
        self.at = self.body.len().saturating_sub(outer.left());

        let mut reader = Reader::new(record);
        reader.i8().map_err(read_error)?;
        let timestamp_delta = reader.varlong().map_err(read_error)?;
        let offset_delta = reader.varint().map_err(read_error)?;
        if offset_delta <= self.last_offset_delta {
            return Err(malformed("its offset delta does not rise"));
        }
        if offset_delta > self.batch.last_offset_delta {
            return Err(malformed("its offset delta is beyond the batch"));
        }
        self.last_offset_delta = offset_delta;
        let key = nullable(&self.body, &mut reader).map_err(read_error)?;
        let value = nullable(&self.body, &mut reader).map_err(read_error)?;

        let count = reader.varint().map_err(read_error)?;
        let count =
            usize::try_from(count).map_err(|_| malformed("its header count is negative"))?;
        if count.saturating_mul(HEADER_BYTES_MIN) > reader.left() {
            return Err(malformed("its header count is larger than its bytes"));
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let name = nullable(&self.body, &mut reader).map_err(read_error)?;
            let name = name.ok_or_else(|| malformed("a header has no name"))?;
            let value = nullable(&self.body, &mut reader).map_err(read_error)?;
            headers.push(RecordHeader { name, value });
        }
        if reader.left() > 0 {
            return Err(malformed("bytes follow its last header"));
        }
        let timestamp = match self.batch.timestamp_type() {
            TimestampType::CreateTime => self.batch.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.batch.max_timestamp,
        };
        let offset = self
            .batch
            .base_offset
            .saturating_add(i64::from(offset_delta));
        Ok(Record {
            offset,
            offset_delta,
            timestamp,
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.index >= self.batch.record_count {
            self.ended = true;
            let bytes = self.body.len().saturating_sub(self.at);
            return (bytes > 0).then_some(Err(RecordsError::Trailing { bytes }));
        }
        let next = self.read_next();
        self.ended = next.is_err();
        self.index = self.index.saturating_add(1);
        Some(next)
    }
}

/// Bytes behind a length of which every negative value means null, as in Kafka.
fn nullable(body: &Bytes, reader: &mut Reader<'_>) -> Result<Option<Bytes>, ReadError> {
    match usize::try_from(reader.varint()?) {
        Ok(length) => Ok(Some(body.slice_ref(reader.take(length)?))),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
