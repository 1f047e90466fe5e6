//! Rows to Parquet files, one or more per day of event time.
//!
//! Pure computation: it takes Arrow batches and gives finished files in memory with Iceberg's
//! description of each, so that callers can run it off the async threads and upload with the store's
//! retries. Non-generic on purpose: the writers of `parquet` and `iceberg` are instantiated here once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use ::arrow::compute::take_record_batch;
use ::arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use ::arrow::error::ArrowError;
use ::arrow::temporal_conversions::date32_to_datetime;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::stream::BoxStream;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::io::{FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage};
use iceberg::spec::{DataFile, Literal, Struct, Transform};
use iceberg::writer::CurrentFileStatus;
use iceberg::writer::file_writer::{
    FileWriter, FileWriterBuilder, ParquetWriter, ParquetWriterBuilder,
};
use iceberg::{Error, ErrorKind};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use tarn_model::Kind;
use tarn_schema::{OFFSET, VALUE};
use tarn_store::{Path, paths};
use uuid::Uuid;

use crate::catalog::Loaded;

/// A file is closed when it has grown to this. One attempt of an upload is patient enough for it.
pub const FILE_BYTES_TARGET: usize = 64 << 20;
/// Rows of one row group: the unit in which readers skip and share out work.
const ROW_GROUP_ROWS: usize = 256 << 10;
const MICROS_PER_DAY: i64 = 86_400_000_000;

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
    #[error("the table is not partitioned by the day of a timestamp column")]
    Partitioning,
    #[error("the rows could not be arranged: {0}")]
    Arrow(#[from] ArrowError),
    #[error("the file could not be written: {0}")]
    Write(#[from] Error),
}

impl ParquetError {
    pub fn kind(&self) -> Kind {
        Kind::Internal
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
    let metadata = loaded.metadata();
    let target: SchemaRef = Arc::new(schema_to_arrow_schema(metadata.current_schema())?);
    let spec = metadata.default_partition_spec();
    let [partition] = spec.fields() else {
        return Err(ParquetError::Partitioning);
    };
    let source = metadata
        .current_schema()
        .as_struct()
        .field_by_id(partition.source_id);
    let (Transform::Day, Some(source)) = (partition.transform, source) else {
        return Err(ParquetError::Partitioning);
    };

    let mut days: BTreeMap<Option<i32>, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        let batch = conform(&batch, &target)?;
        for (day, rows) in split_by_day(batch, &source.name)? {
            days.entry(day).or_default().push(rows);
        }
    }

    let builder = ParquetWriterBuilder::new(properties(), Arc::clone(metadata.current_schema()));
    let mut files = Vec::new();
    for (day, batches) in days {
        let folder = format!("{}={}", partition.name, day_text(day));
        let mut open: Option<(Path, Captured, ParquetWriter)> = None;
        for batch in batches {
            let (_, _, writer) = match &mut open {
                Some(open) => open,
                None => {
                    let path = paths::table_data_file(loaded.folder(), &folder, uuid, files.len());
                    let captured = Captured::default();
                    let output =
                        OutputFile::new(Arc::new(captured.clone()), format!("{base_url}/{path}"));
                    open.insert((path, captured, ready(builder.build(output))?))
                }
            };
            ready(writer.write(&batch))?;
            if writer.current_written_size() >= FILE_BYTES_TARGET
                && let Some(full) = open.take()
            {
                files.push(finish(full, day, spec.spec_id())?);
            }
        }
        if let Some(last) = open.take() {
            files.push(finish(last, day, spec.spec_id())?);
        }
    }
    Ok(files)
}

fn finish(
    (path, captured, writer): (Path, Captured, ParquetWriter),
    day: Option<i32>,
    spec_id: i32,
) -> Result<ParquetFile, ParquetError> {
    let described = ready(writer.close())?.pop();
    let mut described = described
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, "a file without rows was opened"))?;
    let file = described
        .partition(Struct::from_iter([day.map(Literal::date)]))
        .partition_spec_id(spec_id)
        .build()
        .map_err(|error| Error::new(ErrorKind::Unexpected, error.to_string()))?;
    Ok(ParquetFile {
        path,
        bytes: captured.take(),
        file,
    })
}

/// The result of a future that only touches memory.
fn ready<T>(future: impl Future<Output = iceberg::Result<T>>) -> iceberg::Result<T> {
    future.now_or_never().unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Unexpected,
            "writing to memory waited for something",
        ))
    })
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("level 1 exists");
    let column = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    WriterProperties::builder()
        .set_created_by("tarn".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        // Offsets nearly always differ by one; payloads hardly ever repeat.
        .set_column_dictionary_enabled(column(OFFSET), false)
        .set_column_encoding(column(OFFSET), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column(VALUE), false)
        .build()
}

/// The batch with exactly the table's columns, in the table's order.
fn conform(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch, ParquetError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => {
                columns.push(Arc::clone(column))
            }
            None if field.is_nullable() => {
                columns.push(new_null_array(field.data_type(), batch.num_rows()))
            }
            column => {
                return Err(ParquetError::Column {
                    column: field.name().clone(),
                    have: column.map(|column| column.data_type().clone()),
                    want: Some(field.data_type().clone()),
                });
            }
        }
    }
    let unknown = batch
        .schema_ref()
        .fields()
        .iter()
        .find(|field| target.field_with_name(field.name()).is_err());
    if let Some(unknown) = unknown {
        let (column, have) = (unknown.name().clone(), Some(unknown.data_type().clone()));
        return Err(ParquetError::Column {
            column,
            have,
            want: None,
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(target), columns)?)
}

/// The rows by day since 1970 of the event time, in their order. Rows without a time have no day.
fn split_by_day(
    batch: RecordBatch,
    event_time: &str,
) -> Result<Vec<(Option<i32>, RecordBatch)>, ParquetError> {
    let times = batch
        .column_by_name(event_time)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or(ParquetError::Partitioning)?;
    let mut days: BTreeMap<Option<i32>, Vec<u32>> = BTreeMap::new();
    for (row, time) in (0..).zip(times) {
        // 64 bits of microseconds are 107 million days.
        let day =
            time.map(|micros| i32::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX));
        days.entry(day).or_default().push(row);
    }
    if days.len() == 1 {
        return Ok(days.into_keys().map(|day| (day, batch.clone())).collect());
    }
    let mut split = Vec::with_capacity(days.len());
    for (day, rows) in days {
        split.push((day, take_record_batch(&batch, &UInt32Array::from(rows))?));
    }
    Ok(split)
}

/// `2026-11-22`; beyond the calendar, the number of the day.
fn day_text(day: Option<i32>) -> String {
    match day {
        None => "null".to_owned(),
        Some(day) => match date32_to_datetime(day) {
            Some(time) => time.format("%Y-%m-%d").to_string(),
            None => day.to_string(),
        },
    }
}

/// A storage that keeps the one file that is written to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Captured {
    #[serde(skip)]
    bytes: Arc<Mutex<BytesMut>>,
}

impl Captured {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.bytes.lock().expect("nobody panics while holding it")).freeze()
    }
}

fn write_only<T>() -> iceberg::Result<T> {
    Err(Error::new(
        ErrorKind::FeatureUnsupported,
        "this storage only takes a file",
    ))
}

#[async_trait]
#[typetag::serde]
impl Storage for Captured {
    async fn exists(&self, _path: &str) -> iceberg::Result<bool> {
        write_only()
    }

    async fn metadata(&self, _path: &str) -> iceberg::Result<FileMetadata> {
        write_only()
    }

    async fn read(&self, _path: &str) -> iceberg::Result<Bytes> {
        write_only()
    }

    async fn reader(&self, _path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        write_only()
    }

    async fn write(&self, _path: &str, _bytes: Bytes) -> iceberg::Result<()> {
        write_only()
    }

    async fn writer(&self, _path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        Ok(Box::new(self.clone()))
    }

    async fn delete(&self, _path: &str) -> iceberg::Result<()> {
        write_only()
    }

    async fn delete_prefix(&self, _path: &str) -> iceberg::Result<()> {
        write_only()
    }

    async fn delete_stream(&self, _paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        write_only()
    }

    fn new_input(&self, _path: &str) -> iceberg::Result<InputFile> {
        write_only()
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

#[async_trait]
impl FileWrite for Captured {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.bytes
            .lock()
            .expect("nobody panics while holding it")
            .extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        Ok(())
    }
}
