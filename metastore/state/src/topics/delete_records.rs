//! Deletes the oldest records of partitions: the log start moves, and never back.
//!
//! What lies below it is read by nobody from here on; its extents go with the entries that follow, see
//! `leftovers.rs`. Tables keep the rows that they have.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{Offset, TopicPartition};

use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteRecords {
    #[n(0)]
    pub partitions: Vec<RecordsBelow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordsBelow {
    #[n(0)]
    pub at: TopicPartition,
    /// The first that stays, at most the high watermark; `None` is the high watermark.
    #[n(1)]
    pub offset: Option<Offset>,
}

impl DeleteRecords {
    /// A partition that is not there any more has nothing left to delete.
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        for below in &self.partitions {
            let Some(partition) = state.partitions.get_mut(&below.at) else {
                continue;
            };
            let end = partition.high_watermark;
            let start = below.offset.unwrap_or(end).min(end);
            if start <= partition.log_start {
                continue;
            }
            Arc::make_mut(partition).log_start = start;
            if partition.has_trimmed_extents() {
                state.trimmed.insert(below.at);
            }
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::DeleteTopic;
    use crate::harness::{Cluster, at, batch, topic};

    fn delete(cluster: &mut Cluster, partition: i32, offset: Option<u64>) {
        let below = RecordsBelow {
            at: at(7, partition),
            offset: offset.map(Offset),
        };
        let command = DeleteRecords {
            partitions: vec![below],
        };
        cluster.run(Command::DeleteRecords(command)).unwrap();
        cluster.state.check_invariants().unwrap();
    }

    fn shown(cluster: &Cluster) -> (u64, u64, usize, u64) {
        let partition = &cluster.state.partitions[&at(7, 0)];
        let extents = partition.extents.len();
        (
            partition.log_start.0,
            partition.high_watermark.0,
            extents,
            partition.bytes,
        )
    }

    #[test]
    fn the_start_moves_and_never_back() {
        let mut cluster = Cluster::with_topic("orders", 1);
        for _ in 0..3 {
            cluster.produce(at(7, 0), vec![batch(10)]);
        }
        let (_, _, _, bytes) = shown(&cluster);
        // In the middle of an extent, which stays.
        delete(&mut cluster, 0, Some(15));
        assert_eq!(shown(&cluster), (15, 30, 2, bytes / 3 * 2));
        delete(&mut cluster, 0, Some(3));
        assert_eq!(shown(&cluster), (15, 30, 2, bytes / 3 * 2));
        delete(&mut cluster, 0, Some(99));
        assert_eq!(shown(&cluster), (30, 30, 0, 0));
        cluster.produce(at(7, 0), vec![batch(10)]);
        delete(&mut cluster, 0, None);
        assert_eq!(shown(&cluster), (40, 40, 0, 0));
        assert!(
            cluster
                .state
                .segments
                .values()
                .all(|segment| segment.extents == 0)
        );
        // What is not there is nobody's fault.
        delete(&mut cluster, 5, None);
        cluster.produce(at(7, 0), vec![batch(1)]);
        assert_eq!(shown(&cluster).1, 41);
    }

    #[test]
    fn many_extents_go_a_few_at_a_time_and_with_their_topic() {
        let mut cluster = Cluster::with_topic("orders", 1);
        const EXTENTS: usize = 3_000;
        for _ in 0..EXTENTS {
            cluster.produce(at(7, 0), vec![batch(1)]);
        }
        delete(&mut cluster, 0, None);
        let left = shown(&cluster).2;
        assert!(0 < left && left < EXTENTS, "{left}");
        // Whoever starts from a snapshot goes on with the rest.
        let id = cluster.state.cluster;
        let again = State::from_snapshot(&cluster.state.to_snapshot(), id).unwrap();
        assert_eq!(again, cluster.state);
        cluster.live(&[1], 3_000);
        let less = shown(&cluster).2;
        assert!(less < left, "{less}");
        cluster
            .run(Command::DeleteTopic(DeleteTopic { id: topic(7) }))
            .unwrap();
        cluster.state.check_invariants().unwrap();
        assert!(cluster.state.trimmed.is_empty());
        cluster.live(&[1], 30_000);
        assert!(cluster.state.leaving.is_empty());
        cluster.state.check_invariants().unwrap();
    }
}
