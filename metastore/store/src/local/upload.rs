//! Uploads in parts.
//!
//! Holds: an upload is seen whole or not at all, since its parts land in a file without a name.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt;
use object_store::path::Path;
use object_store::{
    Error as ObjectError, MultipartUpload, PutMode, PutPayload, PutResult, Result as ObjectResult,
    UploadPart,
};

use super::temporary::Temporary;
use super::{LocalStore, failed};

/// An upload in parts, which land in one temporary file at their offsets.
pub(super) struct LocalUpload {
    pub(super) store: LocalStore,
    pub(super) location: Path,
    pub(super) parts: Arc<Mutex<Option<Parts>>>,
    pub(super) length: u64,
}

pub(super) struct Parts {
    pub(super) temporary: Temporary,
    pub(super) file: File,
    /// A part could not be written, so the upload must not complete.
    pub(super) failed: bool,
}

impl fmt::Debug for LocalUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalUpload")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

fn upload_is_over() -> ObjectError {
    ObjectError::Generic {
        store: "LocalStore",
        source: "the upload is completed or aborted".into(),
    }
}

#[async_trait]
impl MultipartUpload for LocalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut offset = self.length;
        self.length += data.content_length() as u64;
        let (store, parts) = (self.store.clone(), Arc::clone(&self.parts));
        async move {
            store
                .blocking(move |_| {
                    let mut guard = parts.lock().expect("nobody panics while holding it");
                    let parts = guard.as_mut().ok_or_else(upload_is_over)?;
                    for bytes in data.iter() {
                        if let Err(error) = parts.file.write_all_at(bytes, offset) {
                            parts.failed = true;
                            return Err(failed("writing", &parts.temporary.file)(error));
                        }
                        offset += bytes.len() as u64;
                    }
                    Ok(())
                })
                .await
        }
        .boxed()
    }

    async fn complete(&mut self) -> ObjectResult<PutResult> {
        let parts = self
            .parts
            .lock()
            .expect("nobody panics while holding it")
            .take()
            .ok_or_else(upload_is_over)?;
        if parts.failed {
            return Err(ObjectError::Generic {
                store: "LocalStore",
                source: "a part was not written".into(),
            });
        }
        let (location, length) = (self.location.clone(), self.length);
        self.store
            .blocking(move |inner| {
                let file = inner.file_of(&location)?;
                let written = parts
                    .file
                    .metadata()
                    .map_err(failed("reading", &parts.temporary.file))?
                    .len();
                if written != length {
                    let source = format!("{written} of {length} bytes were written").into();
                    return Err(ObjectError::Generic {
                        store: "LocalStore",
                        source,
                    });
                }
                inner.sync_file(&parts.file, &parts.temporary.file)?;
                inner.place(&location, &file, parts.temporary, PutMode::Overwrite)?;
                inner.result_of(&file)
            })
            .await
    }

    async fn abort(&mut self) -> ObjectResult<()> {
        self.parts
            .lock()
            .expect("nobody panics while holding it")
            .take();
        Ok(())
    }
}
