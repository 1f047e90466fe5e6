//! Where a filter on topic, partition and offset says that there is nothing to look for. DataFusion decides
//! as it does for row groups: from the least and the greatest value of each column.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::scalar::ScalarValue;
use tarn_model::{OffsetRange, TopicPartition};

/// Offsets of a partition; at least one.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) topic: String,
    pub(super) at: TopicPartition,
    pub(super) offsets: OffsetRange,
}

/// The filters of a query, if there are any.
#[derive(Debug)]
pub(super) struct Pruning {
    predicate: Option<PruningPredicate>,
}

impl Pruning {
    pub(super) fn new(
        session: &dyn Session,
        schema: &SchemaRef,
        filters: &[Expr],
    ) -> Result<Pruning, DataFusionError> {
        let Some(filter) = conjunction(filters.to_vec()) else {
            return Ok(Pruning { predicate: None });
        };
        let columns = DFSchema::try_from(Arc::clone(schema))?;
        let filter = session.create_physical_expr(filter, &columns)?;
        let predicate = PruningPredicate::try_new(filter, Arc::clone(schema))?;
        Ok(Pruning {
            predicate: Some(predicate),
        })
    }

    /// The pieces in which a row may pass.
    pub(super) fn keep(&self, pieces: Vec<Piece>) -> Result<Vec<Piece>, DataFusionError> {
        let (Some(predicate), false) = (&self.predicate, pieces.is_empty()) else {
            return Ok(pieces);
        };
        let kept = predicate.prune(&Ends(&pieces))?;
        let kept = pieces.into_iter().zip(kept).filter(|(_, kept)| *kept);
        Ok(kept.map(|(piece, _)| piece).collect())
    }
}

/// The least and the greatest values in each piece.
struct Ends<'p>(&'p [Piece]);

impl PruningStatistics for Ends<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |offsets| offsets.start.to_wire())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |offsets| offsets.end.to_wire().saturating_sub(1))
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

impl Ends<'_> {
    fn values(&self, column: &Column, offset: fn(OffsetRange) -> i64) -> Option<ArrayRef> {
        let pieces = self.0.iter();
        Some(match column.name.as_str() {
            "topic" => Arc::new(StringArray::from_iter_values(
                pieces.map(|piece| piece.topic.as_str()),
            )),
            "partition" => Arc::new(Int32Array::from_iter_values(
                pieces.map(|piece| piece.at.partition.0),
            )),
            "offset" => Arc::new(Int64Array::from_iter_values(
                pieces.map(|piece| offset(piece.offsets)),
            )),
            _ => return None,
        })
    }
}
