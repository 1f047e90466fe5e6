//! Gives a topic more partitions.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{PartitionId, TopicId, TopicPartition, caps};

use super::refusal::TopicRefusal;
use crate::{Context, Outcome, Partition, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreatePartitions {
    #[n(0)]
    pub id: TopicId,
    /// The new total.
    #[n(1)]
    pub total: i32,
}

impl CreatePartitions {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let present = state
            .topics
            .get(&self.id)
            .ok_or(TopicRefusal::NoSuchTopic(self.id))?
            .partitions;
        if self.total <= present || self.total > caps::PARTITIONS_PER_TOPIC_MAX {
            return Err(TopicRefusal::InvalidPartitions {
                max: caps::PARTITIONS_PER_TOPIC_MAX,
            }
            .into());
        }
        state.check_partition_room(self.total - present)?;
        let topic = state.topics.get_mut(&self.id).expect("it was just found");
        Arc::make_mut(topic).partitions = self.total;
        for partition in present..self.total {
            let at = TopicPartition::new(self.id, PartitionId(partition));
            state.partitions.insert(at, Arc::new(Partition::empty()));
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::{Cluster, at, batch, topic};
    use tarn_model::Offset;

    #[test]
    fn partitions_are_added_and_never_taken_away() {
        let mut cluster = Cluster::with_topic("orders", 2);
        cluster.produce(at(7, 1), vec![batch(3)]);
        let mut grow = |total| {
            cluster.run(Command::CreatePartitions(CreatePartitions {
                id: topic(7),
                total,
            }))
        };
        for total in [-1, 0, 1, 2, caps::PARTITIONS_PER_TOPIC_MAX + 1] {
            assert!(
                matches!(
                    grow(total),
                    Err(Refusal::Topic(TopicRefusal::InvalidPartitions { .. }))
                ),
                "{total}"
            );
        }
        grow(4).unwrap();
        assert_eq!(cluster.state.topics[&topic(7)].partitions, 4);
        assert_eq!(cluster.high_watermark(at(7, 1)), Offset(3));
        assert_eq!(cluster.high_watermark(at(7, 3)), Offset(0));
    }
}
