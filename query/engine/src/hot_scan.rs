//! The hot half of a scan: rows that stream from the hot tier at the cut.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::project_schema;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;
use tarn_hot::{HotTier, TableCut};

use crate::QueryError;
use crate::conform::{conform, plain_schema};

/// Partitions of the topic, dealt out to as many streams as the query has tasks.
#[derive(Debug)]
pub(crate) struct HotExec {
    tier: HotTier,
    cuts: Vec<TableCut>,
    /// As the tier gives rows, with ids.
    whole: SchemaRef,
    projection: Option<Vec<usize>>,
    projected: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl HotExec {
    pub(crate) fn new(
        tier: &HotTier,
        cut: &TableCut,
        columns: &SchemaRef,
        projection: Option<&Vec<usize>>,
        parallelism: usize,
    ) -> Result<HotExec, DataFusionError> {
        let projected = project_schema(&plain_schema(columns), projection)?;
        let cuts = deal(cut, parallelism);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&projected)),
            Partitioning::UnknownPartitioning(cuts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(HotExec {
            tier: tier.clone(),
            cuts,
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
    let mut parts: Vec<TableCut> = (0..count)
        .map(|_| TableCut {
            partitions: Default::default(),
            ..cut.clone()
        })
        .collect();
    for (turn, (partition, at)) in hot.into_iter().enumerate() {
        parts[turn % count].partitions.insert(*partition, *at);
    }
    parts
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
        _: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let Some(cut) = self.cuts.get(partition) else {
            return Err(DataFusionError::Internal(format!(
                "the hot scan has no stream {partition}"
            )));
        };
        let rows = self.tier.rows(cut);
        let shape = Shape {
            whole: Arc::clone(&self.whole),
            projection: self.projection.clone(),
            projected: Arc::clone(&self.projected),
        };
        let batches = stream::unfold((rows, shape), async move |(mut rows, shape)| {
            let batch = match rows.next().await? {
                Ok(batch) => shape.project(&batch),
                Err(error) => Err(QueryError::from(error).into()),
            };
            Some((batch, (rows, shape)))
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.projected),
            batches,
        ))))
    }
}

/// What the query wants of each batch.
struct Shape {
    whole: SchemaRef,
    projection: Option<Vec<usize>>,
    projected: SchemaRef,
}

impl Shape {
    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        if batch.schema_ref().fields() != self.whole.fields() {
            let why = "rows of the hot tier have other columns than their table".to_owned();
            return Err(QueryError::Internal { why }.into());
        }
        let mut columns = Vec::with_capacity(self.projected.fields().len());
        for (at, field) in self.projected.fields().iter().enumerate() {
            let place = self.projection.as_ref().map_or(at, |wanted| wanted[at]);
            columns.push(conform(batch.column(place), field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.projected),
            columns,
            &options,
        )?)
    }
}
