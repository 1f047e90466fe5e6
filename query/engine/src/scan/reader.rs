//! Reads table files within a bound of bytes: of the column chunks that all queries hold together.
//!
//! DataFusion counts what operators keep, not what a scan has fetched and not decoded yet, and a scan
//! fetches the wanted columns of a whole row group at a time, in every stream of every query. Chunks
//! wait here for room before they are fetched, and give it back when the last slice of them is gone.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use tarn_runtime::{Budget, Permit};
use tarn_store::Store;
use tokio::time::timeout;

use crate::QueryError;

/// How long a stream waits for room. One that holds chunks may itself wait for another stream of its
/// query: nobody may wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes readers of table files.
pub(super) struct BoundedReaders {
    readers: CachedParquetFileReaderFactory,
    memory: Budget,
}

impl BoundedReaders {
    pub(super) fn new(
        store: &Store,
        footers: &Arc<dyn FileMetadataCache>,
        memory: &Budget,
    ) -> BoundedReaders {
        BoundedReaders {
            readers: CachedParquetFileReaderFactory::new(store.object_store(), Arc::clone(footers)),
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
        footer_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>, DataFusionError> {
        let file = self
            .readers
            .create_reader(partition, file, footer_hint, metrics)?;
        Ok(Box::new(Bounded {
            file,
            memory: self.memory.clone(),
        }))
    }
}

/// A file whose chunks are counted.
struct Bounded {
    file: Box<dyn AsyncFileReader + Send>,
    memory: Budget,
}

impl AsyncFileReader for Bounded {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let permit = room(&self.memory, range.end - range.start).await?;
            let bytes = self.file.get_bytes(range).await?;
            Ok(held(bytes, &Arc::new(permit)))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            // All at once: a stream that has half of a row group must not wait for the other half.
            let bytes = ranges.iter().map(|range| range.end - range.start).sum();
            let permit = Arc::new(room(&self.memory, bytes).await?);
            let chunks = self.file.get_byte_ranges(ranges).await?;
            Ok(chunks
                .into_iter()
                .map(|chunk| held(chunk, &permit))
                .collect())
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.file.get_metadata(options)
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
    use tarn_model::ByteSize;

    use super::*;

    /// A file of zeros that counts what is read of it at the same time.
    struct Zeros;

    impl AsyncFileReader for Zeros {
        fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
            let length = usize::try_from(range.end - range.start).expect("small");
            async move { Ok(Bytes::from(vec![0; length])) }.boxed()
        }

        fn get_metadata<'a>(
            &'a mut self,
            _: Option<&'a ArrowReaderOptions>,
        ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
            async { Err(ParquetError::General("it has none".to_owned())) }.boxed()
        }
    }

    #[tokio::test]
    async fn chunks_hold_their_room_until_the_last_slice_is_gone() {
        let memory = Budget::new(ByteSize::kib(64));
        let mut file = Bounded {
            file: Box::new(Zeros),
            memory: memory.clone(),
        };
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
        let mut file = Bounded {
            file: Box::new(Zeros),
            memory,
        };
        let error = file.get_bytes(0..8192).await.expect_err("no room");
        let error = DataFusionError::ParquetError(Box::new(error));
        let error = QueryError::of(&error, ByteSize::kib(64));
        assert!(matches!(error, QueryError::MemoryLimit { .. }), "{error:?}");
        drop(held);
        assert!(file.get_bytes(0..8192).await.is_ok());
    }
}
