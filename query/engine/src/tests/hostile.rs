//! Statements that are made to hurt: each has an answer or an error, and the process lives on.

use super::harness::{CLICKS, Fixture, numbered};

/// Chains of this length are let through, and run on the stack of an ordinary thread.
const DEEP: usize = 190;
/// As deep as a text may be: parsed and refused, on a large stack.
const TOO_DEEP: usize = 9_900;
const FAR_TOO_DEEP: usize = 20_000;

fn chain(first: &str, link: &str, count: usize) -> String {
    format!("{first}{}", link.repeat(count))
}

/// A query over a chain that constants cannot be folded out of.
fn over_rows(expression: &str) -> String {
    format!("SELECT count(*) FROM clicks WHERE {expression} IS NOT NULL")
}

fn made(count: usize) -> Vec<String> {
    vec![
        over_rows(&format!("({})", chain("_offset", " + _offset", count))),
        over_rows(&format!("({})", chain("_offset", " * 1.0", count))),
        over_rows(&format!(
            "({})",
            chain("_offset = 0", " OR _offset = _topic_partition + 1", count)
        )),
        over_rows(&format!(
            "({})",
            chain("_offset = 0", " AND _offset < _topic_partition + 9", count)
        )),
        over_rows(&format!(
            "({})",
            chain("json(_value)", " || json(_value)", count)
        )),
        over_rows(&format!("({})", chain("_value", " -> 'a'", count))),
        over_rows(&chain("_offset", "::double::bigint", count / 2)),
        over_rows(&format!("({})", chain("_offset", " IS NULL", count))),
        over_rows(&chain("_headers", "[1]", count)),
        over_rows(&chain("_headers", ".a", count)),
        over_rows(&format!("NULL::int{}", "[]".repeat(count))),
        chain("SELECT count(*) FROM clicks", " UNION ALL SELECT 1", count),
        chain("SELECT 1", " EXCEPT SELECT 2", count / 4),
        format!("SELECT 1{}", " + 1".repeat(count)),
        format!("SELECT {}1", "- ".repeat(count)),
        format!("SELECT {}true", "NOT ".repeat(count)),
        format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count)),
        format!("SELECT {}1{}", "[".repeat(count), "]".repeat(count)),
        format!("SELECT {}1{}", "abs(".repeat(count), ")".repeat(count)),
        format!(
            "SELECT {}1{}",
            "CASE WHEN true THEN ".repeat(count),
            " END".repeat(count)
        ),
        format!(
            "{}SELECT 1{}",
            "SELECT * FROM (".repeat(count),
            ")".repeat(count)
        ),
        format!(
            "SELECT CASE{} END FROM clicks",
            " WHEN _offset = 99 THEN 1".repeat(count)
        ),
        format!(
            "SELECT 1::{}int{}",
            "STRUCT<a ".repeat(count),
            ">".repeat(count)
        ),
        format!("EXPLAIN {}SELECT 1", "EXPLAIN ".repeat(count)),
        format!(
            "WITH {} SELECT 1",
            (0..count)
                .map(|n| format!("t{n} AS (SELECT 1)"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    ]
}

#[tokio::test]
async fn deep_statements_are_answered_or_refused() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 3)).await;
    for sql in [DEEP, TOO_DEEP, FAR_TOO_DEEP].into_iter().flat_map(made) {
        if let Err(error) = fixture.rows(&sql).await {
            let start: String = sql.chars().take(120).collect();
            assert!(
                matches!(error.label(), "syntax" | "not-supported" | "invalid"),
                "{start}\n{error:?}"
            );
        }
    }
    for sql in &made(DEEP)[..4] {
        assert_eq!(fixture.numbers(sql).await, [6], "{sql}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn wide_statements_are_answered() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    let list: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let sql = format!(
        "SELECT count(*) FROM clicks WHERE _offset IN ({})",
        list.join(",")
    );
    assert_eq!(fixture.numbers(&sql).await, [3]);
    let columns: Vec<String> = (0..1000)
        .map(|n| format!("_offset + {n} AS c{n}"))
        .collect();
    let rows = fixture
        .rows(&format!("SELECT {} FROM clicks", columns.join(",")))
        .await
        .expect("it runs");
    assert_eq!(rows[0].num_columns(), 1000);
    let joins: String = (0..20)
        .map(|n| format!(" JOIN clicks t{n} ON t{n}._offset = t._offset"))
        .collect();
    assert_eq!(
        fixture
            .numbers(&format!("SELECT count(*) FROM clicks t{joins}"))
            .await,
        [3]
    );
    fixture.node.drain().await;
}
