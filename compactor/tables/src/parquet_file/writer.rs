//! Takes rows as they come and gives files as they are full.
//!
//! Holds: rows of one table partition stay in the order in which they came; small batches become large
//! ones before they are encoded; and no more is held than was allowed and one batch, however many
//! table partitions the rows have: a file that has no room to grow is finished early.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ::arrow::array::RecordBatch;
use ::arrow::compute::concat_batches;
use ::arrow::datatypes::SchemaRef;
use bytes::Bytes;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::FormatVersion;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::schema::types::SchemaDescriptor;
use tarn_store::paths;
use uuid::Uuid;

use super::conform::conform;
use super::partition::{Part, Partitioner, Place};
use super::unordered::Unordered;
use super::{Limits, ParquetError, ParquetFile, metrics, properties, schema};
use crate::catalog::Loaded;

/// Rows are encoded once there are as many of a table partition, …
const ENCODED_ROWS: usize = 8_192;
/// … or this part of a row group's bytes. Parquet's writer learns the size of rows from those that it
/// has, so that what is written at once may be too much.
const ENCODED_PART: usize = 4;
/// What becomes a file of its own at the least, unless memory is smaller still.
const FILE_BYTES_MIN: usize = 1 << 20;

/// Writes the files of one commit, named after one uuid.
pub struct FileWriter {
    limits: Limits,
    loaded: Loaded,
    base_url: String,
    uuid: Uuid,
    target: SchemaRef,
    /// The schema as Parquet has it.
    written: SchemaDescriptor,
    partitioner: Partitioner,
    /// By the bytes that order their values.
    groups: BTreeMap<Vec<u8>, Group>,
    held: usize,
    files: usize,
}

/// The rows of one table partition that are in no finished file.
struct Group {
    place: Place,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    open: Option<Open>,
}

/// A file that still takes rows.
struct Open {
    writer: ArrowWriter<Vec<u8>>,
    unordered: Unordered,
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter")
            .field("uuid", &self.uuid)
            .field("groups", &self.groups.len())
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl FileWriter {
    /// A writer for the table as it was loaded, which holds about `memory` bytes at most. `base_url` is
    /// the store's. Fails if the table's spec or columns cannot be written at all.
    pub fn new(
        loaded: &Loaded,
        base_url: &str,
        uuid: Uuid,
        memory: u64,
    ) -> Result<FileWriter, ParquetError> {
        let limits = Limits::default();
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let limits = Limits {
            file_bytes: limits.file_bytes.min((memory / 2).max(FILE_BYTES_MIN)),
            row_group_bytes: limits.row_group_bytes.min((memory / 4).max(FILE_BYTES_MIN)),
            held_bytes: memory,
            ..limits
        };
        FileWriter::within(limits, loaded, base_url, uuid)
    }

    pub(crate) fn within(
        limits: Limits,
        loaded: &Loaded,
        base_url: &str,
        uuid: Uuid,
    ) -> Result<FileWriter, ParquetError> {
        let version = loaded.metadata().format_version();
        if version != FormatVersion::V2 {
            return Err(ParquetError::Version(version));
        }
        let schema = loaded.metadata().current_schema();
        let target = schema_to_arrow_schema(schema).map_err(ParquetError::Columns)?;
        let target: SchemaRef = Arc::new(target);
        Ok(FileWriter {
            limits,
            loaded: loaded.clone(),
            base_url: base_url.to_owned(),
            uuid,
            written: schema::of_file(&target, schema)?,
            target,
            partitioner: Partitioner::new(loaded.metadata())?,
            groups: BTreeMap::new(),
            held: 0,
            files: 0,
        })
    }

    /// Takes rows. Columns are matched by name; one that the rows lack is null. Gives the files that
    /// are full.
    pub fn add(&mut self, batches: Vec<RecordBatch>) -> Result<Vec<ParquetFile>, ParquetError> {
        let mut full = Vec::new();
        for batch in batches {
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = conform(&batch, &self.target)?;
            for part in self.partitioner.split(batch)? {
                self.add_part(part, &mut full)?;
            }
        }
        Ok(full)
    }

    fn add_part(&mut self, part: Part, full: &mut Vec<ParquetFile>) -> Result<(), ParquetError> {
        let Part { key, place, rows } = part;
        let mut group = match self.groups.remove(&key) {
            Some(group) => {
                self.held -= group.held();
                group
            }
            None => Group::new(place),
        };
        group.push(rows);
        let bytes_max = self.encoded_bytes();
        if group.waiting_bytes >= bytes_max {
            group.join_waiting()?;
        }
        if group.waiting_rows >= ENCODED_ROWS || group.waiting_bytes >= bytes_max / 2 {
            self.encode(&mut group)?;
            if group.file_bytes() >= self.limits.file_bytes {
                full.extend(self.finish_file(&mut group)?);
            }
        }
        self.put_back(key, group);
        while self.held > self.limits.held_bytes {
            let largest = self.groups.iter().max_by_key(|(_, group)| group.held());
            let Some(key) = largest.map(|(key, _)| key.clone()) else {
                break;
            };
            let Some(mut group) = self.groups.remove(&key) else {
                break;
            };
            self.held -= group.held();
            self.encode(&mut group)?;
            full.extend(self.finish_file(&mut group)?);
        }
        Ok(())
    }

    /// The files that were not full, in the order of their table partitions.
    pub fn finish(mut self) -> Result<Vec<ParquetFile>, ParquetError> {
        let mut files = Vec::new();
        for (_, mut group) in std::mem::take(&mut self.groups) {
            self.encode(&mut group)?;
            files.extend(self.finish_file(&mut group)?);
        }
        Ok(files)
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// A group without rows is forgotten.
    fn put_back(&mut self, key: Vec<u8>, group: Group) {
        if group.waiting_rows > 0 || group.open.is_some() {
            self.held += group.held();
            self.groups.insert(key, group);
        }
    }

    fn encode(&self, group: &mut Group) -> Result<(), ParquetError> {
        group.join_waiting()?;
        if group.waiting_rows == 0 {
            return Ok(());
        }
        let file = match &mut group.open {
            Some(file) => file,
            none => none.insert(self.open()?),
        };
        let schema = self.loaded.metadata().current_schema();
        for batch in std::mem::take(&mut group.waiting) {
            file.unordered.add(schema.as_struct(), &batch);
            let (rows, bytes) = (batch.num_rows(), batch.get_array_memory_size());
            let step = (rows * self.encoded_bytes() / bytes.max(1)).clamp(1, rows);
            for start in (0..rows).step_by(step) {
                file.writer
                    .write(&batch.slice(start, step.min(rows - start)))?;
            }
        }
        (group.waiting_rows, group.waiting_bytes) = (0, 0);
        Ok(())
    }

    fn encoded_bytes(&self) -> usize {
        self.limits.row_group_bytes / ENCODED_PART
    }

    fn open(&self) -> Result<Open, ParquetError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&self.written, self.limits))
            .with_parquet_schema(self.written.clone());
        let target = Arc::clone(&self.target);
        Ok(Open {
            writer: ArrowWriter::try_new_with_options(Vec::new(), target, options)?,
            unordered: Unordered::default(),
        })
    }

    fn finish_file(&mut self, group: &mut Group) -> Result<Option<ParquetFile>, ParquetError> {
        let Some(Open {
            mut writer,
            unordered,
        }) = group.open.take()
        else {
            return Ok(None);
        };
        let metadata = writer.finish()?;
        let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
        let Place { values, folder } = &group.place;
        let path = paths::table_data_file(self.loaded.folder(), folder, self.uuid, self.files);
        self.files += 1;
        let schema = self.loaded.metadata().current_schema();
        let file = metrics::describe(schema, &metadata, &unordered)?
            .file_path(format!("{}/{path}", self.base_url))
            .file_size_in_bytes(bytes.len() as u64)
            .partition(values.clone())
            .partition_spec_id(self.loaded.metadata().default_partition_spec_id())
            .build()
            .expect("what a data file must have was given");
        Ok(Some(ParquetFile { path, bytes, file }))
    }
}

impl Group {
    fn new(place: Place) -> Group {
        Group {
            place,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            open: None,
        }
    }

    fn push(&mut self, rows: RecordBatch) {
        self.waiting_rows += rows.num_rows();
        self.waiting_bytes += rows.get_array_memory_size();
        self.waiting.push(rows);
    }

    /// One batch of what waits, in as little memory as that needs.
    fn join_waiting(&mut self) -> Result<(), ParquetError> {
        if let [first, _, ..] = self.waiting.as_slice() {
            let joined = concat_batches(&first.schema(), &self.waiting)?;
            self.waiting_bytes = joined.get_array_memory_size();
            self.waiting = vec![joined];
        }
        Ok(())
    }

    /// Bytes of the open file.
    fn file_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| {
            open.writer.bytes_written() + open.writer.in_progress_size()
        })
    }

    fn held(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| {
            open.writer.bytes_written() + open.writer.memory_size()
        });
        self.waiting_bytes + open
    }
}
