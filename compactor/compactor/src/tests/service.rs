//! What the service promises its tasks, whatever they are.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use tarn_model::Kind;

use super::*;
use crate::{CompactorHandle, Due, Permit, Ran, Setback, Task};

/// Does what its keys say, and counts.
#[derive(Debug, Default)]
struct Toy {
    keys: Vec<&'static str>,
    counts: Mutex<BTreeMap<String, Count>>,
    at_work: AtomicUsize,
    at_work_max: AtomicUsize,
}

#[derive(Debug, Default, Clone)]
struct Count {
    runs: usize,
    at_work: usize,
    dropped: usize,
    started: Vec<Instant>,
}

/// Notices that a run ends, or is dropped.
struct AtWork<'a>(&'a Toy, &'a str);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::SeqCst);
        self.0.count(self.1, |count| {
            count.at_work -= 1;
            count.dropped += 1;
        });
    }
}

impl Toy {
    fn new(keys: &[&'static str]) -> Arc<Toy> {
        Arc::new(Toy {
            keys: keys.to_vec(),
            ..Toy::default()
        })
    }

    fn count<T>(&self, key: &str, change: impl FnOnce(&mut Count) -> T) -> T {
        let mut counts = self.counts.lock().expect("nobody panics while holding it");
        change(counts.entry(key.to_owned()).or_default())
    }

    fn of(&self, key: &str) -> Count {
        self.count(key, |count| count.clone())
    }

    async fn go(&self, key: &str, permit: Permit) -> Result<Ran, Setback> {
        let at_work = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_work_max.fetch_max(at_work, Ordering::SeqCst);
        let runs = self.count(key, |count| {
            count.runs += 1;
            count.at_work += 1;
            count.started.push(Instant::now());
            assert_eq!(count.at_work, 1, "{key} runs twice at a time");
            count.runs
        });
        let _at_work = AtWork(self, key);
        let _permit = permit;
        match key {
            "stuck" => std::future::pending().await,
            "fails" => Err(Setback::Failed {
                kind: Kind::Unavailable,
                error: "it always does".into(),
            }),
            "lots" if runs < 5 => Ok(Ran::More),
            _ => {
                sleep(Duration::from_millis(200)).await;
                Ok(Ran::Done)
            }
        }
    }
}

impl Task for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn due(&self, _: &View) -> Vec<Due> {
        let due = self.keys.iter().map(|key| Due {
            key: (*key).to_owned(),
            name: (*key).to_owned(),
        });
        due.collect()
    }

    fn run<'a>(&'a self, due: &'a Due, permit: Permit) -> BoxFuture<'a, Result<Ran, Setback>> {
        self.go(&due.key, permit).boxed()
    }
}

/// Plays the toy in virtual time on a node of its own.
fn play<F: Future<Output = ()> + 'static>(
    keys: &[&'static str],
    at_once: usize,
    test: impl FnOnce(Arc<Toy>, Node, CompactorHandle) -> F + 'static,
) {
    let toy = Toy::new(keys);
    let mut simulation = turmoil::Builder::new()
        .rng_seed(5)
        .simulation_duration(Duration::from_secs(3600))
        .build();
    simulation.client("compactor", async move {
        let runtime = Runtime::simulated(&SimulatedHost::new(5));
        let store = Store::memory(&runtime);
        let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
        let settings = CompactorSettings {
            tables_at_once: at_once,
            tick: Duration::from_millis(50),
            ..CompactorSettings::default()
        };
        let handle = crate::start(&node, settings, vec![toy.clone()]);
        test(toy, node, handle).await;
        Ok(())
    });
    simulation.run().expect("the test's assertions hold");
}

#[test]
fn one_run_per_key_and_so_many_in_all() {
    play(&["a", "b", "c", "d"], 3, |toy, node, handle| async move {
        sleep(Duration::from_secs(10)).await;
        assert_eq!(toy.at_work_max.load(Ordering::SeqCst), 3);
        for key in ["a", "b", "c", "d"] {
            assert!(toy.of(key).runs >= 20, "{key}: {:?}", toy.of(key).runs);
        }
        // Whoever makes it work now waits for the turn like everybody else.
        let permit = handle.permit("toy", "a").await;
        let runs = toy.of("a").runs;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(toy.of("a").runs, runs, "somebody else has the turn");
        drop(permit);
        sleep(Duration::from_secs(1)).await;
        assert!(toy.of("a").runs > runs);
        node.drain().await;
    });
}

#[test]
fn what_fails_is_left_alone_ever_longer_and_holds_up_nobody() {
    play(&["fails", "a"], 1, |toy, node, _| async move {
        sleep(Duration::from_secs(600)).await;
        let fails = toy.of("fails");
        // Pauses from a second to a minute, down to half of that by chance.
        assert!((12..=40).contains(&fails.runs), "{} runs", fails.runs);
        let pause = |pair: &[Instant]| pair[1] - pair[0];
        let pauses: Vec<Duration> = fails.started.windows(2).map(pause).collect();
        let last = pauses.last().expect("some");
        assert!(pauses[0] <= Duration::from_secs(3), "{pauses:?}");
        assert!(*last >= Duration::from_secs(20), "{pauses:?}");
        assert!(toy.of("a").runs > 1_000);
        node.drain().await;
    });
}

#[test]
fn more_is_done_at_once() {
    play(&["lots"], 1, |toy, node, _| async move {
        sleep(Duration::from_millis(40)).await;
        assert_eq!(toy.of("lots").runs, 5, "before the second look");
        node.drain().await;
    });
}

#[test]
fn what_still_runs_some_time_after_the_end_is_dropped() {
    play(&["stuck", "a"], 2, |toy, node, _| async move {
        sleep(Duration::from_secs(1)).await;
        assert_eq!((toy.of("stuck").runs, toy.of("stuck").dropped), (1, 0));
        let before = Instant::now();
        node.drain().await;
        assert_eq!(toy.of("stuck").dropped, 1);
        let took = before.elapsed();
        assert!(
            (Duration::from_secs(4)..Duration::from_secs(8)).contains(&took),
            "{took:?}"
        );
        let runs = toy.of("a").runs;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(toy.of("a").runs, runs, "nothing starts any more");
    });
}
