//! Functions that make much of little: each query has an answer or the limit's error, and what it took
//! is free again.

use std::time::Duration;

use tarn_model::ByteSize;

use super::harness::{CLICKS, Fixture, numbered};
use crate::{EngineSettings, QueryError};

async fn narrow() -> Fixture {
    let fixture = Fixture::with(EngineSettings {
        memory_limit: ByteSize::mib(8),
        // What several tasks need at the same time is chance.
        parallelism: 1,
        ..EngineSettings::default()
    })
    .await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture
}

/// `step` on the values of the step before, so often.
fn doubled(first: &str, step: &str, times: usize, last: &str) -> String {
    let steps: String = (1..=times)
        .map(|n| format!(", t{n} AS (SELECT {step} AS s FROM t{})", n - 1))
        .collect();
    format!("WITH t0 AS ({first}){steps} SELECT {last} FROM t{times}")
}

/// Statements that would take more than there is if nobody asked.
fn greedy() -> Vec<String> {
    let constant = [
        "repeat('x', 2000000000)",
        "repeat('x', 9223372036854775807)",
        "length(repeat('x', 100000000))",
        "repeat(repeat(repeat('x', 10000), 10000), 10000)",
        "lpad('x', 2000000000)",
        "rpad('x', 2000000000, 'ab')",
        "array_repeat(1, 1000000000)",
        "cardinality(array_repeat(array_repeat('x', 10000), 10000))",
        "list_repeat('x', 1000000000)",
        "range(0, 10000000000)",
        "range(10000000000)",
        "range(-9223372036854775808, 9223372036854775807)",
        "range(0, -10000000000, -1)",
        "generate_series(0, 10000000000)",
        "generate_series(DATE '0001-01-01', DATE '9999-12-31', INTERVAL '1 day')",
        "generate_series(DATE '2000-01-01', DATE '1000-01-01', INTERVAL '1 month -32 days')",
        "range(TIMESTAMP '2000-01-01', TIMESTAMP '2001-01-01', INTERVAL '1 second')",
        "array_resize([1], 1000000000)",
        "list_resize([1], 1000000000, 7)",
        "replace(repeat('x', 10000), '', repeat('y', 10000))",
        "replace(repeat('x', 10000), 'x', repeat('y', 10000))",
        "regexp_replace(repeat('x', 10000), '', repeat('y', 10000), 'g')",
        "regexp_replace(repeat('x', 100000), '.*', repeat('$0', 10000))",
        "regexp_match(repeat('x', 100000), repeat('(', 100) || '.*' || repeat(')', 100))",
        "array_to_string(range(0, 20000), repeat('y', 10000))",
        "concat_ws(repeat('y', 1000000), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)",
        "array_replace_all(array_repeat('x', 10000), 'x', repeat('y', 10000))",
        "to_char(DATE '2000-01-01', repeat('%c', 1000000))",
        "string_to_array(repeat('x', 1000000), '')",
        "arrays_zip(range(0, 50000), [], [], [], [], [], [], [], [], [], [], [])",
    ];
    let mut all: Vec<String> = constant
        .iter()
        .map(|expression| format!("SELECT {expression}"))
        .collect();
    // The same where nothing can be computed before there are rows.
    all.extend(
        [
            "repeat('x', 1000000000 + _offset)",
            "lpad(json(_value), 1000000000 + _offset, json(_value))",
            "array_repeat(_offset, 1000000000 + _offset)",
            "range(_offset, 1000000000)",
            "generate_series(0, 1000000000, _offset + 1)",
            "array_resize([_offset], 1000000000)",
            "replace(rpad('', 10000 + _offset), ' ', rpad('', 10000 + _offset))",
            "regexp_replace(rpad('', 10000 + _offset), '', rpad('', 10000 + _offset), 'g')",
            "CASE WHEN _offset >= 0 THEN repeat('x', 1000000000) END",
        ]
        .iter()
        .map(|expression| format!("SELECT {expression} FROM clicks")),
    );
    for first in [
        "SELECT repeat('x', 1000) AS s",
        "SELECT repeat('x', 1000 + _offset) AS s FROM clicks",
    ] {
        for step in [
            "s || s || s || s",
            "concat(s, s, s, s)",
            "concat_ws('', s, s, s, s)",
            "replace(s, 'x', 'xxxx')",
            "array_to_string([s, s, s, s], '')",
            "encode(arrow_cast(encode(arrow_cast(s, 'Binary'), 'hex'), 'Binary'), 'hex')",
        ] {
            all.push(doubled(first, step, 12, "length(s)"));
        }
    }
    let list = "SELECT make_array(_offset) AS s FROM clicks";
    for step in ["array_concat(s, s, s, s)", "s || s || s || s"] {
        all.push(doubled(list, step, 12, "cardinality(s)"));
    }
    // Each is small, and they are many.
    for many in ["repeat('x', {n})", "repeat('x', {n} + _offset)"] {
        let columns: Vec<String> = (0..50)
            .map(|n| many.replace("{n}", &(400_000 + n).to_string()))
            .collect();
        let columns = columns.join(", ");
        all.push(format!("SELECT {columns} FROM clicks"));
        all.push(format!("SELECT make_array({columns}) FROM clicks"));
    }
    // A value beside each row of a batch.
    let wide = "SELECT repeat('x', 2000000 + _offset) AS s FROM clicks WHERE _offset < 2";
    all.push(format!(
        "SELECT max(length(s)) FROM ({wide}), generate_series(1, 100000)"
    ));
    all.push(format!(
        "SELECT max(length(s)) FROM (SELECT unnest(range(0, 100000)) AS n, s FROM ({wide}))"
    ));
    // Texts of the statement itself, for many rows.
    let text = "y".repeat(100_000);
    let rows = "generate_series(1, 100000)";
    all.push(format!("SELECT '{text}' || value::text FROM {rows}"));
    all.push(format!(
        "SELECT make_array('{text}', value::text) FROM {rows}"
    ));
    all
}

#[tokio::test]
async fn a_function_gets_no_more_memory_than_there_is() {
    let fixture = narrow().await;
    let mut others = Vec::new();
    for sql in greedy() {
        let start: String = sql.chars().take(200).collect();
        match fixture.rows(&sql).await {
            Err(QueryError::MemoryLimit { .. }) => {}
            Err(error) => others.push(format!("{start}\n    {error:?}")),
            Ok(_) => others.push(format!("{start}\n    was answered")),
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    // All of it is free again.
    let most = "SELECT length(repeat('x', 6000000))";
    assert_eq!(text(&fixture, most).await, "6000000");
    fixture.node.drain().await;
}

/// The one value of an answer, as text.
async fn text(fixture: &Fixture, sql: &str) -> String {
    let answer = fixture.ask(sql).await;
    let row = answer.lines().nth(3).unwrap_or_default();
    row.trim_matches('|').trim().to_owned()
}

#[tokio::test]
async fn what_fits_is_answered_as_ever() {
    let fixture = narrow().await;
    let rows = "generate_series(1, 20000)";
    for (sql, expected) in [
        ("SELECT length(repeat('x', 1000000))", "1000000"),
        ("SELECT substr(repeat('xy', 500000), 999999)", "xy"),
        ("SELECT length(lpad('x', 1000000, 'äö'))", "1000000"),
        ("SELECT lpad('x', -1) || '.'", "."),
        ("SELECT cardinality(range(0, 100000))", "100000"),
        ("SELECT array_to_string(range(0, 5), ',')", "0,1,2,3,4"),
        ("SELECT range(5, 0, -2)", "[5, 3, 1]"),
        (
            "SELECT cardinality(generate_series(DATE '2000-01-01', DATE '2000-12-31', INTERVAL '1 month'))",
            "12",
        ),
        ("SELECT array_resize([1], 3, 7)", "[1, 7, 7]"),
        ("SELECT 'a' || NULL || 'b' IS NULL", "true"),
        ("SELECT 'a' || 1 || 'b'", "a1b"),
        ("SELECT concat('a', NULL, 'b')", "ab"),
        ("SELECT [1] || [2] || 3", "[1, 2, 3]"),
        ("SELECT coalesce(NULL, 'a', repeat('x', 1000000000))", "a"),
        (
            "SELECT CASE WHEN true THEN 'a' ELSE repeat('x', 1000000000) END",
            "a",
        ),
        (
            "SELECT regexp_replace('abab', '(a)(b)', '\\2\\1', 'g')",
            "baba",
        ),
        ("SELECT regexp_like('abc', '^a.c$')", "true"),
        (
            "SELECT 'abc' ~ ('^a' || '.c$') AND 'ABC' ~* lower('B') AND 'abc' !~ reverse('ab')",
            "true",
        ),
        (
            "SELECT 'aaab' ~ '^(a{40}){40}b$' OR 'aaab' SIMILAR TO concat('a+', 'b')",
            "true",
        ),
        ("SELECT greatest(repeat('x', 5000), 'y')", "y"),
        (
            "SELECT max(length(s)) FROM (VALUES (repeat('x', 5000)), ('y')) AS t(s)",
            "5000",
        ),
    ] {
        assert_eq!(text(&fixture, sql).await, expected, "{sql}");
    }
    // In pieces, and with a constant that is wide for as many rows.
    let (some, more) = ("generate_series(1, 1000)", "generate_series(1, 10000)");
    for (sql, expected) in [
        (
            format!("SELECT sum(length(repeat('x', value % 1000))) FROM {rows}"),
            "9990000",
        ),
        (
            format!(
                "SELECT sum(length(replace(rpad('', value % 1000, 'ab'), 'a', 'ccc'))) FROM {rows}"
            ),
            "19990000",
        ),
        (
            format!("SELECT sum(cardinality(range(0, value % 100))) FROM {rows}"),
            "990000",
        ),
        (
            format!("SELECT count(DISTINCT concat(value, '-', rpad('', 500))) FROM {some}"),
            "1000",
        ),
        (
            format!("SELECT sum(length(repeat('x', 20000) || value::text)) FROM {some}"),
            "20002893",
        ),
        (
            format!("SELECT sum(length(repeat('x', 20000))) FROM {more}"),
            "200000000",
        ),
    ] {
        assert_eq!(text(&fixture, &sql).await, expected, "{sql}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn columns_are_called_as_they_are_written() {
    let fixture = narrow().await;
    let sql = "SELECT repeat('x', 2), 'a' || json(_value), list_repeat(1, 2), length(json(_value)) \
               FROM clicks WHERE _offset = 0";
    expect_test::expect![[r#"
        +--------+-----------+-------------+--------+
        | repeat | ?column?  | list_repeat | length |
        +--------+-----------+-------------+--------+
        | xx     | aa-000000 | [1, 1]      | 8      |
        +--------+-----------+-------------+--------+"#]]
    .assert_eq(&fixture.ask(sql).await);
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_long_list_is_still_looked_up_in() {
    let fixture = narrow().await;
    let list: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    let list = list.join(", ");
    for condition in [
        format!("_offset = ANY(ARRAY[{list}])"),
        format!("array_has([{list}], _offset)"),
    ] {
        let sql = format!("SELECT count(*) FROM clicks WHERE {condition}");
        assert_eq!(fixture.numbers(&sql).await, [3]);
        let plan = fixture.ask(&format!("EXPLAIN {sql}")).await;
        assert!(plan.contains(" IN "), "{plan:.300}");
    }
    // It stands beside no row, so that batches are as long as ever.
    let none = format!(
        "SELECT value FROM generate_series(1, 3000) WHERE NOT value = ANY(ARRAY[{}])",
        list.replace(", ", "0000, ")
    );
    let batches = fixture.rows(&none).await.expect("it is answered");
    assert!(batches.len() <= 4, "{} batches", batches.len());
    fixture.node.drain().await;
}

#[tokio::test]
async fn arrays_have_no_width_in_their_type() {
    let fixture = narrow().await;
    for sql in [
        "SELECT NULL::int[1000000000]",
        "SELECT cardinality(NULL::int[1000000000][])",
        "SELECT arrow_cast(NULL, 'FixedSizeBinary(2000000000)')",
        "SELECT arrow_cast(_key, 'FixedSizeBinary(2000000000)') FROM clicks",
    ] {
        let error = fixture.fail(sql).await;
        assert_eq!(error.label(), "not-supported", "{sql}\n{error:?}");
    }
    assert_eq!(text(&fixture, "SELECT [1]::bigint[]").await, "[1]");
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_function_that_takes_its_time_is_ended() {
    let fixture = Fixture::with(EngineSettings {
        time_limit: Duration::from_millis(500),
        ..EngineSettings::default()
    })
    .await;
    let slow = "SELECT sum(levenshtein(repeat('a', 1000 + value % 2), repeat('b', 1000))) \
                FROM generate_series(1, 100000)";
    let error = fixture.fail(slow).await;
    assert_eq!(error.label(), "time-limit", "{error:?}");
    let constants: Vec<String> = (0..1000)
        .map(|n| format!("levenshtein(repeat('a', 1000), repeat('b', {n}))"))
        .collect();
    let planned = format!("SELECT {}", constants.join(", "));
    let error = fixture.fail(&planned).await;
    assert_eq!(error.label(), "time-limit", "{error:?}");
    let compiled = "SELECT count(*) FROM generate_series(1, 1000000) \
                    WHERE value::text ~ ('(a{100}){20}' || value)";
    let error = fixture.fail(compiled).await;
    assert_eq!(error.label(), "time-limit", "{error:?}");
    fixture.node.drain().await;
    // One row is one step for us.
    let fixture = narrow().await;
    for endless in [
        "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
        "SELECT array_has_all(range(0, 150000), range(0, 150000))",
        "SELECT repeat('a', 1000000) ~ '(((a{100}){100}){100})b'",
        "SELECT regexp_count(repeat('a', 1000000), '(((a{100}){100}){100})b')",
    ] {
        let error = fixture.fail(endless).await;
        assert_eq!(error.label(), "invalid", "{endless}\n{error:?}");
    }
    fixture.node.drain().await;
}
