//! Records that are deleted before or after their table has them.

use tarn_model::TopicPartition;
use tarn_state::commands::{DeleteRecords, RecordsBelow};

use super::*;

impl Fixture {
    pub(super) async fn delete_below(&self, offset: Option<u64>) {
        let below = RecordsBelow {
            at: TopicPartition::new(TOPIC, PartitionId(0)),
            offset: offset.map(Offset),
        };
        let command = Command::DeleteRecords(DeleteRecords {
            partitions: vec![below],
        });
        self.node
            .metastore
            .propose(vec![command], soon())
            .await
            .expect("records are deleted");
    }
}

#[tokio::test]
async fn a_table_keeps_its_rows_and_never_gets_what_was_deleted_before() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let (a, b) = (values("a", 10), values("b", 10));
    fixture.produce(0, &a).await;
    fixture.materialize().await;
    // Below M: the rows stay.
    fixture.delete_below(Some(5)).await;
    fixture.materialize().await;
    assert_eq!(fixture.rows().await, a);
    // In the middle of a batch above M.
    fixture.produce(0, &b).await;
    fixture.delete_below(Some(15)).await;
    fixture.materialize().await;
    let left = b.iter().skip(5).cloned().collect();
    assert_eq!(fixture.rows().await, sorted(&[a, left]));
    assert_eq!(fixture.counters(0), (15, 0, 5));
    // All that waits.
    fixture.produce(0, &values("c", 7)).await;
    fixture.delete_below(None).await;
    fixture.materialize().await;
    assert_eq!(fixture.counters(0), (15, 0, 12));
    assert_eq!(fixture.materialized(0), Offset(27));
    fixture.produce(0, &values("d", 1)).await;
    fixture.materialize().await;
    assert_eq!(fixture.counters(0), (16, 0, 12));
}
