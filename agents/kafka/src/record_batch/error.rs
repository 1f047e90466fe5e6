//! Why bytes are no batch that we take, and the code that Apache Kafka answers with for the same.

use crate::ErrorCode;

/// Why bytes are not a batch that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("there is no batch")]
    Empty,
    #[error("the batch is cut: it has {needed} bytes, of which {present} are there")]
    Truncated { needed: usize, present: usize },
    #[error("there is more than one batch")]
    MoreThanOne,
    #[error("the length {0} is too short for any batch")]
    TooShort(i32),
    #[error("the batch has {bytes} bytes, but at most {max} are allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error("the message format {0} is no longer supported; the batch format is 2")]
    OldMagic(i8),
    #[error("the message format {0} is unknown")]
    UnknownMagic(i8),
    #[error("the checksum is {computed:#010x}, but the batch says {stated:#010x}")]
    WrongCrc { stated: u32, computed: u32 },
    #[error(transparent)]
    Compression(CodecProblem),
    #[error("a produced batch must have the base offset 0, not {0}")]
    BaseOffset(i64),
    #[error(
        "the batch has {record_count} records, but its last offset delta is {last_offset_delta}"
    )]
    RecordCount {
        record_count: i32,
        last_offset_delta: i32,
    },
    #[error("{records} records cannot fit in {bytes} bytes")]
    TooManyRecords { records: i32, bytes: usize },
    #[error(transparent)]
    Producer(ProducerProblem),
    #[error("clients may not write control batches")]
    Control,
    #[error("only the server may write log-append time")]
    LogAppendTime,
    #[error("the timestamp {timestamp} is later than {latest}, the latest allowed")]
    TimestampTooLate { timestamp: i64, latest: i64 },
}

impl BatchError {
    /// The code that Apache Kafka answers with for the same batch.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::Empty
            | BatchError::Truncated { .. }
            | BatchError::MoreThanOne
            | BatchError::OldMagic(_)
            | BatchError::BaseOffset(_)
            | BatchError::RecordCount { .. }
            | BatchError::TooManyRecords { .. }
            | BatchError::Producer(_)
            | BatchError::Control => ErrorCode::InvalidRecord,
            BatchError::TooShort(_) | BatchError::UnknownMagic(_) | BatchError::WrongCrc { .. } => {
                ErrorCode::CorruptMessage
            }
            BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::Compression(_) => ErrorCode::UnsupportedCompressionType,
            BatchError::LogAppendTime | BatchError::TimestampTooLate { .. } => {
                ErrorCode::InvalidTimestamp
            }
        }
    }
}

/// What a batch lacks of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProducerProblem {
    #[error("the batch has a producer id but no sequence")]
    Sequence,
    #[error("the batch has a producer id but no producer epoch")]
    Epoch,
    #[error("the batch is transactional but has no producer id")]
    Producer,
}

/// A codec that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecProblem {
    #[error("the compression codec {0} is unknown")]
    Unknown(i16),
    #[error("zstd needs version 7 of Produce or later")]
    ZstdTooEarly,
}
