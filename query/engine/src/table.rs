//! A table at a cut: its Iceberg files and, of a topic, those of below M and the hot rows from M to H, each
//! row once.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::project_schema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use tarn_decode::arrow_schema;
use tarn_hot::TableCut;
use tarn_tables::all_columns;

use crate::conform::shown_schema;
use crate::context::QueryContext;
use crate::hot_scan::HotExec;
use crate::ranges::Ranges;
use crate::scan;

/// Which rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `orders`
    Both,
    /// `orders$hot`
    Hot,
    /// `orders$cold`
    Cold,
}

/// A table at a cut.
#[derive(Debug)]
pub(crate) struct CutTable {
    context: Arc<QueryContext>,
    cut: TableCut,
    part: Part,
    /// With their field ids, as the decoder's schema for the same columns has them.
    columns: SchemaRef,
    /// Without: what queries see.
    schema: SchemaRef,
}

impl CutTable {
    pub(crate) fn new(context: &Arc<QueryContext>, cut: TableCut, part: Part) -> CutTable {
        let columns = arrow_schema(&all_columns(&cut.table));
        let schema = shown_schema(&columns);
        CutTable {
            context: Arc::clone(context),
            cut,
            part,
            columns,
            schema,
        }
    }
}

#[async_trait]
impl TableProvider for CutTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters let the scan skip files, row groups and pages; each row is still checked above.
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
        self.context.reads(&self.cut);
        let mut halves: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let ranges = Ranges::of(filters);
        if self.part != Part::Hot && ranges.reach_files(&self.cut) {
            let wanted = scan::Wanted {
                columns: &self.columns,
                schema: &self.schema,
                projection,
                filters,
                limit,
            };
            halves.extend(Box::pin(scan::cold(&self.context, &self.cut, session, wanted)).await?);
        }
        let hot = ranges.narrow(&self.cut);
        if self.part != Part::Cold && hot.hot().next().is_some() {
            let parallelism = session.config().target_partitions();
            let hot = HotExec::new(
                &self.context.hot,
                &hot,
                ranges.times(),
                &self.columns,
                &self.schema,
                projection,
                parallelism,
            )?;
            halves.push(Arc::new(hot));
        }
        match halves.len() {
            0 => Ok(Arc::new(EmptyExec::new(project_schema(
                &self.schema,
                projection,
            )?))),
            1 => Ok(halves.swap_remove(0)),
            _ => UnionExec::try_new(halves),
        }
    }
}
