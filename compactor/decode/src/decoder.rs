//! Decodes records of one table, whatever schema versions they were written with.
//!
//! **A record is judged by the schemas that were registered below its own commit**, by whole Lsn (a
//! log that was recovered counts its entries anew in the next generation), and by nothing that came
//! later: hot tier, materializer and every replay agree on what is undecodable.
//!
//! | record | row |
//! | --- | --- |
//! | committed before the topic had a schema | its value in `_value` |
//! | names a schema and decodes to its last byte | payload columns and `_schema_id` |
//! | null value in a typed topic (a tombstone) | payload columns null, `_schema_id` null |
//! | anything else | none: undecodable, with the [`Reason`] |

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use meta::MetaColumns;
use tarn_model::{ClusterTime, Field, Kind, Lsn, Offset, PartitionId, SchemaId};
use tarn_schema::{Framing, schema_reference, table_columns};
use tarn_state::Schema;
use writer::Writer;

use crate::arrow_schema::arrow_schema;
use crate::column::{Column, row_width};
use crate::event_time::{EventTimes, believed, micros};
use crate::reason::{Reason, UnusableSchema};

mod meta;
mod writer;

/// Most rows of one [`Decoder::decode`], and about the most bytes of its columns: a batch is full with
/// the record that reaches them. Together with the budget of a record they keep Arrow's 32-bit
/// offsets from overflowing.
pub const BATCH_ROWS_MAX: usize = 8192;
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// What a header takes in the columns besides its name and value.
const HEADER_BYTES: usize = 16;

/// A record as it was committed.
#[derive(Debug, Clone)]
pub struct DecodeRecord {
    pub partition: PartitionId,
    pub offset: Offset,
    /// Milliseconds since 1970. What microseconds cannot hold becomes the nearest that they can.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// Names should be UTF-8; what is not is replaced.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// The entry that committed the record, and its cluster time.
    pub lsn: Lsn,
    pub committed: ClusterTime,
}

impl DecodeRecord {
    /// What it counts towards [`BATCH_BYTES_MAX`].
    pub fn size(&self) -> usize {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| HEADER_BYTES + name.len() + optional(value))
            .sum();
        headers + optional(&self.key) + optional(&self.value)
    }
}

/// What the decoder has to know about a table.
#[derive(Debug, Clone)]
pub struct TableShape {
    /// Payload columns, with their ids.
    pub columns: Vec<Field>,
    /// The table has `_value`: the topic has, or once had, records without a schema.
    pub with_value: bool,
    /// The entry that gave the topic its first schema; records committed above it need one.
    pub typed_since: Option<Lsn>,
    /// Which column says when an event happened, and the entry from which on it does; `None` is the
    /// record's timestamp.
    pub event_times: Vec<(Lsn, Option<String>)>,
    /// All schemas that its records may name.
    pub schemas: Vec<WriterSchema>,
}

#[derive(Debug, Clone)]
pub struct WriterSchema {
    pub schema: Arc<Schema>,
    /// All that it refers to, directly or by others, each after those that it needs itself.
    pub needed: Vec<Arc<Schema>>,
    /// The entry that registered it.
    pub registered: Lsn,
    /// Why its columns are not in the table, if they could not be.
    pub unfit: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the decoded columns are no Arrow batch")]
    Arrow(#[from] ArrowError),
}

impl DecodeError {
    pub fn kind(&self) -> Kind {
        match self {
            DecodeError::Arrow(_) => Kind::Internal,
        }
    }
}

/// A record without a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable {
    /// Its place among the records given.
    pub index: usize,
    pub partition: PartitionId,
    pub offset: Offset,
    pub reason: Reason,
}

#[derive(Debug)]
pub struct Decoded {
    /// Rows in the order of the records.
    pub batch: RecordBatch,
    /// In the order of the records.
    pub undecodable: Vec<Undecodable>,
    /// How many of the records given are rows or undecodable; the others are for the next batch.
    pub taken: usize,
    pub odd: Odd,
}

/// What was found in rows that records should not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odd {
    /// Rows whose event time is that of their append: they claim none, or an absurd one.
    pub append_timed: u64,
    /// Values that their columns' types do not have: they are null.
    pub nulled: u64,
}

impl AddAssign for Odd {
    fn add_assign(&mut self, more: Odd) {
        self.append_timed += more.append_timed;
        self.nulled += more.nulled;
    }
}

/// Decodes records of one table. Cheap to share: decoding does not change it.
#[derive(Debug)]
pub struct Decoder {
    columns: Vec<Field>,
    with_value: bool,
    typed_since: Option<Lsn>,
    event_times: EventTimes,
    /// Bytes that a row takes in the columns, whatever is in it.
    row_width: usize,
    writers: HashMap<SchemaId, Arc<Writer>>,
    /// The earliest registered first.
    by_guid: HashMap<[u8; 16], Vec<SchemaId>>,
    schema: SchemaRef,
}

impl Decoder {
    pub fn new(shape: &TableShape) -> Decoder {
        Decoder::grown(shape, None)
    }

    /// The decoder of a table that grew: what was compiled before is kept if its columns are the same.
    pub(crate) fn grown(shape: &TableShape, before: Option<&Decoder>) -> Decoder {
        let before = before.filter(|before| before.columns == shape.columns);
        let mut writers = HashMap::new();
        let mut by_guid: HashMap<[u8; 16], Vec<SchemaId>> = HashMap::new();
        let mut schemas: Vec<&WriterSchema> = shape.schemas.iter().collect();
        schemas.sort_by_key(|schema| (schema.registered, schema.schema.id));
        for schema in schemas {
            let (id, guid) = (schema.schema.id, schema.schema.guid);
            let known = before.and_then(|before| before.writers.get(&id));
            let known = known.filter(|known| known.schema.registered == schema.registered);
            let writer = known.map_or_else(|| Arc::new(Writer::new(schema)), Arc::clone);
            writers.insert(id, writer);
            by_guid.entry(guid).or_default().push(id);
        }
        let columns = table_columns(&shape.columns, shape.with_value);
        let widths = columns.iter().map(|column| row_width(&column.kind));
        Decoder {
            schema: arrow_schema(&columns),
            row_width: widths.fold(0, usize::saturating_add),
            event_times: EventTimes::new(&shape.event_times, &shape.columns),
            columns: shape.columns.clone(),
            with_value: shape.with_value,
            typed_since: shape.typed_since,
            writers,
            by_guid,
        }
    }

    /// Schema of every batch that this decoder makes.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Schemas whose records have no rows in this table, for the log.
    pub fn unusable(&self) -> Vec<(SchemaId, &UnusableSchema)> {
        let mut unusable: Vec<_> = self
            .writers
            .iter()
            .filter_map(|(id, writer)| Some((*id, writer.plan(&self.columns).as_ref().err()?)))
            .collect();
        unusable.sort_by_key(|(id, _)| *id);
        unusable
    }

    /// One row for each record that decodes, in the given order, until a batch is full: at least one
    /// record is taken if there is any.
    pub fn decode(&self, records: &[DecodeRecord]) -> Result<Decoded, DecodeError> {
        let mut payload: Vec<Column> = self
            .columns
            .iter()
            .map(|field| Column::new(&field.kind))
            .collect();
        let mut meta = MetaColumns::new(self.with_value);
        let mut undecodable = Vec::new();
        let (mut rows, mut bytes, mut taken) = (0, 0_usize, 0);
        let mut odd = Odd::default();
        for (index, record) in records.iter().take(BATCH_ROWS_MAX).enumerate() {
            taken += 1;
            bytes = bytes.saturating_add(record.size());
            let appended = self.append(record, &mut payload).and_then(|origin| {
                let event_time = self.event_time(record, &payload);
                meta.append(record, &origin, event_time)?;
                Ok((origin, event_time))
            });
            match appended {
                Ok((origin, event_time)) => {
                    rows += 1;
                    bytes = bytes.saturating_add(self.row_width + origin.spent);
                    odd.append_timed += u64::from(event_time.is_none());
                    odd.nulled += origin.nulled;
                }
                Err(reason) => {
                    payload.iter_mut().for_each(|column| column.truncate(rows));
                    let DecodeRecord {
                        partition, offset, ..
                    } = *record;
                    undecodable.push(Undecodable {
                        index,
                        partition,
                        offset,
                        reason,
                    });
                }
            }
            if bytes >= BATCH_BYTES_MAX {
                break;
            }
        }
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (column, field) in payload.into_iter().zip(self.schema.fields()) {
            arrays.push(column.finish(field.data_type())?);
        }
        meta.finish(&self.schema, &mut arrays)?;
        Ok(Decoded {
            batch: RecordBatch::try_new(self.schema.clone(), arrays)?,
            undecodable,
            taken,
            odd,
        })
    }

    /// When the record happened, as it claims; `None` if it claims nothing that can be believed. Its
    /// payload is the last row of the columns.
    fn event_time(&self, record: &DecodeRecord, payload: &[Column]) -> Option<i64> {
        let timestamp = micros(record.timestamp_ms);
        let claimed = self.event_times.claimed(record.lsn, timestamp, payload);
        believed(claimed, micros(record.committed.0))
    }

    /// Appends a row to the payload's columns.
    fn append<'r>(
        &self,
        record: &'r DecodeRecord,
        payload: &mut [Column],
    ) -> Result<Origin<'r>, Reason> {
        let typed = self.typed_since.is_some_and(|since| since < record.lsn);
        let value = match &record.value {
            Some(value) if typed => value,
            // Without a schema there is nothing to judge a record by, and `_value` takes all of it.
            value if typed || self.with_value => {
                payload.iter_mut().for_each(Column::append_null);
                return Ok(Origin {
                    value: value.as_ref(),
                    ..Origin::default()
                });
            }
            _ => return Err(Reason::NoSchema),
        };
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_deref()));
        let (id, writer, bytes) = match schema_reference(value, headers) {
            Framing::None => return Err(Reason::NoSchema),
            Framing::ById(id, bytes) => (id, self.writer(id, record.lsn), bytes),
            Framing::ByGuid(guid, bytes) => {
                // Ids of the same schema are in the order of their registration.
                let id = self
                    .by_guid
                    .get(&guid)
                    .and_then(|ids| ids.first())
                    .ok_or(Reason::UnknownSchema)?;
                (*id, self.writer(*id, record.lsn), bytes)
            }
        };
        let writer = writer.ok_or(Reason::UnknownSchema)?;
        let plan = writer.plan(&self.columns).as_ref();
        let plan = plan.map_err(|_| Reason::UnusableSchema)?;
        let spent = plan.read(bytes, payload)?;
        Ok(Origin {
            schema_id: Some(id),
            value: None,
            spent: spent.bytes,
            nulled: spent.nulled,
        })
    }

    /// The schema of this id, if it was there when the record was committed.
    fn writer(&self, id: SchemaId, lsn: Lsn) -> Option<&Writer> {
        let writer = self.writers.get(&id)?.as_ref();
        (writer.schema.registered < lsn).then_some(writer)
    }
}

/// What a row has besides its payload, and what making it took.
#[derive(Debug, Default)]
struct Origin<'r> {
    schema_id: Option<SchemaId>,
    /// For `_value`.
    value: Option<&'r Bytes>,
    spent: usize,
    nulled: u64,
}

#[cfg(test)]
mod tests;
