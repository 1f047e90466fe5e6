//! Reads pieces of partitions again and finds what does not decode, one stored batch at a time.
//!
//! Holds: memory is asked for before a batch is opened, and given back before the next one; between two
//! batches whoever waits for the thread gets it, so that a query's time limit ends it.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tarn_decode::{
    BATCH_BYTES_MAX, BATCH_ROWS_MAX, DecodeRecord, Decoder, NO_RECORD, Reason, TableShape,
    UNREADABLE_BATCH, decode_record,
};
use tarn_hot::HotError;
use tarn_model::{Offset, OffsetRange, SchemaId, TopicId};
use tarn_schema::{Framing, schema_reference};
use tarn_state::State;
use tarn_topics::reader::Limits;
use tarn_topics::{Reader, RecordItem, StoredBatch};

use super::pruning::Piece;
use crate::QueryError;
use crate::context::QueryContext;

/// Bytes of batches that are read at a time.
const READ_BYTES: u64 = 4 << 20;
/// Rows of one Arrow batch.
const ROWS_MAX: usize = 8192;

/// Offsets without a row, and why.
#[derive(Debug, Clone)]
struct Lost {
    offsets: OffsetRange,
    schema_id: Option<SchemaId>,
    reason: &'static str,
    detail: Arc<str>,
}

pub(super) struct Look {
    context: Arc<QueryContext>,
    schema: SchemaRef,
    reader: Reader,
    memory: MemoryReservation,
    pieces: VecDeque<Piece>,
    decoder: Option<(TopicId, Decoder)>,
    /// The piece that is being read, …
    piece: Option<Piece>,
    /// … batches of it that were read and not opened yet, in their order, …
    batches: VecDeque<StoredBatch>,
    /// … and what was found and not given out yet.
    lost: VecDeque<Lost>,
}

impl Look {
    pub(super) fn new(
        context: &Arc<QueryContext>,
        schema: &SchemaRef,
        pieces: Vec<Piece>,
        task: &TaskContext,
    ) -> Look {
        Look {
            context: Arc::clone(context),
            schema: Arc::clone(schema),
            reader: context.reader.clone(),
            memory: MemoryConsumer::new("system.undecodable").register(task.memory_pool()),
            pieces: pieces.into(),
            decoder: None,
            piece: None,
            batches: VecDeque::new(),
            lost: VecDeque::new(),
        }
    }

    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        loop {
            if !self.lost.is_empty() {
                return self.rows().map(Some);
            }
            // What was found is given out: what the last batch took is free again.
            self.memory.free();
            if let Some(batch) = self.batches.pop_front() {
                self.open(&batch)?;
                tokio::task::yield_now().await;
            } else if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads on. `false` at the end.
    async fn read(&mut self) -> Result<bool, DataFusionError> {
        let piece = match self.piece.take().filter(|piece| !piece.offsets.is_empty()) {
            Some(piece) => piece,
            None => match self.pieces.pop_front() {
                Some(piece) => piece,
                None => return Ok(false),
            },
        };
        let view = &self.context.cut.view;
        let range = piece.offsets;
        let read = self
            .reader
            .read_range(view, piece.at, range, READ_BYTES)
            .await;
        let read = read.map_err(|error| QueryError::from(HotError::from(error)))?;
        if read.batches.is_empty() {
            // The index has a hole up to the next extent, or to the end.
            let end = hole_end(view, &piece);
            self.piece = Some(piece);
            self.advance(end);
            return Ok(true);
        }
        self.batches = read.batches.into();
        self.piece = Some(piece);
        Ok(true)
    }

    /// Everything below `to` was looked at: what was not accounted for until then had no record.
    fn advance(&mut self, to: Offset) {
        let Some(piece) = &mut self.piece else { return };
        if piece.offsets.start < to {
            self.lost.push_back(Lost {
                offsets: OffsetRange::new(piece.offsets.start, to),
                schema_id: None,
                reason: NO_RECORD,
                detail: "no record of its batch has this offset".into(),
            });
            piece.offsets.start = to;
        }
    }

    fn open(&mut self, batch: &StoredBatch) -> Result<(), DataFusionError> {
        let Some(piece) = self.piece.clone() else {
            return Ok(());
        };
        let limits = Limits::default();
        let stored = batch.batch.records().len();
        self.memory.try_grow(limits.allowance(stored))?;
        let within = piece.offsets;
        let opened = batch.records(within, &limits);
        self.memory.try_resize(opened.bytes())?;
        let mut run = Vec::new();
        let mut bytes = 0;
        for item in opened {
            match item {
                RecordItem::Record(record) => {
                    let record = decode_record(piece.at.partition, record);
                    bytes += record.size();
                    run.push(record);
                    if run.len() >= BATCH_ROWS_MAX || bytes >= BATCH_BYTES_MAX {
                        self.decode(&piece, &run)?;
                        run.clear();
                        bytes = 0;
                    }
                }
                RecordItem::Undecodable(unreadable) => {
                    self.decode(&piece, &run)?;
                    run.clear();
                    self.lose(Lost {
                        offsets: unreadable.offsets,
                        schema_id: None,
                        reason: UNREADABLE_BATCH,
                        detail: unreadable.reason.into(),
                    });
                }
            }
        }
        self.decode(&piece, &run)?;
        match batch.is_control() {
            // Its offsets hold a transaction's markers, which are no records.
            true => self.pass(batch.offsets().end.min(within.end)),
            false => self.advance(batch.offsets().end.min(within.end)),
        }
        Ok(())
    }

    fn decode(&mut self, piece: &Piece, records: &[DecodeRecord]) -> Result<(), DataFusionError> {
        let context = Arc::clone(&self.context);
        let state: &State = &context.cut.view;
        let mut rest = records;
        while !rest.is_empty() {
            let decoded = self.decoder(piece).decode(rest);
            let decoded = decoded.map_err(|error| QueryError::from(HotError::from(error)))?;
            let (run, after) = rest.split_at(decoded.taken.min(rest.len()));
            rest = after;
            let mut undecodable = decoded.undecodable.iter().peekable();
            for (index, record) in run.iter().enumerate() {
                let found = undecodable.next_if(|found| found.index == index);
                let Some(found) = found else {
                    self.advance(record.offset);
                    self.pass(record.offset.advance(1));
                    continue;
                };
                self.lose(Lost {
                    offsets: OffsetRange::new(record.offset, record.offset.advance(1)),
                    schema_id: named(state, record),
                    reason: found.reason.label(),
                    detail: explained(found.reason).into(),
                });
            }
        }
        let waiting = self.lost.len() * size_of::<Lost>();
        let held = self.memory.size().max(waiting);
        self.memory.try_resize(held)
    }

    fn decoder(&mut self, piece: &Piece) -> &Decoder {
        let topic = piece.at.topic;
        let is_it = self.decoder.as_ref().is_some_and(|(of, _)| *of == topic);
        if !is_it {
            let state: &State = &self.context.cut.view;
            let table = state
                .table(topic)
                .expect("only topics with a table are looked at");
            self.decoder = Some((topic, Decoder::new(&TableShape::of(state, table))));
        }
        let (_, decoder) = self.decoder.as_ref().expect("it was just made");
        decoder
    }

    fn lose(&mut self, lost: Lost) {
        let OffsetRange { start, end } = lost.offsets;
        self.advance(start);
        self.lost.push_back(lost);
        self.pass(end);
    }

    /// What lies below `to` is accounted for.
    fn pass(&mut self, to: Offset) {
        if let Some(piece) = &mut self.piece {
            piece.offsets.start = piece.offsets.start.max(to);
        }
    }

    /// What was found, offset by offset.
    fn rows(&mut self) -> Result<RecordBatch, DataFusionError> {
        let (topic, partition) = match &self.piece {
            Some(piece) => (piece.topic.as_str(), piece.at.partition.0),
            None => ("", 0),
        };
        let (mut offsets, mut schemas) = (Vec::new(), Vec::new());
        let (mut reasons, mut details) = (Vec::new(), Vec::new());
        while offsets.len() < ROWS_MAX
            && let Some(lost) = self.lost.front_mut()
        {
            offsets.push(lost.offsets.start.to_wire());
            schemas.push(lost.schema_id.map(|id| id.0.cast_signed()));
            reasons.push(lost.reason);
            details.push(Arc::clone(&lost.detail));
            lost.offsets.start = lost.offsets.start.advance(1);
            if lost.offsets.is_empty() {
                self.lost.pop_front();
            }
        }
        let count = offsets.len();
        Ok(RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                    topic, count,
                ))),
                Arc::new(Int32Array::from_value(partition, count)),
                Arc::new(Int64Array::from(offsets)),
                Arc::new(Int32Array::from(schemas)),
                Arc::new(StringArray::from_iter_values(reasons)),
                Arc::new(StringArray::from_iter_values(details)),
            ],
        )?)
    }
}

/// Where the next extent begins, in a piece that begins outside of one.
fn hole_end(state: &State, piece: &Piece) -> Offset {
    let OffsetRange { start, end } = piece.offsets;
    let partition = state.partition(piece.at.topic, piece.at.partition);
    let next = partition.and_then(|partition| partition.extents_from(start).next());
    next.map_or(end, |extent| {
        extent.offsets.start.clamp(start.advance(1), end)
    })
}

/// The schema that a record names, known or not.
fn named(state: &State, record: &DecodeRecord) -> Option<SchemaId> {
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_ref(), value.as_deref()));
    match schema_reference(record.value.as_deref()?, headers) {
        Framing::ById(id, _) => Some(id),
        Framing::ByGuid(guid, _) => state.schema_guids.get(&guid).copied(),
        Framing::None => None,
    }
}

fn explained(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSchema => "the topic has a schema, and the value names none",
        Reason::UnknownSchema => {
            "the schema that it names was not registered for the topic when the record came"
        }
        Reason::UnusableSchema => "the table's columns cannot take the schema that it names",
        Reason::Truncated => "the value ends before its schema does",
        Reason::TrailingBytes => "the value goes on behind the end of its schema",
        Reason::InvalidUtf8 => "a text in it is not UTF-8",
        Reason::InvalidValue => {
            "a number, union branch, symbol, boolean, UUID or time of day in it is none"
        }
        Reason::TooLarge => "its rows would be out of all proportion to its bytes",
    }
}
