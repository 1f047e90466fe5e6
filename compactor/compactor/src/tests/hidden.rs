//! Records that are later than the headers of their batches say.

use tarn_model::{Timestamp, TopicPartition};
use tarn_topics::Reader;

use super::*;

/// Headers of a client that say less than its records, all within one extent each: before the table has
/// them offsets by time go by the headers, then by the records, as Apache Kafka's do, which opens every
/// batch.
#[tokio::test]
async fn records_later_than_their_header_are_found_once_they_are_rows() {
    const T: i64 = 4_102_444_800_000;
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let reader = Reader::new(&fixture.node);
    let at = TopicPartition::new(TOPIC, PartitionId(0));
    let offset = async |timestamp: i64| {
        let view = fixture.node.metastore.view();
        let found = reader.offset_for_timestamp(&view, at, Timestamp(timestamp));
        let found = found.await.expect("an answer");
        found.map(|found| (found.offset.0, found.timestamp.0))
    };
    let latest = async || {
        let view = fixture.node.metastore.view();
        let found = reader.offset_of_max_timestamp(&view, at).await;
        let found = found.expect("an answer").expect("records");
        (found.offset.0, found.timestamp.0)
    };
    // T, T + 5, T + 3 behind headers that say T + 1: between the first and the true one.
    let lying = |from: i64| {
        let mut builder = BatchBuilder::new(Compression::None);
        for after in [0, 5, 3] {
            builder
                .push(from + after, None, Some(b"v"), &[])
                .expect("small");
        }
        let batch = builder.build().expect("a batch");
        batch.with_max_timestamp(from + 1)
    };
    fixture.produce(0, &values("a", 5)).await;
    fixture.append(0, lying(T + 10)).await;
    fixture.append(0, lying(T + 20)).await;
    fixture.produce(0, &values("b", 2)).await;
    assert_eq!(
        offset(T + 12).await,
        Some((8, T + 20)),
        "the headers' answer"
    );
    assert_eq!(offset(T + 22).await, None);
    fixture.materialize().await;
    // What Kafka 4 answers at once: the first record that is late enough.
    let expected = [
        (T, Some((0, T))),
        (T + 1, Some((5, T + 10))),
        (T + 11, Some((6, T + 15))),
        (T + 16, Some((8, T + 20))),
        (T + 22, Some((9, T + 25))),
        (T + 25, Some((9, T + 25))),
        (T + 26, None),
    ];
    for (timestamp, expected) in expected {
        assert_eq!(offset(timestamp).await, expected, "T + {}", timestamp - T);
    }
    assert_eq!(latest().await, (9, T + 25));
    // And what comes later is found as well.
    fixture.append(0, lying(T + 30)).await;
    fixture.materialize().await;
    assert_eq!(offset(T + 34).await, Some((14, T + 35)));
    assert_eq!(latest().await, (14, T + 35));
    fixture.node.drain().await;
}

/// The header of the second batch is of a client that says less than its records.
#[tokio::test]
async fn records_later_than_their_header_are_counted() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let (a, b) = (values("a", 5), values("b", 4));
    fixture.produce(0, &a).await;
    let batch = batch_of(&b).with_max_timestamp(4_102_444_799_999);
    fixture.append(0, batch).await;
    fixture.materialize().await;
    assert_eq!(fixture.rows().await, sorted(&[a, b]));
    let metrics = fixture.node.runtime.metrics().encode();
    let line = r#"tarn_hidden_timestamps_total{topic="clicks"} 4"#;
    assert!(metrics.contains(line), "{metrics}");
    fixture.node.drain().await;
}
