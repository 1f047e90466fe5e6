//! What every commit log promises, as one suite over all of them, on good days and bad ones.
//!
//! It panics with what was broken. [`run`] checks the calls one by one; [`history`] lets several
//! processes append, follow, trim, give up and come back at once, and then compares what each of them
//! saw with what a new process reads: the floor's snapshot and the entries after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use tarn_model::{Fate, Hash, Lsn, SessionId};
use tarn_runtime::Random;
use tokio::time::{sleep, timeout};

use crate::log::{AppendError, CommitLog, FollowError, Follower, LogEntry, LogError, SnapshotRef};

/// A log under test.
#[async_trait]
pub trait Subject: Sync {
    /// Another process's handle on the same log.
    async fn open(&self) -> Arc<dyn CommitLog>;
}

/// Nothing in the suite takes longer, even when every request is repeated.
const PATIENCE: Duration = Duration::from_secs(1200);
const PAUSE: Duration = Duration::from_millis(5);

/// Checks each call. The log may hold entries already; it has never been trimmed.
pub async fn run(subject: &dyn Subject) {
    let checks = async {
        appended_entries_are_followed_in_order(subject).await;
        end_covers_what_was_complete(subject).await;
        a_repeated_append_is_harmless(subject).await;
        a_waiting_follower_gets_what_another_appends(subject).await;
        a_dropped_wait_loses_nothing(subject).await;
        invalid_entries_were_not_sent(subject).await;
        the_floor_rises_and_hides_what_is_under_it(subject).await;
        a_log_trimmed_to_its_end_goes_on(subject).await;
    };
    timeout(PATIENCE, checks)
        .await
        .expect("the contract: something hangs");
}

fn session(number: u128) -> SessionId {
    SessionId::from_u128(number)
}

fn entry(number: u128, sequence: u64, applied_n: u64) -> LogEntry {
    let bytes = Bytes::from(format!("{number} {sequence}"));
    LogEntry {
        session: session(number),
        sequence,
        applied_n,
        bytes,
    }
}

fn snapshot(name: &str) -> SnapshotRef {
    SnapshotRef {
        path: format!("snapshots/{name}"),
        hash: Hash::ZERO,
    }
}

/// Appends until the log says it is done.
async fn append(log: &dyn CommitLog, entry: LogEntry) {
    loop {
        match log.append(entry.clone()).await {
            Ok(()) => return,
            Err(AppendError::Unknown { .. } | AppendError::NotSent { .. }) => sleep(PAUSE).await,
            Err(error) => panic!("the contract: append of {entry:?} failed: {error}"),
        }
    }
}

async fn end(log: &dyn CommitLog) -> Lsn {
    loop {
        match log.end().await {
            Ok(end) => return end,
            Err(LogError::Unavailable { .. }) => sleep(PAUSE).await,
            Err(error) => panic!("the contract: end failed: {error}"),
        }
    }
}

async fn trim(log: &dyn CommitLog, floor: Lsn, snapshot: &SnapshotRef) -> Result<(), LogError> {
    loop {
        match log.trim(floor, snapshot.clone()).await {
            Err(LogError::Unavailable { .. }) => sleep(PAUSE).await,
            result => return result,
        }
    }
}

async fn floor(log: &dyn CommitLog) -> crate::Floor {
    loop {
        match log.floor().await {
            Ok(floor) => return floor,
            Err(LogError::Unavailable { .. }) => sleep(PAUSE).await,
            Err(error) => panic!("the contract: floor failed: {error}"),
        }
    }
}

/// Follows up to `to` and gives the entries; none is missing in between.
async fn follow_to(follower: &mut dyn Follower, to: Lsn) -> Vec<Bytes> {
    let mut entries = Vec::new();
    while follower.position() < to {
        let before = follower.position();
        match follower.next_batch(3).await {
            Ok(batch) => {
                assert!(
                    !batch.is_empty() && batch.len() <= 3,
                    "the contract: a batch of {}",
                    batch.len()
                );
                let mut lsn = before;
                for followed in batch {
                    lsn = lsn.next();
                    assert_eq!(followed.lsn, lsn, "the contract: n is dense");
                    entries.push(followed.bytes);
                }
                assert_eq!(
                    follower.position(),
                    lsn,
                    "the contract: the position is the last entry yielded"
                );
            }
            Err(FollowError::Unavailable { .. }) => sleep(PAUSE).await,
            Err(error) => panic!("the contract: follow after {before} failed: {error}"),
        }
    }
    entries
}

async fn appended_entries_are_followed_in_order(subject: &dyn Subject) {
    let (log, other) = (subject.open().await, subject.open().await);
    let base = end(&*log).await;
    let (mut own, mut others) = (log.follow(base), other.follow(base));
    for sequence in 1..=7 {
        append(&*log, entry(100, sequence, base.n)).await;
    }
    let to = end(&*other).await;
    let expected: Vec<_> = (1..=7)
        .map(|sequence| entry(100, sequence, 0).bytes)
        .collect();
    assert_eq!(
        follow_to(&mut *own, to).await,
        expected,
        "the contract: the writer's own follower"
    );
    assert_eq!(
        follow_to(&mut *others, to).await,
        expected,
        "the contract: another process's follower"
    );
    let middle = Lsn::new(base.generation, base.n + 3);
    assert_eq!(
        follow_to(&mut *other.follow(middle), to).await,
        expected[3..],
        "the contract: from the middle"
    );
}

async fn end_covers_what_was_complete(subject: &dyn Subject) {
    let (log, other) = (subject.open().await, subject.open().await);
    let mut last = end(&*other).await;
    for sequence in 1..=4 {
        append(&*log, entry(200, sequence, last.n)).await;
        let now = end(&*other).await;
        assert!(
            now > last,
            "the contract: end stays at {last} after a complete append"
        );
        let entries = follow_to(&mut *other.follow(last), now).await;
        assert!(
            entries.contains(&entry(200, sequence, 0).bytes),
            "the contract: end misses a complete append"
        );
        last = now;
    }
}

async fn a_repeated_append_is_harmless(subject: &dyn Subject) {
    let log = subject.open().await;
    let base = end(&*log).await;
    for sequence in [1, 1, 2, 1, 2] {
        append(&*log, entry(300, sequence, base.n)).await;
    }
    let to = end(&*log).await;
    let entries = follow_to(&mut *log.follow(base), to).await;
    let expected = [entry(300, 1, 0).bytes, entry(300, 2, 0).bytes];
    assert_eq!(
        entries, expected,
        "the contract: one key stands in an untrimmed log once"
    );
}

async fn a_waiting_follower_gets_what_another_appends(subject: &dyn Subject) {
    let (log, other) = (subject.open().await, subject.open().await);
    let base = end(&*other).await;
    let mut follower = other.follow(base);
    let waits = follow_to(&mut *follower, base.next());
    let appends = async {
        sleep(Duration::from_millis(200)).await;
        append(&*log, entry(400, 1, base.n)).await;
        other.wake();
    };
    let (entries, ()) = futures::future::join(waits, appends).await;
    assert_eq!(
        entries,
        [entry(400, 1, 0).bytes],
        "the contract: a waiting follower"
    );
}

async fn a_dropped_wait_loses_nothing(subject: &dyn Subject) {
    let (log, other) = (subject.open().await, subject.open().await);
    let base = end(&*other).await;
    let mut follower = other.follow(base);
    let mut entries = Vec::new();
    for sequence in 1..=5 {
        append(&*log, entry(500, sequence, base.n)).await;
        // Sometimes too short for what it takes, sometimes not.
        let patience = Duration::from_millis(7 * sequence);
        if let Ok(Ok(batch)) = timeout(patience, follower.next_batch(1)).await {
            entries.extend(batch.into_iter().map(|followed| followed.bytes));
        }
    }
    let to = end(&*other).await;
    entries.extend(follow_to(&mut *follower, to).await);
    let expected: Vec<_> = (1..=5)
        .map(|sequence| entry(500, sequence, 0).bytes)
        .collect();
    assert_eq!(entries, expected, "the contract: a dropped wait");
}

async fn invalid_entries_were_not_sent(subject: &dyn Subject) {
    let log = subject.open().await;
    let before = end(&*log).await;
    let beyond = trim(
        &*log,
        Lsn::new(before.generation, before.n + 1),
        &snapshot("beyond"),
    )
    .await;
    assert!(
        matches!(beyond, Err(LogError::Invalid { .. })),
        "the contract: a trim beyond the end: {beyond:?}"
    );
    loop {
        match log.append(entry(600, 1, before.n + 1)).await {
            Err(AppendError::WentBack { end, .. }) => {
                break assert_eq!(end, before, "the contract: its end");
            }
            Err(AppendError::Unknown { .. } | AppendError::NotSent { .. }) => sleep(PAUSE).await,
            other => {
                panic!("the contract: a proposer ahead of the log must be refused, not {other:?}")
            }
        }
    }
    assert_eq!(
        end(&*log).await,
        before,
        "the contract: a refused append left nothing"
    );
}

async fn the_floor_rises_and_hides_what_is_under_it(subject: &dyn Subject) {
    let (log, other) = (subject.open().await, subject.open().await);
    let base = end(&*log).await;
    for sequence in 1..=6 {
        append(&*log, entry(700, sequence, base.n)).await;
    }
    let to = end(&*log).await;
    let mut behind = other.follow(base);
    let at = |n: u64| Lsn::new(base.generation, base.n + n);
    trim(&*log, at(4), &snapshot("four")).await.expect("trim");
    for (floor, name) in [(at(2), "two"), (at(4), "four again")] {
        trim(&*other, floor, &snapshot(name))
            .await
            .expect("a lower floor is no error");
    }
    for handle in [&log, &other, &subject.open().await] {
        let floor = floor(&**handle).await;
        assert_eq!(
            (floor.lsn, floor.snapshot),
            (at(4), Some(snapshot("four"))),
            "the contract: floors only rise"
        );
        // A late copy of a key that was trimmed may come after it.
        assert!(
            end(&**handle).await >= to,
            "the contract: a trim moves no end"
        );
        let rest = follow_to(&mut *handle.follow(at(4)), to).await;
        let expected = [entry(700, 5, 0).bytes, entry(700, 6, 0).bytes];
        assert!(
            rest.starts_with(&expected),
            "the contract: follow(F) yields F + 1: {rest:?}"
        );
    }
    let fresh = subject.open().await;
    for follower in [
        &mut behind,
        &mut fresh.follow(base),
        &mut fresh.follow(at(3)),
    ] {
        loop {
            match follower.next_batch(10).await {
                Err(FollowError::Trimmed { floor }) => {
                    break assert_eq!(floor.lsn, at(4), "the contract: its floor");
                }
                Err(FollowError::Unavailable { .. }) => sleep(PAUSE).await,
                other => {
                    panic!("the contract: a follower under the floor must hear so, not {other:?}")
                }
            }
        }
    }
}

async fn a_log_trimmed_to_its_end_goes_on(subject: &dyn Subject) {
    let (log, idle) = (subject.open().await, subject.open().await);
    let to = end(&*log).await;
    trim(&*log, to, &snapshot("all")).await.expect("trim");
    for handle in [&log, &idle, &subject.open().await] {
        assert!(
            end(&**handle).await >= to,
            "the contract: an empty log ends at its floor"
        );
    }
    append(&*idle, entry(800, 1, to.n)).await;
    let fresh = subject.open().await;
    let last = end(&*fresh).await;
    let entries = follow_to(&mut *fresh.follow(to), last).await;
    assert!(
        entries.contains(&entry(800, 1, 0).bytes),
        "the contract: n goes on after the floor"
    );
}

/// What the processes of a history share: the snapshots, as object storage would hold them.
#[derive(Default)]
struct Snapshots(Mutex<BTreeMap<String, Vec<Bytes>>>);

/// One process: a handle, and all entries it has seen since n = 1.
struct Process<'a> {
    log: Arc<dyn CommitLog>,
    follower: Box<dyn Follower>,
    seen: Vec<Bytes>,
    snapshots: &'a Snapshots,
}

impl<'a> Process<'a> {
    async fn start(subject: &dyn Subject, snapshots: &'a Snapshots) -> Process<'a> {
        let log = subject.open().await;
        let follower = log.follow(Lsn::new(log.generation(), 0));
        let mut process = Process {
            log,
            follower,
            seen: Vec::new(),
            snapshots,
        };
        let floor = floor(&*process.log).await;
        process.jump(&floor);
        process
    }

    fn applied(&self) -> Lsn {
        Lsn::new(self.log.generation(), self.seen.len() as u64)
    }

    fn jump(&mut self, floor: &crate::Floor) {
        let snapshot = match &floor.snapshot {
            None => Vec::new(),
            Some(snapshot) => {
                let snapshots = self
                    .snapshots
                    .0
                    .lock()
                    .expect("nobody panics while holding it");
                snapshots
                    .get(&snapshot.path)
                    .expect("a floor names a snapshot that was written")
                    .clone()
            }
        };
        assert!(
            snapshot.starts_with(&self.seen),
            "fork: the snapshot at {} differs from what was seen",
            floor.lsn
        );
        assert_eq!(
            snapshot.len() as u64,
            floor.lsn.n,
            "the snapshot covers its floor"
        );
        self.seen = snapshot;
        self.follower = self.log.follow(floor.lsn);
    }

    /// Follows once.
    async fn follow(&mut self) {
        match self.follower.next_batch(4).await {
            Ok(batch) => {
                for followed in batch {
                    assert_eq!(followed.lsn, self.applied().next(), "n is dense");
                    self.seen.push(followed.bytes);
                }
            }
            Err(FollowError::Trimmed { floor }) => self.jump(&floor),
            Err(FollowError::Unavailable { .. }) => sleep(PAUSE).await,
            Err(error) => panic!("follow after {} failed: {error}", self.applied()),
        }
    }

    /// Proposes an entry and waits until it is seen. `false`: gave up, as a process that crashes does.
    async fn propose(
        &mut self,
        number: u128,
        sequence: u64,
        random: &Random,
        gives_up: bool,
    ) -> bool {
        loop {
            let entry = entry(number, sequence, self.applied().n);
            let bytes = entry.bytes.clone();
            let outcome = if gives_up {
                let patience = Duration::from_millis(random.below(40));
                match timeout(patience, self.log.append(entry)).await {
                    Ok(outcome) => outcome,
                    Err(_) => return false,
                }
            } else {
                self.log.append(entry).await
            };
            match outcome {
                Ok(()) => {
                    while !self.seen.contains(&bytes) {
                        self.follow().await;
                    }
                    return true;
                }
                Err(AppendError::Unknown { .. }) => sleep(PAUSE).await,
                Err(AppendError::Trimmed { floor }) => {
                    if floor.lsn > self.applied() {
                        self.jump(&floor);
                    }
                    if self.seen.contains(&bytes) {
                        return true;
                    }
                }
                Err(error @ AppendError::NotSent { .. }) => {
                    assert_eq!(error.fate(), Fate::NotDone);
                    sleep(PAUSE).await;
                }
                Err(error) => panic!("append of {number}/{sequence} failed: {error}"),
            }
        }
    }
}

/// Runs several writers and a trimmer over a fresh log, and compares what everybody saw.
pub async fn history(subject: &dyn Subject, seed: u64) {
    timeout(PATIENCE, run_history(subject, seed))
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: it hangs"));
}

async fn run_history(subject: &dyn Subject, seed: u64) {
    const WRITERS: usize = 3;
    let random = Random::seeded(seed);
    let snapshots = Snapshots::default();
    let finished = AtomicUsize::new(0);
    // The highest n that anybody has seen.
    let complete = AtomicU64::new(0);

    let writers = (0..WRITERS).map(|writer| {
        let (random, snapshots, finished, complete) = (&random, &snapshots, &finished, &complete);
        async move {
            let mut process = Process::start(subject, snapshots).await;
            let (mut number, mut sequence) = (writer as u128 * 1000 + 1, 0);
            let mut acknowledged = Vec::new();
            for _ in 0..8 {
                sequence += 1;
                let crashes = random.happens(150);
                if process.propose(number, sequence, random, crashes).await {
                    acknowledged.push(entry(number, sequence, 0).bytes);
                    complete.fetch_max(process.applied().n, Ordering::SeqCst);
                } else {
                    // A new process with a new session; what the old one sent may still be under way.
                    process = Process::start(subject, snapshots).await;
                    (number, sequence) = (number + 1, 0);
                }
                if random.happens(100) {
                    // A pause in which the others go on and trim.
                    sleep(Duration::from_millis(random.below(3000))).await;
                }
            }
            finished.fetch_add(1, Ordering::SeqCst);
            (acknowledged, process.seen)
        }
    });
    let trimmer = async {
        let mut process = Process::start(subject, &snapshots).await;
        let mut number = 0;
        while finished.load(Ordering::SeqCst) < WRITERS {
            let patience = Duration::from_millis(1 + random.below(60));
            let _ = timeout(patience, process.follow()).await;
            if random.happens(300) && !process.seen.is_empty() {
                number += 1;
                let name = snapshot(&number.to_string());
                let content = process.seen.clone();
                snapshots
                    .0
                    .lock()
                    .expect("nobody panics while holding it")
                    .insert(name.path.clone(), content);
                match process.log.trim(process.applied(), name).await {
                    Ok(()) | Err(LogError::Unavailable { .. }) => {}
                    Err(error) => panic!("seed {seed}: trim failed: {error}"),
                }
            }
        }
        process.seen
    };
    // Asks and reads, but seldom, so that the others trim what it has not read.
    let reader = async {
        let mut process = Process::start(subject, &snapshots).await;
        while finished.load(Ordering::SeqCst) < WRITERS {
            sleep(Duration::from_millis(random.below(1500))).await;
            let before = complete.load(Ordering::SeqCst);
            if random.happens(500) {
                let end = end(&*process.log).await;
                assert!(
                    end.n >= before,
                    "seed {seed}: stale: end() says {end}, but {before} was complete"
                );
            }
            let patience = Duration::from_millis(random.below(300));
            let _ = timeout(patience, process.follow()).await;
        }
        process.seen
    };
    let (results, trimmed, read) = futures::future::join3(join_all(writers), trimmer, reader).await;

    let mut fresh = Process::start(subject, &snapshots).await;
    let to = end(&*fresh.log).await;
    while fresh.applied() < to {
        fresh.follow().await;
    }
    let order = fresh.seen;
    for (acknowledged, seen) in &results {
        assert!(
            order.starts_with(seen),
            "seed {seed}: fork: a writer saw another order"
        );
        let mut last = None;
        for bytes in acknowledged {
            let at = order.iter().position(|entry| entry == bytes);
            assert!(
                at.is_some(),
                "seed {seed}: lost: {bytes:?} was acknowledged and is not in the order"
            );
            assert!(
                at > last,
                "seed {seed}: {bytes:?} stands before what its writer wrote earlier"
            );
            last = at;
        }
    }
    assert!(
        order.starts_with(&trimmed),
        "seed {seed}: fork: the trimmer saw another order"
    );
    assert!(
        order.starts_with(&read),
        "seed {seed}: fork: the reader saw another order"
    );
    let distinct: BTreeSet<_> = results
        .iter()
        .flat_map(|(acknowledged, _)| acknowledged)
        .collect();
    assert!(
        distinct.len() >= 8,
        "seed {seed}: the writers got almost nothing done"
    );
}

#[cfg(test)]
mod tests;
