//! Batches that are opened at the door, since their headers cannot tell what has to be known.
//!
//! - A header that cannot be right about the largest timestamp ([`BatchHeader::may_hide_timestamps`]):
//!   the truth is written into it, as Apache Kafka does for every batch, and it must keep the topic's
//!   limits. Offsets by time and retention go by that number.
//! - A topic with limits of its own for timestamps: every record is held against them.
//! - A compacted topic: every record must have a key.
//!
//! All other batches stay as they came. Records that cannot be read fail their batch here, where their
//! producer can still be told.

use std::ops::RangeInclusive;

use tarn_kafka::records::{Glance, Limits, RecordsError};
use tarn_kafka::{BatchHeader, Compression, DecompressError, ErrorCode, Records, ValidBatch};
use tarn_model::Timestamp;
use tarn_state::Topic;
use tarn_state::topic_configs::TimestampRule;

use crate::agent::Agent;

use super::{Refused, millis};

/// Records of one batch that an answer names; the rest of it is as bad.
const NAMED_MAX: usize = 100;
/// Uncompressed bytes up to which a batch is walked where it stands: it takes a fraction of a
/// millisecond.
const WALKED_AT_ONCE: usize = 256 << 10;

/// What a batch is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reasons {
    keys: bool,
    /// The timestamps that records may have, where the batch keeps its producer's.
    timestamps: Option<RangeInclusive<i64>>,
}

/// Why this batch has to be opened; `None` if it need not be.
pub(super) fn reasons(topic: &Topic, header: &BatchHeader, now: Timestamp) -> Option<Reasons> {
    let keys = topic.is_compacted();
    let timestamps = match topic.timestamp_rule() {
        TimestampRule::Create { before, after }
            if header.may_hide_timestamps() || topic.limits_timestamps() =>
        {
            let earliest = now.0.saturating_sub(millis(before));
            Some(earliest..=now.0.saturating_add(millis(after)))
        }
        TimestampRule::Create { .. } | TimestampRule::LogAppend => None,
    };
    (keys || timestamps.is_some()).then_some(Reasons { keys, timestamps })
}

/// Opens a batch and gives it back, with its header corrected.
pub(super) async fn open(
    agent: &Agent,
    batch: ValidBatch,
    reasons: Reasons,
) -> Result<ValidBatch, Refused> {
    let limits = Limits::default();
    let compressed = batch.header().compression != Compression::None;
    if !compressed && batch.bytes().len() <= WALKED_AT_ONCE {
        return checked(batch, &limits, &reasons);
    }
    // What it becomes is paid for; one at a time within a request.
    let bytes = if compressed {
        limits.allowance(batch.bytes().len()) as u64
    } else {
        0
    };
    let permit = agent
        .opened
        .acquire(bytes.min(agent.opened.total().0))
        .await
        .map_err(|error| Refused::because(ErrorCode::NotEnoughReplicas, error))?;
    let work = move || {
        let _permit = permit;
        checked(batch, &limits, &reasons)
    };
    let opened = agent.connections.blocking("opening a batch", work).await;
    opened.unwrap_or_else(|error| Err(Refused::because(ErrorCode::UnknownServerError, error)))
}

fn checked(batch: ValidBatch, limits: &Limits, reasons: &Reasons) -> Result<ValidBatch, Refused> {
    let mut largest = -1;
    let mut refused = Findings::default();
    let look = |record: Glance| {
        largest = largest.max(record.timestamp);
        if reasons.keys && !record.has_key {
            let why = "Compacted topic cannot accept message without key in topic partition.";
            refused.add(ErrorCode::InvalidRecord, record.offset_delta, || {
                why.to_owned()
            });
        }
        // A record without a timestamp has none that could be wrong.
        if let Some(allowed) = &reasons.timestamps
            && record.timestamp != -1
            && !allowed.contains(&record.timestamp)
        {
            refused.add(ErrorCode::InvalidTimestamp, record.offset_delta, || {
                format!(
                    "Timestamp {} of message with offset delta {} is out of range. The timestamp should be within [{}, {}]",
                    record.timestamp,
                    record.offset_delta,
                    allowed.start(),
                    allowed.end()
                )
            });
        }
    };
    Records::open(&batch, limits)
        .and_then(|records| records.glance(look))
        .map_err(unreadable)?;
    refused.verdict()?;
    Ok(match reasons.timestamps {
        Some(_) => batch.with_max_timestamp(largest),
        None => batch,
    })
}

/// What is wrong with the records of a batch.
#[derive(Debug, Default)]
struct Findings {
    code: Option<ErrorCode>,
    count: u64,
    named: Vec<(i32, String)>,
}

impl Findings {
    fn add(&mut self, code: ErrorCode, offset_delta: i32, why: impl FnOnce() -> String) {
        self.count += 1;
        // As in Kafka, one code for the batch; a wrong timestamp has the last word.
        if self.code != Some(ErrorCode::InvalidTimestamp) {
            self.code = Some(code);
        }
        if self.named.len() < NAMED_MAX {
            self.named.push((offset_delta, why()));
        }
    }

    fn verdict(self) -> Result<(), Refused> {
        let Some(code) = self.code else {
            return Ok(());
        };
        let first: Vec<&str> = self
            .named
            .iter()
            .take(3)
            .map(|(_, why)| why.as_str())
            .collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, the first of them: {}",
            self.count,
            first.join("; ")
        );
        Err(Refused {
            code,
            message: Some(message),
            records: self.named,
        })
    }
}

fn unreadable(error: RecordsError) -> Refused {
    let code = match &error {
        RecordsError::Decompress(DecompressError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
        RecordsError::Decompress(_)
        | RecordsError::Malformed { .. }
        | RecordsError::Trailing { .. }
        | RecordsError::Count { .. } => ErrorCode::InvalidRecord,
    };
    Refused::because(code, error)
}
