//! A segment's way into object storage, under a fresh name each time.

use bytes::Bytes;
use tarn_model::SegmentId;
use tarn_runtime::step;
use tarn_state::commands::{CommitMode, CommitSegment};
use tarn_store::paths;
use tokio::time::Instant;
use tracing::warn;

use super::AppendError;
use super::parts::Parts;
use crate::metrics::seconds_since;
use crate::segment::{self, Builder, Finished};

/// Copying fewer bytes costs less than the way to another thread and back.
const INLINE_BELOW: u64 = 64 << 10;

/// A segment that is durable and waits for its commit.
#[derive(Debug)]
pub(super) struct Uploaded {
    pub(super) commit: CommitSegment,
    pub(super) object: Bytes,
    pub(super) at: Instant,
    /// It went up a second time, because its first name had grown too old.
    pub(super) renewed: bool,
}

/// Builds and uploads a segment.
pub(super) async fn upload(
    parts: &Parts,
    builder: Builder,
    mode: CommitMode,
) -> Result<Uploaded, AppendError> {
    let id = fresh_id(parts);
    let built = if builder.bytes() < INLINE_BELOW {
        Ok(builder.finish(id, mode))
    } else {
        parts
            .scope
            .blocking("segment.build", move || builder.finish(id, mode))
            .await
    };
    let finished = built.map_err(|_| AppendError::NotDone {
        why: "the segment could not be built",
    })?;
    put(parts, finished, false).await
}

/// Uploads the same batches under a fresh name.
pub(super) async fn upload_again(parts: &Parts, object: &Bytes) -> Result<Uploaded, AppendError> {
    let id = fresh_id(parts);
    let renamed = segment::rename(object, id);
    let finished = renamed.map_err(|_| AppendError::NotDone {
        why: "the segment could not be built",
    })?;
    put(parts, finished, true).await
}

/// The name's time is what the commit deadline is compared with, so it is the newest we know.
fn fresh_id(parts: &Parts) -> SegmentId {
    SegmentId::new(
        parts.metastore.view().cluster_time,
        parts.runtime.random().u128(),
    )
}

async fn put(parts: &Parts, finished: Finished, renewed: bool) -> Result<Uploaded, AppendError> {
    let Finished { object, commit } = finished;
    let started = Instant::now();
    parts.metrics.uploads.inc();
    let put = parts
        .store
        .put_if_absent(&paths::segment(commit.segment), object.clone())
        .await;
    parts.metrics.uploads.dec();
    if let Err(error) = put {
        // Even if it lands later it is garbage: nothing will ever propose this name.
        warn!(segment = %commit.segment, bytes = commit.bytes, %error, "a segment could not be uploaded");
        return Err(AppendError::NotDone {
            why: "object storage did not take the segment",
        });
    }
    parts.metrics.upload_seconds.observe(seconds_since(started));
    parts.metrics.segment_bytes.inc_by(commit.bytes);
    step!(parts.runtime, "produce.uploaded");
    Ok(Uploaded {
        commit,
        object,
        at: Instant::now(),
        renewed,
    })
}
