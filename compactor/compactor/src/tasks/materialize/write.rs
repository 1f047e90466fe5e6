//! Third and fourth stage of a round: rows to files, and files to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use futures::{FutureExt, StreamExt, TryStreamExt};
use iceberg::spec::DataFile;
use tarn_runtime::step;
use tarn_tables::{FileWriter, ParquetError, ParquetFile};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{MaterializeError, Materializer};

/// Files uploaded at the same time, as far as their bytes allow. Most are small.
const UPLOADS_AT_ONCE: usize = 16;
/// Bytes of files are counted in units of this many.
const UNIT: u64 = 1024;

/// A finished file with its share of the memory for files.
pub(super) struct Finished {
    file: ParquetFile,
    _memory: OwnedSemaphorePermit,
}

/// Memory for finished files.
struct Room {
    units: u32,
    free: Arc<Semaphore>,
}

impl Room {
    fn new(bytes: u64) -> Room {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Room {
            units,
            free: Arc::new(Semaphore::new(units as usize)),
        }
    }

    /// Waits until there is room.
    async fn put(&self, file: ParquetFile) -> Finished {
        let units = file.bytes.len() as u64 / UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(self.units);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Finished {
            file,
            _memory: permit.expect("the semaphore is never closed"),
        }
    }
}

impl Materializer {
    /// Encodes rows until there are no more, and holds finished files of at most so many bytes.
    pub(super) async fn encode(
        &self,
        mut writer: FileWriter,
        files_bytes: u64,
        mut rows: mpsc::Receiver<Vec<RecordBatch>>,
        files: mpsc::Sender<Finished>,
    ) -> Result<(), MaterializeError> {
        let room = Room::new(files_bytes);
        while let Some(batches) = rows.recv().await {
            let add = move || {
                let mut writer = writer;
                let full = writer.add(batches)?;
                Ok::<_, ParquetError>((writer, full))
            };
            let full;
            (writer, full) = self.compute("parquet", add).await??;
            for file in full {
                if files.send(room.put(file).await).await.is_err() {
                    return Ok(());
                }
            }
        }
        for file in self.compute("parquet", move || writer.finish()).await?? {
            if files.send(room.put(file).await).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Uploads files until there are no more, and counts them in `uploaded`.
    pub(super) async fn upload(
        &self,
        mut files: mpsc::Receiver<Finished>,
        uploaded: &AtomicU64,
    ) -> Result<Vec<DataFile>, MaterializeError> {
        let files = futures::stream::poll_fn(move |cx| files.poll_recv(cx));
        let uploads = files.map(|finished| self.upload_one(finished, uploaded).boxed());
        uploads.buffered(UPLOADS_AT_ONCE).try_collect().await
    }

    async fn upload_one(
        &self,
        finished: Finished,
        uploaded: &AtomicU64,
    ) -> Result<DataFile, MaterializeError> {
        let Finished { file, _memory } = finished;
        self.node
            .store
            .put_if_absent(&file.path, file.bytes)
            .await?;
        uploaded.fetch_add(1, Ordering::Relaxed);
        step!(self.node.runtime, "materialize.uploaded");
        Ok(file.file)
    }
}
