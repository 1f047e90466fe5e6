//! Nodes over a log and a store in one process: what each promises while others come and go.

#[cfg(debug_assertions)]
mod ages;
mod claims;
mod harness;
mod joint;
mod names;
mod simulated;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tarn_commit_log::{CommitLog, LogEntry, ObjectLog};
use tarn_model::{ByteSize, Hash, Monotonic, ProducerId, SessionId, Timestamp, decode};
use tarn_runtime::Runtime;
use tarn_state::commands::{Closes, CreateTopic, OpenSession};
use tarn_state::{Command, Entry, FeatureLevel, Observed, Proposal, Refusal, State, TopicRefusal};
use tarn_store::{Store, StoreError, paths};
use tokio::time::{Instant, timeout};

use crate::archive::Chunk;
use crate::follower::sha256;
use crate::{BarrierError, Node, NodeSettings, OpenError, Parts, ProposeError};
use harness::{
    Appends, Cluster, Kind, SOON, allocate, id_of, metric, settings, soon, take_id, taken, until,
};

/// Both logs keep these promises.
macro_rules! over_both_logs {
    ($($name:ident)*) => {
        mod over_memory { $(#[tokio::test] async fn $name() { super::$name(super::Kind::Memory).await; })* }
        mod over_objects { $(#[tokio::test] async fn $name() { super::$name(super::Kind::Object).await; })* }
    };
}

over_both_logs! {
    a_proposal_is_seen_by_everybody_in_one_order
    the_view_with_an_outcome_is_published_before_the_outcome_is_told
    a_barrier_shows_what_was_complete_before_it
    a_killed_process_loses_nothing_that_was_told
    a_drained_process_has_closed_its_session
    a_replica_that_was_away_past_a_trim_comes_back_by_itself
    a_new_process_starts_from_the_snapshot
    a_lost_reply_doubles_nothing
    an_entry_that_landed_before_a_trim_is_unknown_not_undone
    a_session_that_another_closed_is_replaced_and_nothing_is_doubled
}

async fn a_proposal_is_seen_by_everybody_in_one_order(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, _) = cluster.open(settings()).await;
    let (b, _) = cluster.open(settings()).await;
    assert_ne!(a.metastore.node(), b.metastore.node());
    let proposals = (0..20).map(|i| {
        let node = if i % 2 == 0 { a.clone() } else { b.clone() };
        async move { take_id(&node).await.expect("nothing fails here") }
    });
    let ids: BTreeSet<ProducerId> = futures::future::join_all(proposals)
        .await
        .into_iter()
        .collect();
    assert_eq!(ids, (1..=20).map(ProducerId).collect());
    let view = a.metastore.barrier(soon()).await.expect("the log answers");
    let same = b
        .metastore
        .wait_for(view.lsn(), soon())
        .await
        .expect("it follows");
    assert_eq!(taken(&same), 20);
    if same.n == view.n {
        assert_eq!(same.outcome_hash, view.outcome_hash);
    }
    a.drain().await;
    b.drain().await;
}

async fn the_view_with_an_outcome_is_published_before_the_outcome_is_told(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (node, _) = cluster.open(settings()).await;
    for _ in 0..5 {
        let committed = node
            .metastore
            .propose(allocate(), soon())
            .await
            .expect("it is applied");
        assert!(node.metastore.view().lsn() >= committed.lsn);
        assert!(committed.view.lsn() >= committed.lsn);
        assert!(taken(&committed.view) >= id_of(&committed).0);
    }
    node.drain().await;
}

async fn a_barrier_shows_what_was_complete_before_it(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, _) = cluster.open(settings()).await;
    let (b, _) = cluster.open(settings()).await;
    for _ in 0..5 {
        let committed = a
            .metastore
            .propose(allocate(), soon())
            .await
            .expect("it is applied");
        let view = b.metastore.barrier(soon()).await.expect("the log answers");
        assert!(view.lsn() >= committed.lsn);
    }
    a.drain().await;
    b.drain().await;
}

async fn a_killed_process_loses_nothing_that_was_told(kind: Kind) {
    let cluster = Cluster::new(kind);
    // A runtime of its own: shutting it down drops every task where it stands.
    let machine = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let machine = machine.expect("a runtime starts");
    let (told, id) = {
        let cluster = cluster.clone();
        let task = machine.spawn(async move {
            let opened = cluster.try_open_named("a", settings()).await;
            let (node, _) = opened.expect("the node opens");
            let mut told = 0;
            for _ in 0..5 {
                told = take_id(&node).await.expect("nothing fails here").0;
            }
            (told, node.metastore.node())
        });
        task.await.expect("the task ends")
    };
    machine.shutdown_background();
    let lone = NodeSettings {
        alone: true,
        ..settings()
    };
    let opened = cluster.try_open_named("a", lone).await;
    let (node, _) = opened.expect("the node opens");
    assert_eq!(taken(&node.metastore.view()), told);
    let sessions = node.metastore.view().sessions.len();
    assert_eq!(sessions, 1, "who is alone closes what was left open");
    assert_eq!(
        node.metastore.node(),
        id,
        "the node id outlives the session"
    );
    node.drain().await;
}

async fn a_drained_process_has_closed_its_session(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, _) = cluster.open(settings()).await;
    let (b, _) = cluster.open(settings()).await;
    let session = a.metastore.session();
    let waiting = (0..10).map(|_| take_id(&a));
    let (ids, ()) = tokio::join!(futures::future::join_all(waiting), async {
        until(&a, "the first is in", |state| taken(state) > 0).await;
        a.drain().await;
    });
    let done = ids.iter().filter(|id| id.is_ok()).count();
    assert!(done > 0);
    let view = until(&b, "the session is closed", |state| {
        !state.sessions.contains_key(&session)
    })
    .await;
    assert_eq!(usize::try_from(taken(&view)), Ok(done), "{ids:?}");
    assert!(matches!(
        take_id(&a).await,
        Err(ProposeError::NotDone { .. })
    ));
    b.drain().await;
}

/// Snapshots as soon as there are this many entries.
fn snapshots_after(entries: u64) -> NodeSettings {
    NodeSettings {
        snapshot_entries: entries,
        ..settings()
    }
}

async fn a_replica_that_was_away_past_a_trim_comes_back_by_itself(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, _) = cluster.open(snapshots_after(20)).await;
    let (b, gate) = cluster.open(settings()).await;
    let away_at = b.metastore.view().n;
    gate.set(|gates| {
        gates.follow_closed = true;
        gates.appends = Appends::LoseRequest;
    });
    let waiting = b.scope.spawn("waiting", {
        let b = b.clone();
        async move { b.metastore.propose(allocate(), soon()).await }
    });
    while a.metastore.view().n < away_at + 30 {
        take_id(&a).await.expect("nothing fails here");
    }
    wait_for_floor(gate.inner(), away_at + 5).await;
    assert_eq!(b.metastore.view().n, away_at);

    gate.set(|gates| {
        gates.follow_closed = false;
        gates.appends = Appends::Pass;
    });
    let committed = timeout(SOON, waiting)
        .await
        .expect("soon")
        .expect("no panic")
        .expect("it is applied, once");
    assert!(committed.lsn.n > away_at);
    assert!(metric(&b, "tarn_replica_jumps_total") > 0);
    take_id(&b).await.expect("it goes on");
    a.drain().await;
    b.drain().await;
}

async fn wait_for_floor(log: &dyn CommitLog, n: u64) {
    let until = soon();
    while log.floor().await.expect("the log answers").lsn.n < n {
        assert!(Instant::now() < until, "the log was never trimmed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_new_process_starts_from_the_snapshot(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, log) = cluster.open(snapshots_after(10)).await;
    for _ in 0..15 {
        take_id(&a).await.expect("nothing fails here");
    }
    wait_for_floor(log.inner(), 10).await;
    let before = a.metastore.barrier(soon()).await.expect("the log answers");
    a.drain().await;

    // What the floor covers is in the archive, entry by entry.
    let floor = log.floor().await.expect("the log answers").lsn;
    let listed = cluster
        .store
        .list(&paths::archive(floor.generation), None, 1000)
        .await
        .expect("it lists");
    assert!(crate::archive::extend(0, &listed) >= floor.n);
    let first: Chunk =
        decode(&cluster.store.get(&listed[0].path).await.expect("it reads")).expect("a chunk");
    let entry: Entry = decode(&first.entries[0]).expect("an entry");
    assert_eq!(
        (first.first, entry.sequence, entry.cluster),
        (1, 1, before.cluster)
    );

    let (b, _) = cluster.open(settings()).await;
    assert_eq!(taken(&b.metastore.view()), 15);
    assert_eq!(take_id(&b).await.expect("it goes on"), ProducerId(16));
    b.drain().await;
}

async fn a_lost_reply_doubles_nothing(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (node, gate) = cluster.open(settings()).await;
    for i in 0..12 {
        gate.set(|gates| {
            gates.appends = if i % 3 == 0 {
                Appends::LoseReply
            } else {
                Appends::LoseRequest
            }
        });
        let (id, ()) = tokio::join!(take_id(&node), async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            gate.set(|gates| gates.appends = Appends::Pass);
        });
        assert_eq!(
            id.expect("the outcome comes from the log"),
            ProducerId(i + 1)
        );
    }
    assert_eq!(taken(&node.metastore.view()), 12);
    node.drain().await;
}

async fn an_entry_that_landed_before_a_trim_is_unknown_not_undone(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, _) = cluster.open(snapshots_after(20)).await;
    let (b, gate) = cluster.open(settings()).await;
    gate.set(|gates| gates.follow_closed = true);
    let before = taken(&a.metastore.view());
    let waiting = b.scope.spawn("waiting", {
        let b = b.clone();
        async move { b.metastore.propose(allocate(), soon()).await }
    });
    until(&a, "it landed", |state| taken(state) > before).await;
    gate.set(|gates| gates.appends = Appends::LoseRequest);
    let landed = a.metastore.view().n;
    while a.metastore.view().n < landed + 30 {
        take_id(&a).await.expect("nothing fails here");
    }
    wait_for_floor(gate.inner(), landed + 5).await;
    gate.set(|gates| *gates = harness::Gates::default());
    let told = timeout(SOON, waiting)
        .await
        .expect("soon")
        .expect("no panic");
    match (kind, told) {
        (_, Err(ProposeError::Unknown { .. })) => {
            assert!(metric(&b, "tarn_replica_jumps_total") > 0)
        }
        // It remembers the slots that it verified itself, and so follows past its own entry.
        (Kind::Object, Ok(_)) => {}
        (_, told) => panic!("it was applied, and its proposer was told {told:?}"),
    }
    let view = b.metastore.barrier(soon()).await.expect("the log answers");
    let applied = taken(&view);
    take_id(&b).await.expect("it goes on");
    assert_eq!(
        taken(&b.metastore.view()),
        applied + 1,
        "nothing is proposed again behind a waiter's back"
    );
    a.drain().await;
    b.drain().await;
}

/// A process alone closes every session; here it is not alone at all.
async fn a_session_that_another_closed_is_replaced_and_nothing_is_doubled(kind: Kind) {
    let cluster = Cluster::new(kind);
    let (a, gate) = cluster.open(settings()).await;
    let first = a.metastore.session();
    gate.set(|gates| gates.appends = Appends::LoseRequest);
    let waiting = a.scope.spawn("waiting", {
        let a = a.clone();
        async move { take_id(&a).await }
    });
    let (b, _) = cluster
        .open(NodeSettings {
            alone: true,
            ..settings()
        })
        .await;
    gate.set(|gates| gates.appends = Appends::Pass);
    let id = timeout(SOON, waiting)
        .await
        .expect("soon")
        .expect("no panic");
    assert_eq!(
        id.expect("it never was applied before, so it was proposed again"),
        ProducerId(1)
    );
    assert_ne!(a.metastore.session(), first);
    assert_eq!(taken(&a.metastore.view()), 1);
    a.drain().await;
    b.drain().await;
}

#[tokio::test]
async fn a_refusal_is_the_logs_answer() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, _) = cluster.open(settings()).await;
    let create = |n: u128| {
        vec![Command::CreateTopic(CreateTopic {
            id: tarn_model::TopicId::from_u128(n),
            table: tarn_model::TableUuid::from_u128(n),
            name: "orders".into(),
            partitions: 1,
            configs: Default::default(),
        })]
    };
    node.metastore
        .propose(create(1), soon())
        .await
        .expect("it is new");
    match node.metastore.propose(create(2), soon()).await {
        Err(ProposeError::Refused {
            command: 0,
            refusal: Refusal::Topic(TopicRefusal::TopicExists(name)),
        }) => assert_eq!(name, "orders"),
        other => panic!("unexpected {other:?}"),
    }
    node.drain().await;
}

#[tokio::test]
async fn at_the_deadline_only_what_was_never_sent_is_not_done() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, gate) = cluster
        .open(NodeSettings {
            tick: Duration::from_secs(600),
            ..settings()
        })
        .await;
    gate.set(|gates| gates.appends = Appends::Hold);
    let deadline = Instant::now() + Duration::from_millis(300);
    let first = node.scope.spawn("waiting", {
        let node = node.clone();
        async move { node.metastore.propose(allocate(), deadline).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = node.metastore.propose(allocate(), deadline).await;
    assert!(
        matches!(second, Err(ProposeError::NotDone { .. })),
        "{second:?}"
    );
    let first = first.await.expect("no panic");
    assert!(
        matches!(first, Err(ProposeError::Unknown { .. })),
        "{first:?}"
    );
    gate.set(|gates| gates.appends = Appends::Pass);
    assert_eq!(
        take_id(&node).await.expect("it goes on"),
        ProducerId(2),
        "the second was withdrawn"
    );
    node.drain().await;
}

#[tokio::test]
async fn a_proposal_that_fits_into_no_entry_is_not_done() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, _) = cluster.open(settings()).await;
    let large = vec![Command::CreateTopic(CreateTopic {
        id: tarn_model::TopicId::from_u128(1),
        table: tarn_model::TableUuid::from_u128(1),
        name: "x".repeat(ByteSize::mib(1).as_usize()),
        partitions: 1,
        configs: Default::default(),
    })];
    assert!(matches!(
        node.metastore.propose(large, soon()).await,
        Err(ProposeError::NotDone { .. })
    ));
    node.drain().await;
}

#[tokio::test]
async fn a_barrier_joins_no_call_that_was_already_sent() {
    assert!(a_late_barrier_is_new_enough(Duration::from_millis(200)).await);
}

#[tokio::test]
async fn a_barrier_that_joins_a_call_already_sent_is_found() {
    tarn_model::plant_defect(Some("barrier-joins-sent-call"));
    assert!(!a_late_barrier_is_new_enough(SOON).await);
    tarn_model::plant_defect(None);
}

/// A barrier is asked for while another's call is out and something completes in between. It gets
/// `patience` to answer from what its process has, which lacks that.
async fn a_late_barrier_is_new_enough(patience: Duration) -> bool {
    let cluster = Cluster::new(Kind::Memory);
    let (a, _) = cluster.open(settings()).await;
    let (b, gate) = cluster.open(settings()).await;
    gate.set(|gates| gates.end_closed = true);
    let barrier = |name| {
        let metastore = b.metastore.clone();
        b.scope
            .spawn(name, async move { metastore.barrier(soon()).await })
    };
    let early = barrier("early");
    let calls = || metric(&b, "tarn_replica_barrier_calls_total");
    while calls() == 0 {
        tokio::task::yield_now().await;
    }
    // The call is out, its answer is held. What completes now is not in that answer.
    let end = a
        .metastore
        .barrier(soon())
        .await
        .expect("the log answers")
        .lsn();
    b.metastore.wait_for(end, soon()).await.expect("it follows");
    gate.set(|gates| gates.follow_closed = true);
    let committed = a
        .metastore
        .propose(allocate(), soon())
        .await
        .expect("it is applied");
    let mut late = barrier("late");
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.set(|gates| gates.end_closed = false);
    early.await.expect("no panic").expect("its answer is there");
    let view = match timeout(patience, &mut late).await {
        Ok(view) => view,
        Err(_) => {
            gate.set(|gates| gates.follow_closed = false);
            late.await
        }
    };
    let view = view.expect("no panic").expect("the log answers");
    gate.set(|gates| gates.follow_closed = false);
    a.drain().await;
    b.drain().await;
    view.lsn() >= committed.lsn
}

#[tokio::test]
async fn a_barrier_without_an_answer_ends_at_its_deadline() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, gate) = cluster.open(settings()).await;
    gate.set(|gates| gates.end_closed = true);
    let answer = node
        .metastore
        .barrier(Instant::now() + Duration::from_millis(50))
        .await;
    assert!(matches!(answer, Err(BarrierError::Deadline)), "{answer:?}");
    gate.set(|gates| gates.end_closed = false);
    node.metastore
        .barrier(soon())
        .await
        .expect("the log answers again");
    node.drain().await;
}

#[tokio::test]
async fn a_barrier_that_is_denied_asks_again() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, gate) = cluster.open(settings()).await;
    gate.set(|gates| gates.end_denied = true);
    let answer = node
        .metastore
        .barrier(Instant::now() + Duration::from_millis(50))
        .await;
    assert!(matches!(answer, Err(BarrierError::Deadline)), "{answer:?}");
    gate.set(|gates| gates.end_denied = false);
    node.metastore
        .barrier(soon())
        .await
        .expect("the credentials are valid again");
    node.drain().await;
}

#[tokio::test]
async fn what_may_have_been_sent_is_never_said_to_be_undone() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, gate) = cluster.open(settings()).await;
    gate.set(|gates| {
        gates.follow_closed = true;
        gates.appends = Appends::LoseReply;
    });
    let waiting = node.scope.spawn("waiting", {
        let node = node.clone();
        async move { take_id(&node).await }
    });
    while metric(&node, "tarn_replica_appends_repeated_total") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let repeated = metric(&node, "tarn_replica_appends_repeated_total");
    gate.set(|gates| gates.appends = Appends::Invalid);
    while metric(&node, "tarn_replica_appends_repeated_total") < repeated + 2
        && !waiting.is_finished()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.set(|gates| *gates = harness::Gates::default());
    let told = timeout(SOON, waiting).await.expect("soon");
    let told = told.expect("no panic");
    assert_eq!(told.expect("it was applied all the time"), ProducerId(1));
    node.drain().await;
}

#[tokio::test]
async fn a_damaged_log_stops_who_appends_to_it() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, gate) = cluster.open(settings()).await;
    gate.set(|gates| gates.appends = Appends::Corrupt);
    let why = timeout(SOON, node.metastore.stopped())
        .await
        .expect("it stops");
    assert!(why.contains("corrupt"), "{why}");
}

/// One of them is slow: it has seen an empty log and no cluster when the other is done.
#[tokio::test]
async fn two_processes_that_begin_a_cluster_together_both_start() {
    let cluster = Cluster::new(Kind::Memory);
    let runtime = Runtime::real();
    let gate = cluster.log(&runtime).await;
    gate.set(|gates| gates.end_closed = true);
    let scope = runtime.root_scope("node");
    let parts = Parts {
        runtime,
        store: cluster.store.clone(),
        log: Arc::new(gate.clone()),
        name: "slow".to_owned(),
    };
    let (slow, quick) = tokio::join!(Node::open(settings(), parts, scope), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (quick, _) = cluster.open(settings()).await;
        gate.set(|gates| gates.end_closed = false);
        quick
    });
    let slow = slow.expect("nothing went back");
    assert_eq!(
        slow.metastore.view().cluster,
        quick.metastore.view().cluster
    );
    slow.drain().await;
    quick.drain().await;
}

#[tokio::test]
async fn a_log_that_went_back_is_not_written_to() {
    let mut cluster = Cluster::new(Kind::Memory);
    let (node, _) = cluster.open(settings()).await;
    take_id(&node).await.expect("nothing fails here");
    node.drain().await;
    cluster.wipe();
    match cluster.try_open(settings()).await {
        Err(OpenError::Refused(why)) => {
            for part in ["went back", "no command yet", "archive/1", "snapshots/1"] {
                assert!(why.contains(part), "{why}");
            }
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn a_log_that_ends_below_its_archive_is_not_written_to() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, _) = cluster.open(settings()).await;
    let n = node.metastore.view().n;
    let path = paths::archive_chunk(node.metastore.view().generation, n, n + 1000);
    cluster
        .store
        .put(&path, "later entries".into())
        .await
        .expect("it is written");
    node.drain().await;
    match cluster.try_open(settings()).await {
        Err(OpenError::Refused(why)) => assert!(why.contains("went back"), "{why}"),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn a_process_that_died_before_the_first_entry_leaves_a_new_cluster() {
    let mut cluster = Cluster::new(Kind::Memory);
    let (node, _) = cluster.open(settings()).await;
    let id = node.metastore.view().cluster;
    node.drain().await;
    // As if it had died between the cluster's object and the first entry.
    let object = tarn_model::encode(&(id, false, FeatureLevel::NEWEST));
    cluster
        .store
        .put(&paths::cluster(), object.into())
        .await
        .expect("it is written");
    cluster.wipe();
    let listed = cluster
        .store
        .list(&paths::archive(tarn_model::Generation::FIRST), None, 10)
        .await
        .expect("it lists");
    let archived: Vec<_> = listed.into_iter().map(|listed| listed.path).collect();
    cluster
        .store
        .delete_all(&archived)
        .await
        .expect("it deletes");
    let (node, _) = cluster.open(settings()).await;
    assert_eq!(node.metastore.view().cluster, id);
    node.drain().await;
}

#[tokio::test]
async fn a_torn_snapshot_is_refused_and_stops_nothing_else() {
    let cluster = Cluster::new(Kind::Memory);
    let (a, log) = cluster.open(snapshots_after(5)).await;
    for _ in 0..6 {
        take_id(&a).await.expect("nothing fails here");
    }
    wait_for_floor(log.inner(), 5).await;
    a.drain().await;
    let floor = log.floor().await.expect("the log answers");
    let path =
        tarn_store::Path::parse(floor.snapshot.expect("it was trimmed").path).expect("a path");
    let whole = cluster.store.get(&path).await.expect("it reads");
    cluster
        .store
        .put(&path, whole.slice(..whole.len() - 1))
        .await
        .expect("it is written");
    match cluster.try_open(settings()).await {
        Err(OpenError::Refused(why)) => assert!(why.contains("hash"), "{why}"),
        other => panic!("unexpected {other:?}"),
    }
    cluster.store.delete(&path).await.expect("it deletes");
    assert!(matches!(
        cluster.try_open(settings()).await,
        Err(OpenError::Store(StoreError::NotFound { .. }))
    ));
}

#[tokio::test]
async fn bytes_that_are_no_entry_stop_the_process() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, log) = cluster.open(settings()).await;
    let session = SessionId::from_u128(7);
    let entry = LogEntry {
        session,
        sequence: 1,
        applied_n: 0,
        bytes: "no entry".into(),
    };
    log.append(entry).await.expect("it is appended");
    let why = timeout(SOON, node.metastore.stopped())
        .await
        .expect("it stops");
    assert!(why.contains("cannot be read"), "{why}");
    assert!(matches!(
        take_id(&node).await,
        Err(ProposeError::Stopped { .. })
    ));
    assert!(matches!(
        node.metastore.barrier(soon()).await,
        Err(BarrierError::Stopped { .. })
    ));
    timeout(SOON, node.drain()).await.expect("it still drains");
}

#[tokio::test]
async fn a_lone_process_on_a_folder_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", folder.path().display());
    for round in 1..=3 {
        let runtime = Runtime::real();
        let store = Store::open(&url, tarn_store::Options::default(), &runtime).expect("it opens");
        let log = ObjectLog::open(&store, tarn_commit_log::Settings::default(), &runtime).await;
        let scope = runtime.root_scope("node");
        let parts = Parts {
            runtime,
            store,
            log: Arc::new(log.expect("it opens")),
            name: "lone".to_owned(),
        };
        let lone = NodeSettings {
            alone: true,
            ..settings()
        };
        let node = Node::open(lone, parts, scope).await.expect("it opens");
        assert_eq!(
            take_id(&node).await.expect("nothing fails here"),
            ProducerId(round)
        );
        node.drain().await;
    }
}

/// An entry of another process, as this node's view stands.
fn foreign_entry(
    view: &State,
    sequence: u64,
    previous: Hash,
    command: Vec<Command>,
    observed: Option<Observed>,
) -> LogEntry {
    let entry = Entry {
        cluster: view.cluster,
        generation: view.generation,
        session: SessionId::from_u128(77),
        sequence,
        previous,
        applied: view.n,
        applied_hash: view.log_hash,
        wall: Timestamp(0),
        monotonic: Monotonic(0),
        votes: false,
        level: view.level,
        observed,
        proposals: if command.is_empty() {
            vec![]
        } else {
            vec![Proposal::of(command)]
        },
    };
    let bytes = tarn_model::encode(&entry);
    LogEntry {
        session: entry.session,
        sequence,
        applied_n: view.n,
        bytes: bytes.into(),
    }
}

#[tokio::test]
async fn a_process_that_is_contradicted_stops_writing() {
    let cluster = Cluster::new(Kind::Memory);
    let (node, log) = cluster.open(settings()).await;
    let view = node.metastore.view();
    let open = OpenSession {
        closes: Closes::Own(vec![]),
        name: "foreign".to_owned(),
        level_max: FeatureLevel::NEWEST,
        clock: tarn_state::ClockTrust::Trusted,
    };
    let first = foreign_entry(&view, 1, Hash::ZERO, vec![Command::OpenSession(open)], None);
    let previous = sha256(&first.bytes);
    log.append(first).await.expect("it is appended");
    take_id(&node).await.expect("nothing is contradicted yet");
    let view = node.metastore.view();
    let claim = Observed {
        n: view.n,
        outcome_hash: Hash([9; 32]),
    };
    log.append(foreign_entry(&view, 2, previous, vec![], Some(claim)))
        .await
        .expect("it is appended");
    until(&node, "it is contradicted", |state| {
        state.agreement().differ == 1
    })
    .await;
    // An entry that was on its way may still have gone out; then no more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let n = node.metastore.view().n;
    let result = node
        .metastore
        .propose(allocate(), Instant::now() + Duration::from_secs(1))
        .await;
    assert!(
        matches!(result, Err(ProposeError::NotDone { .. })),
        "{result:?}"
    );
    assert_eq!(node.metastore.view().n, n, "no tick either");
}

#[tokio::test]
async fn a_log_of_another_bucket_is_refused() {
    let mut cluster = Cluster::new(Kind::Memory);
    let (node, _) = cluster.open(settings()).await;
    node.drain().await;
    cluster.store = Store::memory(&Runtime::real());
    match cluster.try_open(settings()).await {
        Err(OpenError::Refused(why)) => assert!(why.contains("the right bucket"), "{why}"),
        other => panic!("unexpected {other:?}"),
    }
    let listed = cluster
        .store
        .list(&tarn_store::Path::default(), None, 10)
        .await
        .expect("it lists");
    assert!(listed.is_empty(), "nothing was written: {listed:?}");
}
