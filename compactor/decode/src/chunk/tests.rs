use bytes::BytesMut;
use tarn_kafka::{BatchBuilder, Compression, ValidBatch};
use tarn_model::{ClusterTime, Generation, Lsn};

use super::*;
use crate::TableShape;

/// A table of values as they are.
fn decoder() -> Decoder {
    Decoder::new(&TableShape {
        columns: Vec::new(),
        with_value: true,
        typed_since: None,
        event_times: Vec::new(),
        schemas: Vec::new(),
    })
}

fn batch_of(base: u64, values: &[Vec<u8>]) -> StoredBatch {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for value in values {
        builder.push(0, None, Some(value), &[]).expect("small");
    }
    stored(base, builder.build().expect("a batch"))
}

fn stored(base: u64, batch: ValidBatch) -> StoredBatch {
    StoredBatch {
        base: Offset(base),
        lsn: Lsn::new(Generation::FIRST, 1),
        committed_time: ClusterTime(0),
        batch,
    }
}

/// Says gzip and is none; its checksum is right.
fn unreadable(base: u64, records: usize) -> StoredBatch {
    let batch = batch_of(base, &vec![b"x".to_vec(); records]).batch;
    let mut bytes = BytesMut::from(&batch.into_bytes()[..]);
    bytes[22] = bytes[22] & !7 | 1;
    let checksum = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    let batch = ValidBatch::from_stored(bytes.freeze()).expect("the header is right");
    stored(base, batch)
}

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(end))
}

/// Each run as its offsets and rows, then where the chunk ends and what has no row.
fn story(batches: &[StoredBatch], within: OffsetRange, bytes_max: u64) -> String {
    let chunk = decode_batches(&decoder(), PartitionId(0), batches, within, bytes_max);
    let chunk = chunk.expect("it is decoded");
    let rows: usize = chunk.runs.iter().map(|run| run.rows.num_rows()).sum();
    assert_eq!(chunk.row_count, rows as u64);
    let mut at = within.start;
    for run in &chunk.runs {
        assert_eq!(run.offsets.start, at, "runs lie side by side");
        at = run.offsets.end;
    }
    assert_eq!(at, chunk.next);
    let lost: u64 = chunk.losses.iter().map(|loss| loss.offsets.len()).sum();
    let all = chunk.next.0 - within.start.0;
    assert_eq!(lost + chunk.row_count, all, "all is accounted for");
    assert!(
        chunk.losses.is_sorted_by_key(|loss| loss.offsets.start),
        "{:?}",
        chunk.losses
    );
    let runs = chunk.runs.iter();
    let runs: Vec<String> = runs
        .map(|run| format!("{}:{}", run.offsets, run.rows.num_rows()))
        .collect();
    format!("{} to {} {:?}", runs.join(" "), chunk.next, chunk.reasons())
}

const ALL: u64 = 1 << 30;

#[test]
fn every_offset_is_a_row_or_has_a_reason() {
    let few = |count: usize| vec![b"value".to_vec(); count];
    let batches = [
        batch_of(10, &few(3)),
        unreadable(13, 2),
        batch_of(15, &few(1)),
        // Offsets 16 and 17 are in no batch.
        batch_of(18, &few(2)),
    ];
    assert_eq!(
        story(&batches, range(11, 19), ALL),
        r#"[11, 19):4 to 19 {"no_record": 2, "unreadable_batch": 2}"#
    );
    let losses = decode_batches(&decoder(), PartitionId(0), &batches, range(11, 19), ALL);
    let losses = losses.expect("it is decoded").losses;
    let told = losses.iter().map(|lost| (lost.offsets, lost.reason));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (range(13, 15), UNREADABLE_BATCH),
            (range(16, 18), NO_RECORD)
        ]
    );
    assert_eq!(
        story(&batches[1..2], range(13, 15), ALL),
        r#"[13, 15):0 to 15 {"unreadable_batch": 2}"#
    );
}

#[test]
fn runs_are_short_in_rows_and_in_bytes() {
    let rows = vec![b"v".to_vec(); 10_000];
    assert_eq!(
        story(&[batch_of(0, &rows)], range(0, 10_000), ALL),
        "[0, 8192):8192 [8192, 10000):1808 to 10000 {}"
    );
    let large = vec![vec![b'v'; 6 << 20]; 2];
    let batches: Vec<StoredBatch> = (0..3).map(|n| batch_of(2 * n, &large)).collect();
    assert_eq!(
        story(&batches, range(0, 6), ALL),
        "[0, 3):3 [3, 6):3 to 6 {}"
    );
}

#[test]
fn a_chunk_ends_when_its_rows_take_what_is_allowed() {
    let rows = vec![b"v".to_vec(); 10_000];
    assert_eq!(
        story(&[batch_of(0, &rows)], range(0, 10_000), 1),
        "[0, 8192):8192 to 8192 {}"
    );
    let large = vec![vec![b'v'; 9 << 20]];
    let batches: Vec<StoredBatch> = (0..3).map(|n| batch_of(n, &large)).collect();
    assert_eq!(
        story(&batches, range(0, 3), 1),
        "[0, 2):2 to 2 {}",
        "the second batch made the records many enough"
    );
}
