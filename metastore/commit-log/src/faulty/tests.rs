use std::collections::BTreeMap;

use bytes::Bytes;
use tarn_model::{Fate, Hash, SessionId};
use tokio::time::{Instant, sleep};

use super::*;
use crate::MemoryLog;

fn entry(sequence: u64) -> LogEntry {
    LogEntry {
        session: SessionId::from_u128(1),
        sequence,
        applied_n: 0,
        bytes: Bytes::from(format!("{sequence}")),
    }
}

fn faulty(faults: LogFaults) -> (FaultyLog, MemoryLog) {
    let memory = MemoryLog::new();
    let log = FaultyLog::new(Arc::new(memory.clone()), 1, &Runtime::real());
    log.set_faults(faults);
    (log, memory)
}

async fn end(log: &MemoryLog) -> u64 {
    log.end().await.expect("memory answers").n
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_does_nothing_and_a_lost_reply_everything() {
    let (log, memory) = faulty(LogFaults {
        request_lost: 1000,
        ..LogFaults::default()
    });
    assert_eq!(
        log.append(entry(1)).await.expect_err("lost").fate(),
        Fate::Unknown
    );
    assert_eq!(end(&memory).await, 0);
    log.set_faults(LogFaults {
        reply_lost: 1000,
        ..LogFaults::default()
    });
    assert_eq!(
        log.append(entry(1)).await.expect_err("lost").fate(),
        Fate::Unknown
    );
    assert_eq!(end(&memory).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_lands_after_its_key_was_trimmed_and_its_sender_is_gone() {
    let late_max = Duration::from_secs(30);
    let (log, memory) = faulty(LogFaults {
        twice: 1000,
        late_max,
        ..LogFaults::default()
    });
    log.append(entry(1)).await.expect("append");
    let survivor = log.over(Arc::new(memory.clone()));
    drop(log);
    survivor.set_faults(LogFaults::default());
    let snapshot = SnapshotRef {
        path: "s".to_owned(),
        hash: Hash::ZERO,
    };
    survivor
        .trim(Lsn::new(Generation::FIRST, 1), snapshot)
        .await
        .expect("trim");
    sleep(late_max).await;
    assert_eq!(
        survivor.end().await.expect("end").n,
        2,
        "the copy was created again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stalled_log_answers_nobody_and_then_everybody() {
    let (log, memory) = faulty(LogFaults::default());
    log.stall(Duration::from_secs(60));
    let began = Instant::now();
    assert!(matches!(
        log.append(entry(1)).await,
        Err(AppendError::Unknown { .. })
    ));
    assert!(matches!(log.end().await, Err(LogError::Unavailable { .. })));
    assert_eq!(began.elapsed(), 2 * PATIENCE);
    memory.append(entry(2)).await.expect("append");
    let mut follower = log.follow(Lsn::START);
    assert_eq!(
        follower.next().await.expect("after the stall").bytes,
        Bytes::from_static(b"2")
    );
    assert_eq!(began.elapsed(), Duration::from_secs(60));
    log.append(entry(3)).await.expect("append");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_in_a_slow_log_loses_nothing() {
    let slow = Duration::from_millis(50);
    let (log, _) = faulty(LogFaults {
        latency_min: slow,
        latency_max: slow,
        ..LogFaults::default()
    });
    log.append(entry(1)).await.expect("append");
    let mut follower = log.follow(Lsn::START);
    assert!(
        tokio::time::timeout(slow / 2, follower.next_batch(1))
            .await
            .is_err()
    );
    assert_eq!(follower.position(), Lsn::START);
    assert_eq!(follower.next().await.expect("entry").lsn.n, 1);
}

/// Calls everything once; what goes wrong is the point.
async fn call_everything(log: &FaultyLog) {
    let snapshot = SnapshotRef {
        path: "s".to_owned(),
        hash: Hash::ZERO,
    };
    drop(log.append(entry(1)).await);
    drop(log.trim(Lsn::new(Generation::FIRST, 0), snapshot).await);
    drop(log.end().await);
    drop(log.floor().await);
}

#[tokio::test(start_paused = true)]
async fn each_pair_that_is_named_fires_and_nothing_else_does() {
    for pair in FaultyLog::pairs() {
        let (log, _) = faulty(LogFaults {
            often: Some((pair, 1000)),
            ..LogFaults::default()
        });
        call_everything(&log).await;
        assert_eq!(log.fired(), BTreeMap::from([(pair, 1)]));
        let named = FaultyLog::pairs();
        let asked = log.asked();
        assert!(
            asked.keys().all(|op| named.iter().any(|(of, _)| of == op)),
            "{asked:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_have_equal_fates_at_equal_times() {
    let history = async |seed| {
        let memory = MemoryLog::new();
        let log = FaultyLog::new(Arc::new(memory.clone()), seed, &Runtime::real());
        log.set_faults(LogFaults {
            latency_max: Duration::from_millis(50),
            request_lost: 100,
            reply_lost: 100,
            late: 100,
            late_max: Duration::from_secs(1),
            twice: 100,
            ..LogFaults::default()
        });
        let began = Instant::now();
        let mut history = Vec::new();
        for n in 0..100 {
            let heard = log.append(entry(n)).await.is_ok();
            history.push((began.elapsed(), heard, end(&memory).await));
        }
        (history, log.fired())
    };
    let first = history(7).await;
    assert_eq!(first.1.len(), 4, "all but the stall fired");
    assert_eq!(first, history(7).await);
    assert_ne!(first, history(8).await);
}
