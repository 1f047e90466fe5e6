//! The commit of uploaded segments: one proposal for all that are ready, and what is done when the
//! log does not say what became of it.
//!
//! Holds: a batch gets an offset only from an outcome or from the state itself; after a proposal
//! whose fate is unknown, nothing is called `NotDone` under that segment's name any more.

use futures::future::{BoxFuture, ready};
use tarn_model::{Offset, TopicPartition};
use tarn_replica::{Found, JointError, Landed, Part, View};
use tarn_runtime::step;
use tarn_state::BatchOutcome;
use tarn_state::commands::{CommitSegment, NewBatch, NewExtent};
use tarn_state::{Command, Outcome, Refusal, TopicRefusal};
use tarn_store::paths;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::parts::Parts;
use super::upload::{Uploaded, upload_again};
use super::{AppendError, AppendResult, Appended};
use crate::metrics::seconds_since;

/// What became of one segment of a group.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Per extent of its commit, per batch.
    Settled(Vec<Vec<AppendResult>>),
    Failed(AppendError),
    /// Another one of the group failed, which may concern this one: it is to be proposed again.
    Again,
}

impl Part for Uploaded {
    fn commands(&self) -> Vec<Command> {
        vec![Command::CommitSegment(self.commit.clone())]
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        let is_there = view.segments.contains_key(&self.commit.segment);
        Box::pin(ready(if is_there {
            Found::There
        } else {
            Found::NotYet
        }))
    }
}

/// Commits segments, in this order, together.
pub(super) async fn commit(parts: &Parts, mut group: Vec<Uploaded>) -> Vec<(Uploaded, Verdict)> {
    let until = Instant::now() + parts.settings.give_up_after;
    let mut verdicts: Vec<Verdict> = group.iter().map(|_| Verdict::Again).collect();
    loop {
        let joint: Vec<&dyn Part> = group.iter().map(|one| one as &dyn Part).collect();
        match parts.metastore.commit(&joint, until).await {
            Ok(landed) => {
                step!(parts.runtime, "produce.committed");
                for (index, one) in group.iter().enumerate() {
                    verdicts[index] = settle(parts, one, index, &landed);
                }
                break;
            }
            Err(JointError::Refused { part, refusal }) => {
                let Some(one) = group.get_mut(part) else {
                    fail(
                        &mut verdicts,
                        AppendError::Refused {
                            why: "the refusal names no segment",
                        },
                    );
                    break;
                };
                // What follows a segment that failed may have to fail with it: its owner decides.
                if let Err(error) = refused_one(parts, one, refusal).await {
                    verdicts[part] = Verdict::Failed(error);
                    break;
                }
            }
            Err(JointError::Overtaken) => {
                fail(
                    &mut verdicts,
                    AppendError::NotDone {
                        why: "another took its place",
                    },
                );
                break;
            }
            Err(JointError::NotDone { why }) => {
                debug!(why, "a commit was not proposed");
                fail(
                    &mut verdicts,
                    AppendError::NotDone {
                        why: "its commit could not be proposed",
                    },
                );
                break;
            }
            Err(JointError::Unknown { why }) => {
                warn!(
                    why,
                    segments = group.len(),
                    "the fate of a commit stays unknown"
                );
                fail(
                    &mut verdicts,
                    AppendError::Unknown {
                        why: "the commit log does not answer",
                    },
                );
                break;
            }
        }
    }
    group.into_iter().zip(verdicts).collect()
}

fn fail(verdicts: &mut [Verdict], error: AppendError) {
    for verdict in verdicts {
        *verdict = Verdict::Failed(error);
    }
}

/// What to do about a segment that made `apply` refuse the proposal: it goes up under a new name and
/// is proposed again with the others, or fails.
async fn refused_one(
    parts: &Parts,
    one: &mut Uploaded,
    refusal: Refusal,
) -> Result<(), AppendError> {
    let segment = one.commit.segment;
    match refusal {
        Refusal::Topic(TopicRefusal::SegmentTooOld(_)) if one.renewed => {
            Err(AppendError::NotDone {
                why: "its segment grew too old, twice",
            })
        }
        Refusal::Topic(TopicRefusal::SegmentTooOld(_)) => {
            warn!(%segment, "a segment grew too old before its commit, uploading it again");
            let mut again = upload_again(parts, &one.object).await?;
            again
                .commit
                .extents
                .retain(|extent| keeps(&one.commit.extents, extent));
            *one = again;
            Ok(())
        }
        Refusal::Topic(TopicRefusal::SegmentKnown(_)) => Err(AppendError::Unknown {
            why: "its segment was committed and is no longer known",
        }),
        refusal => {
            warn!(%segment, %refusal, "a segment was refused");
            Err(AppendError::Refused {
                why: "apply does not take the segment",
            })
        }
    }
}

/// The extent is still to be committed: some may have been dropped since the upload.
fn keeps(wanted: &[NewExtent], extent: &NewExtent) -> bool {
    wanted
        .iter()
        .any(|wanted| wanted.topic == extent.topic && wanted.partition == extent.partition)
}

/// The verdict of a segment that is in the log.
pub(super) fn settle(parts: &Parts, one: &Uploaded, index: usize, landed: &Landed) -> Verdict {
    let view = &landed.view;
    let Some(outcomes) = &landed.outcomes else {
        keep(parts, one, view);
        return Verdict::Settled(derive(&one.commit, view));
    };
    let Some([Outcome::SegmentCommitted(outcomes)]) = outcomes.get(index).map(Vec::as_slice) else {
        // An outcome per command, or the replica is broken.
        return Verdict::Failed(AppendError::Unknown {
            why: "its outcome is of another command",
        });
    };
    keep(parts, one, view);
    let extents = one.commit.extents.iter().zip(outcomes);
    Verdict::Settled(
        extents
            .map(|(extent, batches)| {
                batches
                    .iter()
                    .map(|batch| answer(extent, *batch, view))
                    .collect()
            })
            .collect(),
    )
}

/// The segment is real: consumers will ask for it in a moment.
fn keep(parts: &Parts, one: &Uploaded, view: &View) {
    parts.metrics.segments.inc();
    parts.metrics.commit_seconds.observe(seconds_since(one.at));
    // Of duplicates alone nobody will ask for anything.
    if view
        .segments
        .get(&one.commit.segment)
        .is_some_and(|segment| segment.extents > 0)
    {
        parts
            .cache
            .insert(&paths::segment(one.commit.segment), one.object.clone());
    }
}

fn answer(extent: &NewExtent, outcome: BatchOutcome, view: &View) -> AppendResult {
    let partition = view.partition(extent.topic, extent.partition);
    let log_start = partition.map_or(Offset::ZERO, |partition| partition.log_start);
    match outcome {
        BatchOutcome::Appended(base) => {
            let committed = partition.and_then(|partition| partition.extents_from(base).next());
            let committed_time =
                committed.map_or(view.cluster_time, |extent| extent.committed_time);
            Ok(Appended {
                base,
                log_start,
                committed_time: Some(committed_time),
            })
        }
        BatchOutcome::Duplicate(base) => Ok(Appended {
            base,
            log_start,
            committed_time: None,
        }),
        BatchOutcome::DuplicateForgotten => Err(AppendError::DuplicateForgotten),
        BatchOutcome::OutOfOrder { expected } => Err(AppendError::OutOfOrder { expected }),
        BatchOutcome::FencedEpoch { current } => Err(AppendError::FencedEpoch { current }),
        BatchOutcome::NoSuchPartition => Err(AppendError::NoSuchPartition),
    }
}

/// The outcomes of a commit that is known to have happened, as far as the state still tells them.
fn derive(commit: &CommitSegment, view: &View) -> Vec<Vec<AppendResult>> {
    commit
        .extents
        .iter()
        .map(|extent| derive_extent(commit, extent, view))
        .collect()
}

fn derive_extent(commit: &CommitSegment, extent: &NewExtent, view: &View) -> Vec<AppendResult> {
    let at = TopicPartition::new(extent.topic, extent.partition);
    let Some(partition) = view.partitions.get(&at) else {
        return extent
            .batches
            .iter()
            .map(|_| Err(AppendError::NoSuchPartition))
            .collect();
    };
    // One that was cut by refused batches is several extents in the state. They stand together, where
    // the partition ended when the segment was committed: not far from where it ends now.
    let committed_at = view
        .segments
        .get(&commit.segment)
        .map_or(u64::MAX, |segment| segment.committed_at);
    let newest = partition.extents.iter().rev().map(|(_, taken)| {
        #[cfg(test)]
        tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
        taken
    });
    let taken: Vec<_> = newest
        .skip_while(|taken| taken.committed_at > committed_at)
        .take_while(|taken| taken.committed_at == committed_at)
        .filter(|taken| taken.segment == commit.segment)
        .collect();
    let mut results = Vec::with_capacity(extent.batches.len());
    let mut position = extent.position.start;
    // Within the extent of the state that was met last.
    let mut next: Option<(u64, Offset)> = None;
    for batch in &extent.batches {
        let inside = taken
            .iter()
            .find(|taken| taken.position.start <= position && position < taken.position.end());
        results.push(match inside {
            Some(taken) => {
                let base = match next {
                    Some((start, base)) if start == taken.position.start => base,
                    _ => taken.offsets.start,
                };
                next = Some((taken.position.start, base.advance(u64::from(batch.offsets))));
                Ok(Appended {
                    base,
                    log_start: partition.log_start,
                    committed_time: Some(taken.committed_time),
                })
            }
            None => remembered(at, batch, view).map_or(
                Err(AppendError::Unknown {
                    why: "its segment was committed, but not what became of the batch is known",
                }),
                |base| {
                    Ok(Appended {
                        base,
                        log_start: partition.log_start,
                        committed_time: None,
                    })
                },
            ),
        });
        position += u64::from(batch.bytes);
    }
    results
}

/// Where the state remembers this batch of an idempotent producer.
fn remembered(at: TopicPartition, batch: &NewBatch, view: &View) -> Option<Offset> {
    let stamp = batch.producer?;
    let producer = view
        .producer(at, stamp.id)
        .filter(|producer| producer.epoch == stamp.epoch)?;
    let same = producer.batches.iter().find(|known| {
        known.first_sequence == stamp.first_sequence
            && known.last_sequence == batch.last_sequence(stamp)
    })?;
    Some(same.base)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use tarn_model::{
        ClusterId, ClusterTime, OffsetRange, PartitionId, SegmentId, Timestamp, TopicId,
    };
    use tarn_state::commands::CommitMode;
    use tarn_state::{Extent, Partition, Position, Segment, State};

    use super::*;

    thread_local! {
        /// Extents that were looked at.
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn where_a_batch_came_to_lie_is_found_from_the_end() {
        let at = TopicPartition::new(TopicId::from_u128(7), PartitionId(0));
        let segment = |n: u64| SegmentId::new(ClusterTime(1), u128::from(n));
        let mut state = State::new(ClusterId::from_u128(1));
        let mut partition = Partition::empty();
        for n in 0..10_000 {
            let start = Offset(n);
            let extent = Extent {
                offsets: OffsetRange::new(start, start.advance(1)),
                segment: segment(n),
                position: Position {
                    start: 0,
                    length: 10,
                },
                max_timestamp: Timestamp(0),
                committed_at: n,
                committed_time: ClusterTime(1),
                leader_epoch: 1,
                hides_timestamps: false,
            };
            partition.extents.insert(start, extent);
        }
        state.partitions.insert(at, Arc::new(partition));
        let known = Segment {
            extents: 1,
            bytes: 10,
            committed_at: 9_990,
        };
        state.segments.insert(segment(9_990), known);
        let batch = NewBatch {
            bytes: 10,
            offsets: 1,
            max_timestamp: Timestamp(0),
            producer: None,
        };
        let extent = NewExtent {
            topic: at.topic,
            partition: at.partition,
            position: Position {
                start: 0,
                length: 10,
            },
            batches: vec![batch],
        };
        let commit = CommitSegment {
            segment: segment(9_990),
            mode: CommitMode::Each,
            bytes: 10,
            extents: vec![extent.clone()],
        };
        let found = derive_extent(&commit, &extent, &Arc::new(state));
        assert_eq!(found[0].map(|found| found.base), Ok(Offset(9_990)));
        assert_eq!(LOOKED_AT.get(), 11, "of 10,000");
    }
}
