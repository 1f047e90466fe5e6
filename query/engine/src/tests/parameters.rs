//! Statements with parameters. What they answer is compared with PostgreSQL in `postgres/parameters.txt`; here are
//! what a statement says of its parameters, what is refused, and that no value is ever more than a value.

use std::fmt::Write as _;

use datafusion::arrow::array::{AsArray, RecordBatch};
use expect_test::expect;
use tarn_runtime::Random;

use super::harness::{CLICKS, Fixture, numbered};
use crate::{Number, Parameter, QueryError, SqlSession};

fn text(text: &str) -> Parameter {
    Parameter::Text(text.to_owned())
}

fn number(text: &str) -> Parameter {
    Parameter::Number(Number::parse(text).expect("it is a number"))
}

impl Fixture {
    async fn execute(
        &self,
        sql: &str,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        Ok(self.named_rows(sql, parameters).await?.1)
    }

    /// The only row of an answer of texts.
    async fn texts(&self, sql: &str, parameters: Vec<Parameter>) -> Vec<String> {
        let batches = self.execute(sql, parameters).await;
        let batches = batches.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        let [batch] = &batches[..] else {
            panic!("{sql}: {batches:?}")
        };
        assert_eq!(batch.num_rows(), 1, "{sql}");
        let columns = batch.columns().iter();
        columns
            .map(|column| column.as_string::<i32>().value(0).to_owned())
            .collect()
    }
}

#[tokio::test]
async fn values_and_cut_are_those_of_each_execution() {
    let fixture = Fixture::new().await;
    let sql = "SELECT _offset FROM clicks WHERE _topic_partition = $1 AND _offset >= $2";
    let prepared = fixture.engine.prepare(sql).await.expect("it may run");
    let session = SqlSession::default();
    let rows = async |partition: &str, offset: &str| {
        let parameters = vec![text(partition), number(offset)];
        let result = fixture.engine.execute(&prepared, parameters, &session);
        let batches = result.await.expect("it runs").collect().await;
        let batches = batches.expect("it ends");
        batches.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    assert_eq!(rows("0", "0").await, 0);
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    assert_eq!(rows("0", "0").await, 3);
    assert_eq!(rows("0", "2").await, 1);
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 2)).await;
    assert_eq!(rows("0", "2").await, 3);
    assert_eq!(rows("1", "0").await, 0);
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_statement_says_how_many_parameters_it_has_and_what_they_are_cast_to() {
    let fixture = Fixture::new().await;
    let mut said = String::new();
    for sql in [
        "SELECT 1",
        "SELECT '$1', \"$2\", $$ $3 $$ -- $4\n /* $5 */",
        "SELECT $1",
        "SELECT $2::int, $1",
        "SELECT $1::integer, ($1)::int4, CAST($1 AS int)",
        "SELECT $1::int, $1::bigint",
        "SELECT $1::numeric(10, 2), $2::varchar(3), $3::timestamp(3) with time zone, $4::timestamp, $5::double precision",
        "SELECT $1::text[]",
        "SELECT a FROM clicks LIMIT $1 OFFSET ($2)",
        "SELECT a FROM clicks FETCH FIRST $1 ROWS ONLY",
        "SELECT a FROM clicks WHERE b IN (SELECT $1::date FROM x LIMIT $2) AND $3",
        "EXPLAIN SELECT $1::uuid",
    ] {
        let prepared = fixture.engine.prepare(sql).await.expect("it may run");
        let types: Vec<_> = prepared.parameters().collect();
        let _ = writeln!(said, "{sql:?}\n    {types:?}");
    }
    expect![[r#"
        "SELECT 1"
            []
        "SELECT '$1', \"$2\", $$ $3 $$ -- $4\n /* $5 */"
            []
        "SELECT $1"
            [None]
        "SELECT $2::int, $1"
            [None, Some("int4")]
        "SELECT $1::integer, ($1)::int4, CAST($1 AS int)"
            [Some("int4")]
        "SELECT $1::int, $1::bigint"
            [None]
        "SELECT $1::numeric(10, 2), $2::varchar(3), $3::timestamp(3) with time zone, $4::timestamp, $5::double precision"
            [Some("numeric"), Some("varchar"), Some("timestamptz"), Some("timestamp"), Some("float8")]
        "SELECT $1::text[]"
            [Some("text[]")]
        "SELECT a FROM clicks LIMIT $1 OFFSET ($2)"
            [Some("int8"), Some("int8")]
        "SELECT a FROM clicks FETCH FIRST $1 ROWS ONLY"
            [Some("int8")]
        "SELECT a FROM clicks WHERE b IN (SELECT $1::date FROM x LIMIT $2) AND $3"
            [Some("date"), Some("int8"), None]
        "EXPLAIN SELECT $1::uuid"
            [Some("uuid")]
    "#]].assert_eq(&said);
    fixture.node.drain().await;
}

#[tokio::test]
async fn parameters_that_are_none_and_values_that_do_not_fit_are_refused() {
    let fixture = Fixture::new().await;
    let mut said = String::new();
    for (sql, parameters) in [
        ("SELECT $0", vec![]),
        ("SELECT\n $2", vec![]),
        ("SELECT $1, $4, $3", vec![]),
        ("SELECT $65536", vec![]),
        ("SELECT $99999999999999999999", vec![]),
        ("SELECT $one", vec![]),
        ("SELECT :one", vec![]),
        ("SELECT @one", vec![]),
        ("SELECT $1a", vec![]),
        ("SELECT $", vec![]),
        ("SELECT * FROM $1", vec![text("clicks")]),
        ("SELECT a AS $1 FROM clicks", vec![text("b")]),
        ("SELECT $1", vec![]),
        ("SELECT $1, $2", vec![Parameter::Null]),
        ("SELECT $1", vec![Parameter::Null, Parameter::Null]),
        ("SELECT 1", vec![Parameter::Null]),
        ("SHOW TABLES", vec![Parameter::Null]),
        ("SELECT $1::int", vec![text("1 OR 1")]),
        ("SELECT _offset FROM clicks LIMIT $1", vec![text("1; x")]),
        (
            "SELECT _offset FROM clicks LIMIT $1",
            vec![Parameter::Bool(true)],
        ),
        ("SELECT _offset FROM clicks OFFSET $1", vec![number("-1")]),
        ("SELECT $1::int, $1 + 1", vec![number("1e10")]),
        ("SELECT $1::smallint", vec![number("-32769")]),
        ("SELECT $1::double precision", vec![number("1e999")]),
        ("SELECT $1", vec![number("1e99999999999999999999999")]),
        (
            "SELECT $1 FROM clicks WHERE _offset = $1",
            vec![text("one")],
        ),
    ] {
        let outcome = match fixture.execute(sql, parameters).await {
            Ok(_) => "answered".to_owned(),
            Err(error) => format!("{} {:?}: {error}", error.label(), error.position()),
        };
        let _ = writeln!(said, "{sql:?}\n    {outcome}");
    }
    expect![[r#"
        "SELECT $0"
            invalid Some(Position { line: 1, column: 8 }): there is no parameter $0
        "SELECT\n $2"
            invalid None: could not determine the type of parameter $1: the statement has $2 and no $1
        "SELECT $1, $4, $3"
            invalid None: could not determine the type of parameter $2: the statement has $3 and no $2
        "SELECT $65536"
            invalid Some(Position { line: 1, column: 8 }): there is no parameter $65536: a statement has at most 65535
        "SELECT $99999999999999999999"
            invalid Some(Position { line: 1, column: 8 }): there is no parameter $99999999999999999999: a statement has at most 65535
        "SELECT $one"
            syntax Some(Position { line: 1, column: 8 }): $one is no parameter: they are $1, $2 and so on
        "SELECT :one"
            syntax Some(Position { line: 1, column: 8 }): :one is no parameter: they are $1, $2 and so on
        "SELECT @one"
            not-supported None: Unsupported SQL unary operator PGAbs
        "SELECT $1a"
            syntax Some(Position { line: 1, column: 8 }): $1a is no parameter: they are $1, $2 and so on
        "SELECT $"
            syntax Some(Position { line: 1, column: 8 }): $ is no parameter: they are $1, $2 and so on
        "SELECT * FROM $1"
            syntax Some(Position { line: 1, column: 15 }): Expected: identifier, found: $1
        "SELECT a AS $1 FROM clicks"
            syntax Some(Position { line: 1, column: 13 }): Expected: an identifier after AS, found: $1
        "SELECT $1"
            parameters None: the statement has 1 parameter, and 0 values are given
        "SELECT $1, $2"
            parameters None: the statement has 2 parameters, and 1 value is given
        "SELECT $1"
            parameters None: the statement has 1 parameter, and 2 values are given
        "SELECT 1"
            parameters None: the statement has 0 parameters, and 1 value is given
        "SHOW TABLES"
            parameters None: the statement has 0 parameters, and 1 value is given
        "SELECT $1::int"
            invalid None: invalid input syntax for type integer: "1 OR 1"
        "SELECT _offset FROM clicks LIMIT $1"
            invalid None: invalid input syntax for type bigint: "1; x"
        "SELECT _offset FROM clicks LIMIT $1"
            invalid None: a number of rows is of type bigint, not of type boolean
        "SELECT _offset FROM clicks OFFSET $1"
            invalid None: OFFSET must be >=0, '-1' was provided
        "SELECT $1::int, $1 + 1"
            out-of-range None: integer out of range
        "SELECT $1::smallint"
            out-of-range None: Cast error: Can't cast value -32769 to type Int16
        "SELECT $1::double precision"
            out-of-range None: double precision out of range
        "SELECT $1"
            out-of-range None: double precision out of range
        "SELECT $1 FROM clicks WHERE _offset = $1"
            invalid None: invalid input syntax for type bigint: "one"
    "#]].assert_eq(&said);
    let metrics = fixture.node.runtime.metrics().encode();
    let counted = r#"tarn_query_failures_total{reason="parameters"} 5"#;
    assert!(metrics.contains(counted), "{metrics}");
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_text_comes_back_as_it_went_in_wherever_it_stands() {
    let fixture = Fixture::new().await;
    let sql = "SELECT $1, $1::text, '<' || $1 || '>', (SELECT $1), coalesce(NULL, $1), \
               CASE WHEN EXISTS (SELECT 1 WHERE $1 = $2) THEN $1 ELSE 'other' END, \
               CASE WHEN NOT EXISTS (SELECT 1 WHERE $1 <> $2) THEN $1 ELSE 'other' END, \
               max(v) FROM (VALUES ($1)) t(v) WHERE v = $2 AND v IN ($1, 'x') GROUP BY $1 ORDER BY $1";
    let random = Random::seeded(20_260_101);
    let pieces = [
        "'",
        "''",
        "\\",
        "\\'",
        "\"",
        "\"\"",
        "\0",
        "$1",
        "$2",
        "$$",
        "; DROP TABLE clicks; --",
        "/*",
        "*/",
        "\n",
        "\u{2063}7",
        "é",
        "😀",
        "%",
        "_",
        "E'",
        "a",
        " ",
        "NULL",
        "1",
        "\u{feff}",
        ":x",
        "?",
        "{{",
        "\r",
        "\u{7f}",
    ];
    let whole = [
        "",
        "' OR '1' = '1",
        "\\",
        "it's",
        "\\'; SELECT 1; --",
        "NULL",
        "$1",
    ];
    let mut values: Vec<String> = whole.map(str::to_owned).to_vec();
    for _ in 0..200 {
        let count = 1 + random.below(6);
        let piece = |_| pieces[random.below(pieces.len() as u64) as usize];
        values.push((0..count).map(piece).collect());
    }
    for value in values {
        let given = fixture.texts(sql, vec![text(&value), text(&value)]).await;
        let wrapped = format!("<{value}>");
        let mut expected = vec![value.as_str(); 8];
        expected[2] = &wrapped;
        assert_eq!(given, expected, "{value:?}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn a_number_means_what_it_means_in_a_statement() {
    let fixture = Fixture::new().await;
    let random = Random::seeded(20_260_102);
    let digits = |count: u64| -> String {
        let first = char::from(b'1' + random.below(9) as u8);
        let rest = (1..count).map(|_| char::from(b'0' + random.below(10) as u8));
        std::iter::once(first).chain(rest).collect()
    };
    let mut numbers: Vec<String> = [
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "-0.000",
        "2147483648",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "12345678901234567890.12",
        "1e5",
        "1E+5",
        "-1e-5",
        "1e308",
        "1e309",
        "1e-400",
        "1e9223372036854775808",
    ]
    .map(str::to_owned)
    .to_vec();
    for _ in 0..60 {
        let whole = digits(1 + random.below(45));
        let sign = if random.happens(300) { "-" } else { "" };
        numbers.push(match random.below(3) {
            0 => format!("{sign}{whole}"),
            1 => format!("{sign}{whole}.{}", digits(1 + random.below(40))),
            _ => format!("{sign}{whole}e{}", random.below(400) as i64 - 200),
        });
    }
    for value in numbers {
        let of_value = fixture
            .execute("SELECT $1, $1 + 1, $1 || ''", vec![number(&value)])
            .await;
        let literal = format!("SELECT {value}, {value} + 1, {value} || ''");
        let of_literal = fixture.execute(&literal, Vec::new()).await;
        let shown = |rows: Result<Vec<RecordBatch>, QueryError>| match rows {
            Ok(rows) => format!(
                "{:?}",
                rows.iter().map(RecordBatch::columns).collect::<Vec<_>>()
            ),
            Err(error) => format!("{}: {error}", error.label()),
        };
        assert_eq!(shown(of_value), shown(of_literal), "{value}");
    }
    for none in [
        "", "-", "1.", ".5", "1e", "1e+", "+1", "0x10", "NaN", "1 ", "1_000", "--1", "1;", "١",
    ] {
        assert_eq!(Number::parse(none), None, "{none:?}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn there_may_be_many_parameters_and_they_are_bounded_in_bytes() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    let names: Vec<String> = (1..=65_535).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT _offset FROM clicks WHERE _offset IN ({})",
        names.join(",")
    );
    let values = (1..=65_535).map(|n: i32| number(&n.to_string())).collect();
    let rows = fixture.execute(&sql, values).await.expect("it is answered");
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);

    // 100,000 times a megabyte.
    let sql = format!("SELECT 1 WHERE '' IN ({})", vec!["$1"; 100_000].join(","));
    let error = fixture
        .execute(&sql, vec![text(&"x".repeat(1 << 20))])
        .await;
    assert_eq!(error.expect_err("it is too much").label(), "not-supported");
    fixture.node.drain().await;
}
