//! `system.undecodable`: records that are in no table and no query: `topic`, `partition`, `offset`,
//! `schema_id` (the one that it names, if any), `reason`, `detail`.
//!
//! Nothing of it is kept: what retention still holds is decoded again, by the decoder of the tables, when
//! somebody asks. So it takes time and memory like any other query, and asks for neither where a filter on
//! `topic`, `partition` or `offset` says that it need not look, nor below M where the materializer
//! counted none.
//!
//! Holds: it says what the materializer counts (`undecodable` in `system.tables`), offset by offset.

mod look;
mod pruning;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;
use tarn_model::{Offset, OffsetRange, PartitionId, TopicPartition};
use tarn_state::{State, Table};

use super::{bigint, int, text};
use crate::context::QueryContext;
use look::Look;
use pruning::{Piece, Pruning};

pub(crate) const UNDECODABLE: &str = "undecodable";

fn columns() -> Vec<Field> {
    vec![
        text("topic"),
        int("partition"),
        bigint("offset"),
        int("schema_id"),
        text("reason"),
        text("detail"),
    ]
}

/// The table at a cut.
#[derive(Debug)]
pub(crate) struct UndecodableTable {
    context: Arc<QueryContext>,
    schema: SchemaRef,
}

impl UndecodableTable {
    pub(crate) fn new(context: &Arc<QueryContext>) -> UndecodableTable {
        UndecodableTable {
            context: Arc::clone(context),
            schema: Arc::new(Schema::new(columns())),
        }
    }

    /// What has to be looked at, in the order of names, partitions and offsets.
    fn pieces(
        &self,
        session: &dyn Session,
        filters: &[Expr],
    ) -> Result<Vec<Piece>, DataFusionError> {
        let pruning = Pruning::new(session, &self.schema, filters)?;
        let state: &State = &self.context.cut.view;
        let mut partitions = Vec::new();
        for id in state.topic_names.values() {
            let (Some(topic), Some(table)) = (state.topic(*id), state.table(*id)) else {
                continue;
            };
            for partition in (0..topic.partitions).map(PartitionId) {
                let at = TopicPartition::new(*id, partition);
                let offsets = unknown(state, table, at);
                if !offsets.is_empty() {
                    let topic = topic.name.clone();
                    partitions.push(Piece { topic, at, offsets });
                }
            }
        }
        let mut pieces: Vec<Piece> = Vec::new();
        for partition in pruning.keep(partitions)? {
            for piece in pruning.keep(extents(state, &partition))? {
                match pieces.last_mut() {
                    Some(last)
                        if last.at == piece.at && last.offsets.end == piece.offsets.start =>
                    {
                        last.offsets.end = piece.offsets.end;
                    }
                    _ => pieces.push(piece),
                }
            }
        }
        Ok(pieces)
    }
}

/// Offsets that may hold something undecodable: those that are retained and that queries read, and of
/// what the table has already only if the materializer counted some.
fn unknown(state: &State, table: &Table, at: TopicPartition) -> OffsetRange {
    let Some(partition) = state.partition(at.topic, at.partition) else {
        return OffsetRange::new(Offset::ZERO, Offset::ZERO);
    };
    let end = partition.last_stable();
    let of = table.of_topic();
    let counted = of.and_then(|of| of.counters.get(&at.partition));
    let is_clean = counted.is_none_or(|counted| counted.undecodable == 0);
    let start = match is_clean {
        true => table.materialized(at.partition).max(partition.log_start),
        false => partition.log_start,
    };
    OffsetRange::new(start.min(end), end)
}

/// The piece in parts, one for each extent: what lies between two is part of the first.
fn extents(state: &State, piece: &Piece) -> Vec<Piece> {
    let Some(partition) = state.partition(piece.at.topic, piece.at.partition) else {
        return Vec::new();
    };
    let starts = partition
        .extents_from(piece.offsets.start)
        .map(|extent| extent.offsets.start)
        .filter(|start| piece.offsets.contains(*start) && *start > piece.offsets.start);
    let mut parts = Vec::new();
    let mut start = piece.offsets.start;
    for end in starts.chain([piece.offsets.end]) {
        parts.push(Piece {
            offsets: OffsetRange::new(start, end),
            ..piece.clone()
        });
        start = end;
    }
    parts
}

#[async_trait]
impl TableProvider for UndecodableTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// They say where not to look; each row is still checked above.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let found = Found {
            context: Arc::clone(&self.context),
            schema: Arc::clone(&self.schema),
            pieces: self.pieces(session, filters)?,
        };
        let schema = Arc::clone(&self.schema);
        let plan = StreamingTableExec::try_new(
            schema,
            vec![Arc::new(found)],
            projection,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(plan))
    }
}

/// The rows of one query: looked for while they are asked for.
#[derive(Debug)]
struct Found {
    context: Arc<QueryContext>,
    schema: SchemaRef,
    pieces: Vec<Piece>,
}

impl PartitionStream for Found {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let look = Look::new(&self.context, &self.schema, self.pieces.clone(), &task);
        let rows = stream::unfold(look, async |mut look| {
            let batch = look.next().await.transpose()?;
            Some((batch, look))
        });
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}
