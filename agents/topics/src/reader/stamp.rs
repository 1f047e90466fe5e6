//! Batches as they are handed out: stamped with their place, and opened into records.

use bytes::{Bytes, BytesMut};
use tarn_kafka::records::Limits;
use tarn_kafka::{RecordHeader, Records, ValidBatch, stamp};
use tarn_model::{ClusterTime, Lsn, Offset, OffsetRange, Timestamp};

use super::raw::RawBatch;

/// The batches one after the other in one buffer, each stamped with its base offset and leader epoch.
/// Both stand outside the batch's checksum.
pub(super) fn join(batches: &[RawBatch]) -> Bytes {
    let mut joined = BytesMut::with_capacity(batches.iter().map(|batch| batch.bytes.len()).sum());
    for batch in batches {
        let start = joined.len();
        joined.extend_from_slice(&batch.bytes);
        let epoch = i32::try_from(batch.leader_epoch).unwrap_or(i32::MAX);
        let copied = joined.get_mut(start..).expect("it was just appended");
        stamp(copied, batch.base.to_wire(), epoch).expect("its header was parsed");
    }
    joined.freeze()
}

/// A committed batch with its place.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    pub base: Offset,
    /// The entry that committed it: its records are judged by the schemas registered before.
    pub lsn: Lsn,
    pub committed_time: ClusterTime,
    /// Stamped with its base offset and leader epoch.
    pub batch: ValidBatch,
}

/// A record with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
    /// The entry that committed it.
    pub lsn: Lsn,
    pub committed_time: ClusterTime,
}

/// Offsets whose records cannot be read, for ever: they are counted, so that they wedge nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    pub offsets: OffsetRange,
    pub reason: String,
    pub lsn: Lsn,
}

/// What stands at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordItem {
    Record(TopicRecord),
    Undecodable(Undecodable),
}

impl StoredBatch {
    pub fn offsets(&self) -> OffsetRange {
        let count = u64::try_from(self.batch.header().offset_count()).unwrap_or(0);
        OffsetRange::new(self.base, self.base.advance(count))
    }

    /// The batch is a transaction's marker, which is no record.
    pub fn is_control(&self) -> bool {
        self.batch.header().is_control()
    }

    /// The records with offsets in `within`. Of a control batch there are none. What cannot be opened
    /// or is malformed is one last item that says how far it goes.
    pub fn records(&self, within: OffsetRange, limits: &Limits) -> Opened {
        let mut opened = Opened {
            within,
            all: self.offsets(),
            next: self.base,
            lsn: self.lsn,
            committed_time: self.committed_time,
            records: None,
            unreadable: None,
        };
        if !self.is_control() {
            match Records::open(&self.batch, limits) {
                Ok(records) => opened.records = Some(records),
                Err(error) => opened.unreadable = Some((self.base, error.to_string())),
            }
        }
        opened
    }
}

/// The records of one batch, one by one.
#[derive(Debug)]
pub struct Opened {
    within: OffsetRange,
    all: OffsetRange,
    /// Offsets below it were looked at.
    next: Offset,
    lsn: Lsn,
    committed_time: ClusterTime,
    records: Option<Records>,
    /// From where on nothing can be read, and why.
    unreadable: Option<(Offset, String)>,
}

impl Opened {
    /// Bytes of the opened batch. Each of its records keeps all of them in memory.
    pub fn bytes(&self) -> usize {
        self.records.as_ref().map_or(0, Records::body_bytes)
    }
}

impl Iterator for Opened {
    type Item = RecordItem;

    fn next(&mut self) -> Option<RecordItem> {
        while let Some(record) = self.records.as_mut().and_then(Iterator::next) {
            match record {
                Ok(record) => {
                    let delta = u64::try_from(record.offset_delta).unwrap_or(0);
                    let offset = self.all.start.advance(delta);
                    self.next = offset.advance(1);
                    if self.within.contains(offset) {
                        return Some(RecordItem::Record(TopicRecord {
                            offset,
                            timestamp: Timestamp(record.timestamp),
                            key: record.key,
                            value: record.value,
                            headers: record.headers,
                            lsn: self.lsn,
                            committed_time: self.committed_time,
                        }));
                    }
                }
                Err(error) => self.unreadable = Some((self.next, error.to_string())),
            }
        }
        let (start, reason) = self.unreadable.take()?;
        let offsets = OffsetRange::new(start, self.all.end).intersect(self.within);
        (!offsets.is_empty()).then_some(RecordItem::Undecodable(Undecodable {
            offsets,
            reason,
            lsn: self.lsn,
        }))
    }
}
