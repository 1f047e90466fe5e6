//! A process with agent's writer, compactor, hot tier and engine, over a store and a log in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use tarn_commit_log::MemoryLog;
use tarn_compactor::{CompactorSettings, MaterializerHandle};
use tarn_hot::{HotSettings, HotTier};
use tarn_kafka::{BatchBuilder, Compression, ValidBatch};
use tarn_model::{ByteSize, PartitionId, SchemaFormat, SchemaId, TableUuid, TopicId};
use tarn_replica::{Node, NodeSettings, Parts};
use tarn_runtime::Runtime;
use tarn_state::commands::{CreateTopic, DeleteTopic, RegisterSchema};
use tarn_state::topic_configs::Defaults;
use tarn_state::{Command, Outcome};
use tarn_store::Store;
use tarn_tables::Catalog;
use tarn_topics::{NewBatch, Writer, WriterSettings};
use tokio::time::Instant;

use crate::{Engine, EngineSettings, Parameter, QueryError, SqlSession};

pub(super) const CLICKS: TopicId = TopicId([7; 16]);
/// 2100-01-01.
const TIME_MS: i64 = 4_102_444_800_000;

pub(super) struct Fixture {
    pub(super) node: Node,
    pub(super) engine: Engine,
    writer: Writer,
    compactor: MaterializerHandle,
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(super) fn numbered(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}-{n:06}")).collect()
}

impl Fixture {
    /// With the topic `clicks` of two partitions.
    pub(super) async fn new() -> Fixture {
        Fixture::with(EngineSettings {
            parallelism: 2,
            ..EngineSettings::default()
        })
        .await
    }

    pub(super) async fn with(settings: EngineSettings) -> Fixture {
        let runtime = Runtime::real();
        let parts = Parts {
            runtime: runtime.clone(),
            store: Store::memory(&runtime),
            log: Arc::new(MemoryLog::new()),
            name: "test".to_owned(),
        };
        // Nothing becomes a table by itself.
        let opened_with = NodeSettings {
            defaults: Defaults::tables_every(Duration::from_secs(1_000_000)),
            ..NodeSettings::default()
        };
        let node = Node::open(opened_with, parts, runtime.root_scope("test"));
        let node = node.await.expect("a node in memory opens");
        let hot = HotTier::start(
            &node,
            HotSettings {
                bytes: ByteSize::mib(8),
            },
        );
        let tables = Catalog::new(&node, ByteSize::mib(8));
        let fixture = Fixture {
            writer: Writer::start(&node, WriterSettings::local()),
            compactor: tarn_compactor::start_materializer(
                &node,
                &tables,
                CompactorSettings::default(),
            ),
            engine: Engine::start(&node, &tables, hot, settings),
            node,
        };
        fixture.create(CLICKS, "clicks", 2).await;
        fixture
    }

    pub(super) async fn propose(&self, command: Command) -> Outcome {
        let committed = self
            .node
            .metastore
            .propose(vec![command], soon())
            .await
            .expect("it is legal");
        committed.outcomes[0].clone()
    }

    pub(super) async fn create(&self, id: TopicId, name: &str, partitions: i32) {
        let table = TableUuid(id.0);
        let create = CreateTopic {
            id,
            name: name.to_owned(),
            partitions,
            configs: BTreeMap::new(),
            table,
        };
        self.propose(Command::CreateTopic(create)).await;
    }

    pub(super) async fn delete(&self, id: TopicId) {
        self.propose(Command::DeleteTopic(DeleteTopic { id })).await;
    }

    pub(super) async fn register(&self, topic: &str, version: u8, text: &str) -> SchemaId {
        let parsed = tarn_schema::parse(text, &[]).expect("a schema");
        let register = RegisterSchema {
            subject: format!("{topic}-value"),
            guid: [version; 16],
            format: SchemaFormat::Avro,
            text: text.to_owned(),
            columns: tarn_schema::columns(&parsed).expect("columns"),
            references: Vec::new(),
        };
        match self.propose(Command::RegisterSchema(register)).await {
            Outcome::SchemaRegistered { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn produce(&self, topic: TopicId, partition: i32, values: &[String]) {
        self.produce_at(topic, partition, values, TIME_MS).await;
    }

    pub(super) async fn produce_at(
        &self,
        topic: TopicId,
        partition: i32,
        values: &[String],
        time_ms: i64,
    ) {
        let values: Vec<Vec<u8>> = values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect();
        self.append(topic, partition, &values, time_ms).await;
    }

    pub(super) async fn produce_bytes(&self, topic: TopicId, partition: i32, values: &[Vec<u8>]) {
        self.append(topic, partition, values, TIME_MS).await;
    }

    async fn append(&self, topic: TopicId, partition: i32, values: &[Vec<u8>], time_ms: i64) {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        for value in values {
            builder
                .push(time_ms, Some(b"key"), Some(value), &[])
                .expect("small");
        }
        let batch = builder.build().expect("a batch");
        self.produce_batch(topic, partition, batch).await;
    }

    pub(super) async fn produce_batch(&self, topic: TopicId, partition: i32, batch: ValidBatch) {
        let permit = self
            .node
            .budget
            .acquire(batch.bytes().len() as u64)
            .await
            .expect("small");
        let batch = NewBatch {
            topic,
            partition: PartitionId(partition),
            batch,
        };
        for result in self.writer.append(vec![batch], permit, soon()).await {
            result.expect("a batch is appended");
        }
    }

    pub(super) async fn materialize(&self, topic: TopicId) {
        self.compactor
            .materialize_now(topic)
            .await
            .expect("the table is written");
    }

    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        self.engine.query(sql).await?.collect().await
    }

    /// The names of the answer's columns, and its rows.
    pub(super) async fn named_rows(
        &self,
        sql: &str,
        parameters: Vec<Parameter>,
    ) -> Result<(Vec<String>, Vec<RecordBatch>), QueryError> {
        let prepared = self.engine.prepare(sql).await?;
        let session = SqlSession::default();
        let result = self.engine.execute(&prepared, parameters, &session).await?;
        let names = result.schema().fields().iter();
        let names = names.map(|field| field.name().clone()).collect();
        Ok((names, result.collect().await?))
    }

    /// The answer as a table.
    pub(super) async fn ask(&self, sql: &str) -> String {
        let batches = self
            .rows(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        pretty_format_batches(&batches)
            .expect("it prints")
            .to_string()
    }

    /// The one row of an answer that holds counts.
    pub(super) async fn numbers(&self, sql: &str) -> Vec<u64> {
        let batches = self
            .rows(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        let [batch] = &batches[..] else {
            panic!("{sql}: {batches:?}")
        };
        assert_eq!(batch.num_rows(), 1, "{sql}");
        let number = |column: &arrow::array::ArrayRef| {
            let column = cast(column, &DataType::Int64).expect("it is a number");
            match column.is_null(0) {
                true => 0,
                false => {
                    u64::try_from(column.as_primitive::<Int64Type>().value(0)).expect("a count")
                }
            }
        };
        batch.columns().iter().map(number).collect()
    }

    /// All rows of a topic, its hot and its cold ones.
    pub(super) async fn counts(&self, topic: &str) -> (u64, u64, u64) {
        let count = async |suffix: &str| {
            self.numbers(&format!("SELECT count(*) FROM events.\"{topic}{suffix}\""))
                .await[0]
        };
        (count("").await, count("$hot").await, count("$cold").await)
    }

    /// The error of a statement that has no answer.
    pub(super) async fn fail(&self, sql: &str) -> QueryError {
        match self.rows(sql).await {
            Ok(rows) => panic!("{sql} was answered: {rows:?}"),
            Err(error) => error,
        }
    }
}
