//! A local folder as an object store that is durable and knows conditional updates.
//!
//! `object_store`'s own `LocalFileSystem` never syncs and has no conditional update; it serves our
//! listings, reads (`local/read.rs`) and writes are here. A write goes
//!
//! ```text
//! temporary file → fsync → link (create if absent) or rename (overwrite) → fsync of the folder → answer
//! ```
//!
//! so an object that was answered for survives a power cut, and no reader ever sees half of one.
//! Temporary files stand in `.tmp` at the root, out of every listing; a crash leaves some, and opening
//! the folder removes those older than a day. A conditional update compares and renames under an
//! exclusive lock of the file `.update-lock` beside the object, held only for that.
//!
//! Large writes that are synced anyway go past the page cache (`local/direct.rs`).
//!
//! Blocking calls run on tokio's blocking threads (inline in simulation, which does not use this).

mod direct;
mod list;
mod read;
mod temporary;
mod upload;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error as ObjectError, GetOptions, GetResult, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, RenameTargetMode, Result as ObjectResult,
};
use tarn_model::Fate;
use tarn_runtime::{Runtime, Scope};

use crate::{OpenError, StoreError};

use temporary::{Temporary, e_tag, lock_beside};
use upload::{LocalUpload, Parts};

/// Where temporary files stand, under the root. Their names end in `#` and digits, which
/// `LocalFileSystem` refuses to read as objects.
const TEMPORARY: &str = ".tmp";
/// Not `.lock`: that one at the top of a data folder is held by the process for its whole life.
const LOCK: &str = ".update-lock";
/// Folders whose names are known to be durable are remembered up to this many; then from the start.
const FOLDERS_MAX: usize = 16 * 1024;
/// Temporary files older than this belong to a process that is gone.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// A durable local folder. Clones share it.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
    scope: Scope,
}

struct Inner {
    root: PathBuf,
    reads: LocalFileSystem,
    fsync: bool,
    runtime: Runtime,
    /// Folders whose own names were synced by this process.
    folders: Mutex<BTreeSet<PathBuf>>,
    /// Which folders were synced, in order.
    #[cfg(test)]
    synced: Mutex<Vec<PathBuf>>,
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.inner.root.display())
    }
}

/// Says what was being done to which file; keeps the I/O error for whoever classifies it.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {file:?}: {source}")]
struct FileError {
    doing: &'static str,
    file: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, file: &FilePath) -> impl FnOnce(io::Error) -> ObjectError {
    move |source| {
        let kind = source.kind();
        let path = file.to_string_lossy().into_owned();
        let source = Box::new(FileError {
            doing,
            file: file.to_owned(),
            source,
        });
        match kind {
            io::ErrorKind::NotFound => ObjectError::NotFound { path, source },
            io::ErrorKind::AlreadyExists => ObjectError::AlreadyExists { path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ObjectError::PermissionDenied { path, source }
            }
            _ => ObjectError::Generic {
                store: "LocalStore",
                source,
            },
        }
    }
}

impl LocalStore {
    /// Opens the folder and makes it if needed.
    pub fn open(
        folder: &FilePath,
        fsync: bool,
        runtime: &Runtime,
    ) -> Result<LocalStore, OpenError> {
        let error = |reason: String| OpenError::Folder {
            folder: folder.to_owned(),
            reason,
        };
        let made: Vec<_> = folder
            .ancestors()
            .filter(|at| !at.exists())
            .map(FilePath::to_owned)
            .collect();
        fs::create_dir_all(folder.join(TEMPORARY)).map_err(|source| error(source.to_string()))?;
        let root = fs::canonicalize(folder).map_err(|source| error(source.to_string()))?;
        let reads =
            LocalFileSystem::new_with_prefix(&root).map_err(|source| error(source.to_string()))?;
        let inner = Inner {
            root,
            reads,
            fsync,
            runtime: runtime.clone(),
            folders: Mutex::new(BTreeSet::new()),
            #[cfg(test)]
            synced: Mutex::default(),
        };
        inner.sweep_leftovers();
        // The root's own name also when it was there already: whoever made it may have died before its
        // sync. Folders above it that were there are somebody else's to keep.
        let above = made.iter().filter_map(|made| made.parent());
        for parent in above.chain(inner.root.parent()) {
            let parent = if parent.as_os_str().is_empty() {
                FilePath::new(".")
            } else {
                parent
            };
            inner
                .sync_folder(parent)
                .map_err(|source| error(source.to_string()))?;
        }
        Ok(LocalStore {
            inner: Arc::new(inner),
            scope: runtime.root_scope("local store"),
        })
    }

    /// The folder itself.
    pub fn root(&self) -> &FilePath {
        &self.inner.root
    }

    /// Syncs the folder that holds this object, so that what was read there survives a power cut.
    pub(crate) async fn sync_folder_of(&self, path: &Path) -> Result<(), StoreError> {
        let location = path.clone();
        let result = self
            .blocking(move |inner| {
                let file = inner.file_of(&location)?;
                inner.make_parent(&file)?;
                inner.sync_parent(&file)
            })
            .await;
        result.map_err(|error| StoreError::Unavailable {
            path: path.clone(),
            fate: Fate::NotDone,
            reason: error.to_string(),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> ObjectResult<T> + Send + 'static,
    ) -> ObjectResult<T> {
        let inner = Arc::clone(&self.inner);
        self.scope
            .blocking("local file", move || work(&inner))
            .await
            .unwrap_or_else(|error| {
                Err(ObjectError::Generic {
                    store: "LocalStore",
                    source: Box::new(error),
                })
            })
    }
}

impl Inner {
    fn file_of(&self, location: &Path) -> ObjectResult<PathBuf> {
        if hidden(location) {
            return Err(ObjectError::NotSupported {
                source: format!("{location} is a reserved name").into(),
            });
        }
        self.reads.path_to_filesystem(location)
    }

    /// A new temporary file with this content, synced.
    fn write_temporary(&self, payload: &PutPayload) -> ObjectResult<Temporary> {
        let (temporary, mut file) = self.new_temporary()?;
        if self.fsync && payload.content_length() >= direct::FROM_BYTES {
            direct::write(&file, payload)
        } else {
            payload.iter().try_for_each(|part| file.write_all(part))
        }
        .map_err(failed("writing", &temporary.file))?;
        self.sync_file(&file, &temporary.file)?;
        Ok(temporary)
    }

    fn new_temporary(&self) -> ObjectResult<(Temporary, File)> {
        let name = format!("{TEMPORARY}/t#{}", self.runtime.random().u64());
        let temporary = Temporary {
            file: self.root.join(name),
            done: false,
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary.file)
            .map_err(failed("creating", &temporary.file))?;
        Ok((temporary, file))
    }

    fn sync_file(&self, file: &File, name: &FilePath) -> ObjectResult<()> {
        if self.fsync {
            file.sync_all().map_err(failed("syncing", name))
        } else {
            Ok(())
        }
    }

    /// Makes the folder of a file, and its name durable up to the root.
    fn make_parent(&self, file: &FilePath) -> ObjectResult<()> {
        let folder = file.parent().expect("a file under the root has a parent");
        if self
            .folders
            .lock()
            .expect("nobody panics while holding it")
            .contains(folder)
        {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(failed("creating", folder))?;
        // Also where the folder was there already: whoever made it may not have synced it yet.
        let mut at = folder;
        while at != self.root {
            let Some(parent) = at.parent() else { break };
            self.sync_folder(parent)
                .map_err(failed("syncing", parent))?;
            at = parent;
        }
        let mut folders = self.folders.lock().expect("nobody panics while holding it");
        if folders.len() >= FOLDERS_MAX {
            folders.clear();
        }
        folders.insert(folder.to_owned());
        Ok(())
    }

    fn sync_parent(&self, file: &FilePath) -> ObjectResult<()> {
        let folder = file.parent().expect("a file under the root has a parent");
        self.sync_folder(folder).map_err(failed("syncing", folder))
    }

    fn sync_folder(&self, folder: &FilePath) -> io::Result<()> {
        if self.fsync {
            File::open(folder)?.sync_all()?;
        }
        #[cfg(test)]
        self.synced
            .lock()
            .expect("nobody panics while holding it")
            .push(folder.to_owned());
        Ok(())
    }

    fn put(&self, location: &Path, payload: &PutPayload, mode: PutMode) -> ObjectResult<PutResult> {
        let file = self.file_of(location)?;
        self.make_parent(&file)?;
        let temporary = self.write_temporary(payload)?;
        self.place(location, &file, temporary, mode)?;
        self.result_of(&file)
    }

    /// Gives a temporary file its name, durably.
    fn place(
        &self,
        location: &Path,
        file: &FilePath,
        temporary: Temporary,
        mode: PutMode,
    ) -> ObjectResult<()> {
        match mode {
            PutMode::Overwrite => temporary.rename(file)?,
            PutMode::Create => {
                let linked = fs::hard_link(&temporary.file, file).map_err(failed("linking", file));
                // Also when another was first: it may be our own earlier attempt, whose sync failed.
                self.sync_placed(file)?;
                return linked;
            }
            PutMode::Update(expected) => {
                let _lock = lock_beside(file)?;
                let current = match fs::metadata(file) {
                    Ok(current) => current,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(precondition(location, "it does not exist"));
                    }
                    Err(error) => return Err(failed("reading", file)(error)),
                };
                if expected.e_tag != Some(e_tag(&current)) {
                    return Err(precondition(location, "it was changed"));
                }
                // The tag is made of inode, time and size. A freed inode may come back within one tick
                // of the file system's clock, so the time always moves on.
                temporary.make_newer_than(current.modified().map_err(failed("reading", file))?)?;
                temporary.rename(file)?;
            }
        }
        self.sync_placed(file)
    }

    /// Syncs the folder of a file that others see by now: whatever the error, the write may have
    /// happened, so it must not look like one that did not.
    fn sync_placed(&self, file: &FilePath) -> ObjectResult<()> {
        self.sync_parent(file)
            .map_err(|error| ObjectError::Generic {
                store: "LocalStore",
                source: format!("the object is there, but perhaps not durable: {error}").into(),
            })
    }

    fn result_of(&self, file: &FilePath) -> ObjectResult<PutResult> {
        let e_tag = match fs::metadata(file) {
            Ok(meta) => Some(e_tag(&meta)),
            // Deleted again already: the write happened.
            Err(_) => None,
        };
        Ok(PutResult {
            e_tag,
            version: None,
        })
    }

    fn sweep_leftovers(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(TEMPORARY)) else {
            return;
        };
        let now = self.runtime.clock().wall();
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
            let millis = modified
                .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
                .and_then(|since| i64::try_from(since.as_millis()).ok());
            let old = i64::try_from(LEFTOVER_AGE.as_millis()).expect("a day");
            if millis.is_some_and(|millis| now.0.saturating_sub(millis) > old) {
                // A leftover that cannot be removed does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn precondition(location: &Path, why: &str) -> ObjectError {
    ObjectError::Precondition {
        path: location.to_string(),
        source: why.into(),
    }
}

/// Is it a name of ours that no object may have?
fn hidden(location: &Path) -> bool {
    location.filename() == Some(LOCK)
        || location
            .parts()
            .next()
            .is_some_and(|part| part.as_ref() == TEMPORARY)
}

fn without_attributes(is_empty: bool) -> ObjectResult<()> {
    if is_empty {
        return Ok(());
    }
    Err(ObjectError::NotImplemented {
        operation: "attributes".to_owned(),
        implementer: "LocalStore".to_owned(),
    })
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> ObjectResult<PutResult> {
        without_attributes(opts.attributes.is_empty())?;
        let location = location.clone();
        self.blocking(move |inner| inner.put(&location, &payload, opts.mode))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        without_attributes(opts.attributes.is_empty())?;
        let name = location.clone();
        let parts = self
            .blocking(move |inner| {
                inner.make_parent(&inner.file_of(&name)?)?;
                let (temporary, file) = inner.new_temporary()?;
                Ok(Parts {
                    temporary,
                    file,
                    failed: false,
                })
            })
            .await?;
        Ok(Box::new(LocalUpload {
            store: self.clone(),
            location: location.clone(),
            parts: Arc::new(Mutex::new(Some(parts))),
            length: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        if hidden(location) {
            let source = "a reserved name".into();
            return Err(ObjectError::NotFound {
                path: location.to_string(),
                source,
            });
        }
        let location = location.clone();
        self.blocking(move |inner| {
            let file = inner.reads.path_to_filesystem(&location)?;
            read::read(file, location, &options)
        })
        .await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> ObjectResult<Vec<Bytes>> {
        self.inner.reads.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<Path>>,
    ) -> BoxStream<'static, ObjectResult<Path>> {
        // Not synced: an object that comes back after a power cut is deleted again by whoever swept.
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store
                        .blocking(move |inner| {
                            let file = inner.file_of(&location)?;
                            fs::remove_file(&file).map_err(failed("deleting", &file))?;
                            Ok(location)
                        })
                        .await
                }
            })
            .buffered(10)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.inner
            .reads
            .list(prefix)
            .try_filter(|meta| futures::future::ready(!hidden(&meta.location)))
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.inner
            .reads
            .list_with_offset(prefix, offset)
            .try_filter(|meta| futures::future::ready(!hidden(&meta.location)))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        let mut result = match self.inner.reads.list_with_delimiter(prefix).await {
            Ok(result) => result,
            // A folder that was never written to is empty, as in every other store.
            Err(error) if is_not_found(&error) => ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
            },
            Err(error) => return Err(error),
        };
        result.common_prefixes.retain(|folder| !hidden(folder));
        result.objects.retain(|meta| !hidden(&meta.location));
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> ObjectResult<()> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |inner| {
            let (source, file) = (inner.file_of(&from)?, inner.file_of(&to)?);
            inner.make_parent(&file)?;
            let (temporary, mut copy) = inner.new_temporary()?;
            let mut original = File::open(&source).map_err(failed("opening", &source))?;
            io::copy(&mut original, &mut copy).map_err(failed("copying", &source))?;
            inner.sync_file(&copy, &temporary.file)?;
            let mode = match options.mode {
                CopyMode::Overwrite => PutMode::Overwrite,
                CopyMode::Create => PutMode::Create,
            };
            inner.place(&to, &file, temporary, mode)
        })
        .await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> ObjectResult<()> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |inner| {
            let (source, file) = (inner.file_of(&from)?, inner.file_of(&to)?);
            inner.make_parent(&file)?;
            match options.target_mode {
                RenameTargetMode::Overwrite => {
                    fs::rename(&source, &file).map_err(failed("renaming", &source))?
                }
                RenameTargetMode::Create => {
                    fs::hard_link(&source, &file).map_err(failed("linking", &source))?;
                    inner.sync_parent(&file)?;
                    fs::remove_file(&source).map_err(failed("deleting", &source))?;
                }
            }
            inner.sync_parent(&file)?;
            inner.sync_parent(&source)
        })
        .await
    }
}

fn is_not_found(error: &ObjectError) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(at) = source {
        if at
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::NotFound)
        {
            return true;
        }
        source = at.source();
    }
    matches!(error, ObjectError::NotFound { .. })
}

#[cfg(test)]
mod tests;
