//! The cluster as tables.

use std::collections::BTreeMap;

use expect_test::expect;
use tarn_state::Command;
use tarn_state::commands::{AlterTopicConfigs, ConfigChange, ReportTable};

use super::harness::{CLICKS, Fixture, numbered};

#[tokio::test]
async fn the_cluster_is_shown_at_the_cut() {
    let fixture = Fixture::new().await;
    fixture.produce(CLICKS, 0, &numbered("a", 3)).await;
    fixture.materialize(CLICKS).await;
    fixture.produce(CLICKS, 0, &numbered("b", 2)).await;
    let sql = "SELECT name, topic_id, partitions, records, bytes > 0 AS bytes, has_table, created_at > '2020-01-01' AS made FROM system.topics";
    expect![[r#"
        +--------+--------------------------------------+------------+---------+-------+-----------+------+
        | name   | topic_id                             | partitions | records | bytes | has_table | made |
        +--------+--------------------------------------+------------+---------+-------+-----------+------+
        | clicks | 07070707-0707-0707-0707-070707070707 | 2          | 5       | true  | true      | true |
        +--------+--------------------------------------+------------+---------+-------+-----------+------+"#]].assert_eq(&fixture.ask(sql).await);
    let sql = "SELECT topic, partition, log_start, high_watermark, last_stable_offset, materialized_offset, extents FROM system.partitions ORDER BY partition";
    expect![[r#"
        +--------+-----------+-----------+----------------+--------------------+---------------------+---------+
        | topic  | partition | log_start | high_watermark | last_stable_offset | materialized_offset | extents |
        +--------+-----------+-----------+----------------+--------------------+---------------------+---------+
        | clicks | 0         | 0         | 5              | 5                  | 3                   | 2       |
        | clicks | 1         | 0         | 0              | 0                  | 0                   | 0       |
        +--------+-----------+-----------+----------------+--------------------+---------------------+---------+"#]].assert_eq(&fixture.ask(sql).await);
    let sql = "SELECT namespace, name, topic, typed, columns, rows, undecodable, deleted, table_snapshot IS NOT NULL AS written, metadata_location LIKE 'memory:///tables/events/clicks%' AS located FROM system.tables";
    expect![[r#"
        +-----------+--------+--------+-------+---------+------+-------------+---------+---------+---------+
        | namespace | name   | topic  | typed | columns | rows | undecodable | deleted | written | located |
        +-----------+--------+--------+-------+---------+------+-------------+---------+---------+---------+
        | events    | clicks | clicks | false | 0       | 3    | 0           | 0       | true    | true    |
        +-----------+--------+--------+-------+---------+------+-------------+---------+---------+---------+"#]].assert_eq(&fixture.ask(sql).await);
    let sql = "SELECT \"table\", \"column\", position, type, nullable, field_id, payload_field FROM system.columns";
    expect![[r#"
        +--------+------------------+----------+-----------------------------------------+----------+----------+---------------+
        | table  | column           | position | type                                    | nullable | field_id | payload_field |
        +--------+------------------+----------+-----------------------------------------+----------+----------+---------------+
        | clicks | _topic_partition | 1        | int                                     | false    | 1        |               |
        | clicks | _offset          | 2        | bigint                                  | false    | 2        |               |
        | clicks | _timestamp       | 3        | timestamptz                             | false    | 3        |               |
        | clicks | _key             | 4        | binary                                  | true     | 4        |               |
        | clicks | _headers         | 5        | array<struct<key:varchar,value:binary>> | true     | 5        |               |
        | clicks | _schema_id       | 6        | int                                     | true     | 9        |               |
        | clicks | _event_time      | 7        | timestamptz                             | false    | 11       |               |
        | clicks | _lsn             | 8        | bigint                                  | false    | 12       |               |
        | clicks | _committed       | 9        | timestamptz                             | false    | 13       |               |
        | clicks | _value           | 10       | binary                                  | true     | 10       |               |
        +--------+------------------+----------+-----------------------------------------+----------+----------+---------------+"#]]
    .assert_eq(&fixture.ask(sql).await);
    assert_eq!(
        fixture.numbers("SELECT count(*) FROM system.groups").await,
        [0]
    );
    assert_eq!(
        fixture
            .numbers("SELECT count(*) FROM system.group_offsets")
            .await,
        [0]
    );
    let sql = "SELECT count(*) FROM events.clicks c JOIN system.partitions p ON c._topic_partition = p.partition AND p.topic = 'clicks'";
    assert_eq!(fixture.numbers(sql).await, [5]);
    fixture.node.drain().await;
}

#[tokio::test]
async fn what_somebody_has_to_mend_is_shown() {
    let fixture = Fixture::new().await;
    let sql = "SELECT append_timed, nulled_values, event_time, event_time_since IS NULL AS always, problem FROM system.tables";
    expect![[r#"
        +--------------+---------------+------------+--------+---------+
        | append_timed | nulled_values | event_time | always | problem |
        +--------------+---------------+------------+--------+---------+
        | 0            | 0             | _timestamp | true   |         |
        +--------------+---------------+------------+--------+---------+"#]]
    .assert_eq(&fixture.ask(sql).await);
    // Records without a timestamp happened when they were appended.
    let values = numbered("a", 2);
    fixture.produce_at(CLICKS, 0, &values, -1).await;
    fixture.materialize(CLICKS).await;
    let view = fixture.node.metastore.view();
    let table = view.table(CLICKS).expect("a table");
    let report = ReportTable {
        table: table.uuid,
        pointer: table.pointer.clone(),
        problem: "the disk is full".to_owned(),
    };
    fixture.propose(Command::ReportTable(report)).await;
    let set = ConfigChange::Set("at".to_owned());
    let named = AlterTopicConfigs {
        id: CLICKS,
        changes: BTreeMap::from([("tarn.event.time".to_owned(), set)]),
    };
    fixture.propose(Command::AlterTopicConfigs(named)).await;
    expect![[r#"
        +--------------+---------------+------------+--------+---------------------------------------------------------------+
        | append_timed | nulled_values | event_time | always | problem                                                       |
        +--------------+---------------+------------+--------+---------------------------------------------------------------+
        | 2            | 0             | at         | false  | the disk is full; tarn.event.time: the table has no column at |
        +--------------+---------------+------------+--------+---------------------------------------------------------------+"#]].assert_eq(&fixture.ask(sql).await);
    // The next commit takes the reason away.
    fixture.produce(CLICKS, 0, &numbered("b", 1)).await;
    fixture.materialize(CLICKS).await;
    let left = fixture.ask("SELECT problem FROM system.tables").await;
    assert!(
        left.contains("tarn.event.time") && !left.contains("disk"),
        "{left}"
    );
}
