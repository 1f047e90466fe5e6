//! Names of topics and columns as SQL finds them.

use expect_test::expect;
use tarn_model::TopicId;

use super::harness::{CLICKS, Fixture, numbered};

#[tokio::test]
async fn topics_keep_their_names() {
    let fixture = Fixture::new().await;
    for (n, name) in (1..).zip(["web.clicks-2", "Orders", "ORDERS", "Mixed"]) {
        let topic = TopicId([n; 16]);
        fixture.create(topic, name, 1).await;
        fixture
            .produce(topic, 0, &numbered("x", usize::from(n)))
            .await;
    }
    let count = async |from: &str| {
        fixture
            .numbers(&format!("SELECT count(*) FROM {from}"))
            .await[0]
    };
    assert_eq!(count(r#""web.clicks-2""#).await, 1);
    assert_eq!(count(r#"events."web.clicks-2$hot""#).await, 1);
    assert_eq!(count(r#"tarn.events."Orders""#).await, 2);
    assert_eq!(count(r#""ORDERS""#).await, 3);
    // Only one topic can be meant.
    assert_eq!(count("Mixed").await, 4);
    assert_eq!(count("CLICKS").await, 0);
    let error = fixture.fail("SELECT * FROM orders").await;
    expect![[r#"the name orders could be "ORDERS" or "Orders": write it in double quotes"#]]
        .assert_eq(&error.to_string());
    fixture.node.drain().await;
}

#[tokio::test]
async fn the_table_of_a_deleted_topic_stays_under_its_new_name() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("old", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.delete(CLICKS).await;
    assert_eq!(
        fixture.fail("SELECT * FROM clicks").await.label(),
        "no-such-table"
    );
    assert_eq!(
        fixture
            .numbers("SELECT count(*) FROM clicks__07070707")
            .await,
        [3]
    );
    let again = TopicId([8; 16]);
    fixture.create(again, "clicks", 1).await;
    fixture.produce(again, 0, &numbered("new", 1)).await;
    assert_eq!(fixture.numbers("SELECT count(*) FROM clicks").await, [1]);
    fixture.node.drain().await;
}

#[tokio::test]
async fn columns_are_found_in_any_case_unless_that_is_ambiguous() {
    let fixture = Fixture::new().await;
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "userId", "type": "long"}, {"name": "total", "type": "long"},
        {"name": "theBuyer", "type": {"type": "record", "name": "B", "fields": [{"name": "age", "type": "long"}]}}]}"#;
    let id = fixture.register("clicks", 1, schema).await;
    fixture
        .produce_bytes(CLICKS, 0, &[tarn_schema::frame_by_id(id, &[14, 6, 88])])
        .await;
    let row = async |sql: &str| fixture.numbers(sql).await;
    assert_eq!(row("SELECT userId FROM clicks").await, [7]);
    assert_eq!(
        row(r#"SELECT c."userId" FROM clicks c WHERE C.USERID = 7"#).await,
        [7]
    );
    assert_eq!(
        row(
            "SELECT sum(userid) AS s FROM clicks GROUP BY userId HAVING max(UserId) > 1 ORDER BY s"
        )
        .await,
        [7]
    );
    assert_eq!(row("SELECT Total FROM clicks").await, [3]);
    assert_eq!(row("SELECT theBuyer.age FROM clicks").await, [44]);
    assert_eq!(
        row("SELECT c.TheBuyer.age FROM events.clicks c").await,
        [44]
    );
    // An alias is the alias.
    assert_eq!(
        row("SELECT x.userid FROM (SELECT 1 AS userid FROM clicks) x").await,
        [1]
    );
    assert_eq!(
        row("WITH t(userid) AS (SELECT 5) SELECT userid FROM t, clicks").await,
        [5]
    );
    assert_eq!(
        fixture.fail(r#"SELECT "USERID" FROM clicks"#).await.label(),
        "invalid"
    );
    fixture.node.drain().await;
}

#[tokio::test]
async fn tables_and_columns_are_listed() {
    let fixture = Fixture::new().await;
    fixture.create(TopicId([1; 16]), "Web.clicks", 1).await;
    let listed = fixture.ask("SHOW TABLES").await;
    let ours: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains("| events") || line.contains("| system"))
        .collect();
    expect![[r#"
        | tarn          | events             | Web.clicks    | BASE TABLE |
        | tarn          | events             | clicks        | BASE TABLE |
        | tarn          | system             | topics        | VIEW       |
        | tarn          | system             | partitions    | VIEW       |
        | tarn          | system             | groups        | VIEW       |
        | tarn          | system             | group_offsets | VIEW       |
        | tarn          | system             | tables        | VIEW       |
        | tarn          | system             | columns       | VIEW       |
        | tarn          | system             | undecodable   | VIEW       |"#]]
    .assert_eq(&ours.join("\n"));
    expect![[r#"
        +------------------+-----------------------------------------+-------------+
        | column_name      | data_type                               | is_nullable |
        +------------------+-----------------------------------------+-------------+
        | _topic_partition | int                                     | NO          |
        | _offset          | bigint                                  | NO          |
        | _timestamp       | timestamptz                             | NO          |
        | _key             | binary                                  | YES         |
        | _headers         | array<struct<key:varchar,value:binary>> | YES         |
        | _schema_id       | int                                     | YES         |
        | _event_time      | timestamptz                             | NO          |
        | _lsn             | bigint                                  | NO          |
        | _committed       | timestamptz                             | NO          |
        | _value           | binary                                  | YES         |
        +------------------+-----------------------------------------+-------------+"#]]
    .assert_eq(&fixture.ask("DESCRIBE events.clicks").await);
    let sql = "SELECT column_name FROM information_schema.columns WHERE table_name = 'groups' ORDER BY 1 LIMIT 2";
    expect![[r#"
        +-------------+
        | column_name |
        +-------------+
        | changed_at  |
        | generation  |
        +-------------+"#]]
    .assert_eq(&fixture.ask(sql).await);
    fixture.node.drain().await;
}
