//! Iceberg's `Storage` over our [`Store`]: one metered store with its retries serves log and tables.
//!
//! Files are written once under names of their own, so a write is a put-if-absent and a retry of it
//! is harmless. Nothing here is global: the handle carries its store and does not survive being
//! serialized, which nobody asks of it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tarn_model::Kind;
use tarn_store::{Path, Store, StoreError};

/// Names in one listing while a folder is deleted.
const LISTED_MAX: usize = 1000;

/// Iceberg's way to the files of a store.
pub fn file_io(store: &Store) -> FileIO {
    FileIOBuilder::new(Arc::new(StoreStorageFactory {
        store: Some(store.clone()),
    }))
    .build()
}

/// The URL of an object of this store.
pub(crate) fn url(store: &Store, path: &Path) -> String {
    format!("{}/{path}", store.base_url())
}

/// The object behind a URL of this store.
pub(crate) fn path(store: &Store, url: &str) -> Result<Path> {
    let foreign = || {
        Error::new(
            ErrorKind::DataInvalid,
            format!("{url} is not beneath {}", store.base_url()),
        )
    };
    let rest = url
        .strip_prefix(store.base_url())
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(foreign)?;
    Path::parse(rest).map_err(|source| foreign().with_source(source))
}

/// Makes [`StoreStorage`]; what `FileIOBuilder` asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStorageFactory {
    #[serde(skip)]
    store: Option<Store>,
}

/// Iceberg's files as objects of a [`Store`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStorage {
    #[serde(skip)]
    store: Option<Store>,
}

#[typetag::serde]
impl StorageFactory for StoreStorageFactory {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(StoreStorage {
            store: self.store.clone(),
        }))
    }
}

/// Retriable for Iceberg's callers where it is for ours.
fn failed(error: StoreError) -> Error {
    let kind = match error.kind() {
        Kind::Corrupt | Kind::Invalid => ErrorKind::DataInvalid,
        _ => ErrorKind::Unexpected,
    };
    let retriable = error.kind().is_retriable();
    Error::new(kind, error.to_string())
        .with_retryable(retriable)
        .with_source(error)
}

impl StoreStorage {
    fn at(&self, url: &str) -> Result<(&Store, Path)> {
        let store = self.store.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unexpected,
                "a storage handle that was serialized has lost its store",
            )
        })?;
        Ok((store, path(store, url)?))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for StoreStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (store, path) = self.at(path)?;
        match store.head(&path).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (store, path) = self.at(path)?;
        Ok(FileMetadata {
            size: store.head(&path).await.map_err(failed)?.size,
        })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (store, path) = self.at(path)?;
        store.get(&path).await.map_err(failed)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (store, path) = self.at(path)?;
        Ok(Box::new(Reader {
            store: store.clone(),
            path,
        }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (store, path) = self.at(path)?;
        store.put_if_absent(&path, bytes).await.map_err(failed)?;
        Ok(())
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let (store, path) = self.at(path)?;
        Ok(Box::new(Writer {
            store: store.clone(),
            path,
            bytes: Some(BytesMut::new()),
        }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (store, path) = self.at(path)?;
        store.delete(&path).await.map_err(failed)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let (store, path) = self.at(path)?;
        loop {
            let listed = store.list(&path, None, LISTED_MAX).await.map_err(failed)?;
            let paths: Vec<Path> = listed.into_iter().map(|object| object.path).collect();
            store.delete_all(&paths).await.map_err(failed)?;
            if paths.len() < LISTED_MAX {
                return Ok(());
            }
        }
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader {
    store: Store,
    path: Path,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store
            .get_range(&self.path, range)
            .await
            .map_err(failed)
    }
}

/// Gathers the file and puts it whole: manifests and manifest lists are small, and data files come
/// from [`crate::write`], which uploads nothing.
struct Writer {
    store: Store,
    path: Path,
    /// `None` once closed.
    bytes: Option<BytesMut>,
}

fn closed() -> Error {
    Error::new(ErrorKind::Unexpected, "the file is closed")
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes
            .as_mut()
            .ok_or_else(closed)?
            .extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let bytes = self.bytes.take().ok_or_else(closed)?.freeze();
        self.store
            .put_if_absent(&self.path, bytes)
            .await
            .map_err(failed)?;
        Ok(())
    }
}
