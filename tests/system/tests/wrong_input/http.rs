//! Wrong input on the HTTP port: SQL and the table catalog.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tarn_system_tests::Tarn;

use super::wire::{Answer, Kafka, batch, http, http_answer, http_open, sql, sql_value};
use super::{no_panic, still_serves};

/// For queries that are to run out of time.
const SHORT: &str = "1s";
/// For those that are not, on the busiest machine.
const LONG: &str = "120s";

/// A `tarn dev` whose queries have little memory and few rows, and this much time.
fn narrow(time_limit: &str) -> Result<(Tarn, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("settings.toml");
    std::fs::write(
        &file,
        format!(
            "[sql]\ntime_limit = \"{time_limit}\"\nmemory_limit = \"4MiB\"\nrow_limit = 1000\n"
        ),
    )?;
    let tarn = Tarn::start(&["--config", &file.display().to_string()])?;
    Ok((tarn, folder))
}

fn problem(answer: &Answer, status: u16, code: &str) -> Result<Value> {
    ensure!(answer.status == status, "{answer:?}, not {status}");
    let problem = answer.json()?;
    ensure!(
        problem["code"] == code && problem["status"] == status && problem["title"].is_string(),
        "{problem}, not {code}"
    );
    Ok(problem)
}

#[test]
fn wrong_sql_says_what_and_where() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let mut kafka = Kafka::connect(&tarn.kafka())?;
    kafka.create_topic("orders", &[])?;
    kafka.produce("orders", &batch(&[b"{\"n\": 1}"])?)?;
    for (query, code, place) in [
        ("SELEC 1", "TARN-1201", Some((1, 1))),
        ("SELECT *\nFORM orders", "TARN-1201", Some((2, 1))),
        ("SELECT 'open", "TARN-1201", Some((1, 8))),
        ("", "TARN-1201", None),
        (
            "SELECT 1,\n  nosuch\nFROM events.orders",
            "TARN-1202",
            Some((2, 3)),
        ),
        ("SELECT nosuch(1)", "TARN-1202", Some((1, 8))),
        ("SELECT 1/0", "TARN-1202", None),
        ("SELECT 'a'::int", "TARN-1202", None),
    ] {
        let problem = problem(&sql(&tarn.ready, query)?, 400, code).context(query)?;
        if let Some((line, column)) = place {
            let position = json!({ "line": line, "column": column });
            ensure!(problem["position"] == position, "{query}: {problem}");
        }
    }
    let missing = problem(
        &sql(&tarn.ready, "SELECT 1 FROM events.nowhere")?,
        404,
        "TARN-1203",
    )?;
    ensure!(
        missing["detail"]
            .as_str()
            .is_some_and(|text| text.contains("events.nowhere")),
        "{missing}"
    );
    problem(
        &sql(&tarn.ready, "SELECT * FROM '/etc/passwd'")?,
        404,
        "TARN-1203",
    )?;
    for query in [
        "DROP TABLE events.orders",
        "DELETE FROM events.orders",
        "UPDATE events.orders SET n = 2",
        "INSERT INTO events.orders VALUES (1)",
        "CREATE TABLE events.copy AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/tarn-wrong.csv'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE DELETE FROM events.orders",
        "SELECT 1; DROP TABLE events.orders",
    ] {
        problem(&sql(&tarn.ready, query)?, 400, "TARN-1204").context(query)?;
    }
    let count = sql_value(&tarn.ready, "SELECT count(*) FROM events.orders")?;
    ensure!(count == 1, "{count}");
    still_serves(&tarn)
}

#[test]
fn a_query_over_its_limit_is_told_which() -> Result<()> {
    let (impatient, _folder) = narrow(SHORT)?;
    let (tarn, _folder) = narrow(LONG)?;
    for (query, status, code) in [
        (
            "SELECT count(*) FROM generate_series(1, 1000000000)",
            408,
            "TARN-1205",
        ),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
            408,
            "TARN-1205",
        ),
        (
            "SELECT value FROM generate_series(1, 500000) ORDER BY value % 977",
            413,
            "TARN-1206",
        ),
        ("SELECT repeat('x', 2000000000)", 413, "TARN-1206"),
        ("SELECT length(lpad('x', 2000000000))", 413, "TARN-1206"),
        ("SELECT array_repeat(1, 1000000000)", 413, "TARN-1206"),
        ("SELECT range(0, 10000000000)", 413, "TARN-1206"),
        (
            "SELECT max(length(repeat('x', value * 1000000))) FROM generate_series(1, 1000)",
            413,
            "TARN-1206",
        ),
        ("SELECT * FROM generate_series(1, 1001)", 413, "TARN-1207"),
    ] {
        let tarn = if status == 408 { &impatient } else { &tarn };
        let problem = problem(&sql(&tarn.ready, query)?, status, code).context(query)?;
        ensure!(
            problem["hint"]
                .as_str()
                .is_some_and(|hint| hint.contains("sql.")),
            "the hint names no setting: {problem}"
        );
        still_serves(tarn).context(query)?;
    }
    let whole = sql(&tarn.ready, "SELECT * FROM generate_series(1, 1000)")?;
    ensure!(whole.status == 200, "{whole:?}");
    Ok(())
}

#[test]
fn what_is_no_query_request_is_a_problem() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let url = tarn.http();
    for body in [
        b"".as_slice(),
        b"{",
        b"[]",
        b"null",
        b"{\"query\": 1}",
        b"{\"q\": \"SELECT 1\"}",
        b"{\"query\": \"SELECT \xff\"}",
        &[b'['; 100_000],
    ] {
        let answer = http(&url, "POST", "/v1/sql", body)?;
        problem(&answer, 400, "TARN-1200").with_context(|| format!("{:.40?}", body))?;
    }
    let large = json!({ "query": format!("SELECT '{}'", "x".repeat(1 << 20)) }).to_string();
    let answer = http(&url, "POST", "/v1/sql", large.as_bytes())?;
    problem(&answer, 413, "TARN-1209")?;
    // What is announced is not believed: the answer comes as soon as too much has come.
    let mut stream = http_open(&url)?;
    stream.write_all(b"POST /v1/sql HTTP/1.0\r\nContent-Length: 9999999999\r\n\r\n")?;
    stream.write_all(&vec![b' '; (1 << 20) + 1])?;
    problem(&http_answer(&mut stream)?, 413, "TARN-1209")?;
    for (method, path, status) in [
        ("GET", "/v1/sql", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/nowhere", 404),
    ] {
        let answer = http(&url, method, path, b"")?;
        ensure!(answer.status == status, "{method} {path}: {answer:?}");
    }
    // No HTTP at all.
    for bytes in [
        b"\x16\x03\x01\x00\xa5\x01\x00".as_slice(),
        b"\0\0\0\x12",
        b"NO\r\n\r\n",
    ] {
        let mut stream = http_open(&url)?;
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        // 400 or nothing: it only has to end.
        std::io::copy(&mut stream, &mut std::io::sink()).or_else(|error| match error.kind() {
            std::io::ErrorKind::ConnectionReset => Ok(0),
            _ => Err(error),
        })?;
    }
    still_serves(&tarn)
}

#[test]
fn the_catalog_answers_in_icebergs_words() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    for (method, path, status, kind) in [
        (
            "GET",
            "/catalog/v1/namespaces/nowhere",
            404,
            "NoSuchNamespaceException",
        ),
        (
            "GET",
            "/catalog/v1/namespaces/nowhere/tables",
            404,
            "NoSuchNamespaceException",
        ),
        (
            "GET",
            "/catalog/v1/namespaces?parent=nowhere",
            404,
            "NoSuchNamespaceException",
        ),
        (
            "GET",
            "/catalog/v1/namespaces/events/tables/nowhere",
            404,
            "NoSuchTableException",
        ),
        ("GET", "/catalog/v1/nowhere", 404, "NotFoundException"),
        (
            "POST",
            "/catalog/v1/namespaces",
            406,
            "UnsupportedOperationException",
        ),
        (
            "DELETE",
            "/catalog/v1/namespaces/events",
            406,
            "UnsupportedOperationException",
        ),
        (
            "POST",
            "/catalog/v1/namespaces/events/tables",
            406,
            "UnsupportedOperationException",
        ),
        (
            "DELETE",
            "/catalog/v1/namespaces/events/tables/x",
            406,
            "UnsupportedOperationException",
        ),
    ] {
        let answer = http(&tarn.http(), method, path, b"")?;
        let error = &answer.json()?["error"];
        ensure!(
            answer.status == status && error["type"] == kind && error["code"] == status,
            "{method} {path}: {answer:?}"
        );
    }
    for path in [
        "/catalog/v1/namespaces/nowhere",
        "/catalog/v1/namespaces/events/tables/x",
    ] {
        let answer = http(&tarn.http(), "HEAD", path, b"")?;
        ensure!(answer.status == 404, "{path}: {answer:?}");
    }
    still_serves(&tarn)
}

/// The process, and everybody else in it, does not notice.
#[test]
fn a_query_that_is_too_much_takes_nothing_else_down() -> Result<()> {
    let (impatient, _folder) = narrow(SHORT)?;
    let (tarn, _folder) = narrow(LONG)?;
    let sum = format!("SELECT {}1", "1+".repeat(3_000));
    let union = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(300));
    let nested = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let join = "SELECT count(*) FROM generate_series(1, 30000) a, generate_series(1, 30000) b";
    for (query, statuses) in [
        (sum.as_str(), [200, 400]),
        (&union, [200, 400]),
        (&nested, [400, 400]),
        (join, [408, 408]),
    ] {
        let what = format!("{query:.70}");
        let tarn = if statuses[0] == 408 {
            &impatient
        } else {
            &tarn
        };
        let answer = sql(&tarn.ready, query).with_context(|| what.clone())?;
        ensure!(
            statuses.contains(&answer.status),
            "{what}: {} {:.300}",
            answer.status,
            answer.body
        );
        still_serves(tarn).context(what)?;
    }
    Ok(())
}

/// A query that keeps its threads busy past its time limit holds nobody else up.
#[test]
fn others_are_answered_while_a_query_takes_all_it_can() -> Result<()> {
    let (tarn, _folder) = narrow(SHORT)?;
    let join = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    let ready = tarn.ready.clone();
    let query = std::thread::Builder::new().spawn(move || sql(&ready, join))?;
    let mut answered = 0;
    while !query.is_finished() {
        let health = http(&tarn.http(), "GET", "/healthz", b"")?;
        ensure!(health.status == 200, "{health:?}");
        answered += 1;
    }
    let answer = query.join().expect("it does not panic")?;
    ensure!(
        answer.status == 408,
        "{} {:.300}",
        answer.status,
        answer.body
    );
    // The query ran for its second: who shares its threads gets one answer in that time, or none.
    ensure!(answered >= 20, "{answered} answers");
    no_panic(&tarn.log())
}
