//! Counts and times every request to object storage, ours and those of Iceberg and DataFusion.
//!
//! `tarn_object_store_requests_total{op,outcome}`, `tarn_object_store_request_duration_seconds{op}`
//! and `tarn_object_store_bytes_total{op}`. A listing is one request here, however many pages it takes;
//! a deletion counts each object.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as ObjectError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result as ObjectResult, UploadPart,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tarn_runtime::Metrics;
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    op: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    op: &'static str,
}

/// From 1 ms to half a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

tarn_runtime::metrics! {
    struct Counters {
        /// Requests to object storage by operation and outcome
        requests: Family<Request, Counter> = "object_store_requests";
        /// How long a request to object storage took until it was answered
        duration: Family<Operation, Histogram> = "object_store_request_duration_seconds", Family::new_with_constructor(seconds);
        /// Bytes sent to and asked from object storage by operation
        bytes: Family<Operation, Counter> = "object_store_bytes";
    }
}

/// An object store that counts.
#[derive(Debug, Clone)]
pub struct Metered {
    objects: Arc<dyn ObjectStore>,
    counters: Counters,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.objects, f)
    }
}

impl Metered {
    pub fn new(objects: Arc<dyn ObjectStore>, metrics: &Metrics) -> Metered {
        let counters = metrics.register(Counters::register);
        Metered { objects, counters }
    }

    async fn count<T>(
        &self,
        op: &'static str,
        request: impl Future<Output = ObjectResult<T>>,
    ) -> ObjectResult<T> {
        self.counters.count(op, request).await
    }
}

impl Counters {
    async fn count<T>(
        &self,
        op: &'static str,
        request: impl Future<Output = ObjectResult<T>>,
    ) -> ObjectResult<T> {
        // A request that is given up counts too.
        let mut pending = Pending {
            counters: self,
            op,
            started: Instant::now(),
            outcome: "dropped",
        };
        let result = request.await;
        pending.outcome = outcome(result.as_ref().err());
        result
    }

    fn add_bytes(&self, op: &'static str, bytes: u64) {
        self.bytes.get_or_create(&Operation { op }).inc_by(bytes);
    }
}

struct Pending<'c> {
    counters: &'c Counters,
    op: &'static str,
    started: Instant,
    outcome: &'static str,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let (op, outcome) = (self.op, self.outcome);
        self.counters
            .requests
            .get_or_create(&Request { op, outcome })
            .inc();
        let seconds = self.started.elapsed().as_secs_f64();
        self.counters
            .duration
            .get_or_create(&Operation { op })
            .observe(seconds);
    }
}

fn outcome(error: Option<&ObjectError>) -> &'static str {
    match error {
        None => "ok",
        Some(ObjectError::NotFound { .. }) => "not_found",
        Some(ObjectError::AlreadyExists { .. }) => "already_exists",
        Some(ObjectError::Precondition { .. } | ObjectError::NotModified { .. }) => "precondition",
        Some(ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. }) => {
            "denied"
        }
        Some(_) => "error",
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> ObjectResult<PutResult> {
        let op = match opts.mode {
            PutMode::Create => "create",
            PutMode::Overwrite => "put",
            PutMode::Update(_) => "update",
        };
        self.counters.add_bytes(op, payload.content_length() as u64);
        self.count(op, self.objects.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        let upload = self
            .count(
                "multipart_begin",
                self.objects.put_multipart_opts(location, opts),
            )
            .await?;
        Ok(Box::new(MeteredUpload {
            upload,
            counters: self.counters.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        let op = if options.head { "head" } else { "get" };
        // Counted when it is answered; how long the body takes is its reader's pace.
        let result = self
            .count(op, self.objects.get_opts(location, options))
            .await?;
        if op == "get" {
            self.counters
                .add_bytes(op, result.range.end - result.range.start);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> ObjectResult<Vec<Bytes>> {
        let result = self
            .count("get_ranges", self.objects.get_ranges(location, ranges))
            .await?;
        self.counters.add_bytes(
            "get_ranges",
            result.iter().map(|bytes| bytes.len() as u64).sum(),
        );
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<Path>>,
    ) -> BoxStream<'static, ObjectResult<Path>> {
        let counters = self.counters.clone();
        self.objects
            .delete_stream(locations)
            .inspect(move |result| {
                let outcome = outcome(result.as_ref().err());
                counters
                    .requests
                    .get_or_create(&Request {
                        op: "delete",
                        outcome,
                    })
                    .inc();
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.counters
            .requests
            .get_or_create(&Request {
                op: "list",
                outcome: "ok",
            })
            .inc();
        self.objects.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.counters
            .requests
            .get_or_create(&Request {
                op: "list",
                outcome: "ok",
            })
            .inc();
        self.objects.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        self.count("list", self.objects.list_with_delimiter(prefix))
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> ObjectResult<()> {
        self.count("copy", self.objects.copy_opts(from, to, options))
            .await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> ObjectResult<()> {
        self.count("rename", self.objects.rename_opts(from, to, options))
            .await
    }
}

#[derive(Debug)]
struct MeteredUpload {
    upload: Box<dyn MultipartUpload>,
    counters: Counters,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let counters = self.counters.clone();
        counters.add_bytes("multipart_part", data.content_length() as u64);
        let part = self.upload.put_part(data);
        async move { counters.count("multipart_part", part).await }.boxed()
    }

    async fn complete(&mut self) -> ObjectResult<PutResult> {
        self.counters
            .clone()
            .count("multipart_complete", self.upload.complete())
            .await
    }

    async fn abort(&mut self) -> ObjectResult<()> {
        self.counters
            .clone()
            .count("multipart_abort", self.upload.abort())
            .await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_operation_and_outcome() {
        let metrics = Metrics::default();
        let store = Metered::new(Arc::new(InMemory::new()), &metrics);
        let path = Path::from("a");
        store
            .put(&path, PutPayload::from_static(b"four"))
            .await
            .expect("put");
        store.get(&path).await.expect("get");
        store
            .get(&Path::from("b"))
            .await
            .expect_err("there is no b");
        store.delete(&path).await.expect("delete");
        let text = metrics.encode();
        for line in [
            r#"tarn_object_store_requests_total{op="put",outcome="ok"} 1"#,
            r#"tarn_object_store_requests_total{op="get",outcome="ok"} 1"#,
            r#"tarn_object_store_requests_total{op="get",outcome="not_found"} 1"#,
            r#"tarn_object_store_requests_total{op="delete",outcome="ok"} 1"#,
            r#"tarn_object_store_bytes_total{op="put"} 4"#,
            r#"tarn_object_store_request_duration_seconds_count{op="get"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
