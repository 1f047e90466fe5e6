//! Object storage on a bad day, from a seed: for the simulator and the contract suites.
//!
//! Wraps any `ObjectStore`: here is what each request can suffer, [`tarn_runtime::faults`] does the rest.
//! Objects carry the time of the given runtime's wall clock as `last_modified`: the store's own clock in
//! a simulation.

mod fault;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as ObjectError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result as ObjectResult, UploadPart,
};
use tarn_runtime::Runtime;
use tarn_runtime::faults::{Course, FaultPair, Late, World, pass};

use fault::{Fault, Op, Write};

/// What may go wrong. Rates are in permille of requests; their sum is at most 1000.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreFaults {
    /// Every request takes between these.
    pub latency_min: Duration,
    pub latency_max: Duration,
    /// Bytes of a written or read object that pass in a second; 0 is no limit.
    pub bytes_per_second: u64,
    /// The request never arrives; the caller hears of a broken connection.
    pub request_lost: u64,
    /// The effect happens; the caller hears of a broken connection.
    pub reply_lost: u64,
    /// 503 without an effect, and after the effect.
    pub unavailable_before: u64,
    pub unavailable_after: u64,
    /// A write lands up to `late_max` after its caller heard of a broken connection.
    pub late: u64,
    pub late_max: Duration,
    /// A write is delivered twice: now, and up to `late_max` later.
    pub twice: u64,
    /// A conditional write hears 409 or 412 although nothing stands there, and after its own effect.
    pub conflict_before: u64,
    pub conflict_after: u64,
    /// A body breaks off with an error, and without one (no HTTP client does that; our reads check).
    pub truncated: u64,
    pub cut_short: u64,
    /// One pair besides, so that also rare ones fire: the first request of its operation suffers it, and
    /// then so many in a thousand.
    pub often: Option<(FaultPair, u64)>,
}

/// A faulty store. Clones are the same service.
#[derive(Clone)]
pub struct FaultyStore {
    world: Arc<World<StoreFaults>>,
    service: Arc<Service>,
}

/// What is behind the faults: the objects, and when they were written.
struct Service {
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
    written: Mutex<BTreeMap<Path, DateTime<Utc>>>,
}

/// Its faults.
impl Deref for FaultyStore {
    type Target = World<StoreFaults>;

    fn deref(&self) -> &World<StoreFaults> {
        &self.world
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.service.objects)
    }
}

fn broken() -> ObjectError {
    ObjectError::Generic {
        store: "FaultyStore",
        source: "connection broken (planted)".into(),
    }
}

fn unavailable() -> ObjectError {
    ObjectError::Generic {
        store: "FaultyStore",
        source: "503 Slow Down (planted)".into(),
    }
}

/// What becomes of a request, and of a write that can be sent again.
fn course(fault: Fault, service: &Arc<Service>, write: Option<&Write>) -> Course<ObjectError> {
    let conflict = || write.and_then(Write::conflict).unwrap_or_else(broken);
    let late = || {
        let (service, write) = (Arc::clone(service), write.cloned());
        Late::new(async move { service.apply(write?).await.ok() })
    };
    match fault {
        Fault::RequestLost => Course::Lost(broken()),
        Fault::ReplyLost => Course::Unheard(broken()),
        Fault::UnavailableBefore => Course::Lost(unavailable()),
        Fault::UnavailableAfter => Course::Unheard(unavailable()),
        Fault::Late => Course::Late(broken(), late()),
        Fault::Twice => Course::Twice(late()),
        Fault::ConflictBefore => Course::Lost(conflict()),
        Fault::ConflictAfter => Course::Unheard(conflict()),
        Fault::Truncated | Fault::CutShort => Course::Answered,
    }
}

impl FaultyStore {
    /// A store without faults until [`World::set_faults`]. `runtime` gives it its clock.
    pub fn new(objects: Arc<dyn ObjectStore>, seed: u64, runtime: &Runtime) -> FaultyStore {
        FaultyStore {
            world: Arc::new(World::new(seed, runtime)),
            service: Arc::new(Service {
                objects,
                runtime: runtime.clone(),
                written: Mutex::default(),
            }),
        }
    }

    /// The store beneath, without faults: for an auditor, also when the simulation is over.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.service.objects)
    }

    /// Every operation with every fault that it can suffer.
    pub fn pairs() -> Vec<FaultPair> {
        World::<StoreFaults>::pairs()
    }

    /// Waits as long as so many bytes take.
    async fn carry(&self, bytes: u64) {
        let speed = self.world.faults().bytes_per_second;
        let micros = bytes.saturating_mul(1_000_000).checked_div(speed);
        pass(Duration::from_micros(micros.unwrap_or_default())).await;
    }

    async fn write(&self, write: Write) -> ObjectResult<Option<PutResult>> {
        if let Write::Put(_, payload, _) = &write {
            self.carry(payload.content_length() as u64).await;
        }
        let course = |fault| course(fault, &self.service, Some(&write));
        let effect = self.service.apply(write.clone());
        self.world.call(write.op(), course, effect).await
    }

    /// A request that nobody can send again.
    async fn ask<T>(
        &self,
        op: Op,
        request: impl Future<Output = ObjectResult<T>>,
    ) -> ObjectResult<T> {
        let course = |fault| course(fault, &self.service, None);
        self.world.call(op, course, request).await
    }

    async fn list_all(
        &self,
        prefix: Option<Path>,
        offset: Option<Path>,
    ) -> ObjectResult<Vec<ObjectMeta>> {
        let listed = async {
            let objects = &self.service.objects;
            let stream = match &offset {
                Some(offset) => objects.list_with_offset(prefix.as_ref(), offset),
                None => objects.list(prefix.as_ref()),
            };
            stream.try_collect::<Vec<_>>().await
        };
        let mut listed = self.ask(Op::List, listed).await?;
        // As a real service does; a local folder beneath lists in any order.
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        let listed = listed.into_iter();
        Ok(listed.map(|meta| self.service.date(meta)).collect())
    }

    fn list_stream(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let (store, prefix, offset) = (self.clone(), prefix.cloned(), offset.cloned());
        async move {
            let listed = store.list_all(prefix, offset).await?;
            Ok(futures::stream::iter(listed.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }
}

impl Service {
    fn with_written<T>(&self, f: impl FnOnce(&mut BTreeMap<Path, DateTime<Utc>>) -> T) -> T {
        f(&mut self.written.lock().expect("nobody panics while holding it"))
    }

    fn mark(&self, path: Path) {
        let now = self.runtime.clock().wall().0;
        let now = DateTime::from_timestamp_millis(now).unwrap_or_default();
        self.with_written(|written| written.insert(path, now));
    }

    fn date(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(at) = self.with_written(|written| written.get(&meta.location).copied()) {
            meta.last_modified = at;
        }
        meta
    }

    async fn apply(&self, write: Write) -> ObjectResult<Option<PutResult>> {
        match write {
            Write::Put(path, payload, options) => {
                let result = self.objects.put_opts(&path, payload, options).await?;
                self.mark(path);
                return Ok(Some(result));
            }
            Write::Delete(path) => {
                self.objects.delete(&path).await?;
                self.with_written(|written| written.remove(&path));
            }
            Write::Copy(from, to, options) => {
                self.objects.copy_opts(&from, &to, options).await?;
                self.mark(to);
            }
            Write::Rename(from, to, options) => {
                self.objects.rename_opts(&from, &to, options).await?;
                self.with_written(|written| written.remove(&from));
                self.mark(to);
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> ObjectResult<PutResult> {
        let write = Write::Put(location.clone(), payload, opts);
        let result = self.write(write).await?;
        Ok(result.expect("a put has a result"))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        let begin = self.service.objects.put_multipart_opts(location, opts);
        let upload = self.ask(Op::MultipartBegin, begin).await?;
        Ok(Box::new(FaultyUpload {
            store: self.clone(),
            location: location.clone(),
            upload,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        let request = self.service.objects.get_opts(location, options);
        let mut suffered = None;
        let course = |fault| {
            suffered = Some(fault);
            course(fault, &self.service, None)
        };
        let mut result = self.world.call(op, course, request).await?;
        result.meta = self.service.date(result.meta);
        if op == Op::Get {
            let bytes = result.range.end.saturating_sub(result.range.start);
            self.carry(bytes).await;
        }
        if suffered.is_none() {
            return Ok(result);
        }
        let (meta, range, attributes) = (
            result.meta.clone(),
            result.range.clone(),
            result.attributes.clone(),
        );
        let body = result.bytes().await?;
        let kept = self.world.random().below(body.len().max(1) as u64);
        let kept = usize::try_from(kept).unwrap_or(0);
        let mut pieces: Vec<ObjectResult<Bytes>> = vec![Ok(body.slice(..kept))];
        if suffered == Some(Fault::Truncated) {
            pieces.push(Err(broken()));
        }
        let payload = GetResultPayload::Stream(futures::stream::iter(pieces).boxed());
        Ok(GetResult {
            payload,
            meta,
            range,
            attributes,
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<Path>>,
    ) -> BoxStream<'static, ObjectResult<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.write(Write::Delete(location.clone())).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.list_stream(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.list_stream(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        let request = self.service.objects.list_with_delimiter(prefix);
        let mut result = self.ask(Op::List, request).await?;
        let objects = result.objects.into_iter();
        result.objects = objects.map(|meta| self.service.date(meta)).collect();
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> ObjectResult<()> {
        let write = Write::Copy(from.clone(), to.clone(), options);
        self.write(write).await.map(drop)
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> ObjectResult<()> {
        let write = Write::Rename(from.clone(), to.clone(), options);
        self.write(write).await.map(drop)
    }
}

/// An upload whose requests may fail, and whose completion may be lost on its way back.
struct FaultyUpload {
    store: FaultyStore,
    location: Path,
    upload: Box<dyn MultipartUpload>,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyUpload")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, part) = (self.store.clone(), self.upload.put_part(data));
        async move { store.ask(Op::MultipartPart, part).await }.boxed()
    }

    async fn complete(&mut self) -> ObjectResult<PutResult> {
        let complete = async {
            let result = self.upload.complete().await?;
            self.store.service.mark(self.location.clone());
            Ok(result)
        };
        self.store.ask(Op::MultipartComplete, complete).await
    }

    async fn abort(&mut self) -> ObjectResult<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests;
