//! Questions to a real node in memory: records in, answers out.

mod cold;
mod errors;
mod greedy;
mod harness;
mod hostile;
mod hot;
mod names;
mod parameters;
mod postgres;
mod system;
mod typed;
mod undecodable;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::temporal_conversions::timestamp_ms_to_datetime;
use expect_test::expect;
use harness::{CLICKS, Fixture, numbered};

use crate::{QueryError, SqlSession};

const ALL: &str = "SELECT _topic_partition, _offset, json(_value) AS value, _timestamp, _key, _headers, _schema_id \
                   FROM events.clicks ORDER BY _topic_partition, _offset";

#[tokio::test]
async fn hot_cold_and_mixed_give_the_same_answer() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.counts("clicks").await,
        (0, 0, 0),
        "nothing was produced yet"
    );
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.produce(CLICKS, 1, &numbered("b", 2)).await;
    let hot = fixture.ask(ALL).await;
    expect![[r#"
        +------------------+---------+----------+----------------------+--------+----------+------------+
        | _topic_partition | _offset | value    | _timestamp           | _key   | _headers | _schema_id |
        +------------------+---------+----------+----------------------+--------+----------+------------+
        | 0                | 0       | a-000000 | 2100-01-01T00:00:00Z | 6b6579 | []       |            |
        | 0                | 1       | a-000001 | 2100-01-01T00:00:00Z | 6b6579 | []       |            |
        | 0                | 2       | a-000002 | 2100-01-01T00:00:00Z | 6b6579 | []       |            |
        | 1                | 0       | b-000000 | 2100-01-01T00:00:00Z | 6b6579 | []       |            |
        | 1                | 1       | b-000001 | 2100-01-01T00:00:00Z | 6b6579 | []       |            |
        +------------------+---------+----------+----------------------+--------+----------+------------+"#]]
    .assert_eq(&hot);
    assert_eq!(fixture.counts("clicks").await, (5, 5, 0));

    let origin = "SELECT _event_time, _lsn, _committed FROM events.clicks ORDER BY _topic_partition, _offset";
    let hot_origin = fixture.ask(origin).await;
    let visible = "SELECT count(DISTINCT _lsn) AS entries, min(_lsn) > (1 << 44) AS packed, \
                   count(*) FILTER (WHERE _event_time = _committed) AS append_timed FROM clicks";
    expect![[r#"
        +---------+--------+--------------+
        | entries | packed | append_timed |
        +---------+--------+--------------+
        | 2       | true   | 5            |
        +---------+--------+--------------+"#]]
    .assert_eq(&fixture.ask(visible).await);

    fixture.materialize(CLICKS).await;
    assert_eq!(fixture.ask(ALL).await, hot);
    assert_eq!(fixture.ask(origin).await, hot_origin);
    assert_eq!(fixture.counts("clicks").await, (5, 0, 5));

    fixture.produce(CLICKS, 0, &numbered("c", 4)).await;
    assert_eq!(fixture.counts("clicks").await, (9, 4, 5));
    let mixed = fixture.ask(ALL).await;
    fixture.materialize(CLICKS).await;
    assert_eq!(fixture.ask(ALL).await, mixed);
    fixture.node.drain().await;
}

#[tokio::test]
async fn the_cut_tells_what_was_read() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 2)).await;
    let result = fixture
        .engine
        .query("SELECT count(*) FROM clicks")
        .await
        .expect("it runs");
    let cut = result.cut().clone();
    let [table] = &cut.tables[..] else {
        panic!("{cut:?}")
    };
    assert_eq!(table.table.name, "clicks");
    let places: Vec<(u64, u64)> = table
        .partitions
        .values()
        .map(|at| (at.m.0, at.h.0))
        .collect();
    assert_eq!(places, [(3, 5), (0, 0)]);
    let none = fixture.engine.query("SELECT 1").await.expect("it runs");
    assert!(none.cut().tables.is_empty());
    assert!(none.cut().lsn >= cut.lsn);
    fixture.node.drain().await;
}

/// One writer, one materializer, one reader: whatever is committed meanwhile, a query counts each
/// row once and every row that was acknowledged before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_doubled_or_missed_while_the_table_moves() {
    let fixture = Fixture::new().await;
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let write = async {
        for n in 0..60 {
            fixture.produce(CLICKS, n % 2, &numbered("w", 7)).await;
            acknowledged.fetch_add(7, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let materialize = async {
        while !done.load(Ordering::SeqCst) {
            fixture.materialize(CLICKS).await;
        }
    };
    let read = async {
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let before = acknowledged.load(Ordering::SeqCst);
            let sql = "SELECT count(*), count(DISTINCT (_topic_partition, _offset)), count(DISTINCT _offset), min(_offset) FROM events.clicks";
            let row = fixture.numbers(sql).await;
            assert_eq!(row[0], row[1], "each row once");
            assert!(
                row[0] >= before && row[0] >= last,
                "{} rows after {before} were acknowledged",
                row[0]
            );
            last = row[0];
        }
    };
    tokio::join!(write, materialize, read);
    assert_eq!(fixture.numbers("SELECT count(*) FROM clicks").await, [420]);
    fixture.node.drain().await;
}

#[tokio::test]
async fn an_exact_count_reads_no_file() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    let plan = fixture
        .ask("EXPLAIN SELECT count(*) FROM events.clicks")
        .await;
    assert!(plan.contains("PlaceholderRowExec"), "{plan}");
    let plan = fixture
        .ask("EXPLAIN SELECT count(*) FROM events.clicks WHERE _offset > 1")
        .await;
    assert!(plan.contains("DataSourceExec"), "{plan}");
    fixture.node.drain().await;
}

#[tokio::test]
async fn files_that_cannot_hold_a_row_are_left_out() {
    const DAY_MS: i64 = 86_400_000;
    let fixture = Fixture::new().await;
    // Days that are near enough to the append to be believed.
    let append_ms = fixture.node.metastore.view().cluster_time.0;
    let today_ms = append_ms - append_ms.rem_euclid(DAY_MS);
    for day in [-5, -3, 0] {
        fixture
            .produce_at(CLICKS, 0, &numbered("d", 2), today_ms + day * DAY_MS)
            .await;
    }
    let middle = timestamp_ms_to_datetime(today_ms - 3 * DAY_MS)
        .expect("a time of today")
        .format("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    fixture.materialize(CLICKS).await;
    let files = async |filter: &str| {
        let plan = fixture
            .ask(&format!(
                "EXPLAIN SELECT _offset FROM clicks WHERE {filter}"
            ))
            .await;
        plan.matches(".parquet").count()
    };
    assert_eq!(files("_offset >= 0").await, 3);
    assert_eq!(files("_offset >= 4").await, 1);
    assert_eq!(files(&format!("_timestamp < '{middle}'")).await, 1);
    assert_eq!(
        files(&format!(
            "_timestamp >= '{middle}' AND _topic_partition = 0"
        ))
        .await,
        2
    );
    assert_eq!(files("_offset = 99").await, 0);
    // A cast is another comparison; it must not be used to leave anything out.
    assert_eq!(files("cast(_offset AS double) = 99.0").await, 3);
    assert_eq!(
        fixture
            .numbers(&format!(
                "SELECT count(*) FROM clicks WHERE _timestamp < '{middle}'"
            ))
            .await,
        [2]
    );
    assert_eq!(
        fixture
            .numbers("SELECT count(*) FROM clicks WHERE cast(_offset AS int) = 5")
            .await,
        [1]
    );
    assert_eq!(
        fixture
            .numbers("SELECT count(*) FROM clicks WHERE _offset IN (0, 5, 7)")
            .await,
        [2]
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn json_in_values_is_read_without_a_schema() {
    let fixture = Fixture::new().await;
    let documents = [
        r#"{"page": "/", "user": {"id": 7, "tags": ["a", "b"]}, "ms": 1.5}"#,
        r#"{"page": "/cart", "user": null}"#,
        "not json",
    ];
    fixture
        .produce(CLICKS, 0, &documents.map(str::to_owned))
        .await;
    fixture.produce_bytes(CLICKS, 0, &[vec![0xff, 0xfe]]).await;
    let sql = "SELECT _value->>'page', _value->'user', (_value->'user'->>'id')::int + 1 AS next, \
               _value->'user'->'tags'->>1 AS second, (_value->>'ms')::double AS ms, _value ? 'ms' AS timed \
               FROM clicks ORDER BY _offset";
    let hot = fixture.ask(sql).await;
    expect![[r#"
        +----------+-------------------------------+------+--------+-----+-------+
        | ?column? | ?column?                      | next | second | ms  | timed |
        +----------+-------------------------------+------+--------+-----+-------+
        | /        | {"id": 7, "tags": ["a", "b"]} | 8    | b      | 1.5 | true  |
        | /cart    | null                          |      |        |     | false |
        |          |                               |      |        |     |       |
        |          |                               |      |        |     |       |
        +----------+-------------------------------+------+--------+-----+-------+"#]]
    .assert_eq(&hot);
    fixture.materialize(CLICKS).await;
    assert_eq!(fixture.ask(sql).await, hot);
    let sql = "SELECT _value->>'page' AS page, count(*) AS n FROM clicks GROUP BY _value->>'page' ORDER BY page";
    expect![[r#"
        +-------+---+
        | page  | n |
        +-------+---+
        | /     | 1 |
        | /cart | 1 |
        |       | 2 |
        +-------+---+"#]]
    .assert_eq(&fixture.ask(sql).await);
    let sql =
        "SELECT _value::text AS text FROM clicks WHERE _offset < 3 AND _value->>'page' = '/cart'";
    expect![[r#"
        +---------------------------------+
        | text                            |
        +---------------------------------+
        | {"page": "/cart", "user": null} |
        +---------------------------------+"#]]
    .assert_eq(&fixture.ask(sql).await);
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_prepared_statement_is_executed_at_cuts_of_its_own() {
    let fixture = Fixture::new().await;
    let sql = "SELECT _topic_partition, _offset FROM clicks";
    let prepared = fixture.engine.prepare(sql).await.expect("it may run");
    let session = SqlSession::default();
    for produced in [0, 3, 6] {
        let result = fixture
            .engine
            .execute(&prepared, Vec::new(), &session)
            .await;
        let batches = result.expect("it runs").collect().await;
        let batches = batches.expect("it ends");
        let rows = batches.iter().map(RecordBatch::num_rows);
        assert_eq!(rows.sum::<usize>(), produced);
        fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    }
    // What is there is looked up when it is executed, what is no SQL is said before.
    let error = fixture.engine.prepare("SELEC 1").await;
    assert_eq!(error.expect_err("no SQL").label(), "syntax");
    let nothing = fixture.engine.prepare("SELECT 1 FROM nothing").await;
    let nothing = nothing.expect("it may run");
    let error = fixture.engine.execute(&nothing, Vec::new(), &session).await;
    assert_eq!(error.expect_err("no table").label(), "no-such-table");
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_query_is_cancelled_from_elsewhere() {
    let fixture = Fixture::new().await;
    let endless =
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let mut result = fixture.engine.query(endless).await.expect("it begins");
    result.canceller().cancel();
    let next = tokio::time::timeout(Duration::from_secs(60), result.next()).await;
    let ended = next.expect("it ends").expect("it has no rows");
    assert_eq!(ended, Err(QueryError::Cancelled));
    fixture.node.drain().await;
}
