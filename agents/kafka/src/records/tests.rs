use proptest::prelude::*;

use super::*;
use crate::{BatchBuilder, stamp};

type Row = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn header((name, value): &(Vec<u8>, Option<Vec<u8>>)) -> RecordHeader {
    RecordHeader::new(name.clone(), value.clone().map(Bytes::from))
}

fn build(codec: Compression, rows: &[Row]) -> ValidBatch {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp, key, value, headers) in rows {
        let headers: Vec<RecordHeader> = headers.iter().map(header).collect();
        builder
            .push(*timestamp, key.as_deref(), value.as_deref(), &headers)
            .expect("small");
    }
    builder.build().expect("a valid batch")
}

/// Puts other record bytes behind a batch's header and makes length and checksum right again.
fn with_records(batch: &ValidBatch, records: &[u8]) -> ValidBatch {
    let mut bytes = batch.bytes()[..61].to_vec();
    bytes.extend_from_slice(records);
    let length = i32::try_from(bytes.len() - 12).expect("small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    ValidBatch::from_stored(Bytes::from(bytes)).expect("the header is right")
}

fn rows(count: i64) -> Vec<Row> {
    (0..count)
        .map(|n| {
            (
                n,
                Some(b"k".to_vec()),
                Some(vec![b'v'; 10]),
                vec![(b"h".to_vec(), None)],
            )
        })
        .collect()
}

fn read(batch: &ValidBatch, limits: &Limits) -> Result<Vec<Record>, RecordsError> {
    Records::open(batch, limits)?.collect()
}

fn any_row() -> impl Strategy<Value = Row> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..30);
    let headers = proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..4);
    (
        any::<i64>(),
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        headers,
    )
}

proptest! {
    #[test]
    fn records_read_back_as_they_were_written(
        codec in 0usize..5,
        rows in proptest::collection::vec(any_row(), 1..20),
        base_offset in 0i64..1 << 60,
    ) {
        let batch = build(Compression::ALL[codec], &rows);
        let mut bytes = batch.into_bytes().to_vec();
        stamp(&mut bytes, base_offset, 0).expect("long enough");
        let batch = ValidBatch::from_stored(Bytes::from(bytes)).expect("valid");
        let records = read(&batch, &Limits::default()).expect("well formed");
        prop_assert_eq!(records.len(), rows.len());
        for (at, (record, (timestamp, key, value, headers))) in records.iter().zip(&rows).enumerate() {
            prop_assert_eq!(record.offset, base_offset + at as i64);
            prop_assert_eq!(record.offset_delta, at as i32);
            prop_assert_eq!(record.timestamp, *timestamp);
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
            let expected: Vec<RecordHeader> = headers.iter().map(header).collect();
            prop_assert_eq!(&record.headers, &expected);
        }
    }

    #[test]
    fn damaged_records_never_panic(
        codec in 0usize..5,
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in any::<usize>(),
    ) {
        let batch = build(Compression::ALL[codec], &rows(20));
        let mut records = batch.records().to_vec();
        for (at, value) in damage {
            let at = at % records.len();
            records[at] = value;
        }
        records.truncate(records.len() - cut % 3);
        let damaged = with_records(&batch, &records);
        if let Ok(read) = read(&damaged, &Limits::default()) {
            prop_assert_eq!(read.len(), 20);
        }
    }
}

#[test]
fn every_cut_of_the_records_is_an_error() {
    let batch = build(Compression::None, &rows(3));
    let records = batch.records();
    for cut in 0..records.len() {
        let cut_batch = with_records(&batch, &records[..cut]);
        assert!(
            read(&cut_batch, &Limits::default()).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn iteration_ends_after_an_error() {
    let batch = build(Compression::None, &rows(3));
    let mut records = batch.records().to_vec();
    // The length of the first record becomes negative.
    records[0] = 1;
    let outcomes: Vec<_> = Records::open(&with_records(&batch, &records), &Limits::default())
        .expect("opens")
        .collect();
    assert_eq!(
        outcomes,
        [Err(RecordsError::Malformed {
            index: 0,
            detail: "its length is negative"
        })]
    );
}

#[test]
fn bytes_after_the_last_record_are_an_error() {
    let batch = build(Compression::None, &rows(2));
    let mut records = batch.records().to_vec();
    records.extend_from_slice(&[1, 2, 3]);
    let error = read(&with_records(&batch, &records), &Limits::default()).expect_err("too long");
    assert_eq!(error, RecordsError::Trailing { bytes: 3 });
}

#[test]
fn offsets_must_rise_within_the_batch() {
    let batch = build(Compression::None, &rows(2));
    let records = batch.records();
    // The same record twice: the second has the first one's delta.
    let half = records.len() / 2;
    let twice = [&records[..half], &records[..half]].concat();
    let error =
        read(&with_records(&batch, &twice), &Limits::default()).expect_err("a repeated delta");
    assert_eq!(
        error,
        RecordsError::Malformed {
            index: 1,
            detail: "its offset delta does not rise"
        }
    );
}

#[test]
fn bombs_stop_at_the_limits() {
    let row: Row = (0, None, Some(vec![0; 32 << 20]), Vec::new());
    for codec in Compression::ALL {
        let batch = build(codec, std::slice::from_ref(&row));
        let tight = Limits {
            bytes_max: 1 << 20,
            ..Limits::default()
        };
        let error = read(&batch, &tight).expect_err("too large");
        assert_eq!(
            error,
            RecordsError::Decompress(DecompressError::TooLarge { limit: 1 << 20 })
        );
        assert!(
            read(
                &batch,
                &Limits {
                    ratio_free_bytes: 64 << 20,
                    ..Limits::default()
                }
            )
            .is_ok()
        );
    }
    // The ratio alone refuses what the byte limit would let pass.
    let batch = build(Compression::Zstd, std::slice::from_ref(&row));
    assert!(
        read(
            &batch,
            &Limits {
                ratio_free_bytes: 0,
                ratio_max: 100,
                ..Limits::default()
            }
        )
        .is_err()
    );
}

#[test]
fn log_append_time_is_the_batchs() {
    let batch = build(Compression::None, &rows(3));
    let mut bytes = batch.into_bytes().to_vec();
    bytes[22] |= 1 << 3;
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let batch = ValidBatch::from_stored(Bytes::from(bytes)).expect("valid");
    let records = read(&batch, &Limits::default()).expect("well formed");
    assert!(records.iter().all(|record| record.timestamp == 2));
}

#[test]
fn the_last_header_of_a_name_wins() {
    let headers = vec![
        (b"a".to_vec(), Some(b"1".to_vec())),
        (b"a".to_vec(), Some(b"2".to_vec())),
    ];
    let batch = build(Compression::None, &[(0, None, None, headers)]);
    let records = read(&batch, &Limits::default()).expect("well formed");
    assert_eq!(records[0].header(b"a"), Some(&Bytes::from_static(b"2")));
    assert_eq!(records[0].header(b"b"), None);
}
