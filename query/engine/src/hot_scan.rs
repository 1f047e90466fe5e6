//! The hot half of a scan: rows that stream from the hot tier at the cut.
//!
//! Holds: they are those from M to the end of the cut, whatever became of M meanwhile.
//! Leaves to others: where a row comes from, memory or a segment (`tarn-hot`).

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics, project_schema};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion::scalar::ScalarValue;
use futures::stream;
use tarn_hot::{Extremes, HotRows, HotTier, TableCut, Times};
use tarn_schema::{OFFSET, PARTITION, TIMESTAMP};

use crate::QueryError;
use crate::conform::{conform, id};

/// Partitions of the topic, dealt out to as many streams as the query has tasks.
#[derive(Debug)]
pub(crate) struct HotExec {
    tier: HotTier,
    cuts: Vec<TableCut>,
    /// Rows of other times are not asked for.
    times: Option<Times>,
    /// All columns of the table, with ids.
    whole: SchemaRef,
    projection: Option<Vec<usize>>,
    projected: SchemaRef,
    statistics: Statistics,
    properties: Arc<PlanProperties>,
}

impl HotExec {
    pub(crate) fn new(
        tier: &HotTier,
        cut: &TableCut,
        times: Option<Times>,
        columns: &SchemaRef,
        shown: &SchemaRef,
        projection: Option<&Vec<usize>>,
        parallelism: usize,
    ) -> Result<HotExec, DataFusionError> {
        let projected = project_schema(shown, projection)?;
        let cuts = deal(cut, parallelism);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&projected)),
            Partitioning::UnknownPartitioning(cuts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(HotExec {
            statistics: statistics(tier, cut, times.is_none(), &projected),
            tier: tier.clone(),
            cuts,
            times,
            whole: Arc::clone(columns),
            projection: projection.cloned(),
            projected,
            properties: Arc::new(properties),
        })
    }
}

/// The cut in at most `count` parts: each partition is in one of them.
fn deal(cut: &TableCut, count: usize) -> Vec<TableCut> {
    let hot: Vec<_> = cut
        .partitions
        .iter()
        .filter(|(_, cut)| !cut.hot().is_empty())
        .collect();
    let count = count.clamp(1, hot.len().max(1));
    let mut parts = vec![BTreeMap::new(); count];
    for (turn, (partition, at)) in hot.into_iter().enumerate() {
        parts[turn % count].insert(*partition, at.clone());
    }
    parts.into_iter().map(|part| cut.with(part)).collect()
}

/// What is known of the rows before they are read. If all are in memory, and `all_times` are wanted,
/// their number and the ends of their places and times are exact: then `count(*)` reads nothing.
fn statistics(
    tier: &HotTier,
    cut: &TableCut,
    all_times: bool,
    projected: &SchemaRef,
) -> Statistics {
    let mut statistics = Statistics::new_unknown(projected);
    let Some(known) = tier.measure(cut) else {
        let offsets: u64 = cut.hot().map(|(_, range)| range.len()).sum();
        statistics.num_rows =
            usize::try_from(offsets).map_or(Precision::Absent, Precision::Inexact);
        return statistics;
    };
    statistics.num_rows = Precision::Exact(known.rows);
    statistics.total_byte_size = Precision::Inexact(known.bytes);
    for (field, column) in projected
        .fields()
        .iter()
        .zip(&mut statistics.column_statistics)
    {
        if let Some(known) = column_statistics(field.name(), field.data_type(), &known) {
            *column = known;
        }
    }
    match all_times {
        true => statistics,
        false => statistics.to_inexact(),
    }
}

fn column_statistics(name: &str, kind: &DataType, known: &Extremes) -> Option<ColumnStatistics> {
    let (least, greatest) = match name {
        PARTITION => {
            let range = known.partitions.clone()?;
            let value = |value: i32| ScalarValue::Int32(Some(value));
            (value(*range.start()), value(*range.end()))
        }
        OFFSET => {
            let range = known.offsets.clone()?;
            let value = |value: i64| ScalarValue::Int64(Some(value));
            (value(*range.start()), value(*range.end()))
        }
        TIMESTAMP => {
            let range = known.times.clone()?;
            let DataType::Timestamp(_, zone) = kind else {
                return None;
            };
            let value = |value| ScalarValue::TimestampMicrosecond(Some(value), zone.clone());
            (value(*range.start()), value(*range.end()))
        }
        _ => return None,
    };
    let is_tight = name != TIMESTAMP || known.times_are_tight;
    let precision = |value| match is_tight {
        true => Precision::Exact(value),
        false => Precision::Inexact(value),
    };
    Some(
        ColumnStatistics::new_unknown()
            .with_null_count(Precision::Exact(0))
            .with_min_value(precision(least))
            .with_max_value(precision(greatest)),
    )
}

impl DisplayAs for HotExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.cuts.iter().map(|cut| cut.hot().count()).sum::<usize>();
        let offsets: u64 = self
            .cuts
            .iter()
            .flat_map(TableCut::hot)
            .map(|(_, range)| range.len())
            .sum();
        write!(f, "HotExec: partitions={ranges}, offsets={offsets}")
    }
}

impl ExecutionPlan for HotExec {
    fn name(&self) -> &'static str {
        "HotExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let Some(cut) = self.cuts.get(partition) else {
            return Err(DataFusionError::Internal(format!(
                "the hot scan has no stream {partition}"
            )));
        };
        let rows = Rows {
            rows: self.tier.rows(cut).of_times(self.times.clone()),
            memory: MemoryConsumer::new("HotExec").register(context.memory_pool()),
            whole: Arc::clone(&self.whole),
            projection: self.projection.clone(),
            projected: Arc::clone(&self.projected),
        };
        let batches = stream::unfold(rows, async move |mut rows| {
            let batch = rows.next().await?;
            Some((batch, rows))
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.projected),
            batches,
        ))))
    }

    fn partition_statistics(
        &self,
        partition: Option<usize>,
    ) -> Result<Statistics, DataFusionError> {
        Ok(match partition {
            None => self.statistics.clone(),
            Some(_) => Statistics::new_unknown(&self.projected),
        })
    }
}

/// One stream of the scan: rows as the query wants them.
struct Rows {
    rows: HotRows,
    /// For rows that were read from segments and wait for their turn.
    memory: MemoryReservation,
    whole: SchemaRef,
    projection: Option<Vec<usize>>,
    projected: SchemaRef,
}

impl Rows {
    async fn next(&mut self) -> Option<Result<RecordBatch, DataFusionError>> {
        let next = self.rows.next().await;
        if let Err(error) = self.memory.try_resize(self.rows.read_bytes()) {
            return Some(Err(error));
        }
        Some(match next? {
            Ok(batch) => self.project(&batch),
            Err(error) => Err(QueryError::from(error).into()),
        })
    }

    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let mut columns = Vec::with_capacity(self.projected.fields().len());
        for (at, field) in self.projected.fields().iter().enumerate() {
            let place = self.projection.as_ref().map_or(at, |wanted| wanted[at]);
            columns.push(self.column(batch, place, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.projected),
            columns,
            &options,
        )?)
    }

    /// A column of the table. Rows have the columns of the time when they were decoded: what the table
    /// got since then is null, and a type may have been promoted.
    fn column(
        &self,
        batch: &RecordBatch,
        place: usize,
        shown: &DataType,
    ) -> Result<ArrayRef, DataFusionError> {
        let wanted = self.whole.field(place);
        let fields = batch.schema_ref().fields();
        let is_it = |at: usize| fields.get(at).is_some_and(|field| id(field) == id(wanted));
        let found = match is_it(place) {
            true => Some(place),
            false => (0..fields.len()).find(|at| is_it(*at)),
        };
        match found {
            Some(at) => {
                let column = conform(batch.column(at), wanted.data_type())?;
                Ok(conform(&column, shown)?)
            }
            None if wanted.is_nullable() => Ok(new_null_array(shown, batch.num_rows())),
            None => {
                let why = format!("rows of the hot tier lack the column {}", wanted.name());
                Err(QueryError::Internal { why }.into())
            }
        }
    }
}
