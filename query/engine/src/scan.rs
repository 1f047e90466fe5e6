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
mod statistics;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use iceberg::spec::DataFileFormat;
use reader::BoundedReaders;
use statistics::FileStatistics;
use tarn_hot::TableCut;
use tarn_store::Path;
use tarn_tables::PlannedFile;

use crate::QueryError;
use crate::context::QueryContext;
use crate::semantics::can_fail;

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
    let known = FileStatistics::new(wanted, files.len());
    let of_files: Vec<Arc<Statistics>> = files
        .iter()
        .map(|file| known.of(file.data_file()))
        .collect();
    let of_all = known.of_all(&of_files, wanted.filters.is_empty());
    let parallelism = session.config().target_partitions();
    let groups = grouped(context, &files, of_files, parallelism)?;

    let readers = BoundedReaders::new(&context.files, &context.footers, &context.scan_memory);
    // The filter above this scan comes down to it when the plan is optimized.
    let source = ParquetSource::new(Arc::clone(wanted.schema))
        .with_parquet_file_reader_factory(Arc::new(readers))
        .with_pushdown_filters(reads_late(wanted));
    let config = FileScanConfigBuilder::new(QueryContext::store_url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(of_all)
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
    statistics: Vec<Arc<Statistics>>,
    parallelism: usize,
) -> Result<Vec<FileGroup>, QueryError> {
    let mut files = Vec::with_capacity(planned.len());
    for (file, known) in planned.iter().zip(statistics) {
        let file = file.data_file();
        let path = object(context, file.file_path())?;
        let mut file = PartitionedFile::new("", file.file_size_in_bytes());
        // Not through `new`, which would encode the path a second time.
        file.object_meta.location = path;
        file.statistics = Some(known);
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

/// Columns besides the filters' own from which on it pays to decode them after the filters. Measured in
/// CPU time on 3 million rows: one row of all ten columns takes half, the sum of one or two columns of a
/// tenth of a percent or of most rows a quarter to a half more.
const LATE_COLUMNS_MIN: usize = 4;

/// Are rows filtered while their other columns are not decoded yet? Filters that come up while the
/// query runs count as well, so that `ORDER BY … LIMIT` decodes what it returns.
///
/// SUBTLE: what fails in there comes back as text of a Parquet error, so that nobody could tell an overflow
/// from a defect. Filters that can fail are checked above the scan, after all columns are decoded.
fn reads_late(wanted: Wanted<'_>) -> bool {
    let Ok(schema) = DFSchema::try_from(Arc::clone(wanted.schema)) else {
        return false;
    };
    if !wanted
        .filters
        .iter()
        .all(|filter| cannot_fail(filter, &schema))
    {
        return false;
    }
    let mut filtered = HashSet::new();
    for filter in wanted.filters {
        filtered.extend(filter.column_refs().into_iter().map(|column| column.name()));
    }
    let is_late = |name: &str| !filtered.contains(name);
    let fields = wanted.schema.fields();
    let late = match wanted.projection {
        Some(projection) => projection
            .iter()
            .filter(|at| is_late(fields[**at].name()))
            .count(),
        None => fields.iter().filter(|field| is_late(field.name())).count(),
    };
    late >= LATE_COLUMNS_MIN
}

/// Is there nothing in the filter that can fail or be refused? Functions ask for memory.
fn cannot_fail(filter: &Expr, schema: &DFSchema) -> bool {
    let calls = filter.exists(|part| Ok(matches!(part, Expr::ScalarFunction(_))));
    let fails = can_fail(filter, schema);
    !calls.unwrap_or(true) && !fails.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::functions::expr_fn::lower;
    use datafusion::prelude::{cast, col, lit, not};

    use super::*;

    #[test]
    fn columns_are_decoded_late_where_many_wait_and_nothing_can_fail() {
        let fields = (0..6).map(|n| Field::new(format!("c{n}"), DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        let late = |filter: Expr, columns: usize| {
            reads_late(Wanted {
                columns: &schema,
                schema: &schema,
                projection: Some(&(0..columns).collect()),
                filters: &[filter],
                limit: None,
            })
        };
        assert!(late(col("c0").gt(lit(1_i64)), 5));
        assert!(!late(col("c0").gt(lit(1_i64)), 4), "three others");
        let widened = cast(col("c0"), DataType::Utf8).eq(lit("1"));
        assert!(late(widened.clone().or(col("c1").is_null()), 6));
        for fails in [
            cast(col("c0"), DataType::Int32).eq(lit(1_i32)),
            (col("c0") + lit(1_i64)).gt(lit(1_i64)),
            not(widened.and((-col("c1")).eq(lit(1_i64)))),
            // Without a value that it refuses, but it asks for memory.
            lower(cast(col("c0"), DataType::Utf8)).eq(lit("1")),
        ] {
            assert!(!late(fails.clone(), 6), "{fails}");
        }
    }
}
