use bytes::Bytes;
use expect_test::expect;
use proptest::prelude::*;
use tarn_kafka::Compression;
use tarn_model::{ClusterTime, Generation, PartitionId, SegmentId, TopicId};
use tarn_state::commands::CommitMode;

use super::*;
use crate::testing::{batch, build, idempotent};

fn cluster() -> ClusterId {
    ClusterId::from_u128(0xC1)
}

fn small() -> Finished {
    let mut builder = Builder::new(cluster(), Generation(3));
    builder.push(
        TopicId::from_u128(2),
        PartitionId(0),
        batch(1_000, &["last"]),
    );
    builder.push(
        TopicId::from_u128(1),
        PartitionId(7),
        batch(2_000, &["second", "third"]),
    );
    builder.push(
        TopicId::from_u128(1),
        PartitionId(0),
        idempotent(9, 1, 5, &["first"]),
    );
    builder.push(
        TopicId::from_u128(1),
        PartitionId(7),
        batch(3_000, &["fourth"]),
    );
    builder.finish(
        SegmentId::new(ClusterTime(1_700_000_000_000), 0xABCD << 64),
        CommitMode::Each,
    )
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| {
        line.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn its_bytes_never_change() {
    let finished = small();
    expect![[r#"
        5441524e5345473100000000000000000000003dffffffff02c3e6ad76000000
        0000000000000000000001000000000000000100000000000000090001000000
        050000000116000000010a66697273740000000000000000000000004affffff
        ff023eec48ea00000000000100000000000007d000000000000007d1ffffffff
        ffffffffffffffffffff0000000218000000010c7365636f6e64001600020201
        0a74686972640000000000000000000000003effffffff02b201d60600000000
        00000000000000000bb80000000000000bb8ffffffffffffffffffffffffffff
        0000000118000000010c666f757274680000000000000000000000003cffffff
        ff02820cb9f500000000000000000000000003e800000000000003e8ffffffff
        ffffffffffffffffffff000000011400000001086c6173740083500000000000
        00000000000000000000c1038450018bcfe56800000000000000abcd00008200
        801901e583845000000000000000000000000000000001008208184981841849
        0101830901058450000000000000000000000000000000010782185118a08283
        1856021907d183184a01190bb884500000000000000000000000000000000200
        8218f1184881831848011903e8000000948428594a04b6210701d33485544152
        4e454e4431"#]]
    .assert_eq(&hex(&finished.object));
}

#[test]
fn it_reads_back_by_topic_partition_and_arrival() {
    let finished = small();
    let reader = Reader::open(finished.object.clone(), cluster()).expect("just built");
    assert_eq!(reader.footer().commit, finished.commit);
    assert_eq!(reader.footer().generation, Generation(3));
    let read: Vec<_> = reader
        .batches()
        .collect::<Result<_, _>>()
        .expect("just built");
    let places: Vec<_> = read
        .iter()
        .map(|(at, _)| (at.topic, at.partition.0))
        .collect();
    let (one, two) = (TopicId::from_u128(1), TopicId::from_u128(2));
    assert_eq!(places, [(one, 0), (one, 7), (one, 7), (two, 0)]);
    assert_eq!(read[2].1, batch(3_000, &["fourth"]));
    assert_eq!(finished.commit.bytes, finished.object.len() as u64);
}

#[test]
fn cut_anywhere_it_is_refused() {
    let object = small().object;
    for length in 0..object.len() {
        let cut = object.slice(..length);
        assert!(
            Footer::parse(&cut).is_err(),
            "{length} of {} bytes",
            object.len()
        );
        assert!(
            Footer::parse_tail(&object[length..object.len() - 1], object.len() as u64).is_err()
        );
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    let object = small().object;
    for index in 0..object.len() {
        let mut changed = object.to_vec();
        changed[index] ^= 0x10;
        assert!(Footer::parse(&changed.into()).is_err(), "byte {index}");
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    assert!(matches!(
        Footer::parse(&Bytes::from_static(b"PAR1 and more of it PAR1")),
        Err(SegmentError::Foreign { .. })
    ));
    assert!(matches!(
        Footer::parse(&Bytes::from_static(b"TARN")),
        Err(SegmentError::Truncated { bytes: 4 })
    ));
    let other = Reader::open(small().object, ClusterId::from_u128(2));
    assert_eq!(
        other.map(|_| ()),
        Err(SegmentError::OtherCluster { found: cluster() })
    );
}

#[test]
fn the_footer_is_found_from_the_tail() {
    let finished = small();
    let object = &finished.object;
    let trailer = &object[object.len() - TRAILER_BYTES..];
    let tail = Footer::tail_bytes(trailer).expect("a whole trailer");
    let footer = Footer::parse_tail(&object[object.len() - tail..], object.len() as u64)
        .expect("a whole tail");
    assert_eq!(footer.commit, finished.commit);
}

#[test]
fn under_another_name_the_batches_stay() {
    let finished = small();
    let id = SegmentId::new(ClusterTime(1_800_000_000_000), 5);
    let renamed = rename(&finished.object, id).expect("just built");
    assert_eq!(renamed.commit.segment, id);
    assert_eq!(renamed.commit.extents, finished.commit.extents);
    let read = |object: &Bytes| -> Vec<_> {
        let reader = Reader::open(object.clone(), cluster()).expect("ours");
        reader
            .batches()
            .map(|batch| batch.expect("valid"))
            .collect()
    };
    assert_eq!(read(&renamed.object), read(&finished.object));
}

proptest! {
    #[test]
    fn whatever_is_pushed_comes_back(
        pushes in prop::collection::vec((0u128..4, 0i32..300, 1usize..40, any::<bool>()), 1..60),
    ) {
        let mut builder = Builder::new(cluster(), Generation(1));
        let mut expected = Vec::new();
        let mut bound = COMMIT_OVERHEAD_BYTES;
        let mut seen = std::collections::BTreeSet::new();
        for (i, (topic, partition, length, is_compressed)) in pushes.into_iter().enumerate() {
            let compression = if is_compressed { Compression::Lz4 } else { Compression::None };
            let batch = build(i as i64, &["x".repeat(length).as_str()], None, compression);
            let at = TopicPartition::new(TopicId::from_u128(topic), PartitionId(partition));
            bound += commit_bytes_of(seen.insert(at));
            builder.push(at.topic, at.partition, batch.clone());
            expected.push((at, batch));
        }
        expected.sort_by_key(|(at, _)| *at);
        let finished = builder.finish(SegmentId::new(ClusterTime(1), 1), CommitMode::All);
        prop_assert!(tarn_model::encode(&finished.commit).len() as u64 <= bound);
        let reader = Reader::open(finished.object, cluster()).expect("just built");
        let read: Vec<_> = reader.batches().collect::<Result<_, _>>().expect("just built");
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..400) {
        let mut object = small().object.to_vec();
        let at = at.min(object.len());
        object.splice(at..at, bytes.clone());
        let _ = Footer::parse(&object.into());
        let _ = Footer::parse_tail(&bytes, bytes.len() as u64);
        let _ = Footer::tail_bytes(&bytes);
    }
}
