//! When events happened, and which days a commit touches.

use arrow::datatypes::TimestampMicrosecondType;
use tarn_state::commands::{AlterTopicConfigs, ConfigChange};
use tarn_tables::Loaded;

use super::*;

const DAY_MS: i64 = 86_400_000;

impl Fixture {
    fn now_ms(&self) -> i64 {
        self.node.metastore.view().cluster_time.0
    }

    /// A record for each time, in batches of a few thousand.
    async fn produce_times(&self, times: &[i64]) {
        for times in times.chunks(5_000) {
            let mut builder = BatchBuilder::new(Compression::Zstd);
            for time in times {
                builder.push(*time, None, Some(b"v"), &[]).expect("small");
            }
            self.append(0, builder.build().expect("a batch")).await;
        }
    }

    async fn loaded(&self) -> Loaded {
        let view = self.node.metastore.view();
        catalog(&self.node)
            .load(view.table(TOPIC).expect("a table"))
            .await
            .expect("it loads")
    }

    /// Rows and files of each commit.
    async fn commits(&self) -> Vec<(usize, usize)> {
        let loaded = self.loaded().await;
        let mut snapshots: Vec<_> = loaded.metadata().snapshots().cloned().collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
        let number = |snapshot: &iceberg::spec::Snapshot, key: &str| {
            let text = &snapshot.summary().additional_properties[key];
            text.parse::<usize>().expect("a number")
        };
        let snapshots = snapshots.iter();
        snapshots
            .map(|at| (number(at, "added-records"), number(at, "added-data-files")))
            .collect()
    }
}

#[tokio::test]
async fn a_commit_touches_at_most_64_days() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let today = fixture.now_ms();
    let times: Vec<i64> = (0..150 * 200).map(|n| today - n / 200 * DAY_MS).collect();
    fixture.produce_times(&times).await;
    fixture.materialize().await;
    assert_eq!(
        fixture.commits().await,
        [(12_800, 64), (12_800, 64), (4_400, 22)]
    );
    assert_eq!(fixture.materialized(0), Offset(30_000));
    assert_eq!(fixture.counters(0), (30_000, 0, 0));
    assert_eq!(fixture.all_counters(0).append_timed, 0);
    fixture.node.drain().await;
}

/// Otherwise each commit would have one row a day, for ever.
#[tokio::test]
async fn records_that_jump_from_day_to_day_are_a_few_commits_all_the_same() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let today = fixture.now_ms();
    let times: Vec<i64> = (0..20_000).map(|n| today - n * 37 % 300 * DAY_MS).collect();
    fixture.produce_times(&times).await;
    fixture.materialize().await;
    let commits = fixture.commits().await;
    assert_eq!(commits[0], (64, 64));
    assert!(commits.len() <= 4, "{commits:?}");
    assert_eq!(fixture.counters(0), (20_000, 0, 0));
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_makes_one_file_and_is_counted() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let today = fixture.now_ms();
    let past = (0..5_000).map(|n| n * DAY_MS);
    let mut times: Vec<i64> = past.collect();
    times.extend([
        -1,
        i64::MAX,
        today + 2 * DAY_MS,
        today - 401 * DAY_MS,
        today,
    ]);
    fixture.produce_times(&times).await;
    fixture.materialize().await;
    let commits = fixture.commits().await;
    assert!(matches!(commits[..], [(5_005, 1 | 2)]), "{commits:?}");
    assert_eq!(fixture.all_counters(0).append_timed, 5_004);
    let metrics = fixture.node.runtime.metrics().encode();
    let line = r#"tarn_append_timed_records_total{topic="clicks"} 5004"#;
    assert!(metrics.contains(line), "{metrics}");
    fixture.node.drain().await;
}

/// Set long after the first commit: it counts from then on, in the same table.
#[tokio::test]
async fn the_column_of_event_time_may_be_named_later() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
    let id = fixture.register(text).await;
    let appended = fixture.now_ms() * 1_000;
    let mut said = appended - 5 * DAY_MS * 1_000;
    let claim = said;
    let mut at = Vec::new();
    // Zigzag, seven bits at a time.
    said <<= 1;
    while said >= 0x80 {
        at.push(u8::try_from(said & 0x7f).expect("seven bits") | 0x80);
        said >>= 7;
    }
    at.push(u8::try_from(said).expect("the last bits"));
    let record = frame_by_id(id, &at);
    let name = async |column: Option<&str>| {
        let change = match column {
            Some(column) => ConfigChange::Set(column.to_owned()),
            None => ConfigChange::Delete,
        };
        let alter = AlterTopicConfigs {
            id: TOPIC,
            changes: [("tarn.event.time".to_owned(), change)].into(),
        };
        let proposed = fixture
            .node
            .metastore
            .propose(vec![Command::AlterTopicConfigs(alter)], soon());
        proposed.await.expect("it is taken");
    };
    fixture.produce_bytes(std::slice::from_ref(&record)).await;
    fixture.materialize().await;
    fixture.produce_bytes(std::slice::from_ref(&record)).await;
    name(Some("at")).await;
    fixture.produce_bytes(std::slice::from_ref(&record)).await;
    name(Some("later")).await;
    fixture.produce_bytes(std::slice::from_ref(&record)).await;
    name(None).await;
    fixture.produce_bytes(&[record]).await;
    let view = fixture.materialize().await;

    let table = view.table(TOPIC).expect("a table");
    let of = table.of_topic().expect("a topic's");
    let named: Vec<_> = of
        .event_times
        .iter()
        .map(|named| named.column.as_deref())
        .collect();
    assert_eq!(named, [Some("at"), Some("later"), None]);
    let loaded = fixture.loaded().await;
    let scan = loaded
        .table()
        .scan()
        .select(["_offset", "_event_time", "_committed"]);
    let stream = scan
        .build()
        .expect("a scan")
        .to_arrow()
        .await
        .expect("a stream");
    let batches: Vec<_> = stream.try_collect().await.expect("batches");
    let mut rows = Vec::new();
    for batch in &batches {
        let offsets = batch.column(0).as_primitive::<Int64Type>().values();
        let times = |column: usize| {
            batch
                .column(column)
                .as_primitive::<TimestampMicrosecondType>()
                .values()
        };
        for ((offset, time), committed) in offsets.iter().zip(times(1)).zip(times(2)) {
            rows.push((*offset, *time == claim, time == committed));
        }
    }
    rows.sort_unstable();
    let appended = |offset| (offset, false, true);
    // The records' own timestamps are of the year 2100, and so nobody's event time.
    let expected = [
        appended(0),
        appended(1),
        (2, true, false),
        appended(3),
        appended(4),
    ];
    assert_eq!(rows, expected);
    fixture.node.drain().await;
}
