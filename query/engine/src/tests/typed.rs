//! Topics with a schema, while it grows.

use expect_test::expect;
use tarn_schema::frame_by_id;

use super::harness::{CLICKS, Fixture, numbered};

pub(super) const FIRST: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "city", "type": "string"},
    {"name": "n", "type": "int"},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"}
    ]}}},
    {"name": "buyer", "type": {"type": "record", "name": "Buyer", "fields": [{"name": "name", "type": "string"}]}}
]}"#;

/// A wider number, a new column, and a new field in each nested record.
pub(super) const SECOND: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "city", "type": "string"},
    {"name": "n", "type": "long"},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"},
        {"name": "count", "type": "long"}
    ]}}},
    {"name": "buyer", "type": {"type": "record", "name": "Buyer", "fields": [
        {"name": "name", "type": "string"}, {"name": "age", "type": "int"}
    ]}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "paid", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}
]}"#;

fn long(value: u8) -> Vec<u8> {
    vec![value * 2]
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = long(u8::try_from(text.len()).expect("short"));
    bytes.extend(text.as_bytes());
    bytes
}

pub(super) fn first(id: u8, city: &str) -> Vec<u8> {
    [
        long(id),
        string(city),
        long(id),
        long(1),
        string("x"),
        long(0),
        string("ann"),
    ]
    .concat()
}

pub(super) fn second(id: u8, city: &str) -> Vec<u8> {
    let order = [long(id), string(city), long(id)].concat();
    let lines = [long(1), string("y"), long(3), long(0)].concat();
    let buyer = [string("bob"), long(44)].concat();
    let rest = [
        long(1),
        string("k"),
        string("v"),
        long(0),
        long(1),
        vec![100],
    ]
    .concat();
    [order, lines, buyer, rest].concat()
}

#[tokio::test]
async fn a_table_whose_schema_grows_answers_alike_hot_and_cold() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("raw", 1)).await;
    fixture.materialize(CLICKS).await;
    let one = fixture.register("clicks", 1, FIRST).await;
    let orders: Vec<Vec<u8>> = [1, 2]
        .map(|id| frame_by_id(one, &first(id, "Oslo")))
        .to_vec();
    fixture.produce_bytes(CLICKS, 0, &orders).await;
    fixture.materialize(CLICKS).await;
    let two = fixture.register("clicks", 2, SECOND).await;
    // A column is there as soon as it is registered, before any file has it.
    assert_eq!(
        fixture
            .numbers("SELECT count(paid), count(id) FROM clicks")
            .await,
        [0, 2]
    );
    fixture
        .produce_bytes(
            CLICKS,
            0,
            &[frame_by_id(two, &second(3, "Rome")), b"no schema".to_vec()],
        )
        .await;

    let all = "SELECT _offset, id, city, n, lines, buyer, tags, paid, json(_value) AS v FROM clicks ORDER BY _offset";
    let mixed = fixture.ask(all).await;
    expect![[r#"
        +---------+----+------+---+----------------------+----------------------+--------+------+------------+
        | _offset | id | city | n | lines                | buyer                | tags   | paid | v          |
        +---------+----+------+---+----------------------+----------------------+--------+------+------------+
        | 0       |    |      |   |                      |                      |        |      | raw-000000 |
        | 1       | 1  | Oslo | 1 | [{sku: x, count: }]  | {name: ann, age: }   |        |      |            |
        | 2       | 2  | Oslo | 2 | [{sku: x, count: }]  | {name: ann, age: }   |        |      |            |
        | 3       | 3  | Rome | 3 | [{sku: y, count: 3}] | {name: bob, age: 44} | {k: v} | 1.00 |            |
        +---------+----+------+---+----------------------+----------------------+--------+------+------------+"#]].assert_eq(&mixed);
    let questions = [
        "SELECT count(*) AS n, sum(n) AS s FROM clicks WHERE n >= 2",
        "SELECT id, buyer['age'] AS age, lines[1]['count'] AS c, tags['k'] AS k FROM clicks WHERE city = 'Rome'",
        "SELECT city, count(*) AS n FROM clicks WHERE paid IS NULL GROUP BY city ORDER BY city",
        "SELECT buyer['name'] AS name FROM clicks WHERE id = 1",
        "SELECT id FROM clicks ORDER BY paid NULLS LAST, id LIMIT 1",
    ];
    let mut answers = Vec::new();
    for question in questions {
        answers.push(fixture.ask(question).await);
    }
    expect![[r#"
        +---+---+
        | n | s |
        +---+---+
        | 2 | 5 |
        +---+---+
        +----+-----+---+---+
        | id | age | c | k |
        +----+-----+---+---+
        | 3  | 44  | 3 | v |
        +----+-----+---+---+
        +------+---+
        | city | n |
        +------+---+
        | Oslo | 2 |
        |      | 1 |
        +------+---+
        +------+
        | name |
        +------+
        | ann  |
        +------+
        +----+
        | id |
        +----+
        | 3  |
        +----+"#]]
    .assert_eq(&answers.join("\n"));

    fixture.materialize(CLICKS).await;
    assert_eq!(fixture.ask(all).await, mixed);
    for (question, answer) in questions.iter().zip(answers) {
        assert_eq!(fixture.ask(question).await, answer, "{question}");
    }
    assert_eq!(fixture.counts("clicks").await, (4, 0, 4));
    fixture.node.drain().await;
}

/// Where DataFusion makes new arrays of nested values, their types must stay what the plan says.
#[tokio::test]
async fn nested_columns_go_through_every_kind_of_operator() {
    let fixture = Fixture::new().await;
    let id = fixture.register("clicks", 1, FIRST).await;
    fixture
        .produce_bytes(CLICKS, 0, &[frame_by_id(id, &first(1, "Oslo"))])
        .await;
    fixture.materialize(CLICKS).await;
    fixture
        .produce_bytes(CLICKS, 0, &[frame_by_id(id, &first(2, "Rome"))])
        .await;
    for sql in [
        "SELECT a._headers, a.lines, b.buyer FROM clicks a, clicks b ORDER BY a._offset, b._offset",
        "SELECT first_value(lines ORDER BY _offset), last_value(buyer ORDER BY _offset), count(*) FROM clicks",
        "SELECT lag(lines) OVER (ORDER BY _offset), lag(_headers) OVER (ORDER BY _offset), buyer FROM clicks",
        "SELECT array_agg(lines), array_agg(buyer) FROM clicks GROUP BY city",
        "SELECT coalesce(lines, lines), CASE WHEN id = 1 THEN buyer END FROM clicks",
        "SELECT lines, _headers FROM clicks UNION ALL SELECT NULL AS a, NULL AS b",
        "SELECT a.lines, b.lines FROM clicks a LEFT JOIN clicks b ON a.id = b.id + 1",
        "SELECT DISTINCT lines, buyer FROM clicks",
        "SELECT make_array(lines), unnest(lines) FROM clicks",
        "SELECT id, (SELECT first_value(b.lines) FROM clicks b WHERE b.id = a.id) FROM clicks a",
    ] {
        fixture.ask(sql).await;
    }
    fixture.node.drain().await;
}
