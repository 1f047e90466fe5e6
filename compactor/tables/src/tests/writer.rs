//! Rows that come bit by bit, and files as they are full.

use super::*;

/// Rows of which each is a day later than the one before.
fn days(first: i64, count: i64) -> Vec<i64> {
    (first..first + count)
        .map(|day| EPOCH_MS + day * DAY_MS)
        .collect()
}

/// Ten thousand rows that come one by one are one batch of Parquet's writer and one row group, in the
/// order in which they came.
#[tokio::test]
async fn rows_that_come_one_by_one_are_encoded_together() {
    let fixture = Fixture::new(untyped());
    let loaded = fixture.load().await;
    let uuid = fixture.runtime.random().uuid();
    let one_by_one = |memory: u64| {
        let mut writer = FileWriter::new(&loaded, "memory://", uuid, memory).expect("a writer");
        let mut files = Vec::new();
        for n in 0..10_000 {
            let rows = fixture.rows(&loaded, &[EPOCH_MS + n], &[]);
            files.extend(writer.add(vec![rows]).expect("rows"));
        }
        files.extend(writer.finish().expect("the rest"));
        files
    };
    let files = one_by_one(64 << 20);
    let times: Vec<i64> = (0..10_000).map(|n| EPOCH_MS + n).collect();
    let rows = fixture.rows(&loaded, &times, &[]);
    let [file] = files.as_slice() else {
        panic!("{} files", files.len());
    };
    let whole = write(&loaded, "memory://", uuid, vec![rows]).expect("rows become a file");
    assert_eq!(file.file.record_count(), 10_000);
    // Of `_timestamp`.
    assert_eq!(
        file.file.lower_bounds()[&3],
        whole[0].file.lower_bounds()[&3]
    );
    assert_eq!(
        file.file.upper_bounds()[&3],
        whole[0].file.upper_bounds()[&3]
    );
    assert_eq!(file.file.split_offsets().map(<[i64]>::len), Some(1));
    assert!(file.bytes.len() < whole[0].bytes.len() * 11 / 10);
}

/// Rows of a thousand days, in no order, with room for a hundredth of them: nothing is lost and no more
/// is held than was allowed.
#[tokio::test]
async fn many_table_partitions_take_no_more_memory_than_one() {
    let fixture = Fixture::new(untyped());
    let loaded = fixture.load().await;
    let uuid = fixture.runtime.random().uuid();
    let memory = 1 << 20;
    let mut writer = FileWriter::new(&loaded, "memory://", uuid, memory).expect("a writer");
    let mut files = Vec::new();
    let mut held = 0;
    for n in 0..300 {
        let rows = fixture.rows(&loaded, &days(n * 37 % 1_000, 100), &[]);
        files.extend(writer.add(vec![rows]).expect("rows"));
        held = held.max(writer.held());
    }
    assert!(files.len() > 100, "{} files", files.len());
    assert!(held <= 1 << 20, "{held}");
    files.extend(writer.finish().expect("the rest"));
    let rows: u64 = files.iter().map(|file| file.file.record_count()).sum();
    assert_eq!(rows, 30_000);
    let mut paths: Vec<_> = files.iter().map(|file| file.path.to_string()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), files.len(), "each file has a name of its own");
}
