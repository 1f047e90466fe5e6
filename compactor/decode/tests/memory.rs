//! What decoding takes, measured in a process of its own: the size of the batches as they are stored
//! says nothing about it.

#![cfg(target_os = "linux")]

use bytes::{BufMut, Bytes, BytesMut};
use tarn_decode::{Decoder, TableShape, decode_batches};
use tarn_kafka::{BatchBuilder, Compression, ValidBatch};
use tarn_model::{ClusterTime, Generation, Lsn, Offset, OffsetRange, PartitionId};
use tarn_topics::StoredBatch;

const OPENED: usize = 15 << 20;
const BATCHES: u64 = 64;
const HEADER_BYTES: usize = 61;

/// A small record, and a second one of 15 MiB that is malformed: a few kilobytes once compressed.
fn bomb() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(0, None, Some(b"value"), &[]).expect("small");
    let plain = builder.build().expect("a batch").into_bytes();
    let mut records = plain[HEADER_BYTES..].to_vec();
    // The length of the second record as a zigzag varint.
    let mut length = u64::try_from(OPENED).expect("small") << 1;
    while length >= 0x80 {
        records.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    records.push(u8::try_from(length).expect("seven bits"));
    records.resize(records.len() + OPENED, 0);
    let records = Compression::Zstd.compress(&records).expect("it compresses");

    let mut bytes = BytesMut::from(&plain[..HEADER_BYTES]);
    bytes.put_slice(&records);
    let length = i32::try_from(bytes.len() - 12).expect("small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = 4;
    bytes[23..27].copy_from_slice(&1_i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&2_i32.to_be_bytes());
    let checksum = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    bytes.freeze()
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.expect("the peak").trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") << 10
}

#[test]
fn batches_of_kilobytes_that_open_to_a_gigabyte_are_not_all_open_at_once() {
    let decoder = Decoder::new(&TableShape {
        columns: Vec::new(),
        with_value: true,
        typed_since: None,
        event_times: Vec::new(),
        schemas: Vec::new(),
    });
    let bytes = bomb();
    assert!(bytes.len() < 16 << 10, "{} bytes", bytes.len());
    let batches: Vec<StoredBatch> = (0..BATCHES)
        .map(|n| StoredBatch {
            base: Offset(2 * n),
            lsn: Lsn::new(Generation::FIRST, 1),
            committed_time: ClusterTime(0),
            batch: ValidBatch::from_stored(bytes.clone()).expect("the header is right"),
        })
        .collect();
    let within = OffsetRange::new(Offset(0), Offset(2 * BATCHES));
    let before = peak();
    let chunk = decode_batches(&decoder, PartitionId(0), &batches, within, 1 << 30);
    let chunk = chunk.expect("it is decoded");
    assert_eq!((chunk.row_count, chunk.next), (BATCHES, within.end));
    assert_eq!(chunk.reasons()["unreadable_batch"], BATCHES);
    let taken = peak() - before;
    assert!(taken < 128 << 20, "{} MiB", taken >> 20);
}
