//! A cut is all that its rows need: another process reads them from its bytes.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use tarn_model::{ByteSize, PartitionId, SchemaId};
use tarn_schema::frame_by_id;

use super::*;
use crate::testing::{Fixture, TOPIC, until, values};
use crate::{HotSettings, HotTier};

const SCHEMA: &str = r#"{"type": "record", "name": "Click", "fields": [
    {"name": "n", "type": "long"},
    {"name": "page", "type": "string"}
]}"#;

/// `{"n": 0 … 9, "page": "/"}`.
fn typed(schema: SchemaId, n: u8) -> Vec<u8> {
    frame_by_id(schema, &[n * 2, 2, b'/'])
}

/// A record before the schema, then typed ones and one that no schema fits, in three partitions.
async fn story(fixture: &Fixture) {
    fixture.produce(&[0, 1], &[b"plain".to_vec()]).await;
    let schema = fixture.register(SCHEMA).await;
    for n in 0..8 {
        fixture
            .produce(&[0, 2], &[typed(schema, n), typed(schema, n + 1)])
            .await;
    }
    fixture
        .produce(&[2], &[b"no such schema".to_vec(), typed(schema, 9)])
        .await;
}

async fn rows(tier: &HotTier, cut: &TableCut) -> RecordBatch {
    let mut rows = tier.rows(cut);
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await {
        batches.push(batch.expect("rows"));
    }
    let schema = batches.first().expect("there are rows").schema();
    concat_batches(&schema, &batches).expect("of one table")
}

#[tokio::test]
async fn another_process_reads_the_same_rows_from_a_cuts_bytes() {
    let fixture = Fixture::new(3).await;
    story(&fixture).await;
    let tier = fixture.tier(ByteSize::mib(8));
    let cut = fixture.cut().await;
    until("all is in memory", || tier.measure(&cut).is_some()).await;
    let expected = rows(&tier, &cut).await;
    assert_eq!(expected.num_rows(), 2 + 2 * 16 + 1);
    assert!(expected.column_by_name("page").is_some());

    let decoded = TableCut::decode(&cut.encode()).expect("it was encoded");
    assert_eq!(decoded, cut);
    let stranger = fixture.stranger().await;
    assert!(stranger.metastore.view().topics.is_empty());
    let elsewhere = HotTier::start(
        &stranger,
        HotSettings {
            bytes: ByteSize::mib(8),
        },
    );
    assert!(elsewhere.measure(&decoded).is_none());
    assert_eq!(rows(&elsewhere, &decoded).await, expected);

    // What comes later is not in it, wherever it is read.
    fixture.produce(&[0, 1, 2], &[b"later".to_vec()]).await;
    assert_eq!(rows(&elsewhere, &decoded).await, expected);
    assert_eq!(rows(&tier, &decoded).await, expected);
    // Only some partitions, as one of several workers gets them.
    let [one, two] = [0, 2].map(|partition| {
        let mut part = decoded.with(BTreeMap::new());
        let at = decoded.partitions[&PartitionId(partition)].clone();
        part.partitions.insert(PartitionId(partition), at);
        TableCut::decode(&part.encode()).expect("it was encoded")
    });
    let (one, two) = (rows(&elsewhere, &one).await, rows(&elsewhere, &two).await);
    assert_eq!(one.num_rows() + two.num_rows() + 1, expected.num_rows());
    stranger.drain().await;
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_cut_copies_nothing_of_the_state_but_offsets() {
    let fixture = Fixture::new(3).await;
    story(&fixture).await;
    let cut = fixture.cut().await;
    let view = fixture.node.metastore.view();
    assert!(cut.schemas.ptr_eq(&view.schemas));
    for partition in [0, 1, 2].map(PartitionId) {
        let state = view.partition(TOPIC, partition).expect("it is there");
        let at = &cut.partitions[&partition];
        assert!(at.extents.ptr_eq(&state.extents), "{partition}");
        let copy = cut.with(cut.partitions.clone());
        assert!(copy.partitions[&partition].extents.ptr_eq(&state.extents));
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn the_bytes_grow_with_what_is_hot_and_with_nothing_else() {
    let fixture = Fixture::new(2).await;
    let size = async || fixture.cut().await.encode().len();
    fixture.produce(&[0, 1], &values(1, 10)).await;
    let first = size().await;
    for _ in 0..100 {
        fixture.produce(&[0], &values(20, 100)).await;
    }
    let grown = size().await - first;
    assert!(
        (100 * 30..100 * 60).contains(&grown),
        "{grown} bytes for 100 extents"
    );
    // A part of the offsets takes the extents that hold them.
    let mut cut = fixture.cut().await;
    let at = cut
        .partitions
        .get_mut(&PartitionId(0))
        .expect("it is there");
    at.m = Offset(at.h.0 - 25);
    assert_eq!(at.hot_extents().count(), 2);
    assert!(cut.encode().len() < first + 2 * 80);
    let decoded = TableCut::decode(&cut.encode()).expect("it was encoded");
    assert_eq!(decoded.partitions[&PartitionId(0)].extents.len(), 2);
    fixture.node.drain().await;
}

#[tokio::test]
async fn bytes_that_are_no_cut_are_refused() {
    let fixture = Fixture::new(3).await;
    story(&fixture).await;
    let cut = fixture.cut().await;
    let bytes = cut.encode();
    for length in 0..bytes.len() {
        TableCut::decode(&bytes[..length]).expect_err("it is not whole");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0xff;
        // Another cut, or none: a panic would be neither.
        if let Ok(other) = TableCut::decode(&bytes) {
            assert_ne!(other, cut, "byte {at}");
        }
    }
    let mut gap = cut.clone();
    let at = gap
        .partitions
        .get_mut(&PartitionId(0))
        .expect("it is there");
    at.extents.remove(&Offset(3));
    let partition = PartitionId(0);
    assert_eq!(
        TableCut::decode(&gap.encode()),
        Err(CutError::Extents { partition })
    );
    fixture.node.drain().await;
}
