//! Rows to uploaded files.

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::DataFile;
use tarn_tables::{Loaded, ParquetFile};

use super::{MaterializeError, Materializer};

/// Files uploaded at the same time.
const UPLOADS_AT_ONCE: usize = 4;

impl Materializer {
    pub(super) async fn write(
        &self,
        loaded: &Loaded,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<DataFile>, MaterializeError> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let uuid = self.node.runtime.random().uuid();
        let (table, base_url) = (loaded.clone(), self.node.store.base_url().to_owned());
        let encode = move || tarn_tables::write(&table, &base_url, uuid, batches);
        let files: Vec<ParquetFile> = self.scope.blocking("parquet", encode).await??;
        let uploads = files.into_iter().map(|file| async move {
            self.node
                .store
                .put_if_absent(&file.path, file.bytes)
                .await?;
            Ok::<_, MaterializeError>(file.file)
        });
        futures::stream::iter(uploads)
            .buffered(UPLOADS_AT_ONCE)
            .try_collect()
            .await
    }
}
