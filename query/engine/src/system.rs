//! `system`: the cluster as tables, read from the query's view. A file and a line here each, but for
//! `undecodable`, which reads records.

mod columns;
mod group_offsets;
mod groups;
mod partitions;
mod tables;
mod topics;
mod undecodable;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tarn_model::ClusterTime;
use tarn_replica::View;
use tarn_state::State;

pub(crate) use undecodable::{UNDECODABLE, UndecodableTable};

pub(crate) const TABLES: [&Described; 6] = [
    &topics::TOPICS,
    &partitions::PARTITIONS,
    &groups::GROUPS,
    &group_offsets::GROUP_OFFSETS,
    &tables::TABLES,
    &columns::COLUMNS,
];

/// A system table: its name, its columns, and its rows in a state.
pub(crate) struct Described {
    pub(crate) name: &'static str,
    columns: fn() -> Vec<Field>,
    rows: fn(&State, SchemaRef) -> Result<RecordBatch, ArrowError>,
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A system table at a cut. Its rows are made when it is scanned.
#[derive(Debug)]
pub(crate) struct SystemTable {
    described: &'static Described,
    view: View,
    schema: SchemaRef,
}

impl SystemTable {
    pub(crate) fn new(described: &'static Described, view: &View) -> SystemTable {
        SystemTable {
            described,
            view: Arc::clone(view),
            schema: Arc::new(Schema::new((described.columns)())),
        }
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let rows = (self.described.rows)(&self.view, Arc::clone(&self.schema))?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

fn bigint(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn boolean(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}

fn time(name: &str) -> Field {
    Field::new(
        name,
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        true,
    )
}

fn micros(time: ClusterTime) -> i64 {
    time.0.saturating_mul(1000)
}

/// Counts of ours are far below what SQL's integers hold.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
