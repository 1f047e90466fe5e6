//! The door: few methods, retried under a deadline, with errors that say what became of a write.
//!
//! Always holds: a write that answers `Ok` is durable; a failed one says `NotDone` only if no attempt
//! can have had an effect, or have one later; a read answers the whole of what was asked or an error.
//! "Already exists" is never believed: S3 says it of one's own earlier success too, so the object is
//! read back and compared (object_store retries a 503 that came after the effect, and a
//! 409 may stand for nothing at all).

mod attempts;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error as ObjectError, GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode, PutOptions,
    PutPayload, UpdateVersion,
};
use tarn_model::Timestamp;
use tarn_runtime::Runtime;

use crate::StoreError;
use crate::error::Failure;
use crate::local::LocalStore;
use crate::metered::Metered;
use crate::options::Options;

use attempts::Attempts;

/// Object storage. Clones share everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    deadline: Duration,
    attempt: Duration,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    local: Option<Arc<LocalStore>>,
    base_url: String,
    runtime: Runtime,
    options: Options,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner.objects)
    }
}

/// What a put-if-absent found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// This call made the object.
    Created,
    /// The object has exactly our bytes: an earlier attempt of this or another call made it.
    AlreadyOurs,
}

/// What a put-if-absent found, with the content if it is another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ours(Created),
    Taken(Bytes),
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub path: Path,
    pub size: u64,
    pub last_modified: Timestamp,
}

impl Listed {
    fn from_meta(meta: ObjectMeta) -> Listed {
        Listed {
            path: meta.location,
            size: meta.size,
            last_modified: Timestamp(meta.last_modified.timestamp_millis()),
        }
    }
}

impl Store {
    /// A store over any `ObjectStore`; the simulator's way in. Requests are metered here.
    pub fn new(objects: Arc<dyn ObjectStore>, options: Options, runtime: &Runtime) -> Store {
        Store::assemble(objects, None, "memory://".to_owned(), options, runtime)
    }

    /// An empty store in memory.
    pub fn memory(runtime: &Runtime) -> Store {
        Store::new(
            Arc::new(object_store::memory::InMemory::new()),
            Options::default(),
            runtime,
        )
    }

    /// A local folder.
    pub fn local(folder: LocalStore, options: Options, runtime: &Runtime) -> Store {
        let folder = Arc::new(folder);
        let base_url = format!("file://{}", folder.root().display());
        Store::assemble(
            Arc::clone(&folder) as Arc<dyn ObjectStore>,
            Some(folder),
            base_url,
            options,
            runtime,
        )
    }

    /// A store that others reach under `base_url`.
    pub(crate) fn remote(
        objects: Arc<dyn ObjectStore>,
        base_url: String,
        options: Options,
        runtime: &Runtime,
    ) -> Store {
        Store::assemble(objects, None, base_url, options, runtime)
    }

    fn assemble(
        objects: Arc<dyn ObjectStore>,
        local: Option<Arc<LocalStore>>,
        base_url: String,
        options: Options,
        runtime: &Runtime,
    ) -> Store {
        let objects = Arc::new(Metered::new(objects, runtime.metrics()));
        let (deadline, attempt) = (options.deadline, options.attempt);
        let inner = Inner {
            objects,
            local,
            base_url,
            runtime: runtime.clone(),
            options,
        };
        Store {
            inner: Arc::new(inner),
            deadline,
            attempt,
        }
    }

    /// The same store whose calls give up earlier or later.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Store {
        Store {
            deadline,
            ..self.clone()
        }
    }

    /// The same store whose single attempts count as lost earlier or later.
    #[must_use]
    pub fn with_attempt(&self, attempt: Duration) -> Store {
        Store {
            attempt,
            ..self.clone()
        }
    }

    /// The same store with the time that an object of this size takes at 1 MB/s, beside the usual, per
    /// attempt; and with a deadline that leaves room for three such attempts.
    #[must_use]
    pub fn for_bytes(&self, bytes: u64) -> Store {
        let attempt = self.attempt + Duration::from_micros(bytes);
        let deadline = self.deadline.max(attempt * 3);
        self.with_attempt(attempt).with_deadline(deadline)
    }

    /// Where the objects are, for programs that open them without us: `file:///folder`,
    /// `s3://bucket/prefix`, or `memory://`, which nobody else can open. An object's URL is this, a
    /// slash and its path.
    pub fn base_url(&self) -> &str {
        &self.inner.base_url
    }

    /// The same, metered instance for Iceberg and DataFusion. Its errors are object_store's, and it
    /// does not retry beyond what the client does.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.objects)
    }

    /// Writes the object if there is none of this name. `AlreadyExists` only if the content differs.
    pub async fn put_if_absent(&self, path: &Path, bytes: Bytes) -> Result<Created, StoreError> {
        match self.put_if_absent_or_read(path, bytes).await? {
            Outcome::Ours(created) => Ok(created),
            Outcome::Taken(_) => Err(StoreError::AlreadyExists { path: path.clone() }),
        }
    }

    /// The same; `Err(content)` inside if another content stands there.
    pub async fn create_or_read(
        &self,
        path: &Path,
        bytes: Bytes,
    ) -> Result<Result<Created, Bytes>, StoreError> {
        Ok(match self.put_if_absent_or_read(path, bytes).await? {
            Outcome::Ours(created) => Ok(created),
            Outcome::Taken(content) => Err(content),
        })
    }

    async fn put_if_absent_or_read(
        &self,
        path: &Path,
        bytes: Bytes,
    ) -> Result<Outcome, StoreError> {
        let mut attempts = Attempts::new(self, path);
        loop {
            let reason = match attempts
                .run(self.put_once(path, &bytes, PutMode::Create))
                .await
            {
                Ok(()) => return Ok(Outcome::Ours(Created::Created)),
                Err(Failure::Final(error)) => return Err(attempts.refuse(error)),
                Err(Failure::NotFound) => return Err(attempts.refuse(attempts.not_found())),
                Err(Failure::Conflict) => {
                    // A conflict may be the answer to our own retry, or to nothing that lasted.
                    attempts.ambiguous = true;
                    "conflict, but nothing is there".to_owned()
                }
                Err(Failure::Ambiguous(reason)) => {
                    attempts.ambiguous = true;
                    reason
                }
            };
            match attempts.run(self.fetch(path, None)).await {
                Ok(read) => {
                    // Whoever linked it, the attempt that failed may have failed at making it durable.
                    if let Err(error) = self.make_seen_durable(path).await {
                        attempts.again(error.to_string()).await?;
                        continue;
                    }
                    return Ok(if read.bytes == bytes {
                        Outcome::Ours(Created::AlreadyOurs)
                    } else {
                        Outcome::Taken(read.bytes)
                    });
                }
                // It may still land: the next attempt is for the same name and the same bytes.
                Err(Failure::NotFound | Failure::Conflict) => attempts.again(reason).await?,
                Err(Failure::Ambiguous(reason)) => attempts.again(reason).await?,
                Err(Failure::Final(error)) => return Err(attempts.refuse(error)),
            }
        }
    }

    /// Writes the object, replacing what stands there. For names that only one content ever takes, or
    /// whose older content nobody minds: a lost attempt may land later.
    pub async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let mut attempts = Attempts::new(self, path);
        loop {
            match attempts
                .run(self.put_once(path, &bytes, PutMode::Overwrite))
                .await
            {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(attempts.refuse(error)),
                Err(Failure::NotFound) => return Err(attempts.refuse(attempts.not_found())),
                Err(Failure::Conflict) => {
                    attempts.ambiguous = true;
                    attempts.again("conflict".to_owned()).await?;
                }
                Err(Failure::Ambiguous(reason)) => {
                    attempts.ambiguous = true;
                    attempts.again(reason).await?;
                }
            }
        }
    }

    /// The whole object.
    pub async fn get(&self, path: &Path) -> Result<Bytes, StoreError> {
        Ok(self.read(path, None).await?.bytes)
    }

    /// Exactly these bytes of the object; `Corrupt` if it is shorter.
    pub async fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let read = self.read(path, Some(range.clone())).await?;
        if read.bytes.len() as u64 != range.end - range.start {
            let reason = format!("bytes {range:?} of {} were asked for", read.meta.size);
            return Err(StoreError::Corrupt {
                path: path.clone(),
                reason,
            });
        }
        Ok(read.bytes)
    }

    /// Bytes of the object from `range.start` on, up to `range.end` or the object's end; and its size.
    pub(crate) async fn get_up_to(
        &self,
        path: &Path,
        range: Range<u64>,
    ) -> Result<(Bytes, u64), StoreError> {
        let read = self.read(path, Some(range)).await?;
        Ok((read.bytes, read.meta.size))
    }

    async fn read(&self, path: &Path, range: Option<Range<u64>>) -> Result<Read, StoreError> {
        let mut attempts = Attempts::new(self, path);
        loop {
            match attempts.run(self.fetch(path, range.clone())).await {
                Ok(read) => return Ok(read),
                Err(Failure::NotFound) => return Err(attempts.not_found()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Conflict) => attempts.again("conflict".to_owned()).await?,
                Err(Failure::Ambiguous(reason)) => {
                    if let Some(range) = &range {
                        self.refuse_range_behind_the_end(&attempts, range).await?;
                    }
                    attempts.again(reason).await?;
                }
            }
        }
    }

    /// A range that begins at or after the end is an error of no name in every store; asking the size
    /// tells it from a hiccup.
    async fn refuse_range_behind_the_end(
        &self,
        attempts: &Attempts<'_>,
        range: &Range<u64>,
    ) -> Result<(), StoreError> {
        let path = attempts.path;
        let head = self
            .inner
            .objects
            .get_opts(path, GetOptions::new().with_head(true));
        match attempts.run(head).await {
            Ok(result) if result.meta.size <= range.start => Err(StoreError::Corrupt {
                path: path.clone(),
                reason: format!(
                    "it ends at byte {}, but bytes {range:?} were asked for",
                    result.meta.size
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Size and age of the object.
    pub async fn head(&self, path: &Path) -> Result<Listed, StoreError> {
        let mut attempts = Attempts::new(self, path);
        loop {
            let options = GetOptions::new().with_head(true);
            match attempts
                .run(self.inner.objects.get_opts(path, options))
                .await
            {
                Ok(result) => return Ok(Listed::from_meta(result.meta)),
                Err(Failure::NotFound) => return Err(attempts.not_found()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Conflict) => attempts.again("conflict".to_owned()).await?,
                Err(Failure::Ambiguous(reason)) => attempts.again(reason).await?,
            }
        }
    }

    /// When the store says the object was written: what the guard of our own clock compares with.
    pub async fn last_modified(&self, path: &Path) -> Result<Timestamp, StoreError> {
        Ok(self.head(path).await?.last_modified)
    }

    /// The first `max` objects under a folder in the order of their names, after `start_after`. Fewer
    /// than `max`: there are no more.
    ///
    /// A listing is never a proof that something is not there (a LIST stays out of the safety
    /// path); it finds candidates.
    pub async fn list(
        &self,
        prefix: &Path,
        start_after: Option<&Path>,
        max: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut attempts = Attempts::new(self, prefix);
        loop {
            match attempts.run(self.list_once(prefix, start_after, max)).await {
                Ok(listed) => return Ok(listed),
                // A folder that was never written to.
                Err(Failure::NotFound) => return Ok(Vec::new()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Conflict) => attempts.again("conflict".to_owned()).await?,
                Err(Failure::Ambiguous(reason)) => attempts.again(reason).await?,
            }
        }
    }

    async fn list_once(
        &self,
        prefix: &Path,
        start_after: Option<&Path>,
        max: usize,
    ) -> Result<Vec<Listed>, ObjectError> {
        if let Some(local) = &self.inner.local {
            let first = local.list_first(prefix, start_after, max).await?;
            return Ok(first.into_iter().map(Listed::from_meta).collect());
        }
        let mut stream = match start_after {
            Some(after) => self.inner.objects.list_with_offset(Some(prefix), after),
            None => self.inner.objects.list(Some(prefix)),
        };
        // These are sorted.
        let mut first = BTreeMap::new();
        while let Some(meta) = stream.try_next().await? {
            if start_after.is_some_and(|after| meta.location <= *after) {
                continue;
            }
            first.insert(meta.location.clone(), Listed::from_meta(meta));
            if first.len() >= max {
                break;
            }
        }
        Ok(first.into_values().collect())
    }

    /// Deletes the object; one that is not there counts as deleted.
    pub async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        self.delete_all(std::slice::from_ref(path)).await
    }

    /// Deletes objects, in bulk where the store can. After an error any of them may be gone or not.
    pub async fn delete_all(&self, paths: &[Path]) -> Result<(), StoreError> {
        let Some(first) = paths.first() else {
            return Ok(());
        };
        let mut attempts = Attempts::new(self, first);
        loop {
            match attempts.run(self.delete_once(paths)).await {
                Ok(()) | Err(Failure::NotFound) => return Ok(()),
                Err(Failure::Final(error)) => return Err(attempts.refuse(error)),
                Err(Failure::Conflict) => {
                    attempts.ambiguous = true;
                    attempts.again("conflict".to_owned()).await?;
                }
                Err(Failure::Ambiguous(reason)) => {
                    attempts.ambiguous = true;
                    attempts.again(reason).await?;
                }
            }
        }
    }

    async fn delete_once(&self, paths: &[Path]) -> Result<(), ObjectError> {
        let paths: Vec<_> = paths.iter().cloned().map(Ok).collect();
        let mut results = self
            .inner
            .objects
            .delete_stream(futures::stream::iter(paths).boxed());
        let mut first_error = None;
        while let Some(result) = results.next().await {
            match result {
                Ok(_) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Replaces a small object conditionally: `decide` sees what stands there and gives what is to
    /// stand there, or `None` to leave it. Answers the content that stands there afterwards.
    ///
    /// The replacement happens only if nobody changed the object in between (If-Match on S3; on a
    /// local folder under a lock of `.update-lock` beside it); else `decide` is asked again. It is also asked
    /// again after a lost reply, so it must answer `None` to its own result: raising a value does.
    pub async fn raise(
        &self,
        path: &Path,
        decide: impl Fn(Option<&Bytes>) -> Option<Bytes> + Send + Sync,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut attempts = Attempts::new(self, path);
        loop {
            let (current, mode) = match attempts.run(self.fetch(path, None)).await {
                Ok(read) => {
                    let version = UpdateVersion {
                        e_tag: read.meta.e_tag,
                        version: read.meta.version,
                    };
                    (Some(read.bytes), PutMode::Update(version))
                }
                Err(Failure::NotFound) => (None, PutMode::Create),
                Err(Failure::Final(error)) => return Err(attempts.refuse(error)),
                Err(Failure::Conflict) => {
                    attempts.again("conflict".to_owned()).await?;
                    continue;
                }
                Err(Failure::Ambiguous(reason)) => {
                    attempts.again(reason).await?;
                    continue;
                }
            };
            let Some(next) = decide(current.as_ref()) else {
                // Whoever wrote what stands there may not have made it durable, or have failed to.
                if current.is_some()
                    && let Err(error) = self.make_seen_durable(path).await
                {
                    attempts.again(error.to_string()).await?;
                    continue;
                }
                return Ok(current);
            };
            match attempts.run(self.put_once(path, &next, mode)).await {
                Ok(()) => return Ok(Some(next)),
                Err(Failure::Final(error)) => return Err(attempts.refuse(error)),
                Err(Failure::Conflict | Failure::NotFound) => {
                    // Perhaps our own success: the next read tells.
                    attempts.ambiguous = true;
                    attempts.again("it keeps changing".to_owned()).await?;
                }
                Err(Failure::Ambiguous(reason)) => {
                    attempts.ambiguous = true;
                    attempts.again(reason).await?;
                }
            }
        }
    }

    /// Makes durable what reads of this object's folder have shown. On a local folder a new name is
    /// seen a moment before its folder is synced; who acts on what it read there for good (the commit
    /// log's followers) calls this first. Elsewhere what is seen is durable.
    pub async fn make_seen_durable(&self, path: &Path) -> Result<(), StoreError> {
        match &self.inner.local {
            Some(local) => local.sync_folder_of(path).await,
            None => Ok(()),
        }
    }

    async fn put_once(&self, path: &Path, bytes: &Bytes, mode: PutMode) -> Result<(), ObjectError> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        self.inner
            .objects
            .put_opts(path, PutPayload::from_bytes(bytes.clone()), options)
            .await
            .map(|_| ())
    }

    async fn fetch(&self, path: &Path, range: Option<Range<u64>>) -> Result<Read, ObjectError> {
        let options = GetOptions::new().with_range(range.map(GetRange::Bounded));
        let result = self.inner.objects.get_opts(path, options).await?;
        let meta = result.meta.clone();
        let expected = result.range.end - result.range.start;
        let bytes = result.bytes().await?;
        if bytes.len() as u64 != expected {
            return Err(ObjectError::Generic {
                store: "Store",
                source: format!("the body ended after {} of {expected} bytes", bytes.len()).into(),
            });
        }
        Ok(Read { bytes, meta })
    }
}

struct Read {
    bytes: Bytes,
    meta: ObjectMeta,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[tokio::test]
    async fn the_contract_holds_in_memory() {
        contract::run(&Store::memory(&Runtime::real()), "memory").await;
    }
}
