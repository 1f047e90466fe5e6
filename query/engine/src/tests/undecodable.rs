//! `system.undecodable`: every reason a record can have, and what is not read to find it.

use bytes::Bytes;
use expect_test::expect;
use tarn_kafka::{BatchBuilder, Compression, ValidBatch};
use tarn_model::{ByteSize, PartitionId, SchemaFormat, SchemaId, TopicId, TopicPartition};
use tarn_schema::frame_by_id;
use tarn_state::commands::RegisterSchema;
use tarn_state::{Command, Outcome};
use tarn_store::paths;

use super::harness::{CLICKS, Fixture};
use crate::{EngineSettings, QueryError};

const OTHER: TopicId = TopicId([8; 16]);
/// Offsets, and why.
const ALL: &str = r#"SELECT topic, partition AS p, "offset", schema_id, reason FROM system.undecodable ORDER BY 1, 2, 3"#;

fn schema() -> String {
    let symbol = "S".repeat(10_000);
    format!(
        r#"{{"type": "record", "name": "Reading", "fields": [
            {{"name": "what", "type": "string"}},
            {{"name": "ok", "type": "boolean"}},
            {{"name": "marks", "type": {{"type": "array", "items": {{"type": "enum", "name": "E", "symbols": ["{symbol}"]}}}}}}
        ]}}"#
    )
}

/// A batch of `a`, `b`, …, changed behind its producer's back and with a checksum that fits.
fn changed(count: u8, change: impl FnOnce(&mut Vec<u8>)) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for n in 0..count {
        let value = [b'a' + n; 20];
        builder
            .push(4_102_444_800_000, None, Some(&value), &[])
            .expect("small");
    }
    let mut bytes = builder.build().expect("a batch").bytes().to_vec();
    change(&mut bytes);
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    ValidBatch::from_stored(Bytes::from(bytes)).expect("its checksum fits")
}

/// Says that it has a record more than it has.
fn miscounted(count: u8) -> ValidBatch {
    changed(count, |bytes| {
        bytes[23..27].copy_from_slice(&i32::from(count).to_be_bytes());
        bytes[57..61].copy_from_slice(&i32::from(count + 1).to_be_bytes());
    })
}

/// Not what its codec makes.
fn garbled(count: u8) -> ValidBatch {
    changed(count, |bytes| {
        let last = bytes.len() - 1;
        bytes[61..last].fill(0xff);
    })
}

/// Registers a text that is no schema, as only a defect could.
async fn register_nonsense(fixture: &Fixture) -> SchemaId {
    let parsed = tarn_schema::parse(&schema(), &[]).expect("a schema");
    let register = RegisterSchema {
        subject: "clicks-value".to_owned(),
        guid: [9; 16],
        format: SchemaFormat::Avro,
        text: "no schema".to_owned(),
        columns: tarn_schema::columns(&parsed).expect("columns"),
        references: Vec::new(),
    };
    match fixture.propose(Command::RegisterSchema(register)).await {
        Outcome::SchemaRegistered { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

/// A record for every reason between two good ones, and batches that cannot be opened.
async fn broken(settings: EngineSettings) -> Fixture {
    let fixture = Fixture::with(settings).await;
    fixture.create(OTHER, "other", 1).await;
    let id = fixture.register("clicks", 1, &schema()).await;
    let nonsense = register_nonsense(&fixture).await;
    let good: &[u8] = b"\x02a\x01\x00";
    let mut many = b"\x02a\x01\xd0\x0f".to_vec();
    many.resize(many.len() + 1001, 0);
    let values = vec![
        frame_by_id(id, good),
        b"raw".to_vec(),
        frame_by_id(SchemaId(99), good),
        frame_by_id(id, b"\x02"),
        frame_by_id(id, b"\x02a\x01\x00\x00"),
        frame_by_id(id, b"\x02\xff\x01\x00"),
        frame_by_id(id, b"\x02a\x07\x00"),
        frame_by_id(id, &many),
        frame_by_id(nonsense, good),
        frame_by_id(id, good),
    ];
    fixture.produce_bytes(CLICKS, 0, &values).await;
    fixture
        .produce_bytes(CLICKS, 0, &[frame_by_id(id, good), b"late".to_vec()])
        .await;
    fixture.produce_batch(CLICKS, 1, garbled(2)).await;
    fixture.produce_batch(OTHER, 0, miscounted(2)).await;
    fixture
}

fn plain() -> EngineSettings {
    EngineSettings {
        parallelism: 2,
        ..EngineSettings::default()
    }
}

#[tokio::test]
async fn each_reason_is_shown_hot_and_cold_and_as_often_as_it_is_counted() {
    let fixture = broken(plain()).await;
    let expected = expect![[r#"
        +--------+---+--------+-----------+------------------+
        | topic  | p | offset | schema_id | reason           |
        +--------+---+--------+-----------+------------------+
        | clicks | 0 | 1      |           | no_schema        |
        | clicks | 0 | 2      | 99        | unknown_schema   |
        | clicks | 0 | 3      | 1         | truncated        |
        | clicks | 0 | 4      | 1         | trailing_bytes   |
        | clicks | 0 | 5      | 1         | invalid_utf8     |
        | clicks | 0 | 6      | 1         | invalid_value    |
        | clicks | 0 | 7      | 1         | too_large        |
        | clicks | 0 | 8      | 2         | unusable_schema  |
        | clicks | 0 | 11     |           | no_schema        |
        | clicks | 1 | 0      |           | unreadable_batch |
        | clicks | 1 | 1      |           | unreadable_batch |
        | other  | 0 | 2      |           | unreadable_batch |
        +--------+---+--------+-----------+------------------+"#]];
    expected.assert_eq(&fixture.ask(ALL).await);
    fixture.materialize(CLICKS).await;
    fixture.materialize(OTHER).await;
    expected.assert_eq(&fixture.ask(ALL).await);
    let counted = "SELECT sum(undecodable)::bigint, sum(rows)::bigint FROM system.tables";
    assert_eq!(fixture.numbers(counted).await, [12, 5]);
    let detail = r#"SELECT detail FROM system.undecodable WHERE reason = 'unreadable_batch' AND topic = 'other'"#;
    let detail = fixture.ask(detail).await;
    assert!(detail.contains("record 2 is malformed"), "{detail}");
    fixture.node.drain().await;
}

impl Fixture {
    /// Takes away what a partition's extents lie in, but for the last `keep` of them.
    async fn lose_segments(&self, topic: TopicId, partition: i32, keep: usize) {
        let view = self.node.metastore.view();
        let at = TopicPartition::new(topic, PartitionId(partition));
        let extents = &view.partitions[&at].extents;
        for extent in extents.values().take(extents.len() - keep) {
            let path = paths::segment(extent.segment);
            self.node.store.delete(&path).await.expect("it is there");
            self.node.cache.forget(&path);
        }
    }
}

#[tokio::test]
async fn what_a_filter_rules_out_is_not_read() {
    let fixture = broken(plain()).await;
    // A table without anything undecodable.
    let clean = TopicId([9; 16]);
    fixture.create(clean, "clean", 1).await;
    fixture.produce_bytes(clean, 0, &[b"fine".to_vec()]).await;
    fixture.materialize(clean).await;
    fixture.lose_segments(clean, 0, 0).await;
    assert_eq!(
        fixture
            .numbers("SELECT count(*) FROM system.undecodable")
            .await,
        [12]
    );

    fixture.lose_segments(CLICKS, 1, 0).await;
    fixture.lose_segments(CLICKS, 0, 1).await;
    let lost = fixture
        .fail("SELECT count(*) FROM system.undecodable")
        .await;
    assert!(matches!(lost, QueryError::Internal { .. }), "{lost:?}");
    for (filter, count) in [
        ("topic = 'other'", 1),
        ("topic LIKE 'oth%'", 1),
        ("topic IN ('nowhere', 'other')", 1),
        ("topic > 'clicks'", 1),
        (
            r#"topic = 'clicks' AND partition = 0 AND "offset" >= 10"#,
            1,
        ),
        (
            r#"topic = 'clicks' AND partition < 1 AND "offset" BETWEEN 10 AND 12"#,
            1,
        ),
        (r#"topic = 'other' OR (partition = 0 AND "offset" = 11)"#, 2),
        (
            r#"partition = 0 AND "offset" > 9 AND reason = 'no_schema'"#,
            1,
        ),
        ("partition = 7", 0),
    ] {
        let sql = format!("SELECT count(*) FROM system.undecodable WHERE {filter}");
        assert_eq!(fixture.numbers(&sql).await, [count], "{filter}");
    }
    fixture.node.drain().await;
}

#[tokio::test]
async fn it_is_looked_for_within_a_querys_limits() {
    let fixture = broken(EngineSettings {
        row_limit: 3,
        ..plain()
    })
    .await;
    let error = fixture.fail("SELECT * FROM system.undecodable").await;
    assert!(matches!(error, QueryError::RowLimit { .. }), "{error:?}");
    // What nobody asks for any more is not read.
    fixture.lose_segments(OTHER, 0, 0).await;
    let some = fixture
        .rows("SELECT * FROM system.undecodable LIMIT 2")
        .await;
    assert_eq!(
        some.expect("found in time")
            .iter()
            .map(|batch| batch.num_rows())
            .sum::<usize>(),
        2
    );
    fixture.node.drain().await;

    let fixture = broken(EngineSettings {
        memory_limit: ByteSize::mib(8),
        ..plain()
    })
    .await;
    let error = fixture.fail("SELECT * FROM system.undecodable").await;
    assert!(matches!(error, QueryError::MemoryLimit { .. }), "{error:?}");
    fixture.node.drain().await;
}
