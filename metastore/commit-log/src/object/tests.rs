//! The scripted histories are the shortest ones that an exhaustive model of this log finds when a
//! rule is left out; each is run with the defect planted, to show that it breaks, and without.

use tarn_model::{Hash, plant_defect};
use tarn_store::{FaultyStore, Options, StoreFaults};

use tarn_model::Fate;
use tokio::time::Instant;

use super::*;

struct Cluster {
    runtime: Runtime,
    store: Store,
}

impl Cluster {
    fn new() -> Cluster {
        let runtime = Runtime::real();
        Cluster {
            store: Store::memory(&runtime),
            runtime,
        }
    }

    /// A process that starts now.
    async fn process(&self) -> ObjectLog {
        ObjectLog::open(&self.store, Settings::default(), &self.runtime)
            .await
            .expect("opens")
    }

    /// What a process that starts now learns: the floor, and the entries after it.
    async fn read(&self) -> (u64, Vec<Bytes>) {
        let log = self.process().await;
        let (floor, end) = (
            log.floor().await.expect("floor").lsn,
            log.end().await.expect("end"),
        );
        let mut follower = log.follow(floor);
        let mut entries = Vec::new();
        while follower.position() < end {
            entries.push(follower.next().await.expect("entry").bytes);
        }
        (floor.n, entries)
    }
}

fn entry(session: u128, sequence: u64, applied_n: u64) -> LogEntry {
    let bytes = Bytes::from(format!("{session}/{sequence}"));
    LogEntry {
        session: SessionId::from_u128(session),
        sequence,
        applied_n,
        bytes,
    }
}

fn at(n: u64) -> Lsn {
    Lsn::new(Generation::FIRST, n)
}

fn snapshot() -> SnapshotRef {
    SnapshotRef {
        path: "snapshots/x".to_owned(),
        hash: Hash::ZERO,
    }
}

/// Runs a history with a defect planted and without one; `true` is that the log kept its promise.
async fn breaks_only_with<F: Future<Output = bool>>(name: &'static str, history: impl Fn() -> F) {
    plant_defect(Some(name));
    let kept = history().await;
    plant_defect(None);
    assert!(!kept, "{name} is planted and nothing breaks");
    assert!(history().await, "nothing is planted and the promise breaks");
}

/// A puts slot 1, snapshots, trims slot 1. B, who decided on slot 1 before, puts it and succeeds.
async fn a_put_of_a_trimmed_slot() -> bool {
    let cluster = Cluster::new();
    let (a, b) = (cluster.process().await, cluster.process().await);
    a.append(entry(1, 1, 0)).await.expect("append");
    a.trim(at(1), snapshot()).await.expect("trim");
    match b.append(entry(2, 1, 0)).await {
        // Acknowledged, so it must be in the order.
        Ok(()) => cluster.read().await.1.contains(&entry(2, 1, 0).bytes),
        Err(AppendError::Trimmed { floor }) => {
            // Unknown, the snapshot tells; B appends again from there.
            assert_eq!(
                floor,
                Floor {
                    lsn: at(1),
                    snapshot: Some(snapshot())
                }
            );
            b.append(entry(2, 1, 1)).await.expect("append");
            cluster.read().await == (1, vec![entry(2, 1, 0).bytes])
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_put_counts_only_if_a_later_floor_is_below_it() {
    breaks_only_with("skip-floor-after-put", a_put_of_a_trimmed_slot).await;
}

#[tokio::test]
async fn the_slot_that_is_the_floor_itself_is_trimmed() {
    breaks_only_with("floor-off-by-one", a_put_of_a_trimmed_slot).await;
}

/// The object that a put of A's first session would have made, had it not been under way for so long.
async fn stray(session: u128) -> (tarn_store::Path, Bytes) {
    let elsewhere = Cluster::new();
    elsewhere
        .process()
        .await
        .append(entry(session, 1, 0))
        .await
        .expect("append");
    let name = paths::log_entry(at(1));
    let object = elsewhere.store.get(&name).await.expect("there");
    (name, object)
}

#[tokio::test]
async fn a_slot_that_is_read_counts_only_if_a_later_floor_is_below_it() {
    // A's put of slot 1 hangs; A opens a new session in slot 1, snapshots, trims; the hanging put lands;
    // B, who has applied nothing yet, reads slot 1.
    breaks_only_with("skip-floor-after-read", || async {
        let cluster = Cluster::new();
        let (name, hanging) = stray(1).await;
        let (a, b) = (cluster.process().await, cluster.process().await);
        a.append(entry(2, 1, 0)).await.expect("append");
        a.trim(at(1), snapshot()).await.expect("trim");
        cluster.store.put(&name, hanging).await.expect("lands");
        match b.follow(Lsn::START).next().await {
            Ok(followed) => followed.bytes == entry(2, 1, 0).bytes,
            Err(FollowError::Trimmed { floor }) => floor.lsn == at(1),
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_slot_of_another_is_passed_only_if_a_later_floor_is_below_it() {
    // As above, but B appends: it finds the stray in slot 1 and would go on to slot 2, unseen by who
    // starts from the floor only if slot 2 were trimmed too: here A did so.
    breaks_only_with("skip-floor-after-read", || async {
        let cluster = Cluster::new();
        let (name, hanging) = stray(1).await;
        let (a, b) = (cluster.process().await, cluster.process().await);
        a.append(entry(2, 1, 0)).await.expect("append");
        a.trim(at(1), snapshot()).await.expect("trim");
        cluster
            .store
            .put(&name, hanging.clone())
            .await
            .expect("lands");
        let appended = b.append(entry(3, 1, 0)).await;
        // What B believes about slot 1 it would hand to its own follower.
        let followed = b
            .follow(Lsn::START)
            .next()
            .await
            .map(|followed| followed.bytes);
        match (appended, followed) {
            (Err(AppendError::Trimmed { .. }), Err(FollowError::Trimmed { .. })) => true,
            (Ok(()), Ok(bytes)) => bytes == entry(2, 1, 0).bytes,
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn an_absent_slot_is_the_end_only_if_a_later_floor_is_below_it() {
    // A puts slot 1, snapshots, trims; B asks for the end and finds slot 1 absent.
    breaks_only_with("skip-floor-after-absent", || async {
        let cluster = Cluster::new();
        let (a, b) = (cluster.process().await, cluster.process().await);
        a.append(entry(1, 1, 0)).await.expect("append");
        a.trim(at(1), snapshot()).await.expect("trim");
        b.end().await.expect("end") >= at(1)
    })
    .await;
}

#[tokio::test]
async fn the_loser_of_a_slot_takes_the_next_one() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.process().await, cluster.process().await);
    a.append(entry(1, 1, 0)).await.expect("append");
    b.append(entry(2, 1, 0)).await.expect("append");
    a.append(entry(1, 2, 0)).await.expect("append");
    let expected = [entry(1, 1, 0), entry(2, 1, 0), entry(1, 2, 0)].map(|entry| entry.bytes);
    assert_eq!(cluster.read().await, (0, expected.to_vec()));
}

#[tokio::test]
async fn an_entry_that_landed_unnoticed_is_found_by_its_key() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    // An earlier attempt of the same append, of which this process never heard.
    let (name, object) = stray(1).await;
    cluster.store.put(&name, object).await.expect("lands");
    log.append(entry(1, 1, 0)).await.expect("it is there");
    assert_eq!(cluster.read().await.1, [entry(1, 1, 0).bytes]);
}

#[tokio::test]
async fn an_entry_that_was_trimmed_is_appended_again() {
    // Whoever appends it again knows from the snapshot that it was not applied where it stood.
    let cluster = Cluster::new();
    let log = cluster.process().await;
    log.append(entry(1, 1, 0)).await.expect("append");
    log.trim(at(1), snapshot()).await.expect("trim");
    log.append(entry(1, 1, 1)).await.expect("append");
    assert_eq!(cluster.read().await, (1, vec![entry(1, 1, 1).bytes]));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_of_many_entries_has_time_for_them() {
    let runtime = Runtime::real();
    let objects = Store::memory(&runtime).object_store();
    let faulty = Arc::new(FaultyStore::new(objects, 1, &runtime));
    let store = Store::new(faulty.clone(), Options::default(), &runtime);
    let log = ObjectLog::open(&store, Settings::default(), &runtime)
        .await
        .expect("opens");
    for sequence in 1..=1200 {
        log.append(entry(1, sequence, 0)).await.expect("append");
    }
    // A thousand at a time take ten seconds.
    faulty.set_faults(StoreFaults {
        latency_min: Duration::from_millis(10),
        latency_max: Duration::from_millis(10),
        ..StoreFaults::default()
    });
    log.trim(at(1200), snapshot()).await.expect("trim");
    let left = store.list(&paths::log(), None, 10).await.expect("list");
    assert_eq!(left.len(), 1, "the floor, and nothing under it: {left:?}");
}

#[tokio::test]
async fn strays_under_the_floor_are_swept_by_the_next_trim() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    let (name, hanging) = stray(1).await;
    for sequence in 1..=3 {
        log.append(entry(9, sequence, 0)).await.expect("append");
    }
    log.trim(at(2), snapshot()).await.expect("trim");
    cluster.store.put(&name, hanging).await.expect("lands");
    log.trim(at(3), snapshot()).await.expect("trim");
    let left = cluster
        .store
        .list(&paths::log(), None, 10)
        .await
        .expect("list");
    assert_eq!(
        left.into_iter()
            .map(|listed| listed.path)
            .collect::<Vec<_>>(),
        [paths::log_floor()]
    );
}

#[tokio::test]
async fn a_new_generation_stops_who_works_in_the_old_one() {
    let cluster = Cluster::new();
    let old = cluster.process().await;
    old.append(entry(1, 1, 0)).await.expect("append");
    let mut follower = old.follow(at(1));
    ObjectLog::begin_generation(&cluster.store, Generation(2), snapshot())
        .await
        .expect("raised");
    let later = |floor: &Floor| floor.lsn == Lsn::new(Generation(2), 0);
    match old.append(entry(1, 2, 1)).await {
        Err(error @ AppendError::Trimmed { .. }) => assert_eq!(error.fate(), Fate::Unknown),
        other => panic!("{other:?}"),
    }
    assert!(matches!(old.end().await, Err(LogError::Superseded { floor }) if later(&floor)));
    assert!(
        matches!(follower.next_batch(1).await, Err(FollowError::Trimmed { floor }) if later(&floor))
    );
    assert!(matches!(
        old.trim(at(1), snapshot()).await,
        Err(LogError::Superseded { .. })
    ));
    let new = cluster.process().await;
    assert_eq!(new.generation(), Generation(2));
    new.append(entry(5, 1, 0)).await.expect("append");
    assert_eq!(new.end().await.expect("end"), Lsn::new(Generation(2), 1));
}

#[tokio::test]
async fn a_missing_entry_is_an_error_and_never_skipped() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    for sequence in 1..=3 {
        log.append(entry(1, sequence, 0)).await.expect("append");
    }
    cluster
        .store
        .delete(&paths::log_entry(at(2)))
        .await
        .expect("somebody's lifecycle rule");
    let other = cluster.process().await;
    other.append(entry(2, 1, 0)).await.expect("append");
    // The hole is where the next append goes, so it closes; a process that knew better hears of it.
    let fresh = cluster.process().await;
    fresh.inner.known().end = 3;
    cluster
        .store
        .delete(&paths::log_entry(at(2)))
        .await
        .expect("again");
    let mut follower = fresh.follow(at(1));
    assert!(
        matches!(follower.next_batch(5).await, Err(FollowError::Corrupt { at, .. }) if at.n == 2)
    );
}

#[tokio::test]
async fn a_damaged_slot_is_an_error() {
    let cluster = Cluster::new();
    cluster
        .process()
        .await
        .append(entry(1, 1, 0))
        .await
        .expect("append");
    cluster
        .store
        .put(&paths::log_entry(at(1)), Bytes::from_static(b"not a slot"))
        .await
        .expect("put");
    let log = cluster.process().await;
    assert!(matches!(
        log.follow(Lsn::START).next().await,
        Err(FollowError::Corrupt { .. })
    ));
    assert!(matches!(
        log.append(entry(2, 1, 0)).await,
        Err(AppendError::Unknown { .. })
    ));
}

#[tokio::test]
async fn a_floor_that_went_back_is_noticed() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    log.append(entry(1, 1, 0)).await.expect("append");
    log.append(entry(1, 2, 1)).await.expect("append");
    log.trim(at(1), snapshot()).await.expect("trim");
    cluster
        .store
        .delete(&paths::log_floor())
        .await
        .expect("restored from an older copy");
    assert!(matches!(log.end().await, Err(LogError::WentBack { .. })));
    assert!(matches!(
        log.append(entry(1, 3, 2)).await,
        Err(AppendError::WentBack { .. })
    ));
    // Also if it shows before anything is sent, while the end is looked for.
    assert!(matches!(
        log.append(entry(1, 4, 3)).await,
        Err(AppendError::WentBack { .. })
    ));
}

#[tokio::test]
async fn an_append_that_cannot_tell_the_end_says_why() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    let floor = Bytes::from_static(b"no floor");
    cluster
        .store
        .put(&paths::log_floor(), floor)
        .await
        .expect("put");
    let error = log.append(entry(1, 1, 5)).await.expect_err("it cannot");
    assert!(matches!(error, AppendError::Corrupt { .. }), "{error}");
    assert_eq!(error.fate(), Fate::Unknown);
}

#[tokio::test(start_paused = true)]
async fn an_idle_follower_asks_rarely_and_a_wake_makes_it_ask_at_once() {
    let cluster = Cluster::new();
    let (log, other) = (cluster.process().await, cluster.process().await);
    let mut follower = log.follow(Lsn::START);
    let requests = || {
        let text = cluster.runtime.metrics().encode();
        text.lines()
            .filter(|line| line.starts_with("tarn_object_store_requests_total"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum::<u64>()
    };
    let idle = tokio::time::timeout(Duration::from_secs(60), follower.next_batch(1)).await;
    assert!(idle.is_err());
    assert!(
        requests() < 140,
        "a slot and the floor once a second: {}",
        requests()
    );
    let began = Instant::now();
    let (followed, ()) = futures::future::join(follower.next(), async {
        other.append(entry(1, 1, 0)).await.expect("append");
        log.wake();
    })
    .await;
    assert_eq!(followed.expect("entry").lsn, at(1));
    assert!(began.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn the_end_of_a_long_log_takes_few_requests() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    for sequence in 1..=500 {
        log.append(entry(1, sequence, sequence - 1))
            .await
            .expect("append");
    }
    let fresh = cluster.process().await;
    let heads = || {
        let text = cluster.runtime.metrics().encode();
        text.lines()
            .filter(|line| {
                line.contains(r#"op="head""#)
                    && line.starts_with("tarn_object_store_requests_total")
            })
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum::<u64>()
    };
    let before = heads();
    assert_eq!(fresh.end().await.expect("end"), at(500));
    assert!(heads() - before < 25, "{}", heads() - before);
}

#[tokio::test]
async fn a_follower_that_is_far_behind_reads_on_from_storage() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    let count = RECENT_ENTRIES as u64 + 100;
    for sequence in 1..=count {
        log.append(entry(1, sequence, sequence - 1))
            .await
            .expect("append");
    }
    assert!(log.inner.known().recent.len() <= RECENT_ENTRIES);
    let mut follower = log.follow(Lsn::START);
    while follower.position().n < count {
        let expected = follower.position().next();
        assert_eq!(
            follower.next_batch(7).await.expect("batch")[0].lsn,
            expected
        );
    }
}

#[tokio::test]
async fn an_entry_that_is_too_large_was_not_sent() {
    let cluster = Cluster::new();
    let log = cluster.process().await;
    let bytes = Bytes::from(vec![0; 8 * 1024 * 1024 + 1]);
    let error = log
        .append(LogEntry {
            bytes,
            ..entry(1, 1, 0)
        })
        .await
        .expect_err("too large");
    assert_eq!((error.fate(), error.kind()), (Fate::NotDone, Kind::Invalid));
    assert_eq!(
        log.append(entry(1, 0, 0))
            .await
            .expect_err("no sequence")
            .fate(),
        Fate::NotDone
    );
    assert_eq!(cluster.read().await, (0, vec![]));
}
