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
use tarn_decode::{Decoder, Loss, NO_RECORD, Named, TableShape, decode_batches};
use tarn_hot::HotError;
use tarn_model::{Offset, OffsetRange, SchemaId, TopicId};
use tarn_state::State;
use tarn_topics::reader::Limits;
use tarn_topics::{Reader, StoredBatch};

use super::pruning::Piece;
use crate::QueryError;
use crate::context::QueryContext;

/// Bytes of batches that are read at a time.
const READ_BYTES: u64 = 4 << 20;
/// Bytes of rows, which nobody wants here, that are decoded at a time.
const ROWS_BYTES: usize = 16 << 20;
/// Rows of one Arrow batch.
const ROWS_MAX: usize = 8192;

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
    lost: VecDeque<Loss>,
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
            self.lost.push_back(Loss {
                offsets: OffsetRange::new(range.start, end),
                named: Named::Nothing,
                reason: NO_RECORD,
                detail: "no batch has this offset".into(),
            });
            self.piece = Some(piece);
            self.pass(end);
            return Ok(true);
        }
        self.batches = read.batches.into();
        self.piece = Some(piece);
        Ok(true)
    }

    /// What the tables' own decoder has no row for; the rows go.
    fn open(&mut self, batch: &StoredBatch) -> Result<(), DataFusionError> {
        let allowance = Limits::default().allowance(batch.batch.records().len());
        while let Some(piece) = self.piece.clone()
            && piece.offsets.start < batch.offsets().end.min(piece.offsets.end)
        {
            self.memory.try_resize(allowance + ROWS_BYTES)?;
            let batches = std::slice::from_ref(batch);
            let (partition, within) = (piece.at.partition, piece.offsets);
            let chunk = decode_batches(
                self.decoder(&piece),
                partition,
                batches,
                within,
                ROWS_BYTES as u64,
            );
            let chunk = chunk.map_err(|error| QueryError::from(HotError::from(error)))?;
            self.lost.extend(chunk.losses);
            self.pass(chunk.next);
        }
        let waiting = self.lost.iter();
        let waiting = waiting.map(|lost| size_of::<Loss>() + lost.detail.len());
        self.memory.try_resize(waiting.sum())
    }

    fn decoder(&mut self, piece: &Piece) -> &Decoder {
        let topic = piece.at.topic;
        let is_it = self.decoder.as_ref().is_some_and(|(of, _)| *of == topic);
        if !is_it {
            let state: &State = &self.context.cut.view;
            let table = state.table(topic);
            let table = table.and_then(|table| Some((table, table.of_topic()?)));
            let (table, of) = table.expect("only topics with a table are looked at");
            self.decoder = Some((
                topic,
                Decoder::new(&TableShape::of(&state.schemas, table, of)),
            ));
        }
        let (_, decoder) = self.decoder.as_ref().expect("it was just made");
        decoder
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
            let id = schema_id(&self.context.cut.view, lost.named);
            schemas.push(id.map(|id| id.0.cast_signed()));
            reasons.push(lost.reason);
            details.push(lost.detail.clone());
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

/// The id of the schema that a record names, known or not.
fn schema_id(state: &State, named: Named) -> Option<SchemaId> {
    match named {
        Named::Id(id) => Some(id),
        Named::Guid(guid) => state.schema_guids.get(&guid).copied(),
        Named::Nothing => None,
    }
}
