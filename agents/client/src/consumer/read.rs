//! What one partition's answer holds.
//!
//! Holds: a batch of an aborted transaction is passed over, and so are records below the position.

use std::collections::BTreeSet;

use kafka_protocol::messages::fetch_response::PartitionData;
use std::sync::Arc;
use tarn_kafka::{BatchError, Records, ValidBatch, split_batches};
use tarn_model::{Offset, Timestamp};

use crate::{ConsumeError, Isolation};

use super::settings::ConsumerSettings;
use super::{ConsumerRecord, Position};

/// Reads the batches of one partition's answer and moves the position over them.
pub(super) fn read_partition(
    position: &mut Position,
    answer: PartitionData,
    settings: &ConsumerSettings,
    records: &mut Vec<ConsumerRecord>,
) -> Result<(), ConsumeError> {
    let partition = answer.partition_index;
    let mut aborted = AbortedTransactions::new(&answer);
    let Some(bytes) = answer.records else {
        return Ok(());
    };
    for batch in split_batches(bytes) {
        let next = position.next.unwrap_or(Offset::ZERO);
        let corrupt = |detail: String| ConsumeError::Corrupt {
            topic: position.topic.to_string(),
            partition,
            offset: next.to_wire(),
            detail,
        };
        let batch = match batch {
            Ok(batch) => batch,
            // Servers may cut the last batch off at the byte limit.
            Err(BatchError::Truncated { .. }) => return Ok(()),
            Err(error) => return Err(corrupt(error.to_string())),
        };
        let header = *batch.header();
        let Some(end) = Offset::from_wire(header.last_offset()).map(|last| last.advance(1)) else {
            return Err(corrupt("a batch has negative offsets".to_owned()));
        };
        if end <= next {
            continue;
        }
        let hidden = aborted.hides(&batch, settings) || header.is_control();
        if !hidden {
            let opened = Records::open(&batch, &settings.limits)
                .map_err(|error| corrupt(error.to_string()))?;
            // All or nothing of a batch, so that the position stays at its beginning on an error.
            let mut of_batch = Vec::new();
            for record in opened {
                let record = record.map_err(|error| corrupt(error.to_string()))?;
                let Some(offset) =
                    Offset::from_wire(record.offset).filter(|offset| *offset >= next)
                else {
                    continue;
                };
                of_batch.push(ConsumerRecord {
                    topic: Arc::clone(&position.topic),
                    partition,
                    offset,
                    timestamp: Timestamp(record.timestamp),
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                });
            }
            records.append(&mut of_batch);
        }
        position.next = Some(end);
    }
    Ok(())
}

/// Which producers' batches belong to aborted transactions, as one walks over an answer.
struct AbortedTransactions {
    /// (first offset, producer id), the last one first.
    to_come: Vec<(i64, i64)>,
    producers: BTreeSet<i64>,
}

impl AbortedTransactions {
    fn new(answer: &PartitionData) -> AbortedTransactions {
        let listed = answer.aborted_transactions.iter().flatten();
        let mut to_come: Vec<(i64, i64)> = listed
            .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
            .collect();
        to_come.sort_unstable_by(|a, b| b.cmp(a));
        AbortedTransactions {
            to_come,
            producers: BTreeSet::new(),
        }
    }

    fn hides(&mut self, batch: &ValidBatch, settings: &ConsumerSettings) -> bool {
        if settings.isolation == Isolation::ReadUncommitted {
            return false;
        }
        let header = batch.header();
        while let Some((_, producer)) = self.to_come.pop_if(|next| next.0 <= header.last_offset()) {
            self.producers.insert(producer);
        }
        if header.is_control() {
            // The marker ends the transaction, whichever way.
            self.producers.remove(&header.producer_id);
            return true;
        }
        header.is_transactional() && self.producers.contains(&header.producer_id)
    }
}
