//! Reads table files through the node's cache, within a bound of bytes: of the column chunks that all
//! queries hold together.
//!
//! DataFusion counts what operators keep, not what a scan has fetched and not decoded yet, and a scan
//! fetches the wanted columns of a whole row group at a time, in every stream of every query. Chunks
//! wait here for room before they are fetched, and give it back when the last slice of them is gone.
//!
//! A footer is kept as it was decoded, and its bytes come through the same cache: a small file is one
//! request, and a query that is asked again makes none.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetMetaData;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::error::DataFusionError;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, MetadataFetch};
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use object_store::ObjectMeta;
use tarn_runtime::{Budget, Permit};
use tarn_store::ChunkCache;
use tokio::time::timeout;

use crate::QueryError;

/// How long a stream waits for room. One that holds chunks may itself wait for another stream of its
/// query: nobody may wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// The end of a file that is read first: most footers, with their index of pages.
const FOOTER_HINT: usize = 64 << 10;

/// Makes readers of table files.
pub(super) struct BoundedReaders {
    files: ChunkCache,
    footers: Arc<dyn FileMetadataCache>,
    memory: Budget,
}

impl BoundedReaders {
    pub(super) fn new(
        files: &ChunkCache,
        footers: &Arc<dyn FileMetadataCache>,
        memory: &Budget,
    ) -> BoundedReaders {
        BoundedReaders {
            files: files.clone(),
            footers: Arc::clone(footers),
            memory: memory.clone(),
        }
    }
}

impl fmt::Debug for BoundedReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundedReaders({})", self.memory.total())
    }
}

impl ParquetFileReaderFactory for BoundedReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>, DataFusionError> {
        let name = file.object_meta.location.as_ref();
        Ok(Box::new(Bounded {
            metrics: ParquetFileMetrics::new(partition, name, metrics),
            file: file.object_meta,
            files: self.files.clone(),
            footers: Arc::clone(&self.footers),
            memory: self.memory.clone(),
        }))
    }
}

/// A file whose chunks are counted.
struct Bounded {
    file: ObjectMeta,
    files: ChunkCache,
    footers: Arc<dyn FileMetadataCache>,
    memory: Budget,
    metrics: ParquetFileMetrics,
}

impl Bounded {
    async fn fetch(&self, ranges: Vec<Range<u64>>) -> ParquetResult<Vec<Bytes>> {
        let bytes = length(&ranges);
        self.metrics
            .bytes_scanned
            .add(usize::try_from(bytes).unwrap_or(usize::MAX));
        let path = &self.file.location;
        let reads = ranges
            .into_iter()
            .map(|range| self.files.read_range(path, range));
        let chunks = try_join_all(reads).await;
        chunks.map_err(|error| ParquetError::External(Box::new(error)))
    }

    /// The ranges, and room for all of them at once: a stream that has half of a row group must not
    /// wait for the other half.
    async fn read(&self, ranges: Vec<Range<u64>>) -> ParquetResult<Vec<Bytes>> {
        let permit = Arc::new(room(&self.memory, length(&ranges)).await?);
        let chunks = self.fetch(ranges).await?;
        let held = chunks.into_iter().map(|chunk| held(chunk, &permit));
        Ok(held.collect())
    }

    fn kept_footer(&self) -> Option<Arc<ParquetMetaData>> {
        let kept = self.footers.get(&self.file.location)?;
        let footer = kept.file_metadata.as_any();
        let footer = footer.downcast_ref::<CachedParquetMetaData>()?;
        Some(Arc::clone(footer.parquet_metadata()))
    }
}

fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Footers are small, and take no room.
struct Footer<'a>(&'a Bounded);

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let mut chunks = self.0.fetch(vec![range]).await?;
            Ok(chunks.swap_remove(0))
        }
        .boxed()
    }
}

impl AsyncFileReader for Bounded {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let mut chunks = self.read(vec![range]).await?;
            Ok(chunks.swap_remove(0))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.read(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            // A file never changes under its name.
            if let Some(footer) = self.kept_footer() {
                return Ok(footer);
            }
            let footer = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(FOOTER_HINT))
                .with_page_index_policy(PageIndexPolicy::Optional)
                .load_and_finish(Footer(self), self.file.size)
                .await?;
            let footer = Arc::new(footer);
            let kept = Arc::new(CachedParquetMetaData::new(Arc::clone(&footer)));
            let kept = CachedFileMetadataEntry::new(self.file.clone(), kept);
            self.footers.put(&self.file.location, kept);
            Ok(footer)
        }
        .boxed()
    }
}

/// Waits for room. More than there is at all is read alone.
async fn room(memory: &Budget, bytes: u64) -> ParquetResult<Permit> {
    let bytes = bytes.min(memory.total().0);
    match timeout(PATIENCE, memory.acquire(bytes)).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => {
            let error = QueryError::MemoryLimit {
                limit: memory.total(),
                detail: format!("{bytes} bytes of a table file wait for others to be worked on"),
            };
            Err(ParquetError::External(Box::new(error)))
        }
    }
}

/// The bytes, with the permit as long as any slice of them is held.
fn held(bytes: Bytes, permit: &Arc<Permit>) -> Bytes {
    struct Held {
        bytes: Bytes,
        _permit: Arc<Permit>,
    }
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Held {
        bytes,
        _permit: Arc::clone(permit),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::execution::cache::DefaultFilesMetadataCache;
    use tarn_model::ByteSize;
    use tarn_runtime::Runtime;
    use tarn_store::{Path, Store};

    use super::*;

    /// A file of a mebibyte of zeros.
    async fn zeros(memory: &Budget) -> Box<dyn AsyncFileReader + Send> {
        let runtime = Runtime::real();
        let store = Store::memory(&runtime);
        let path = Path::from("zeros");
        let zeros = Bytes::from(vec![0; 1 << 20]);
        store.put(&path, zeros).await.expect("put");
        let files = ChunkCache::new(store, ByteSize::mib(8), runtime.metrics()).for_files();
        let footers: Arc<dyn FileMetadataCache> = Arc::new(DefaultFilesMetadataCache::new(1 << 20));
        let readers = BoundedReaders::new(&files, &footers, memory);
        let mut file = PartitionedFile::new("", 1 << 20);
        file.object_meta.location = path;
        let metrics = ExecutionPlanMetricsSet::new();
        let file = readers.create_reader(0, file, None, &metrics);
        file.expect("a reader")
    }

    #[tokio::test]
    async fn chunks_hold_their_room_until_the_last_slice_is_gone() {
        let memory = Budget::new(ByteSize::kib(64));
        let mut file = zeros(&memory).await;
        let chunks = file.get_byte_ranges(vec![0..20_480, 30_000..50_480]).await;
        let mut chunks = chunks.expect("there is room");
        assert_eq!(memory.available(), ByteSize::kib(24));
        let slice = chunks[0].slice(5..10);
        chunks.clear();
        assert_eq!(memory.available(), ByteSize::kib(24));
        assert!(file.get_bytes(0..40_960).now_or_never().is_none());
        drop(slice);
        assert_eq!(memory.available(), ByteSize::kib(64));
        let all = file.get_bytes(0..1 << 20).await.expect("alone");
        assert_eq!((all.len(), memory.available()), (1 << 20, ByteSize(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_room_is_told_and_does_not_wait_for_ever() {
        let memory = Budget::new(ByteSize::kib(64));
        let held = memory.acquire(60 << 10).await.expect("there is room");
        let mut file = zeros(&memory).await;
        let error = file.get_bytes(0..8192).await.expect_err("no room");
        let error = DataFusionError::ParquetError(Box::new(error));
        let error = QueryError::of(&error, ByteSize::kib(64));
        assert!(matches!(error, QueryError::MemoryLimit { .. }), "{error:?}");
        drop(held);
        assert!(file.get_bytes(0..8192).await.is_ok());
    }
}
