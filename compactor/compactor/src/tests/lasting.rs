//! Faults that trying again does not pass.

use tarn_state::commands::{
    AlterTopicConfigs, CommitTables, ConfigChange, MaterializedChange, TableCommit,
};
use tarn_store::{LocalStore, Options, Path};
use tarn_tables::schema_change;

use super::*;

const OTHER: TopicId = TopicId([8; 16]);

/// Every name that Kafka allows is a table, on a file system that takes names of 255 bytes.
#[tokio::test]
async fn the_longest_name_of_a_topic_is_a_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::real();
    let local = LocalStore::open(folder.path(), true, &runtime).expect("an empty folder");
    let store = Store::local(local, Options::default(), &runtime);
    let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
    let fixture = Fixture::on(node, CompactorSettings::default()).await;
    for (n, length) in (20_u8..).zip([245, 246, 249]) {
        let topic = TopicId([n; 16]);
        create_topic(&fixture.node, topic, &"n".repeat(length)).await;
        fixture.append_to(topic, 0, batch_of(&values("a", 3))).await;
        let view = fixture.compactor.materialize_now(topic).await;
        let view = view.expect("the table is written");
        let table = view.table(topic).expect("a table");
        assert_eq!(table.materialized(PartitionId(0)), Offset(3));
    }
    fixture.node.drain().await;
}

/// A metadata file that is damaged: the table says so, its neighbor is written meanwhile, and once the
/// file is mended so is the table.
#[tokio::test]
async fn a_table_that_cannot_be_written_says_why_and_holds_up_nobody() {
    let runtime = Runtime::real();
    let store = Store::memory(&runtime);
    let log = MemoryLog::new();
    let first = Fixture::on(
        open(&runtime, &store, Arc::new(log.reopen())).await,
        CompactorSettings::default(),
    )
    .await;
    first.produce(0, &values("a", 3)).await;
    let view = first.materialize().await;
    let pointer = view
        .table(TOPIC)
        .expect("a table")
        .pointer
        .clone()
        .expect("a commit");
    let name = pointer
        .strip_prefix(store.base_url())
        .expect("in the store");
    let path = Path::from(name.trim_start_matches('/'));
    let metadata = store.get(&path).await.expect("there");
    store
        .put(&path, Bytes::from_static(b"{}"))
        .await
        .expect("taken");

    // Another process, which has not read the file before.
    let settings = CompactorSettings {
        tick: Duration::from_millis(20),
        tables_at_once: 1,
        ..CompactorSettings::default()
    };
    let node = open(&Runtime::real(), &store, Arc::new(log.reopen())).await;
    create_topic(&node, OTHER, "other").await;
    let node = every(Duration::from_millis(100), node);
    let _compactor = start_materializer(&node, &catalog(&node), settings);
    first.produce(0, &values("b", 2)).await;
    let deadline = soon();
    let until = async |done: &dyn Fn(&View) -> bool| {
        while !done(&node.metastore.view()) {
            assert!(Instant::now() < deadline, "it never comes");
            sleep(Duration::from_millis(10)).await;
        }
    };
    until(&|view| {
        view.table(TOPIC)
            .is_some_and(|table| table.problem.is_some())
    })
    .await;
    let view = node.metastore.view();
    let problem = view.table(TOPIC).expect("a table").problem.clone();
    let problem = problem.expect("just seen");
    assert!(
        problem.contains("the metadata of table events.clicks"),
        "{problem}"
    );
    first.append_to(OTHER, 0, batch_of(&values("c", 1))).await;
    until(&|view| {
        view.table(OTHER)
            .is_some_and(|table| table.pointer.is_some())
    })
    .await;

    store.put(&path, metadata).await.expect("taken");
    until(&|view| {
        view.table(TOPIC)
            .is_some_and(|table| table.problem.is_none())
    })
    .await;
    let table = node
        .metastore
        .view()
        .table(TOPIC)
        .cloned()
        .expect("a table");
    assert_eq!(table.materialized(PartitionId(0)), Offset(5));
    first.node.drain().await;
    node.drain().await;
}

impl Fixture {
    /// Another engine changes the table's metadata.
    pub(super) async fn change_elsewhere(
        &self,
        name: &str,
        change: impl FnOnce(&mut serde_json::Value),
    ) {
        let view = self.node.metastore.view();
        let table = view.table(TOPIC).expect("a table");
        let loaded = catalog(&self.node).load(table).await.expect("it loads");
        let mut json = loaded.metadata_json(true);
        change(&mut json);
        json["last-updated-ms"] = (loaded.metadata().last_updated_ms() + 1).into();
        let pointer = format!("{}/metadata/{name}.metadata.json", loaded.location());
        let output = loaded.file_io().new_output(&pointer).expect("a path");
        let bytes = serde_json::to_vec(&json).expect("JSON");
        let metadata = serde_json::from_slice(&bytes).expect("Iceberg's metadata");
        output.write(bytes.into()).await.expect("it is written");
        let commit = TableCommit {
            table: table.uuid,
            expected: table.pointer.clone(),
            pointer,
            table_snapshot: table.table_snapshot,
            materialized: MaterializedChange::Keep,
            schema: schema_change(table, &metadata),
        };
        let commit = CommitTables::one(commit);
        self.propose(Command::CommitTables(commit)).await;
    }

    async fn propose(&self, command: Command) {
        let proposed = self.node.metastore.propose(vec![command], soon());
        proposed.await.expect("it is taken");
    }

    fn problem(&self) -> Option<String> {
        let view = self.node.metastore.view();
        view.table(TOPIC).expect("a table").problem.clone()
    }

    /// Rounds that failed.
    fn failures(&self) -> u64 {
        let metrics = self.node.runtime.metrics().encode();
        let name = r#"tarn_materialize_rounds_total{outcome="Failed"} "#;
        let count = metrics.lines().find_map(|line| line.strip_prefix(name));
        count.map_or(0, |count| count.parse().expect("a number"))
    }
}

/// A partition spec of a later Iceberg: the table says so, is tried once and no more in an hour, again
/// when its topic changes, and is written as soon as its spec can be.
#[test]
fn a_spec_that_cannot_be_written_waits_for_another() {
    let mut simulation = turmoil::Builder::new()
        .rng_seed(6)
        .tick_duration(Duration::from_millis(10))
        .simulation_duration(Duration::from_secs(36_000))
        .build();
    simulation.client("compactor", async move {
        let runtime = Runtime::simulated(&SimulatedHost::new(6));
        let store = Store::memory(&runtime);
        let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
        let settings = CompactorSettings {
            tables_at_once: 1,
            ..CompactorSettings::default()
        };
        let fixture = Fixture::on(every(Duration::from_secs(1), node), settings).await;
        let until_written = async |end: u64| {
            while fixture.materialized(0) < Offset(end) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        fixture.produce(0, &values("a", 3)).await;
        until_written(3).await;
        let field = serde_json::json!({
            "source-id": 3, "field-id": 1001, "name": "p", "transform": "unknown"
        });
        let spec = serde_json::json!({ "spec-id": 1, "fields": [field] });
        fixture
            .change_elsewhere("later", |metadata| {
                let specs = metadata["partition-specs"].as_array_mut().expect("specs");
                specs.push(spec);
                metadata["default-spec-id"] = 1.into();
                metadata["last-partition-id"] = 1001.into();
            })
            .await;
        fixture.produce(0, &values("b", 2)).await;
        while fixture.problem().is_none() {
            sleep(Duration::from_millis(100)).await;
        }
        let problem = fixture.problem().expect("just seen");
        assert!(problem.contains("partition spec"), "{problem}");
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(fixture.failures(), 1);
        // Its neighbor has the one place there is.
        create_topic(&fixture.node, OTHER, "other").await;
        fixture.append_to(OTHER, 0, batch_of(&values("c", 1))).await;
        let is_written = || {
            let view = fixture.node.metastore.view();
            view.table(OTHER)
                .is_some_and(|table| table.pointer.is_some())
        };
        while !is_written() {
            sleep(Duration::from_millis(100)).await;
        }
        let change = ConfigChange::Set("1000".to_owned());
        let alter = AlterTopicConfigs {
            id: TOPIC,
            changes: [("tarn.table.interval.ms".to_owned(), change)].into(),
        };
        fixture.propose(Command::AlterTopicConfigs(alter)).await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!(fixture.failures(), 2, "the topic is another");
        fixture
            .change_elsewhere("mended", |metadata| metadata["default-spec-id"] = 0.into())
            .await;
        until_written(5).await;
        assert_eq!((fixture.problem(), fixture.failures()), (None, 2));
        fixture.node.drain().await;
        Ok(())
    });
    simulation.run().expect("the simulation ends");
}
