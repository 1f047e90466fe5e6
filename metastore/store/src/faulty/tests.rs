use object_store::memory::InMemory;
use object_store::{PutMode, UpdateVersion};
use tarn_model::Fate;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{Created, Options, Store, StoreError, contract};

fn faulty(seed: u64) -> (FaultyStore, Store) {
    let runtime = Runtime::real();
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), seed, &runtime);
    let store = Store::new(Arc::new(faulty.clone()), Options::default(), &runtime);
    (faulty, store)
}

#[tokio::test(start_paused = true)]
async fn without_faults_the_contract_holds() {
    let (faulty, store) = faulty(1);
    contract::run(&store, "calm").await;
    faulty.set_faults(StoreFaults {
        latency_min: Duration::from_millis(5),
        latency_max: Duration::from_millis(50),
        ..StoreFaults::default()
    });
    contract::run(&store, "slow").await;
    assert!(faulty.fired().is_empty());
}

#[tokio::test(start_paused = true)]
async fn put_if_absent_says_what_is_true_whatever_goes_wrong() {
    for seed in 0..40 {
        let (faulty, store) = faulty(seed);
        faulty.set_faults(StoreFaults {
            latency_max: Duration::from_millis(20),
            request_lost: 80,
            reply_lost: 80,
            unavailable_before: 80,
            unavailable_after: 80,
            late: 80,
            late_max: Duration::from_secs(20),
            twice: 50,
            conflict_before: 80,
            conflict_after: 80,
            truncated: 80,
            cut_short: 80,
            ..StoreFaults::default()
        });
        for name in 0..10 {
            let path = Path::from(format!("{name}"));
            let race = (0..3).map(|writer| {
                let (store, path) = (&store, &path);
                async move {
                    store
                        .put_if_absent(path, Bytes::from(format!("writer {writer}")))
                        .await
                }
            });
            let results = futures::future::join_all(race).await;
            let content = store.get(&path).await.expect("somebody won");
            for (writer, result) in results.into_iter().enumerate() {
                let mine = content == format!("writer {writer}");
                match result {
                    Ok(_) => assert!(mine, "seed {seed}: writer {writer} was told it won"),
                    Err(StoreError::AlreadyExists { .. }) => {
                        assert!(!mine, "seed {seed}: writer {writer} won")
                    }
                    Err(error) => assert_eq!(error.fate(), Fate::Unknown, "seed {seed}: {error}"),
                }
            }
        }
        assert!(
            faulty.fired().len() > 5,
            "seed {seed}: {:?}",
            faulty.fired()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_only_rises_whatever_goes_wrong() {
    for seed in 0..40 {
        let (faulty, store) = faulty(seed);
        faulty.set_faults(StoreFaults {
            latency_max: Duration::from_millis(20),
            reply_lost: 150,
            late: 150,
            late_max: Duration::from_secs(5),
            twice: 100,
            conflict_before: 50,
            conflict_after: 100,
            ..StoreFaults::default()
        });
        let path = Path::from("floor");
        let value = |bytes: Option<&Bytes>| bytes.map_or(0, |bytes| bytes.len());
        let mut least = 0;
        for goal in [3, 1, 7, 5, 9, 12, 10, 20] {
            let raised = store
                .raise(&path, |now| {
                    (value(now) < goal).then(|| Bytes::from(vec![0; goal]))
                })
                .await;
            let stands = value(store.get(&path).await.ok().as_ref());
            assert!(stands >= least, "seed {seed}: {stands} after {least}");
            if raised.is_ok() {
                assert!(
                    stands >= goal,
                    "seed {seed}: {stands} after raising to {goal}"
                );
            }
            least = stands;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_write_lands_after_its_caller_gave_up() {
    let (faulty, store) = faulty(7);
    let path = Path::from("late");
    faulty.set_faults(StoreFaults {
        late: 1000,
        late_max: Duration::from_secs(60),
        ..StoreFaults::default()
    });
    let impatient = store.with_deadline(Duration::from_millis(20));
    let error = impatient
        .put_if_absent(&path, Bytes::from_static(b"x"))
        .await
        .expect_err("unknown");
    assert_eq!(error.fate(), Fate::Unknown);
    faulty.set_faults(StoreFaults::default());
    assert!(matches!(
        store.get(&path).await,
        Err(StoreError::NotFound { .. })
    ));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(
        store.get(&path).await.expect("landed"),
        Bytes::from_static(b"x")
    );
    assert!(faulty.fired()[&("create", "late")] >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_after_the_effect_is_our_own_success() {
    let (faulty, store) = faulty(7);
    faulty.set_faults(StoreFaults {
        conflict_after: 1000,
        ..StoreFaults::default()
    });
    let created = store
        .put_if_absent(&Path::from("a"), Bytes::from_static(b"x"))
        .await
        .expect("ours");
    assert_eq!(created, Created::AlreadyOurs);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_at_the_deadline_and_reads_change_nothing() {
    let (faulty, store) = faulty(7);
    faulty.set_faults(StoreFaults {
        request_lost: 1000,
        ..StoreFaults::default()
    });
    let began = Instant::now();
    let error = store.get(&Path::from("a")).await.expect_err("unavailable");
    assert_eq!(
        (error.fate(), error.kind().is_retriable()),
        (Fate::NotDone, true)
    );
    assert!(began.elapsed() <= Options::default().deadline);
    let error = store
        .put(&Path::from("a"), Bytes::new())
        .await
        .expect_err("unavailable");
    assert_eq!(error.fate(), Fate::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_large_object_has_the_time_that_it_takes() {
    let (faulty, store) = faulty(7);
    faulty.set_faults(StoreFaults {
        bytes_per_second: 1_200_000,
        ..StoreFaults::default()
    });
    let (path, large) = (Path::from("large"), Bytes::from(vec![7; 30_000_000]));
    let error = store
        .put(&path, large.clone())
        .await
        .expect_err("25 s are more than an attempt has");
    assert_eq!(error.fate(), Fate::Unknown);
    let patient = store.for_bytes(30_000_000);
    patient.put(&path, large.clone()).await.expect("put");
    assert_eq!(patient.get(&path).await.expect("get"), large);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_nobody_answers_for_ends_at_the_deadline() {
    let (faulty, store) = faulty(7);
    faulty.set_faults(StoreFaults {
        latency_min: Duration::from_secs(3600),
        latency_max: Duration::from_secs(3600),
        ..StoreFaults::default()
    });
    let began = Instant::now();
    store
        .get_range(&Path::from("a"), 0..10)
        .await
        .expect_err("nobody answers");
    assert!(began.elapsed() <= Options::default().deadline);
}

/// Asks for everything; what goes wrong is the point.
async fn ask_for_everything(objects: &FaultyStore) {
    let [a, b, c] = ["a", "b", "c"].map(Path::from);
    let put = |mode: PutMode| {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        objects.put_opts(&a, PutPayload::from_static(b"x"), options)
    };
    drop(put(PutMode::Create).await);
    drop(put(PutMode::Overwrite).await);
    let version = UpdateVersion {
        e_tag: None,
        version: None,
    };
    drop(put(PutMode::Update(version)).await);
    drop(objects.head(&a).await);
    if let Ok(got) = objects.get(&a).await {
        drop(got.bytes().await);
    }
    drop(objects.list(None).try_collect::<Vec<_>>().await);
    drop(objects.copy(&a, &b).await);
    drop(objects.rename(&b, &c).await);
    drop(objects.delete(&c).await);
    if let Ok(mut upload) = objects.put_multipart(&c).await {
        drop(upload.put_part(PutPayload::from_static(b"x")).await);
        drop(upload.complete().await);
    }
}

#[tokio::test(start_paused = true)]
async fn each_pair_that_is_named_fires_and_nothing_else_does() {
    let mut asked = BTreeMap::new();
    for pair in FaultyStore::pairs() {
        let (faulty, _) = faulty(1);
        faulty.set_faults(StoreFaults {
            often: Some((pair, 1000)),
            ..StoreFaults::default()
        });
        ask_for_everything(&faulty).await;
        assert_eq!(faulty.fired(), BTreeMap::from([(pair, 1)]));
        asked.append(&mut faulty.asked());
    }
    let named: BTreeMap<&str, u64> = FaultyStore::pairs()
        .into_iter()
        .map(|(op, _)| (op, 1))
        .collect();
    assert!(asked.keys().eq(named.keys()), "{asked:?}");
}
