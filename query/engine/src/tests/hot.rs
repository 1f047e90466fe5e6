//! What a query does not have to read of the hot tier.

use expect_test::expect;

use super::harness::{CLICKS, Fixture, numbered};
use super::typed;
use tarn_model::{Offset, PartitionId, TopicPartition};
use tarn_schema::frame_by_id;
use tarn_state::Command;
use tarn_state::commands::{DeleteRecords, RecordsBelow};

/// A counter of the hot tier.
fn counted(fixture: &Fixture, name: &str) -> u64 {
    let metrics = fixture.node.runtime.metrics().encode();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("tarn_{name}_total ")));
    line.expect("the metric").parse().expect("a count")
}

impl Fixture {
    /// Waits until the hot tier has decoded so many new rows.
    async fn followed(&self, rows: u64) {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while counted(self, "hot_tier_followed_rows") < rows {
            assert!(tokio::time::Instant::now() < end, "it does not follow");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// The line of a plan that tells of the hot scan; the whole plan if there is none.
    async fn hot_scan(&self, sql: &str) -> String {
        let plan = self.ask(&format!("EXPLAIN {sql}")).await;
        let line = plan.lines().find_map(|line| line.split("HotExec: ").nth(1));
        line.map_or(plan.clone(), |line| {
            line.trim_end_matches(['|', ' ']).to_owned()
        })
    }
}

#[tokio::test]
async fn what_is_in_memory_is_counted_without_reading_it() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 4)).await;
    fixture
        .produce_at(CLICKS, 1, &numbered("c", 2), 1_000)
        .await;
    fixture.followed(9).await;
    let plan = fixture.ask("EXPLAIN SELECT count(*) FROM clicks").await;
    assert!(plan.contains("PlaceholderRowExec"), "{plan}");
    assert_eq!(fixture.numbers("SELECT count(*) FROM clicks").await, [9]);
    let ends = "SELECT count(*) AS n, min(_offset) AS a, max(_offset) AS z, min(_timestamp) AS t, \
                max(_timestamp) AS u FROM \"clicks$hot\"";
    let plan = fixture.ask(&format!("EXPLAIN {ends}")).await;
    assert!(plan.contains("PlaceholderRowExec"), "{plan}");
    expect![[r#"
        +---+---+---+----------------------+----------------------+
        | n | a | z | t                    | u                    |
        +---+---+---+----------------------+----------------------+
        | 6 | 0 | 6 | 1970-01-01T00:00:01Z | 2100-01-01T00:00:00Z |
        +---+---+---+----------------------+----------------------+"#]]
    .assert_eq(&fixture.ask(ends).await);
    // A filter may drop some: then they are looked at.
    let plan = fixture
        .ask("EXPLAIN SELECT count(*) FROM clicks WHERE _offset % 2 = 0")
        .await;
    assert!(plan.contains("HotExec"), "{plan}");
    fixture.node.drain().await;
}

#[tokio::test]
async fn ranges_of_place_and_time_reach_the_hot_rows() {
    let fixture = Fixture::new().await;
    fixture
        .produce_at(CLICKS, 0, &numbered("a", 5), 1_000)
        .await;
    fixture.materialize(CLICKS).await;
    fixture
        .produce_at(CLICKS, 0, &numbered("b", 5), 2_000)
        .await;
    fixture
        .produce_at(CLICKS, 1, &numbered("c", 8), 9_000)
        .await;
    fixture.followed(18).await;
    let of = |filter: &str| format!("SELECT _offset, _timestamp FROM clicks WHERE {filter}");
    let partition = tarn_schema::PARTITION;
    for (filter, scan, rows) in [
        ("true".to_owned(), "partitions=2, offsets=13", 18),
        (format!("{partition} = 1"), "partitions=1, offsets=8", 8),
        (
            format!("{partition} = 1 AND _offset >= 6"),
            "partitions=1, offsets=2",
            2,
        ),
        ("_offset < 7".to_owned(), "partitions=2, offsets=9", 14),
        ("_offset IN (3, 6)".to_owned(), "partitions=2, offsets=6", 4),
        (
            "_offset BETWEEN 8 AND 20".to_owned(),
            "partitions=1, offsets=2",
            2,
        ),
        (
            format!("{partition} = 0 AND _offset = 6 OR {partition} = 1 AND _offset = 7"),
            "partitions=2, offsets=4",
            2,
        ),
    ] {
        let sql = of(&filter);
        assert_eq!(fixture.hot_scan(&sql).await, scan, "{filter}");
        let answer = fixture.rows(&sql).await.expect("it is answered");
        let found: usize = answer.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(found, rows, "{filter}");
    }
    // Nothing hot, nothing cold, neither.
    for (filter, hot, cold) in [
        (format!("{partition} = 0 AND _offset < 5"), false, true),
        (format!("{partition} = 1"), true, false),
        ("_offset > 99".to_owned(), false, false),
        (format!("{partition} = 7"), false, false),
    ] {
        let plan = fixture.ask(&format!("EXPLAIN {}", of(&filter))).await;
        assert_eq!(plan.contains("HotExec"), hot, "{filter}\n{plan}");
        assert_eq!(plan.contains("DataSourceExec"), cold, "{filter}\n{plan}");
    }
    for (filter, rows) in [
        ("_timestamp < '1970-01-01T00:00:03Z'", 10),
        ("_timestamp >= '1970-01-01T00:00:02Z'", 13),
        ("_timestamp = '1970-01-01T00:00:09Z'", 8),
        ("_timestamp > '1970-01-01T00:00:09Z'", 0),
    ] {
        let answer = fixture.rows(&of(filter)).await.expect("it is answered");
        let found: usize = answer.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(found, rows, "{filter}");
        let count = format!("SELECT count(*) FROM clicks WHERE {filter}");
        assert_eq!(fixture.numbers(&count).await, [rows as u64], "{filter}");
    }
    fixture.node.drain().await;
}

/// A column more, a wider number, more fields in nested records: rows that are in memory stay there.
#[tokio::test]
async fn rows_in_memory_outlive_a_new_schema() {
    let fixture = Fixture::new().await;
    let one = fixture.register("clicks", 1, typed::FIRST).await;
    let orders: Vec<Vec<u8>> = [1, 2]
        .map(|id| frame_by_id(one, &typed::first(id, "Oslo")))
        .to_vec();
    fixture.produce_bytes(CLICKS, 0, &orders).await;
    fixture.followed(2).await;
    let two = fixture.register("clicks", 2, typed::SECOND).await;
    let order = frame_by_id(two, &typed::second(3, "Rome"));
    fixture.produce_bytes(CLICKS, 0, &[order]).await;
    fixture.followed(3).await;
    let all = "SELECT _offset, id, city, n, lines, buyer, tags, paid FROM clicks ORDER BY _offset";
    let hot = fixture.ask(all).await;
    expect![[r#"
        +---------+----+------+---+----------------------+----------------------+--------+------+
        | _offset | id | city | n | lines                | buyer                | tags   | paid |
        +---------+----+------+---+----------------------+----------------------+--------+------+
        | 0       | 1  | Oslo | 1 | [{sku: x, count: }]  | {name: ann, age: }   |        |      |
        | 1       | 2  | Oslo | 2 | [{sku: x, count: }]  | {name: ann, age: }   |        |      |
        | 2       | 3  | Rome | 3 | [{sku: y, count: 3}] | {name: bob, age: 44} | {k: v} | 1.00 |
        +---------+----+------+---+----------------------+----------------------+--------+------+"#]]
    .assert_eq(&hot);
    assert_eq!(
        fixture
            .numbers("SELECT sum(n), count(paid), count(*) FROM clicks WHERE n < 3")
            .await,
        [3, 0, 2]
    );
    assert_eq!(counted(&fixture, "hot_tier_reread_rows"), 0);
    assert_eq!(counted(&fixture, "hot_tier_followed_rows"), 3);
    fixture.materialize(CLICKS).await;
    assert_eq!(fixture.ask(all).await, hot);
    fixture.node.drain().await;
}

/// What was acknowledged before a topic is deleted stays to be asked for under its table's new name.
#[tokio::test]
async fn a_deleted_topic_loses_no_row() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 4)).await;
    fixture.produce(CLICKS, 1, &numbered("c", 2)).await;
    let place = tarn_schema::PARTITION;
    let all = |table: &str| {
        format!("SELECT {place}, _offset, _value::text AS v FROM {table} ORDER BY {place}, _offset")
    };
    let before = fixture.ask(&all("clicks")).await;
    fixture.delete(CLICKS).await;
    let name = "clicks__07070707";
    assert_eq!(fixture.ask(&all(name)).await, before);
    assert_eq!(fixture.counts(name).await, (9, 6, 3));
    // A new topic of the same name begins empty.
    let again = tarn_model::TopicId([8; 16]);
    fixture.create(again, "clicks", 1).await;
    assert_eq!(fixture.counts("clicks").await, (0, 0, 0));

    fixture.materialize(CLICKS).await;
    assert_eq!(fixture.ask(&all(name)).await, before);
    assert_eq!(fixture.counts(name).await, (9, 0, 9));
    assert!(fixture.node.metastore.view().leftovers.is_empty());
    fixture.node.drain().await;
}

/// A join's build side and `ORDER BY … LIMIT` tell the scan which files cannot matter any more.
#[tokio::test]
async fn a_filter_that_comes_up_later_leaves_files_unopened() {
    const DAY_MS: i64 = 86_400_000;
    let fixture = Fixture::new().await;
    for day in 1..=6 {
        let rows = numbered("d", 3);
        fixture.produce_at(CLICKS, 0, &rows, day * DAY_MS).await;
        fixture.materialize(CLICKS).await;
    }
    let newest =
        "SELECT _offset FROM \"clicks$cold\" ORDER BY _timestamp DESC, _offset DESC LIMIT 2";
    let plan = fixture.ask(&format!("EXPLAIN ANALYZE {newest}")).await;
    let pruned = plan.contains("files_ranges_pruned_statistics=6 total")
        && !plan.contains("6 total → 6 matched");
    assert!(pruned, "{plan}");
    expect![[r#"
        +---------+
        | _offset |
        +---------+
        | 17      |
        | 16      |
        +---------+"#]]
    .assert_eq(&fixture.ask(newest).await);
    // Bounds are no values: what the least one is, files have to say.
    let least = "SELECT min(_offset) AS a, max(_offset) AS z FROM \"clicks$cold\"";
    let plan = fixture.ask(&format!("EXPLAIN {least}")).await;
    assert!(plan.contains("DataSourceExec"), "{plan}");
    assert_eq!(fixture.numbers(least).await, [0, 17]);
    fixture.node.drain().await;
}

#[tokio::test]
async fn deleted_records_are_no_rows_but_for_those_that_the_table_has() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 4)).await;
    fixture.followed(7).await;
    let shown = "SELECT count(*), min(_offset), max(_offset) FROM clicks";
    // Below M, in the middle of what is hot, and all of it.
    for (below, left) in [(2, [7, 0, 6]), (5, [5, 0, 6]), (7, [3, 0, 2])] {
        let below = RecordsBelow {
            at: TopicPartition::new(CLICKS, PartitionId(0)),
            offset: Some(Offset(below)),
        };
        let command = Command::DeleteRecords(DeleteRecords {
            partitions: vec![below],
        });
        fixture.propose(command).await;
        assert_eq!(fixture.numbers(shown).await, left);
        // Counted row by row, too.
        let looked = format!("{shown} WHERE _offset % 1 = 0");
        assert_eq!(fixture.numbers(&looked).await, left);
    }
    fixture.node.drain().await;
}
