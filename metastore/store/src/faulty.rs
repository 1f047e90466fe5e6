//! Object storage on a bad day, from a seed: for the simulator and the contract suites.
//!
//! Wraps any `ObjectStore`. One object stands for the service, so all processes of a simulation share
//! it and it outlives their crashes: a write that is to land late waits in it, and any later request, by
//! anybody, lets in what is due. A request suffers at most one fault. Rates may change at any time;
//! requests and the faults that fired are counted, and [`FaultyStore::pairs`] says which faults there are.
//!
//! Objects carry the time of the given runtime's wall clock as `last_modified`: the store's own clock in
//! a simulation. Its time runs while requests come (simulated, or tokio's when that is paused).

mod fault;

use std::collections::BTreeMap;
use std::fmt;
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
use tarn_runtime::{Random, Runtime};
use tokio::time::{Instant, sleep};

use fault::{Fault, Op, Write};

/// What may go wrong. Rates are in permille of requests; their sum is at most 1000.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreFaults {
    /// Every request takes between these, half of it before its effect and half after.
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

/// An operation and a fault that it can suffer, by their names.
pub type FaultPair = (&'static str, &'static str);

/// A faulty store. Clones are the same service.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
    random: Random,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: StoreFaults,
    /// Writes under way, by when they land.
    late: BTreeMap<(Duration, u64), Write>,
    queued: u64,
    asked: BTreeMap<&'static str, u64>,
    fired: BTreeMap<FaultPair, u64>,
    written: BTreeMap<Path, DateTime<Utc>>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner.objects)
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

impl FaultyStore {
    /// A store without faults until [`FaultyStore::set_faults`]. `runtime` gives it its clock.
    pub fn new(objects: Arc<dyn ObjectStore>, seed: u64, runtime: &Runtime) -> FaultyStore {
        FaultyStore {
            inner: Arc::new(Inner {
                objects,
                runtime: runtime.clone(),
                random: Random::seeded(seed),
                started: Instant::now(),
                state: Mutex::default(),
            }),
        }
    }

    /// The store beneath, without faults: for an auditor, also when the simulation is over.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.objects)
    }

    pub fn set_faults(&self, faults: StoreFaults) {
        self.inner.with(|state| state.faults = faults);
    }

    pub fn faults(&self) -> StoreFaults {
        self.inner.with(|state| state.faults.clone())
    }

    /// Every operation with every fault that it can suffer.
    pub fn pairs() -> Vec<FaultPair> {
        let of = |op: Op| {
            Fault::ALL
                .into_iter()
                .filter(move |fault| fault.can_strike(op))
                .map(move |fault| (op.name(), fault.name()))
        };
        Op::ALL.into_iter().flat_map(of).collect()
    }

    /// How often each fault fired, by operation and fault.
    pub fn fired(&self) -> BTreeMap<FaultPair, u64> {
        self.inner.with(|state| state.fired.clone())
    }

    /// How often each operation was asked for.
    pub fn asked(&self) -> BTreeMap<&'static str, u64> {
        self.inner.with(|state| state.asked.clone())
    }

    /// Lets in every write that is still under way.
    pub async fn land_all(&self) {
        self.inner.land(None).await;
    }
}

impl Inner {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().expect("nobody panics while holding it"))
    }

    fn now(&self) -> Duration {
        if self.runtime.is_simulated() {
            Duration::from_millis(self.runtime.clock().monotonic().0)
        } else {
            Instant::now().saturating_duration_since(self.started)
        }
    }

    /// Lets in what is due by `until`, or everything.
    async fn land(&self, until: Option<Duration>) {
        loop {
            let next = self.with(|state| {
                let (due, _) = *state.late.first_key_value()?.0;
                if until.is_some_and(|until| due > until) {
                    return None;
                }
                state.late.pop_first().map(|(_, write)| write)
            });
            let Some(write) = next else { return };
            // Nobody waits for this answer any more.
            let _ = self.apply(write).await;
        }
    }

    /// Begins a request: what was due has landed, the first half of the latency has passed. Answers the
    /// fault it is to suffer and the other half.
    async fn begin(&self, op: Op) -> (Option<Fault>, Duration) {
        self.land(Some(self.now())).await;
        let (fault, latency) = self.with(|state| {
            let faults = &state.faults;
            let extra = faults.latency_max.saturating_sub(faults.latency_min);
            let micros = u64::try_from(extra.as_micros()).unwrap_or(u64::MAX);
            let latency = faults.latency_min
                + Duration::from_micros(self.random.below(micros.saturating_add(1)));
            let asked = state.asked.entry(op.name()).or_default();
            let fault = self.draw(faults, op, *asked == 0);
            *asked += 1;
            if let Some(fault) = fault {
                *state.fired.entry((op.name(), fault.name())).or_default() += 1;
            }
            (fault, latency)
        });
        pass(latency / 2).await;
        (fault, latency / 2)
    }

    fn draw(&self, faults: &StoreFaults, op: Op, is_first: bool) -> Option<Fault> {
        let mut possible = Fault::ALL.into_iter().filter(|fault| fault.can_strike(op));
        if let Some(((name, fault), rate)) = faults.often
            && name == op.name()
            && (is_first || self.random.happens(rate))
        {
            return possible.find(|possible| possible.name() == fault);
        }
        let mut roll = self.random.below(1000);
        for fault in Fault::ALL {
            let rate = fault.rate(faults);
            if roll < rate {
                return fault.can_strike(op).then_some(fault);
            }
            roll -= rate;
        }
        None
    }

    fn queue(&self, write: Write) {
        let now = self.now();
        self.with(|state| {
            let micros = u64::try_from(state.faults.late_max.as_micros()).unwrap_or(u64::MAX);
            let due = now + Duration::from_micros(self.random.below(micros.saturating_add(1)));
            state.queued += 1;
            state.late.insert((due, state.queued), write);
        });
    }

    /// Waits as long as so many bytes take.
    async fn carry(&self, bytes: u64) {
        let speed = self.with(|state| state.faults.bytes_per_second);
        let micros = bytes.saturating_mul(1_000_000).checked_div(speed);
        pass(Duration::from_micros(micros.unwrap_or_default())).await;
    }

    async fn apply(&self, write: Write) -> ObjectResult<Option<PutResult>> {
        let now =
            DateTime::from_timestamp_millis(self.runtime.clock().wall().0).unwrap_or_default();
        let mark = |path: Path| self.with(|state| state.written.insert(path, now));
        match write {
            Write::Put(path, payload, options) => {
                let result = self.objects.put_opts(&path, payload, options).await?;
                mark(path);
                Ok(Some(result))
            }
            Write::Delete(path) => {
                self.objects.delete(&path).await?;
                self.with(|state| state.written.remove(&path));
                Ok(None)
            }
            Write::Copy(from, to, options) => {
                self.objects.copy_opts(&from, &to, options).await?;
                mark(to);
                Ok(None)
            }
            Write::Rename(from, to, options) => {
                self.objects.rename_opts(&from, &to, options).await?;
                self.with(|state| state.written.remove(&from));
                mark(to);
                Ok(None)
            }
        }
    }

    async fn write(&self, write: Write) -> ObjectResult<Option<PutResult>> {
        let conflict = write.conflict();
        let (fault, rest) = self.begin(write.op()).await;
        if let Write::Put(_, payload, _) = &write {
            self.carry(payload.content_length() as u64).await;
        }
        let result = match fault {
            Some(Fault::RequestLost) => Err(broken()),
            Some(Fault::UnavailableBefore) => Err(unavailable()),
            Some(Fault::ConflictBefore) => Err(conflict.unwrap_or_else(broken)),
            Some(Fault::Late) => {
                self.queue(write);
                Err(broken())
            }
            None
            | Some(
                Fault::ReplyLost
                | Fault::UnavailableAfter
                | Fault::ConflictAfter
                | Fault::Twice
                | Fault::Truncated
                | Fault::CutShort,
            ) => {
                if fault == Some(Fault::Twice) {
                    self.queue(write.clone());
                }
                let result = self.apply(write).await;
                match fault {
                    Some(Fault::ReplyLost) => Err(broken()),
                    Some(Fault::UnavailableAfter) => Err(unavailable()),
                    Some(Fault::ConflictAfter) if result.is_ok() => {
                        Err(conflict.unwrap_or_else(broken))
                    }
                    _ => result,
                }
            }
        };
        pass(rest).await;
        result
    }

    /// A request that only reads: any fault but a damaged body means that it is not answered.
    async fn ask<T>(
        &self,
        op: Op,
        request: impl Future<Output = ObjectResult<T>>,
    ) -> ObjectResult<(T, Option<Fault>)> {
        let (fault, rest) = self.begin(op).await;
        let result = match fault {
            Some(Fault::RequestLost | Fault::ReplyLost) => Err(broken()),
            Some(Fault::UnavailableBefore | Fault::UnavailableAfter) => Err(unavailable()),
            _ => request.await.map(|value| (value, fault)),
        };
        pass(rest).await;
        result
    }

    fn date(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(written) = self.with(|state| state.written.get(&meta.location).copied()) {
            meta.last_modified = written;
        }
        meta
    }

    async fn list(
        &self,
        prefix: Option<Path>,
        offset: Option<Path>,
    ) -> ObjectResult<Vec<ObjectMeta>> {
        let listed = async {
            let stream = match &offset {
                Some(offset) => self.objects.list_with_offset(prefix.as_ref(), offset),
                None => self.objects.list(prefix.as_ref()),
            };
            stream.try_collect::<Vec<_>>().await
        };
        let (mut listed, _) = self.ask(Op::List, listed).await?;
        // As a real service does; a local folder beneath lists in any order.
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(listed.into_iter().map(|meta| self.date(meta)).collect())
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
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
        let result = self
            .inner
            .write(Write::Put(location.clone(), payload, opts))
            .await?;
        Ok(result.expect("a put has a result"))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        let begin = self.inner.objects.put_multipart_opts(location, opts);
        let (upload, _) = self.inner.ask(Op::MultipartBegin, begin).await?;
        Ok(Box::new(FaultyUpload {
            store: self.clone(),
            location: location.clone(),
            upload,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        let (mut result, fault) = self
            .inner
            .ask(op, self.inner.objects.get_opts(location, options))
            .await?;
        result.meta = self.inner.date(result.meta);
        if op == Op::Get {
            let bytes = result.range.end.saturating_sub(result.range.start);
            self.inner.carry(bytes).await;
        }
        if !matches!(fault, Some(Fault::Truncated | Fault::CutShort)) {
            return Ok(result);
        }
        let (meta, range, attributes) = (
            result.meta.clone(),
            result.range.clone(),
            result.attributes.clone(),
        );
        let body = result.bytes().await?;
        let kept = usize::try_from(self.inner.random.below(body.len().max(1) as u64)).unwrap_or(0);
        let mut pieces: Vec<ObjectResult<Bytes>> = vec![Ok(body.slice(..kept))];
        if fault == Some(Fault::Truncated) {
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
        let inner = Arc::clone(&self.inner);
        locations
            .then(move |location| {
                let inner = Arc::clone(&inner);
                async move {
                    let location = location?;
                    inner.write(Write::Delete(location.clone())).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let (inner, prefix) = (Arc::clone(&self.inner), prefix.cloned());
        async move {
            inner
                .list(prefix, None)
                .await
                .map(|listed| futures::stream::iter(listed.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let (inner, prefix, offset) = (Arc::clone(&self.inner), prefix.cloned(), offset.clone());
        async move {
            inner
                .list(prefix, Some(offset))
                .await
                .map(|listed| futures::stream::iter(listed.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        let request = self.inner.objects.list_with_delimiter(prefix);
        let (mut result, _) = self.inner.ask(Op::List, request).await?;
        result.objects = result
            .objects
            .into_iter()
            .map(|meta| self.inner.date(meta))
            .collect();
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> ObjectResult<()> {
        self.inner
            .write(Write::Copy(from.clone(), to.clone(), options))
            .await
            .map(|_| ())
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> ObjectResult<()> {
        self.inner
            .write(Write::Rename(from.clone(), to.clone(), options))
            .await
            .map(|_| ())
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
        let inner = Arc::clone(&self.store.inner);
        let part = self.upload.put_part(data);
        async move { inner.ask(Op::MultipartPart, part).await.map(|_| ()) }.boxed()
    }

    async fn complete(&mut self) -> ObjectResult<PutResult> {
        let inner = Arc::clone(&self.store.inner);
        let (fault, rest) = inner.begin(Op::MultipartComplete).await;
        let result = match fault {
            Some(Fault::RequestLost) => Err(broken()),
            Some(Fault::UnavailableBefore) => Err(unavailable()),
            _ => {
                let result = self.upload.complete().await?;
                let now = DateTime::from_timestamp_millis(inner.runtime.clock().wall().0)
                    .unwrap_or_default();
                inner.with(|state| state.written.insert(self.location.clone(), now));
                match fault {
                    Some(Fault::ReplyLost) => Err(broken()),
                    Some(Fault::UnavailableAfter) => Err(unavailable()),
                    _ => Ok(result),
                }
            }
        };
        pass(rest).await;
        result
    }

    async fn abort(&mut self) -> ObjectResult<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests;
