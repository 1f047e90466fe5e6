//! Rows to Parquet files, one or more per table partition.
//!
//! Pure computation: it takes Arrow batches and gives finished files in memory with Iceberg's
//! description of each, so that callers can run it off the async threads and upload with the store's
//! retries. Non-generic on purpose: the writer of `parquet` is instantiated here once.
//!
//! What a reader may skip by is ours, not a library's: bounds of a file come from all its row groups
//! (`metrics`), cut as Iceberg cuts them (`bounds`), and floats and uuids have none inside the file,
//! because engines do not order them alike (`unordered`).

mod bounds;
mod conform;
mod metrics;
mod partition;
mod schema;
mod unordered;

use std::sync::Arc;

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::{DataType, SchemaRef};
use ::arrow::error::ArrowError;
use bytes::Bytes;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataFile, Schema, Struct};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, LogicalType, Type as PhysicalType, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};
use tarn_model::Kind;
use tarn_schema::{OFFSET, VALUE};
use tarn_store::{Path, paths};
use uuid::Uuid;

use crate::catalog::Loaded;
use conform::conform;
use partition::Partitioner;
use unordered::Unordered;

/// A file is closed when it has grown to this. One attempt of an upload is patient enough for it.
pub const FILE_BYTES_TARGET: usize = 64 << 20;

/// Where row groups and files end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Rows of one row group: the unit in which readers skip and share out work …
    pub(crate) row_group_rows: usize,
    /// … and its bytes, which a reader holds for every file that it has open.
    pub(crate) row_group_bytes: usize,
    pub(crate) file_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            row_group_rows: 256 << 10,
            row_group_bytes: 16 << 20,
            file_bytes: FILE_BYTES_TARGET,
        }
    }
}

/// A finished file, not uploaded yet.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    pub path: Path,
    pub bytes: Bytes,
    pub file: DataFile,
}

/// The rows cannot become files of this table.
#[derive(Debug, thiserror::Error)]
pub enum ParquetError {
    #[error("column {column} of the rows is {have:?}, the table wants {want:?}")]
    Column {
        column: String,
        have: Option<DataType>,
        want: Option<DataType>,
    },
    /// Another partition spec has to be set before anything can be written.
    #[error("the table's partition spec cannot be written by: {0}")]
    Partitioning(iceberg::Error),
    #[error("the rows could not be arranged: {0}")]
    Arrow(#[from] ArrowError),
    #[error("the file could not be written: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("the file could not be described: {0}")]
    Describe(#[from] iceberg::Error),
}

impl ParquetError {
    pub fn kind(&self) -> Kind {
        match self {
            ParquetError::Partitioning(_) => Kind::Invalid,
            ParquetError::Column { .. }
            | ParquetError::Arrow(_)
            | ParquetError::Parquet(_)
            | ParquetError::Describe(_) => Kind::Internal,
        }
    }
}

/// Writes the rows of `batches` to files of the table, named after `uuid`. Columns are matched by
/// name; one that the rows lack is null. `base_url` is the store's.
pub fn write(
    loaded: &Loaded,
    base_url: &str,
    uuid: Uuid,
    batches: Vec<RecordBatch>,
) -> Result<Vec<ParquetFile>, ParquetError> {
    write_within(Limits::default(), loaded, base_url, uuid, batches)
}

pub(crate) fn write_within(
    limits: Limits,
    loaded: &Loaded,
    base_url: &str,
    uuid: Uuid,
    batches: Vec<RecordBatch>,
) -> Result<Vec<ParquetFile>, ParquetError> {
    let schema = loaded.metadata().current_schema();
    let target: SchemaRef = Arc::new(schema_to_arrow_schema(schema)?);
    let mut partitioner = Partitioner::new(loaded.metadata())?;
    for batch in batches {
        partitioner.add(conform(&batch, &target)?)?;
    }
    let mut files = Files {
        limits,
        loaded,
        base_url,
        uuid,
        schema,
        target: &target,
        written: schema::of_file(&target, schema)?,
        done: Vec::new(),
    };
    for group in partitioner.into_groups() {
        files.write_partition(&group.folder, &group.values, group.batches)?;
    }
    Ok(files.done)
}

/// The files of one commit.
struct Files<'a> {
    limits: Limits,
    loaded: &'a Loaded,
    base_url: &'a str,
    uuid: Uuid,
    schema: &'a Schema,
    target: &'a SchemaRef,
    /// The schema as Parquet has it.
    written: SchemaDescriptor,
    done: Vec<ParquetFile>,
}

/// A file that still takes rows.
struct Open {
    writer: ArrowWriter<Vec<u8>>,
    unordered: Unordered,
}

impl Files<'_> {
    fn write_partition(
        &mut self,
        folder: &str,
        values: &Struct,
        batches: Vec<RecordBatch>,
    ) -> Result<(), ParquetError> {
        let mut open = None;
        for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
            let file = match &mut open {
                Some(file) => file,
                none => none.insert(self.open()?),
            };
            file.unordered.add(self.schema.as_struct(), &batch);
            file.writer.write(&batch)?;
            let size = file.writer.bytes_written() + file.writer.in_progress_size();
            if size >= self.limits.file_bytes
                && let Some(full) = open.take()
            {
                self.finish(folder, values, full)?;
            }
        }
        match open {
            Some(last) => self.finish(folder, values, last),
            None => Ok(()),
        }
    }

    fn open(&self) -> Result<Open, ParquetError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&self.written, self.limits))
            .with_parquet_schema(self.written.clone());
        let target = Arc::clone(self.target);
        Ok(Open {
            writer: ArrowWriter::try_new_with_options(Vec::new(), target, options)?,
            unordered: Unordered::default(),
        })
    }

    fn finish(&mut self, folder: &str, values: &Struct, file: Open) -> Result<(), ParquetError> {
        let Open {
            mut writer,
            unordered,
        } = file;
        let metadata = writer.finish()?;
        let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
        let path = paths::table_data_file(self.loaded.folder(), folder, self.uuid, self.done.len());
        let file = metrics::describe(self.schema, &metadata, &unordered)?
            .file_path(format!("{}/{path}", self.base_url))
            .file_size_in_bytes(bytes.len() as u64)
            .partition(values.clone())
            .partition_spec_id(self.loaded.metadata().default_partition_spec_id())
            .build()
            .expect("what a data file must have was given");
        self.done.push(ParquetFile { path, bytes, file });
        Ok(())
    }
}

fn properties(schema: &SchemaDescriptor, limits: Limits) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("level 1 exists");
    let column = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut properties = WriterProperties::builder()
        .set_created_by("tarn".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(limits.row_group_rows))
        .set_max_row_group_bytes(Some(limits.row_group_bytes))
        // Offsets nearly always differ by one; payloads hardly ever repeat.
        .set_column_dictionary_enabled(column(OFFSET), false)
        .set_column_encoding(column(OFFSET), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column(VALUE), false);
    for leaf in schema.columns() {
        // Parquet leaves NaN out of a row group's and a page's extremes, and engines that count it
        // as the greatest number would skip rows by them; by a dictionary they would miss −0.0 for
        // 0.0, and uuids in the order of their text.
        let is_unordered = matches!(
            leaf.physical_type(),
            PhysicalType::FLOAT | PhysicalType::DOUBLE
        ) || leaf.logical_type_ref() == Some(&LogicalType::Uuid);
        if is_unordered {
            let path = leaf.path().clone();
            properties = properties
                .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                .set_column_dictionary_enabled(path, false);
        }
    }
    properties.build()
}
