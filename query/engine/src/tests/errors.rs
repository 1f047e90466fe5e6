//! What is wrong with a query is said by its kind, and where.

use std::time::Duration;

use expect_test::expect;
use tarn_model::ByteSize;

use super::harness::{CLICKS, Fixture, numbered};
use crate::EngineSettings;

#[tokio::test]
async fn wrong_sql_is_told_from_a_table_that_is_not_there() {
    let fixture = Fixture::new().await;
    let mut said = String::new();
    for sql in [
        "SELEC 1",
        "SELECT (1\nFROM clicks",
        "SELECT * FROM nothing",
        "SELECT * FROM nowhere.clicks",
        "SELECT * FROM system.nothing",
        "SELECT * FROM elsewhere.events.clicks",
        "WITH a AS (SELECT 1) SELECT * FROM a, b",
        "SELECT nothing FROM clicks",
        "SELECT\n  c.nothing FROM clicks c",
        "SELECT nothing(1)",
        "SELECT 1 / 0",
        "SELECT 'a'::int",
        "SELECT _offset + true FROM clicks",
        "SELECT 1 FROM clicks WHERE 'maybe'",
        "SELECT 1 FROM clicks WHERE _offset",
        "SELECT 1 FROM clicks WHERE _event_time AND true",
        "SELECT 1 FROM clicks WHERE true OR _value",
        "SELECT 1 FROM clicks WHERE NOT _offset",
        "SELECT count(*) FROM clicks HAVING count(*)",
        "SELECT count(*) FILTER (WHERE _offset) FROM clicks",
        "SELECT count(*) FILTER (WHERE _key) OVER () FROM clicks",
        "SELECT 1 FROM clicks a JOIN clicks b ON a._offset",
        "SELECT CASE WHEN 1 THEN 1 END",
        "SELECT overlay('abc' placing 'x' from 0)",
        "SELECT 'abc'::varchar(0)",
        "INSERT INTO clicks SELECT * FROM clicks",
        "CREATE VIEW v AS SELECT 1",
        "SELECT * INTO v FROM clicks",
        "SELECT * FROM 'file:///etc/passwd'",
        "SELECT 1; DROP TABLE clicks",
    ] {
        let error = fixture.fail(sql).await;
        let position = error
            .position()
            .map(|position| format!(" {}:{}", position.line, position.column));
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        said += &format!(
            "{sql:?}\n    {}{}: {first}\n",
            error.label(),
            position.unwrap_or_default()
        );
    }
    expect![[r#"
        "SELEC 1"
            syntax 1:1: Expected: an SQL statement, found: SELEC
        "SELECT (1\nFROM clicks"
            syntax 2:1: Expected: ), found: FROM
        "SELECT * FROM nothing"
            no-such-table: there is no table events.nothing
        "SELECT * FROM nowhere.clicks"
            no-such-table: there is no table nowhere.clicks
        "SELECT * FROM system.nothing"
            no-such-table: there is no table system.nothing
        "SELECT * FROM elsewhere.events.clicks"
            no-such-table: there is no table elsewhere.events.clicks
        "WITH a AS (SELECT 1) SELECT * FROM a, b"
            no-such-table: there is no table events.b
        "SELECT nothing FROM clicks"
            invalid 1:8: No field named nothing. Valid fields are clicks._topic_partition, clicks._offset, clicks._timestamp, clicks._key, clicks._headers, clicks._schema_id, clicks._event_time, clicks._lsn, clicks._committed, clicks._value.
        "SELECT\n  c.nothing FROM clicks c"
            invalid 2:3: No field named c.nothing. Valid fields are c._topic_partition, c._offset, c._timestamp, c._key, c._headers, c._schema_id, c._event_time, c._lsn, c._committed, c._value.
        "SELECT nothing(1)"
            invalid 1:8: Invalid function 'nothing'.
        "SELECT 1 / 0"
            invalid: Divide by zero error
        "SELECT 'a'::int"
            invalid: invalid input syntax for type integer: "a"
        "SELECT _offset + true FROM clicks"
            invalid 1:8: Cannot coerce arithmetic expression Int64 + Boolean to valid types
        "SELECT 1 FROM clicks WHERE 'maybe'"
            invalid: invalid input syntax for type boolean: "maybe"
        "SELECT 1 FROM clicks WHERE _offset"
            invalid: a condition must be of type boolean, not of type bigint
        "SELECT 1 FROM clicks WHERE _event_time AND true"
            invalid: a condition must be of type boolean, not of type timestamptz
        "SELECT 1 FROM clicks WHERE true OR _value"
            invalid: a condition must be of type boolean, not of type binary
        "SELECT 1 FROM clicks WHERE NOT _offset"
            invalid: a condition must be of type boolean, not of type bigint
        "SELECT count(*) FROM clicks HAVING count(*)"
            invalid: a condition must be of type boolean, not of type bigint
        "SELECT count(*) FILTER (WHERE _offset) FROM clicks"
            invalid: a condition must be of type boolean, not of type bigint
        "SELECT count(*) FILTER (WHERE _key) OVER () FROM clicks"
            invalid: a condition must be of type boolean, not of type binary
        "SELECT 1 FROM clicks a JOIN clicks b ON a._offset"
            invalid: a condition must be of type boolean, not of type bigint
        "SELECT CASE WHEN 1 THEN 1 END"
            invalid: a condition must be of type boolean, not of type bigint
        "SELECT overlay('abc' placing 'x' from 0)"
            invalid: overlay() begins at a character, and the first one is 1
        "SELECT 'abc'::varchar(0)"
            invalid: the length of a text's type must be at least 1
        "INSERT INTO clicks SELECT * FROM clicks"
            not-supported: INSERT is not possible: SQL reads here; SELECT, EXPLAIN, SHOW TABLES and DESCRIBE are
        "CREATE VIEW v AS SELECT 1"
            not-supported: CREATE is not possible: SQL reads here; SELECT, EXPLAIN, SHOW TABLES and DESCRIBE are
        "SELECT * INTO v FROM clicks"
            not-supported: the statement would write: SQL reads here
        "SELECT * FROM 'file:///etc/passwd'"
            no-such-table: there is no table events.file:///etc/passwd
        "SELECT 1; DROP TABLE clicks"
            not-supported: one statement at a time: the text holds several
    "#]].assert_eq(&said);
    let metrics = fixture.node.runtime.metrics().encode();
    assert!(
        metrics.contains(r#"tarn_query_failures_total{reason="no-such-table"} 6"#),
        "{metrics}"
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn an_answer_has_no_more_rows_than_the_limit() {
    let settings = EngineSettings {
        row_limit: 10,
        ..EngineSettings::default()
    };
    let fixture = Fixture::with(settings).await;
    fixture.produce(CLICKS, 0, &numbered("a", 11)).await;
    assert_eq!(
        fixture.fail("SELECT * FROM clicks").await.label(),
        "row-limit"
    );
    assert_eq!(
        fixture
            .rows("SELECT * FROM clicks LIMIT 10")
            .await
            .map(|rows| rows.len()),
        Ok(1)
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_query_ends_at_its_time_limit() {
    let settings = EngineSettings {
        time_limit: Duration::from_millis(300),
        ..EngineSettings::default()
    };
    let fixture = Fixture::with(settings).await;
    let sql = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b \
               WHERE a.value * b.value % 7 = 3";
    assert_eq!(fixture.fail(sql).await.label(), "time-limit");
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_query_gets_no_more_memory_than_there_is_and_gives_it_back() {
    let settings = EngineSettings {
        memory_limit: ByteSize::mib(2),
        ..EngineSettings::default()
    };
    let fixture = Fixture::with(settings).await;
    let sql =
        "SELECT value, count(*) FROM generate_series(1, 10000000) GROUP BY value ORDER BY value";
    assert_eq!(fixture.fail(sql).await.label(), "memory-limit");
    let sorted = "SELECT value FROM generate_series(1, 1000) ORDER BY value DESC LIMIT 1";
    for _ in 0..3 {
        assert_eq!(fixture.numbers(sorted).await, [1000]);
    }
    fixture.node.drain().await;
}
