//! Rows to Parquet files, one or more per table partition.
//!
//! Pure computation: [`FileWriter`] takes Arrow batches and gives finished files in memory with
//! Iceberg's description of each, so that callers can run it off the async threads and upload with the
//! store's retries. Non-generic on purpose: the writer of `parquet` is instantiated here once.
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
mod writer;

use ::arrow::datatypes::DataType;
use ::arrow::error::ArrowError;
use bytes::Bytes;
use iceberg::spec::{DataFile, FormatVersion};
use parquet::basic::{Compression, Encoding, LogicalType, Type as PhysicalType, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};
use tarn_model::Kind;
use tarn_schema::{OFFSET, VALUE};
use tarn_store::Path;

pub use writer::FileWriter;

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
    /// Rows and unfinished files that a writer holds. Beyond it the largest file is finished early.
    pub(crate) held_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            row_group_rows: 256 << 10,
            row_group_bytes: 16 << 20,
            file_bytes: FILE_BYTES_TARGET,
            held_bytes: 2 * FILE_BYTES_TARGET,
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
    /// Another version of Iceberg's format, which only another engine can have chosen.
    #[error("only tables of Iceberg's format version 2 are written, and this one has {0}")]
    Version(FormatVersion),
    #[error("the table's columns cannot be written: {0}")]
    Columns(iceberg::Error),
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
    /// `Invalid`: nothing can be written until somebody changes the table.
    pub fn kind(&self) -> Kind {
        match self {
            ParquetError::Version(_) | ParquetError::Columns(_) | ParquetError::Partitioning(_) => {
                Kind::Invalid
            }
            ParquetError::Column { .. }
            | ParquetError::Arrow(_)
            | ParquetError::Parquet(_)
            | ParquetError::Describe(_) => Kind::Internal,
        }
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
        // Payloads hardly ever repeat.
        .set_column_dictionary_enabled(column(VALUE), false);
    for leaf in schema.columns() {
        // Offsets nearly always differ by one. A plain table may have a column of another type there.
        let is_offset =
            *leaf.path() == column(OFFSET) && leaf.physical_type() == PhysicalType::INT64;
        if is_offset {
            properties = properties
                .set_column_dictionary_enabled(column(OFFSET), false)
                .set_column_encoding(column(OFFSET), Encoding::DELTA_BINARY_PACKED);
        }
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
