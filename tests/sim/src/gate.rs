//! What stands between one machine and the services: a gate that can be closed for a while, as if
//! the process were paused, or let reads of the object store through and no writes.
//!
//! A request that finds the gate closed is held, not lost: it takes effect when the gate opens, if its
//! caller still waits. That is how a process that slept past a trim writes a slot that is gone.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as ObjectError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result as ObjectResult,
};
use tarn_commit_log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, SnapshotRef,
};
use tarn_model::{Generation, Lsn};
use tarn_store::FaultyStore;

use crate::History;
use crate::workload::now;

/// A machine's gate. Clones are the same gate; it outlives the process on the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    until: Arc<Mutex<Until>>,
}

#[derive(Debug, Default)]
struct Until {
    closed: Duration,
    read_only: Duration,
}

impl Gate {
    fn with<T>(&self, f: impl FnOnce(&mut Until) -> T) -> T {
        f(&mut self.until.lock().expect("nobody panics while holding it"))
    }

    pub(crate) fn close_until(&self, time: Duration) {
        self.with(|until| until.closed = time.max(until.closed));
    }

    /// Nothing is written to the object store through it until then.
    pub(crate) fn refuse_writes_until(&self, time: Duration) {
        self.with(|until| until.read_only = time.max(until.read_only));
    }

    /// Waits until it opens; no write goes through while it refuses them.
    async fn pass_to_write(&self) -> ObjectResult<()> {
        self.pass().await;
        if now() < self.with(|until| until.read_only) {
            return Err(ObjectError::Generic {
                store: "GatedStore",
                source: "503: writes are refused (planted)".into(),
            });
        }
        Ok(())
    }

    async fn pass(&self) {
        loop {
            let left = self.with(|until| until.closed).saturating_sub(now());
            if left.is_zero() {
                return;
            }
            // It may have been closed for longer meanwhile.
            tokio::time::sleep(left).await;
        }
    }
}

/// The object store behind a machine's gate. Tells the history what it wrote, in order.
#[derive(Debug, Clone)]
pub(crate) struct GatedStore {
    pub(crate) store: FaultyStore,
    pub(crate) gate: Gate,
    pub(crate) history: History,
}

impl fmt::Display for GatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatedStore({})", self.store)
    }
}

impl GatedStore {
    /// Holds what goes out and what comes back.
    async fn through<T>(&self, request: impl Future<Output = T>) -> T {
        self.gate.pass().await;
        let answer = request.await;
        self.gate.pass().await;
        answer
    }

    async fn write<T>(&self, request: impl Future<Output = ObjectResult<T>>) -> ObjectResult<T> {
        self.gate.pass_to_write().await?;
        self.through(request).await
    }
}

#[async_trait]
impl ObjectStore for GatedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> ObjectResult<PutResult> {
        let length = payload.content_length();
        self.gate.pass_to_write().await?;
        let result = self.store.put_opts(location, payload, opts).await;
        self.history
            .wrote(location.as_ref(), length, result.is_ok());
        self.gate.pass().await;
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        self.write(self.store.put_multipart_opts(location, opts))
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        self.through(self.store.get_opts(location, options)).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> ObjectResult<Vec<Bytes>> {
        self.through(self.store.get_ranges(location, ranges)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<Path>>,
    ) -> BoxStream<'static, ObjectResult<Path>> {
        let (store, gate) = (self.store.clone(), self.gate.clone());
        async move {
            gate.pass_to_write().await?;
            Ok(store.delete_stream(locations))
        }
        .try_flatten_stream()
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let (store, gate, prefix) = (self.store.clone(), self.gate.clone(), prefix.cloned());
        async move {
            gate.pass().await;
            let listed: Vec<_> = store.list(prefix.as_ref()).try_collect().await?;
            gate.pass().await;
            Ok(futures::stream::iter(listed.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let (store, gate) = (self.store.clone(), self.gate.clone());
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        async move {
            gate.pass().await;
            let listed: Vec<_> = store
                .list_with_offset(prefix.as_ref(), &offset)
                .try_collect()
                .await?;
            gate.pass().await;
            Ok(futures::stream::iter(listed.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        self.through(self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> ObjectResult<()> {
        self.write(self.store.copy_opts(from, to, options)).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> ObjectResult<()> {
        self.write(self.store.rename_opts(from, to, options)).await
    }
}

/// A commit log behind a machine's gate. The log over objects needs none: its store has one.
#[derive(Debug)]
pub(crate) struct GatedLog {
    pub(crate) log: Arc<dyn CommitLog>,
    pub(crate) gate: Gate,
}

impl GatedLog {
    async fn through<T>(&self, request: impl Future<Output = T>) -> T {
        self.gate.pass().await;
        let answer = request.await;
        self.gate.pass().await;
        answer
    }
}

#[async_trait]
impl CommitLog for GatedLog {
    fn generation(&self) -> Generation {
        self.log.generation()
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        self.through(self.log.append(entry)).await
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(GatedFollower {
            follower: self.log.follow(after),
            gate: self.gate.clone(),
        })
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        self.through(self.log.end()).await
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        self.through(self.log.trim(floor, snapshot)).await
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        self.through(self.log.floor()).await
    }

    fn wake(&self) {
        self.log.wake();
    }
}

#[derive(Debug)]
struct GatedFollower {
    follower: Box<dyn Follower>,
    gate: Gate,
}

#[async_trait]
impl Follower for GatedFollower {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError> {
        loop {
            self.gate.pass().await;
            // A wait that the gate closed upon is given up; it loses nothing.
            let closed = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if self.gate.pass().now_or_never().is_none() {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                batch = self.follower.next_batch(max) => return batch,
                () = closed => {}
            }
        }
    }

    fn position(&self) -> Lsn {
        self.follower.position()
    }
}
