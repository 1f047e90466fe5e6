//! Faults that trying again does not pass.

use tarn_store::{LocalStore, Options, Path};

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
    let fixture = Fixture::on(node, never()).await;
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
        never(),
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
        interval: Duration::from_millis(100),
        tick: Duration::from_millis(20),
        tables_at_once: 1,
        ..CompactorSettings::default()
    };
    let node = open(&Runtime::real(), &store, Arc::new(log.reopen())).await;
    create_topic(&node, OTHER, "other").await;
    let _compactor = start(&node, &catalog(&node), settings);
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
