use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::ErrorCode;
use crate::{BatchBuilder, Producer};

const RULES: ProduceRules = ProduceRules {
    batch_bytes_max: 1 << 20,
    timestamp_latest: 2_000_000_000_000,
    zstd_allowed: true,
};

fn builder(records: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    for n in 0..records {
        builder
            .push(1_700_000_000_000 + n, Some(b"key"), Some(b"value"), &[])
            .expect("a small record");
    }
    builder
}

fn batch(records: i64) -> Vec<u8> {
    builder(records)
        .build()
        .expect("a valid batch")
        .into_bytes()
        .to_vec()
}

/// Changes bytes and makes the checksum right again.
fn edited(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn produce(bytes: Vec<u8>) -> Result<ValidBatch, BatchError> {
    ValidBatch::from_produce(Bytes::from(bytes), &RULES)
}

/// One expectation: what Apache Kafka answers to this batch.
fn check_code(bytes: Vec<u8>, expected: ErrorCode) {
    let error = produce(bytes).expect_err("the batch is wrong");
    assert_eq!(error.error_code(), expected, "{error}");
}

#[test]
fn a_good_batch_passes_with_its_fields() {
    let mut with_producer = builder(3);
    with_producer.set_producer(Producer {
        id: 9,
        epoch: 2,
        base_sequence: i32::MAX,
    });
    let built = with_producer.build().expect("a valid batch");
    let batch = produce(built.bytes().to_vec()).expect("a good batch");
    let header = batch.header();
    assert_eq!(header.record_count, 3);
    assert_eq!(header.last_offset_delta, 2);
    assert_eq!(header.offset_count(), 3);
    assert_eq!((header.producer_id, header.producer_epoch), (9, 2));
    assert_eq!(header.base_timestamp, 1_700_000_000_000);
    assert_eq!(header.max_timestamp, 1_700_000_000_002);
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert!(header.has_producer() && !header.is_transactional() && !header.is_control());
    // Sequences wrap to 0 after i32::MAX.
    assert_eq!(header.last_sequence(), 1);
    assert_eq!(header.size_bytes(), batch.bytes().len());
}

#[test]
fn wrong_batches_get_apache_kafkas_codes() {
    use ErrorCode::{
        CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge,
        UnsupportedCompressionType,
    };

    check_code(Vec::new(), InvalidRecord);
    check_code([batch(1), batch(1)].concat(), InvalidRecord);
    check_code(
        edited(batch(3), 8, &[0, 0, 0, 49])[..61].to_vec(),
        CorruptMessage,
    );
    check_code(edited(batch(3), 57, &[0; 4]), InvalidRecord);
    check_code(edited(batch(3), 57, &[0, 0, 0, 2]), InvalidRecord);
    check_code(edited(batch(3), 57, &[0, 0, 0, 4]), InvalidRecord);
    check_code(edited(batch(3), 23, &[0xff; 4]), InvalidRecord);
    // Far more records than bytes, in both fields alike.
    let many = edited(batch(3), 23, &999_999i32.to_be_bytes());
    check_code(edited(many, 57, &1_000_000i32.to_be_bytes()), InvalidRecord);
    check_code(edited(batch(1), 0, &5i64.to_be_bytes()), InvalidRecord);
    check_code(edited(batch(1), 16, &[1]), InvalidRecord);
    check_code(edited(batch(1), 16, &[0]), InvalidRecord);
    check_code(edited(batch(1), 16, &[3]), CorruptMessage);
    check_code(edited(batch(1), 43, &7i64.to_be_bytes()), InvalidRecord);
    check_code(
        edited(edited(batch(1), 43, &7i64.to_be_bytes()), 53, &[0; 4]),
        InvalidRecord,
    );
    check_code(edited(batch(1), 21, &CONTROL.to_be_bytes()), InvalidRecord);
    check_code(
        edited(batch(1), 21, &TRANSACTIONAL.to_be_bytes()),
        InvalidRecord,
    );
    check_code(
        edited(batch(1), 21, &LOG_APPEND_TIME.to_be_bytes()),
        InvalidTimestamp,
    );
    check_code(edited(batch(1), 21, &[0, 6]), UnsupportedCompressionType);
    check_code(
        edited(batch(1), 35, &4_102_444_800_000i64.to_be_bytes()),
        InvalidTimestamp,
    );
    check_code(edited(batch(1), 8, &[0, 0, 0, 13]), CorruptMessage);
    check_code(edited(batch(1), 8, &[0xff; 4]), CorruptMessage);
    let mut wrong_crc = batch(1);
    wrong_crc[64] ^= 1;
    check_code(wrong_crc, CorruptMessage);
    let small = ProduceRules {
        batch_bytes_max: 60,
        ..RULES
    };
    let error = ValidBatch::from_produce(Bytes::from(batch(1)), &small).expect_err("too large");
    assert_eq!(error.error_code(), MessageTooLarge);
    let old = ProduceRules {
        zstd_allowed: false,
        ..RULES
    };
    let mut zstd = BatchBuilder::new(Compression::Zstd);
    zstd.push(0, None, Some(b"v"), &[]).expect("a small record");
    let zstd = zstd.build().expect("a valid batch").into_bytes();
    let error = ValidBatch::from_produce(zstd.clone(), &old).expect_err("too early");
    assert_eq!(error.error_code(), UnsupportedCompressionType);
    assert!(ValidBatch::from_produce(zstd, &RULES).is_ok());
}

#[test]
fn every_cut_is_an_invalid_record() {
    let whole = batch(2);
    for cut in 0..whole.len() {
        check_code(whole[..cut].to_vec(), ErrorCode::InvalidRecord);
    }
}

#[test]
fn old_timestamps_and_a_cut_second_batch_are_accepted() {
    for timestamp in [-1i64, 0, -4_000_000] {
        let bytes = edited(batch(1), 27, &timestamp.to_be_bytes());
        let bytes = edited(bytes, 35, &timestamp.to_be_bytes());
        assert!(produce(bytes).is_ok());
    }
    let first = batch(1);
    let second = batch(2);
    for cut in 1..second.len() {
        let taken = produce([&first[..], &second[..cut]].concat()).expect("the rest is dropped");
        assert_eq!(taken.bytes(), &Bytes::from(first.clone()));
    }
}

#[test]
fn stamping_changes_the_place_and_nothing_else() {
    let mut bytes = batch(3);
    let before = ValidBatch::from_stored(Bytes::from(bytes.clone())).expect("valid");
    stamp(&mut bytes, 1_234_567_890_123, 42).expect("long enough");
    let after = ValidBatch::from_stored(Bytes::from(bytes)).expect("the checksum still fits");
    assert_eq!(after.header().base_offset, 1_234_567_890_123);
    assert_eq!(after.header().last_offset(), 1_234_567_890_125);
    assert_eq!(after.header().partition_leader_epoch, 42);
    assert_eq!(after.records(), before.records());
    assert_eq!(after.header().crc, before.header().crc);
    assert!(stamp(&mut [0; 60], 0, 0).is_err());
}

#[test]
fn concatenated_batches_come_apart() {
    let mut all = Vec::new();
    for records in 1..5 {
        let mut bytes = batch(records);
        stamp(&mut bytes, records * 10, 0).expect("long enough");
        all.extend_from_slice(&bytes);
    }
    let split: Vec<ValidBatch> = split_batches(Bytes::from(all.clone()))
        .collect::<Result<_, _>>()
        .expect("all valid");
    assert_eq!(
        split
            .iter()
            .map(|batch| batch.header().base_offset)
            .collect::<Vec<_>>(),
        [10, 20, 30, 40]
    );
    let stored: Vec<_> = split_stored(Bytes::from(all.clone()))
        .collect::<Result<_, _>>()
        .expect("all valid");
    assert_eq!(stored.len(), 4);
    assert!(
        stored
            .iter()
            .zip(&split)
            .all(|((header, bytes), batch)| { header == batch.header() && bytes == batch.bytes() })
    );

    all.truncate(all.len() - 1);
    let split: Vec<_> = split_batches(Bytes::from(all)).collect();
    assert_eq!(split.len(), 4);
    assert!(matches!(split[3], Err(BatchError::Truncated { .. })));
}

#[test]
fn splitting_ends_after_an_error() {
    let mut all = [batch(1), batch(1)].concat();
    all[64] ^= 1;
    let split: Vec<_> = split_batches(Bytes::from(all)).collect();
    assert!(matches!(split[..], [Err(BatchError::WrongCrc { .. })]));
}

#[test]
fn an_emptied_batch_is_stored_but_not_produced() {
    let mut bytes = batch(3);
    bytes.truncate(61);
    let bytes = edited(edited(bytes, 8, &49i32.to_be_bytes()), 57, &[0; 4]);
    let stored =
        ValidBatch::from_stored(Bytes::from(bytes.clone())).expect("key compaction leaves these");
    assert_eq!(
        (stored.header().record_count, stored.header().offset_count()),
        (0, 3)
    );
    check_code(bytes, ErrorCode::InvalidRecord);
}

#[test]
fn sequences_wrap_as_in_kafka() {
    assert_eq!(add_to_sequence(0, 5), 5);
    assert_eq!(add_to_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(add_to_sequence(i32::MAX, 1), 0);
    assert_eq!(add_to_sequence(i32::MAX, i32::MAX), i32::MAX - 1);
    assert_eq!(add_to_sequence(3, -4), i32::MAX);
}

#[test]
fn batches_read_like_the_reference_implementations() {
    use kafka_protocol::records::RecordBatchDecoder;
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new(codec);
        for n in 0..50i64 {
            builder
                .push(1_000 + n, None, Some(format!("value {n}").as_bytes()), &[])
                .expect("a small record");
        }
        builder.set_producer(Producer {
            id: 5,
            epoch: 1,
            base_sequence: 100,
        });
        let bytes = builder.build().expect("a valid batch").into_bytes();
        let set = RecordBatchDecoder::decode(&mut bytes.clone()).expect("the reference reads it");
        assert_eq!(set.records.len(), 50, "{codec}");
        assert_eq!(set.records[49].timestamp, 1_049);
        assert_eq!(set.records[49].value.as_deref(), Some(&b"value 49"[..]));
        assert_eq!(set.records[49].sequence, 149);
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_behind_the_place_is_noticed(bit in 0usize..8, at in 16usize..200) {
        let mut bytes = batch(8);
        let at = 16 + at % (bytes.len() - 16);
        bytes[at] ^= 1 << bit;
        prop_assert!(ValidBatch::from_stored(Bytes::from(bytes)).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
        let mut all = BytesMut::new();
        if header {
            // Plausible up to the magic.
            all.put_i64(0);
            all.put_i32(i32::try_from(bytes.len()).expect("small") + 5);
            all.put_i32(0);
            all.put_i8(2);
        }
        all.put_slice(&bytes);
        let all = all.freeze();
        let _ = ValidBatch::from_produce(all.clone(), &RULES);
        let _ = ValidBatch::from_stored(all.clone());
        let _ = split_batches(all.clone()).count();
        let _ = split_stored(all).count();
    }
}

#[test]
fn log_append_time_is_every_records_time() {
    let created = produce(batch(3)).expect("a good batch");
    let records = created.records();
    let appended = created.with_append_time(1_800_000_000_000);
    assert_eq!(
        appended.header().timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(appended.records(), records);
    let stored = ValidBatch::from_stored(appended.bytes().clone()).expect("its checksum is right");
    assert_eq!(stored.header(), appended.header());
    let opened =
        crate::Records::open(&stored, &crate::records::Limits::default()).expect("readable");
    let timestamps: Vec<i64> = opened
        .map(|record| record.expect("readable").timestamp)
        .collect();
    assert_eq!(timestamps, [1_800_000_000_000; 3]);
}
