use std::time::Duration;

use bytes::Bytes;
use tarn_kafka::{BatchHeader, Compression, ValidBatch, split_batches};
use tarn_model::{Offset, OffsetRange, Timestamp, TopicPartition};
use tarn_store::paths;

use super::*;
use crate::testing::{Cluster, append, at, base, batch, build, cluster, quick};
use crate::{Writer, WriterSettings};

/// One segment per list of batches.
async fn filled(segments: &[&[ValidBatch]]) -> (Cluster, TopicPartition) {
    let cluster = cluster().await;
    let at = at(cluster.topic("t", 1).await, 0);
    let writer = Writer::start(
        &cluster.node,
        WriterSettings {
            linger: Duration::from_millis(30),
            ..quick()
        },
    );
    for batches in segments {
        let batches = batches.iter().map(|batch| (at, batch.clone())).collect();
        for result in crate::testing::send(&cluster.node, &writer, batches).await {
            base(result);
        }
    }
    (cluster, at)
}

fn headers(bytes: Bytes) -> Vec<BatchHeader> {
    split_batches(bytes)
        .map(|batch| *batch.expect("checksums hold").header())
        .collect()
}

fn bases(fetched: &FetchedBatches) -> Vec<i64> {
    headers(fetched.bytes.clone())
        .iter()
        .map(|header| header.base_offset)
        .collect()
}

async fn fetch(
    cluster: &Cluster,
    at: TopicPartition,
    offset: u64,
    max_bytes: u64,
) -> FetchedBatches {
    let reader = Reader::new(&cluster.node);
    let plan = reader
        .plan(
            &cluster.node.metastore.view(),
            at,
            Offset(offset),
            max_bytes,
        )
        .expect("in range");
    reader.fetch(plan).await.expect("it can be read")
}

#[tokio::test]
async fn a_fetch_gives_stamped_batches_from_the_one_that_holds_the_offset() {
    let (one, two) = (
        [batch(1, &["a", "b", "c"]), batch(2, &["d"])],
        [batch(3, &["e", "f"])],
    );
    let (cluster, at) = filled(&[&one, &two]).await;
    for (offset, expected) in [
        (0, vec![0, 3, 4]),
        (1, vec![0, 3, 4]),
        (2, vec![0, 3, 4]),
        (3, vec![3, 4]),
        (5, vec![4]),
    ] {
        let fetched = fetch(&cluster, at, offset, 1 << 20).await;
        assert_eq!(bases(&fetched), expected, "from {offset}");
        assert_eq!(
            (fetched.next_offset, fetched.high_watermark),
            (Offset(6), Offset(6))
        );
    }
    let stamped = headers(fetch(&cluster, at, 0, 1 << 20).await.bytes);
    assert!(
        stamped
            .iter()
            .all(|header| header.partition_leader_epoch == 1)
    );
}

#[tokio::test]
async fn at_the_high_watermark_there_is_nothing_and_beyond_it_is_out_of_range() {
    let (cluster, at) = filled(&[&[batch(1, &["a"])]]).await;
    let reader = Reader::new(&cluster.node);
    let view = cluster.node.metastore.view();
    let plan = reader
        .plan(&view, at, Offset(1), 100)
        .expect("an ordinary long poll");
    assert!(plan.is_empty());
    let fetched = reader.fetch(plan).await.expect("nothing to read");
    assert_eq!((fetched.bytes.len(), fetched.next_offset), (0, Offset(1)));
    let beyond = reader.plan(&view, at, Offset(2), 100).map(|_| ());
    assert!(matches!(beyond, Err(ReadError::OutOfRange { .. })));
    let elsewhere = reader
        .plan(&view, crate::testing::at(at.topic, 9), Offset(0), 100)
        .map(|_| ());
    assert!(matches!(elsewhere, Err(ReadError::NoSuchPartition { .. })));
}

#[tokio::test]
async fn whole_batches_up_to_the_limit_but_at_least_one() {
    let large = "x".repeat(1000);
    let batches: Vec<_> = (0..3).map(|i| batch(i, &[&large])).collect();
    let size = batches[0].bytes().len() as u64;
    let (cluster, at) = filled(&[&batches, &batches, &batches]).await;
    for (limit, expected) in [
        (0, vec![0]),
        (1, vec![0]),
        (size, vec![0]),
        (2 * size - 1, vec![0]),
        (2 * size, vec![0, 1]),
        (4 * size, vec![0, 1, 2, 3]),
        (7 * size + 5, (0..7).collect()),
        (100 * size, (0..9).collect()),
    ] {
        assert_eq!(
            bases(&fetch(&cluster, at, 0, limit).await),
            expected,
            "{limit} bytes"
        );
    }
    assert_eq!(bases(&fetch(&cluster, at, 4, size).await), [4]);
}

#[tokio::test]
async fn reading_step_by_step_gives_everything_once() {
    let segments: Vec<Vec<ValidBatch>> = (0..6)
        .map(|s| (0..7).map(|b| batch(s, &vec!["v"; 1 + b % 3])).collect())
        .collect();
    let segments: Vec<&[ValidBatch]> = segments.iter().map(Vec::as_slice).collect();
    let (cluster, at) = filled(&segments).await;
    let reader = Reader::new(&cluster.node);
    let view = cluster.node.metastore.view();
    for limit in [1, 100, 200, 500, 100_000] {
        let mut next = Offset(0);
        while next < view.partitions[&at].high_watermark {
            let fetched = reader
                .fetch(reader.plan(&view, at, next, limit).expect("in range"))
                .await
                .expect("readable");
            let first = headers(fetched.bytes.clone())[0];
            assert_eq!(first.base_offset, next.to_wire(), "limit {limit}");
            assert!(fetched.next_offset > next);
            next = fetched.next_offset;
        }
    }
    // The same without what the first reads left in memory.
    let reader = Reader::new(&cluster.another().await);
    let plan = reader
        .plan(&view, at, Offset(5), 1 << 20)
        .expect("in range");
    assert_eq!(
        reader.fetch(plan).await.expect("readable").next_offset,
        view.partitions[&at].high_watermark
    );
}

#[tokio::test]
async fn a_plan_with_an_end_stops_there() {
    let (cluster, at) = filled(&[
        &[batch(1, &["a", "b"]), batch(1, &["c"])],
        &[batch(1, &["d"])],
    ])
    .await;
    let reader = Reader::new(&cluster.node);
    let plan = reader
        .plan_until(
            &cluster.node.metastore.view(),
            at,
            Offset(0),
            Offset(2),
            1 << 20,
        )
        .expect("in range");
    assert_eq!(bases(&reader.fetch(plan).await.expect("readable")), [0]);
}

#[tokio::test]
async fn records_have_their_offsets_and_their_commit() {
    let (cluster, at) = filled(&[&[batch(10, &["a", "b", "c"])], &[batch(20, &["d", "e"])]]).await;
    let view = cluster.node.metastore.view();
    let range = OffsetRange::new(Offset(1), Offset(4));
    let read = Reader::new(&cluster.node)
        .read_range(&view, at, range, 1 << 20)
        .await
        .expect("readable");
    assert_eq!(read.next_offset, Offset(4));
    let commits: Vec<_> = view.partitions[&at]
        .extents
        .values()
        .map(|extent| extent.lsn())
        .collect();
    let records: Vec<_> = read
        .records(range, &Limits::default())
        .map(|item| match item {
            RecordItem::Record(record) => (
                record.offset.0,
                record.timestamp.0,
                record.value.expect("a value"),
                record.lsn,
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    let value = Bytes::from_static;
    assert_eq!(
        records,
        [
            (1, 11, value(b"b"), commits[0]),
            (2, 12, value(b"c"), commits[0]),
            (3, 20, value(b"d"), commits[1])
        ]
    );
}

#[tokio::test]
async fn a_batch_that_cannot_be_opened_is_counted_and_wedges_nobody() {
    let compressed = build(1, &["a", "b", "c"], None, Compression::Lz4);
    let mut broken = compressed.bytes().to_vec();
    let last = broken.len() - 1;
    broken[62..last].fill(0xff);
    let crc = crc_fast::crc32_iscsi(&broken[21..]);
    broken[17..21].copy_from_slice(&crc.to_be_bytes());
    let broken = ValidBatch::from_stored(Bytes::from(broken)).expect("its checksum holds");
    let (cluster, at) = filled(&[&[batch(1, &["x"]), broken, batch(1, &["y"])]]).await;
    let range = OffsetRange::new(Offset(0), Offset(5));
    let view = cluster.node.metastore.view();
    let read = Reader::new(&cluster.node)
        .read_range(&view, at, range, 1 << 20)
        .await
        .expect("readable");
    let seen: Vec<String> = read
        .records(OffsetRange::new(Offset(0), Offset(5)), &Limits::default())
        .map(|item| match item {
            RecordItem::Record(record) => record.offset.to_string(),
            RecordItem::Undecodable(gap) => gap.offsets.to_string(),
        })
        .collect();
    assert_eq!(seen, ["0", "[1, 4)", "4"]);
}

#[tokio::test]
async fn what_was_damaged_is_an_error() {
    let (cluster, at) = filled(&[&[batch(1, &["a"])]]).await;
    let view = cluster.node.metastore.view();
    let segment = *view.segments.keys().next().expect("one segment");
    let path = paths::segment(segment);
    let mut object = cluster
        .node
        .store
        .get(&path)
        .await
        .expect("it is there")
        .to_vec();
    let other = cluster.another().await;
    // The length of the batch: eight bytes of magic, eight of base offset.
    object[18] ^= 1;
    cluster
        .node
        .store
        .put(&path, Bytes::from(object.clone()))
        .await
        .expect("memory takes it");
    let reader = Reader::new(&other);
    let plan = || {
        reader
            .plan(&view, at, Offset(0), 1 << 20)
            .expect("in range")
    };
    assert!(matches!(
        reader.fetch(plan()).await,
        Err(ReadError::Corrupt { .. })
    ));
    // A record.
    object[18] ^= 1;
    object[8 + 62] ^= 1;
    cluster
        .node
        .store
        .put(&path, Bytes::from(object))
        .await
        .expect("memory takes it");
    other.cache.forget(&path);
    let range = OffsetRange::new(Offset(0), Offset(1));
    assert!(matches!(
        reader.read_range(&view, at, range, 1 << 20).await,
        Err(ReadError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_segment_that_is_gone_is_looked_for_once_more() {
    let (cluster, at) = filled(&[&[batch(1, &["a"])]]).await;
    let view = cluster.node.metastore.view();
    let path = paths::segment(*view.segments.keys().next().expect("one segment"));
    let other = cluster.another().await;
    cluster
        .node
        .store
        .delete(&path)
        .await
        .expect("memory deletes it");
    let reader = Reader::new(&other);
    let plan = reader
        .plan(&view, at, Offset(0), 1 << 20)
        .expect("in range");
    assert!(matches!(
        reader.fetch(plan).await,
        Err(ReadError::Gone { .. })
    ));
    assert_eq!(reader.metrics.replans.get(), 1);
}

#[tokio::test]
async fn offsets_are_found_by_timestamp() {
    let one = [batch(100, &["a", "b", "c"]), batch(50, &["d"])];
    let two = [
        build(200, &["e", "f"], None, Compression::Lz4),
        batch(150, &["g"]),
    ];
    let (cluster, at) = filled(&[&one, &two]).await;
    let reader = Reader::new(&cluster.node);
    let view = cluster.node.metastore.view();
    for (timestamp, expected) in [
        (0, Some((0, 100))),
        (100, Some((0, 100))),
        (101, Some((1, 101))),
        (102, Some((2, 102))),
        (103, Some((4, 200))),
        (201, Some((5, 201))),
        (202, None),
    ] {
        let found = reader
            .offset_for_timestamp(&view, at, Timestamp(timestamp))
            .await
            .expect("readable");
        assert_eq!(
            found.map(|found| (found.offset.0, found.timestamp.0)),
            expected,
            "from {timestamp}"
        );
    }
    let largest = reader
        .offset_of_max_timestamp(&view, at)
        .await
        .expect("readable")
        .expect("there is one");
    assert_eq!(
        (largest.offset, largest.timestamp),
        (Offset(5), Timestamp(201))
    );
}

#[tokio::test]
async fn a_batch_too_large_to_be_searched_counts_from_its_first_record() {
    let large = "x".repeat(17 << 20);
    let bomb = build(200, &["a", &large, &large], None, Compression::Lz4);
    let (cluster, at) = filled(&[&[batch(100, &["a"]), bomb]]).await;
    let found = Reader::new(&cluster.node)
        .offset_for_timestamp(&cluster.node.metastore.view(), at, Timestamp(201))
        .await
        .expect("readable")
        .expect("there is one");
    assert_eq!(
        (found.offset, found.timestamp),
        (Offset(1), Timestamp(202)),
        "the batch's own word"
    );
}

#[tokio::test]
async fn an_empty_partition_has_no_timestamps() {
    let cluster = cluster().await;
    let at = at(cluster.topic("t", 1).await, 0);
    let reader = Reader::new(&cluster.node);
    let view = cluster.node.metastore.view();
    assert_eq!(
        reader
            .offset_for_timestamp(&view, at, Timestamp(0))
            .await
            .expect("readable"),
        None
    );
    assert_eq!(
        reader
            .offset_of_max_timestamp(&view, at)
            .await
            .expect("readable"),
        None
    );
    let writer = Writer::start(&cluster.node, quick());
    // The first of equal ones.
    for _ in 0..2 {
        base(append(&cluster.node, &writer, at, batch(7, &["a"])).await);
    }
    let view = cluster.node.metastore.view();
    let largest = reader
        .offset_of_max_timestamp(&view, at)
        .await
        .expect("readable")
        .expect("there is one");
    assert_eq!(largest.offset, Offset(0));
}

#[test]
fn more_readers_than_hints_do_not_make_everybody_begin_anew() {
    let hints = Hints::default();
    let segment = SegmentId::new(tarn_model::ClusterTime(1), 1);
    let at = TopicPartition::new(
        tarn_model::TopicId::from_u128(1),
        tarn_model::PartitionId(0),
    );
    for offset in 0..=HINTS_MAX as u64 {
        hints.put(segment, at, Offset(offset), offset);
    }
    for offset in [0, HINTS_MAX as u64 - 1, HINTS_MAX as u64] {
        assert_eq!(hints.get(segment, at, Offset(offset)), Some(offset));
    }
}

#[tokio::test]
async fn a_small_extent_keeps_no_chunk_in_memory() {
    let (cluster, at) = filled(&[&[batch(1, &["a"])]]).await;
    let reader = Reader::new(&cluster.node);
    let view = cluster.node.metastore.view();
    let plan = reader
        .plan(&view, at, Offset(0), 1 << 20)
        .expect("in range");
    let extent = plan.extents.first().expect("it holds the batch");
    let wanted = read::Wanted {
        offsets: plan.offsets(),
        max_bytes: 1 << 20,
        at_least_one: true,
    };
    let batches = reader.read_extent(at, extent, wanted).await;
    for batch in batches.expect("it can be read") {
        assert!(batch.bytes.is_unique(), "it is a slice of what is cached");
    }
}
