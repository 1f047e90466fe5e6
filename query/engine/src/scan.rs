//! The cold half of a scan: files of one table snapshot, planned by Iceberg, read by DataFusion.
//!
//! ```text
//! filters ─▶ Iceberg: manifests, partitions, statistics of files ─▶ files
//! files   ─▶ DataFusion: byte ranges, row groups, pages, columns by field id ─▶ rows
//! ```
//!
//! The snapshot is the cut's, whatever the table has become since.

mod conformed;
mod field_ids;
mod pruning;
mod reader;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use iceberg::spec::{DataFile, DataFileFormat};
use reader::BoundedReaders;
use tarn_hot::TableCut;
use tarn_store::Path;
use tarn_tables::PlannedFile;

use crate::QueryError;
use crate::session::QueryContext;

/// What the query wants of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// All columns of the table, with their ids.
    pub(crate) columns: &'a SchemaRef,
    /// The same as the query sees them.
    pub(crate) schema: &'a SchemaRef,
    pub(crate) projection: Option<&'a Vec<usize>>,
    pub(crate) filters: &'a [Expr],
    pub(crate) limit: Option<usize>,
}

/// A plan that reads the files of the cut's table snapshot; `None` if there is no row.
pub(crate) async fn cold(
    context: &QueryContext,
    cut: &TableCut,
    session: &dyn Session,
    wanted: Wanted<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
    let files = files(context, cut, wanted).await?;
    if files.is_empty() {
        return Ok(None);
    }
    let groups = grouped(context, &files, session.config().target_partitions())?;

    let readers = BoundedReaders::new(context.store(), &context.footers, &context.scan_memory);
    // The filter above this scan comes down to it when the plan is optimized.
    let source = ParquetSource::new(Arc::clone(wanted.schema))
        .with_parquet_file_reader_factory(Arc::new(readers))
        .with_pushdown_filters(reads_late(wanted));
    let config = FileScanConfigBuilder::new(QueryContext::store_url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics(&files, wanted))
        .with_projection_indices(wanted.projection.cloned())?
        .with_limit(wanted.limit)
        .with_expr_adapter(Some(Arc::new(field_ids::AdapterFactory {
            columns: Arc::clone(wanted.columns),
        })))
        .build();
    Ok(Some(DataSourceExec::from_data_source(config)))
}

/// The files of the snapshot that may hold a row that passes the filters.
async fn files(
    context: &QueryContext,
    cut: &TableCut,
    wanted: Wanted<'_>,
) -> Result<Vec<PlannedFile>, QueryError> {
    let (Some(snapshot), Some(_)) = (cut.table.table_snapshot, &cut.table.pointer) else {
        return Ok(Vec::new());
    };
    let loaded = context.tables.load(&cut.table).await?;
    let predicate = pruning::predicate(loaded.metadata(), snapshot, wanted.filters);
    let plan = loaded.plan(snapshot, predicate.as_ref()).await?;
    let is_foreign = |file: &PlannedFile| file.data_file().file_format() != DataFileFormat::Parquet;
    if plan.has_deletes || plan.files.iter().any(is_foreign) {
        let what = format!(
            "table {}.{} has files that only other engines read yet: not Parquet, or with deleted rows",
            cut.table.namespace, cut.table.name
        );
        return Err(QueryError::NotSupported { what });
    }
    Ok(plan.files)
}

/// Files dealt out to as many groups as the query has tasks, largest first. DataFusion divides large
/// files further, by byte ranges.
fn grouped(
    context: &QueryContext,
    planned: &[PlannedFile],
    parallelism: usize,
) -> Result<Vec<FileGroup>, QueryError> {
    let mut files = Vec::with_capacity(planned.len());
    for file in planned.iter().map(PlannedFile::data_file) {
        let path = object(context, file.file_path())?;
        let mut file = PartitionedFile::new("", file.file_size_in_bytes());
        // Not through `new`, which would encode the path a second time.
        file.object_meta.location = path;
        files.push(file);
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let mut groups = vec![(0, Vec::new()); parallelism.clamp(1, files.len())];
    for file in files {
        let smallest = groups
            .iter_mut()
            .min_by_key(|(bytes, _)| *bytes)
            .expect("there is at least one group");
        smallest.0 += file.object_meta.size;
        smallest.1.push(file);
    }
    Ok(groups
        .into_iter()
        .map(|(_, files)| FileGroup::new(files))
        .collect())
}

/// The object behind a URL of the node's store.
fn object(context: &QueryContext, url: &str) -> Result<Path, QueryError> {
    let rest = url
        .strip_prefix(context.store().base_url())
        .and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| Path::parse(rest).ok())
        .ok_or_else(|| QueryError::Internal {
            why: format!("the file {url} is not in this cluster's store"),
        })
}

/// Are rows filtered while their other columns are not decoded yet? Not if there are no others: then
/// each batch is better filtered whole. Filters that come up while the query runs count as well, so
/// that `ORDER BY … LIMIT` decodes what it returns.
fn reads_late(wanted: Wanted<'_>) -> bool {
    let mut filtered = HashSet::new();
    for filter in wanted.filters {
        filtered.extend(filter.column_refs().into_iter().map(|column| column.name()));
    }
    match wanted.projection {
        Some(projection) => projection
            .iter()
            .any(|at| !filtered.contains(wanted.schema.field(*at).name().as_str())),
        None => true,
    }
}

/// The number of rows, exact if no filter may drop some: then `count(*)` reads no file.
fn statistics(planned: &[PlannedFile], wanted: Wanted<'_>) -> Statistics {
    let mut statistics = Statistics::new_unknown(wanted.schema);
    let files = || planned.iter().map(PlannedFile::data_file);
    let rows: u64 = files().map(DataFile::record_count).sum();
    if let Ok(rows) = usize::try_from(rows) {
        statistics.num_rows = if wanted.filters.is_empty() {
            Precision::Exact(rows)
        } else {
            Precision::Inexact(rows)
        };
    }
    let bytes: u64 = files().map(DataFile::file_size_in_bytes).sum();
    statistics.total_byte_size =
        usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
    statistics
}
