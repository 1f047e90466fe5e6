//! A segment of one writer's own, beside the open one, as a part of a proposal that others share.
//!
//! Holds: its batches are taken all or none, together with everything else in the proposal; until
//! then nobody reads them, and if it never comes the object is garbage.
//! Leaves to others: memory for the batches, which batches go together, and a segment that grew too
//! old before its proposal: it is staged anew.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use tarn_model::{ByteSize, SegmentId, TopicPartition, caps};
use tarn_replica::{Found, Landed, Part, View};
use tarn_state::Command;
use tarn_state::commands::CommitMode;

use super::commit::{Verdict, settle};
use super::parts::Parts;
use super::upload::{Uploaded, upload};
use super::{AppendError, AppendResult, NewBatch};
use crate::segment::{Builder, COMMIT_OVERHEAD_BYTES, commit_bytes_of};
use crate::settings::COMMIT_BYTES_MAX;

/// A durable segment that waits for its proposal.
#[derive(Debug)]
pub struct Staged {
    parts: Parts,
    uploaded: Uploaded,
    /// The batches in the order they were given in: partition, and place among its batches.
    places: Vec<(TopicPartition, usize)>,
}

/// Uploads the batches as one segment.
pub(super) async fn stage(parts: &Parts, batches: Vec<NewBatch>) -> Result<Staged, AppendError> {
    if batches.is_empty() {
        return Err(AppendError::Refused {
            why: "it has no batches",
        });
    }
    let view = parts.metastore.view();
    let mut builder = Builder::new(view.cluster, view.generation);
    let mut counts: BTreeMap<TopicPartition, usize> = BTreeMap::new();
    let mut places = Vec::with_capacity(batches.len());
    let mut commit_bytes = COMMIT_OVERHEAD_BYTES;
    for new in batches {
        let at = new.at();
        let count = counts.entry(at).or_default();
        commit_bytes += commit_bytes_of(*count == 0);
        places.push((at, *count));
        *count += 1;
        builder.push(at.topic, at.partition, new.batch);
    }
    let bounds = [
        (builder.bytes(), caps::BATCH_BYTES_MAX),
        (commit_bytes, COMMIT_BYTES_MAX),
    ];
    for (bytes, max) in bounds {
        if bytes > max.0 {
            let bytes = ByteSize(bytes);
            return Err(AppendError::TooLarge { bytes, max });
        }
    }
    let uploaded = upload(parts, builder, CommitMode::All).await?;
    Ok(Staged {
        parts: parts.clone(),
        uploaded,
        places,
    })
}

impl Part for Staged {
    fn commands(&self) -> Vec<Command> {
        self.uploaded.commands()
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        self.uploaded.find(view)
    }
}

impl Staged {
    pub fn segment(&self) -> SegmentId {
        self.uploaded.commit.segment
    }

    /// Where the batches stand now that the proposal landed, of which this was part `index`: in the
    /// order they were given in.
    pub fn settle(self, index: usize, landed: &Landed) -> Vec<AppendResult> {
        let extents = self.uploaded.commit.extents.iter();
        let partitions = extents.map(|extent| TopicPartition::new(extent.topic, extent.partition));
        let settled = match settle(&self.parts, &self.uploaded, index, landed) {
            Verdict::Settled(settled) => settled,
            Verdict::Failed(error) => return self.places.iter().map(|_| Err(error)).collect(),
            Verdict::Again => unreachable!("a proposal that landed settles its segments"),
        };
        let settled: BTreeMap<_, _> = partitions.zip(settled).collect();
        let lost = Err(AppendError::Unknown {
            why: "its segment does not name it",
        });
        self.places
            .iter()
            .map(|(at, place)| {
                let of_partition = settled.get(at).and_then(|results| results.get(*place));
                of_partition.copied().unwrap_or(lost)
            })
            .collect()
    }
}
