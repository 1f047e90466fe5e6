use std::time::Duration;

use tarn_model::{ByteSize, PartitionId, TopicPartition};
use tarn_store::{Options, StoreFaults};
use tokio::time::sleep;

use crate::testing::{Fixture, TOPIC, until, values};

/// 32 partitions with ten times what the tier has room for: what gave way stays away, and each row
/// is decoded once, however many come after it.
#[tokio::test]
async fn a_backlog_beyond_the_room_is_not_read_again_and_again() {
    let fixture = Fixture::new(32).await;
    let all: Vec<i32> = (0..32).collect();
    let tier = fixture.tier(ByteSize::kib(64));
    let metrics = tier.metrics();
    let mut produced = 0;
    for _ in 0..40 {
        fixture.produce(&all, &values(4, 250)).await;
        produced += 32 * 4;
        let caught_up = || metrics.followed_rows.get() >= produced;
        until("what is new is followed", caught_up).await;
    }
    assert_eq!(metrics.followed_rows.get(), produced);
    assert!(metrics.evicted_rows.get() > produced / 2);
    // Nothing was lost: a query reads the rest.
    let mut rows = tier.rows(&fixture.cut().await);
    let mut seen = 0;
    while let Some(batch) = rows.next().await {
        seen += batch.expect("rows").num_rows() as u64;
    }
    assert_eq!(seen, produced);
    assert!(metrics.reread_rows.get() > produced / 2);
    fixture.node.drain().await;
}

/// What waits while the tier is not there is read only as far as there is room for it.
#[tokio::test]
async fn a_tier_that_starts_reads_no_more_than_it_can_keep() {
    let fixture = Fixture::new(32).await;
    let all: Vec<i32> = (0..32).collect();
    for _ in 0..40 {
        fixture.produce(&all, &values(4, 250)).await;
    }
    let tier = fixture.tier(ByteSize::kib(256));
    let metrics = tier.metrics();
    fixture.produce(&[31], &values(1, 250)).await;
    let room = tier.clone();
    until("it catches up", || {
        room.kept()
            .followed_to(TopicPartition::new(TOPIC, PartitionId(31)))
            .is_some_and(|to| to.0 == 161)
    })
    .await;
    let followed = metrics.followed_rows.get();
    assert!((100..1500).contains(&followed), "{followed} of 5121");
    fixture.node.drain().await;
}

/// A store that answers nothing is asked now and then and not once per partition, and when it is back
/// every partition is followed, also those that failed.
#[tokio::test]
async fn a_store_that_comes_back_is_followed_everywhere() {
    // One attempt is all that the deadline leaves time for, so that the follower is told.
    let options = Options {
        backoff: Options::default().deadline * 4,
        ..Options::default()
    };
    let fixture = Fixture::with_store(300, options).await;
    let all: Vec<i32> = (0..300).collect();
    let tier = fixture.tier(ByteSize::mib(64));
    fixture.produce(&[0], &values(1, 10)).await;
    let metrics = tier.metrics();
    until("it follows", || metrics.followed_rows.get() == 1).await;
    fixture.faults.set_faults(StoreFaults {
        often: Some((("get", "unavailable_before"), 1000)),
        ..StoreFaults::default()
    });
    let gets = || fixture.faults.asked()["get"];
    let before = gets();
    fixture.produce(&all, &values(1, 10)).await;
    // More than the reads of one time ask for: some failed, and it tries again.
    until("it tries", || gets() > before + 10).await;
    let asked = gets() - before;
    assert!(asked < 100, "{asked} for 300 partitions");
    fixture.faults.set_faults(StoreFaults::default());
    until("all is followed", || metrics.followed_rows.get() == 301).await;
    assert_eq!(metrics.rows.get(), 301);
    assert_eq!(metrics.evicted_rows.get(), 0);
    fixture.node.drain().await;
}

/// Rows that are not in memory are decoded a few megabytes at a time, and what waits to be given is
/// told.
#[tokio::test]
async fn rows_that_are_read_again_come_in_bounded_pieces() {
    let fixture = Fixture::new(1).await;
    let large = vec![vec![b'v'; 1 << 20]; 12];
    for _ in 0..8 {
        fixture.produce(&[0], &large).await;
    }
    let tier = fixture.tier(ByteSize(0));
    let mut rows = tier.rows(&fixture.cut().await);
    let (mut seen, mut held) = (0, 0);
    while let Some(batch) = rows.next().await {
        seen += batch.expect("rows").num_rows();
        held = held.max(rows.read_bytes());
    }
    assert_eq!((seen, rows.read_bytes()), (96, 0));
    assert!(held <= 40 << 20, "{held} of 96 MiB");
    fixture.node.drain().await;
}

/// Reads are slow, but they do not wait for one another.
#[tokio::test]
async fn partitions_are_read_at_the_same_time_and_not_all_at_once() {
    let fixture = Fixture::new(32).await;
    // In a segment each: those of one segment come with one read.
    for partition in 0..32 {
        fixture.produce(&[partition], &values(1, 10)).await;
    }
    let latency = Duration::from_millis(50);
    fixture.faults.set_faults(StoreFaults {
        latency_min: latency,
        latency_max: latency,
        ..StoreFaults::default()
    });
    let gets = || fixture.faults.asked()["get"];
    let before = gets();
    let tier = fixture.tier(ByteSize::mib(64));
    let metrics = tier.metrics();
    let mut most = 0;
    while metrics.followed_rows.get() < 32 {
        // In this order: what is asked in between is not under way any more.
        let followed = metrics.followed_rows.get();
        most = most.max((gets() - before).saturating_sub(followed));
        sleep(Duration::from_millis(1)).await;
    }
    // One after the other it would never be more than one.
    assert!((4..=16).contains(&most), "{most}");
    assert_eq!(metrics.rows.get(), 32);
    fixture.node.drain().await;
}
