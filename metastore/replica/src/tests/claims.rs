//! Claims between nodes: one holder per epoch, and another takes over from one that is away, dead or stuck.

use std::collections::BTreeMap;
use std::time::Duration;

use tarn_model::{NodeId, caps};
use tarn_state::commands::{ClaimTask, ReleaseClaim, RenewClaim};
use tarn_state::{ClaimEpoch, Command, Outcome, Refusal, TaskRefusal};
use tarn_store::StoreFaults;
use tokio::time::{Instant, sleep};

use super::harness::{Appends, GatedLog, Gates, metric, soon, taken};
use super::joint::TakeId;
use super::simulated::{World, simulate};
use crate::archive::covered;
use crate::claim::ClaimStep;
use crate::{JointError, Landed, Node, Part, ProposeError};

const TASK: &str = "archive";
const PATIENCE: Duration = Duration::from_secs(60);
/// Liveness time is as old as the last entry, and each session brings one within a tick.
const SLACK: Duration = Duration::from_secs(10);

async fn claim(node: &Node) -> Result<ClaimEpoch, ProposeError> {
    let command = Command::ClaimTask(ClaimTask {
        task: TASK.to_owned(),
        patience_ms: u32::try_from(PATIENCE.as_millis()).expect("a minute"),
    });
    let committed = node.metastore.propose(vec![command], soon()).await?;
    match committed.outcomes.as_slice() {
        [Outcome::TaskClaimed(epoch)] => Ok(*epoch),
        other => panic!("{other:?}"),
    }
}

/// A step, with an id that is taken only if the step counts.
async fn step(node: &Node, epoch: ClaimEpoch, progress: u64) -> Result<Landed, JointError> {
    let step = ClaimStep {
        task: TASK.to_owned(),
        epoch,
        progress,
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    node.metastore.commit(&[&TakeId, &step], deadline).await
}

/// Claims as soon as it may; says when, and which epoch it got.
async fn take_over(node: &Node, since: Instant) -> (Duration, ClaimEpoch) {
    let me = node.metastore.node();
    let mut views = node.metastore.watch();
    loop {
        if views.borrow_and_update().is_claimable(TASK, me)
            && let Ok(epoch) = claim(node).await
        {
            return (since.elapsed(), epoch);
        }
        views.changed().await.expect("the node lives");
        assert!(since.elapsed() < 10 * PATIENCE, "nobody takes over");
    }
}

fn is_fenced_off(result: &Result<Landed, JointError>) -> bool {
    matches!(
        result,
        Err(JointError::Refused {
            part: 1,
            refusal: Refusal::Task(TaskRefusal::ClaimOver { .. })
        })
    )
}

async fn two(world: &mut World) -> ((Node, GatedLog), (Node, GatedLog)) {
    let (one, other) = (world.machine(), world.machine());
    let first = world.open(&one).await.expect("it opens");
    let second = world.open(&other).await.expect("it opens");
    (first, second)
}

#[test]
fn of_all_that_claim_at_once_one_gets_the_task() {
    simulate(|mut world| async move {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let machine = world.machine();
            nodes.push(world.open(&machine).await.expect("it opens").0);
        }
        // Every epoch that anybody was ever given, and to whom.
        let mut given: BTreeMap<ClaimEpoch, NodeId> = BTreeMap::new();
        for _ in 0..5 {
            let claims = nodes.iter().map(|node| async move {
                let node_id = node.metastore.node();
                (node, node_id, claim(node).await)
            });
            let claims = futures::future::join_all(claims).await;
            let winners: Vec<_> = claims
                .iter()
                .filter_map(|(node, id, claim)| Some((*node, *id, claim.as_ref().ok()?)))
                .collect();
            assert_eq!(winners.len(), 1, "one holder");
            let (node, id, epoch) = winners[0];
            assert_eq!(given.insert(*epoch, id), None, "an epoch is one hold");
            for (other, _, lost) in claims.iter().filter(|(_, other, _)| *other != id) {
                let held = TaskRefusal::TaskHeld { node: id };
                assert!(
                    matches!(lost, Err(ProposeError::Refused { refusal: Refusal::Task(refusal), .. }) if *refusal == held),
                    "{lost:?}"
                );
                assert!(is_fenced_off(&step(other, *epoch, 1).await));
            }
            step(node, *epoch, 1).await.expect("it holds the task");
            let release = Command::ReleaseClaim(ReleaseClaim {
                task: TASK.to_owned(),
                epoch: *epoch,
            });
            let released = node.metastore.propose(vec![release], soon()).await;
            released.expect("it holds the task");
            assert!(is_fenced_off(&step(node, *epoch, 2).await));
            for node in &nodes {
                node.metastore.barrier(soon()).await.expect("it answers");
            }
        }
        assert_eq!(taken(&nodes[0].metastore.view()), 5, "one for each step");
    });
}

#[test]
fn from_a_holder_that_is_away_another_takes_over_and_what_it_brings_back_is_refused() {
    simulate(|mut world| async move {
        let ((holder, gate), (other, _)) = two(&mut world).await;
        let epoch = claim(&holder).await.expect("free");
        step(&holder, epoch, 1).await.expect("it holds the task");
        gate.set(|gates| {
            gates.appends = Appends::Hold;
            gates.follow_closed = true;
        });
        let since = Instant::now();
        // What it sends while it is away comes after it was replaced.
        let late = ClaimStep {
            task: TASK.to_owned(),
            epoch,
            progress: 2,
        };
        let parts: [&dyn Part; 2] = [&TakeId, &late];
        let late = holder.metastore.commit(&parts, since + 4 * PATIENCE);
        let replaced = async {
            let (after, next) = take_over(&other, since).await;
            step(&other, next, 1).await.expect("it holds the task");
            gate.set(|gates| *gates = Gates::default());
            (after, next)
        };
        let (late, (after, next)) = tokio::join!(late, replaced);
        assert!(late.is_err(), "{late:?}");
        let silent = caps::SESSION_SILENT_AFTER;
        assert!(
            (silent - SLACK..silent + SLACK).contains(&after),
            "{after:?}"
        );
        assert!(next > epoch);
        assert!(is_fenced_off(&step(&holder, epoch, 3).await));
        let view = holder.metastore.barrier(soon()).await.expect("it answers");
        assert_eq!(taken(&view), 2, "one for each step that counted");
        let claim = view.claim(TASK).expect("held");
        assert_eq!((claim.epoch, claim.progress), (next, 1));
    });
}

#[test]
fn a_holder_that_ends_is_followed_at_once() {
    simulate(|mut world| async move {
        let ((holder, _), (other, _)) = two(&mut world).await;
        let epoch = claim(&holder).await.expect("free");
        let since = Instant::now();
        holder.drain().await;
        let (after, next) = take_over(&other, since).await;
        assert!(after < SLACK, "{after:?}");
        assert!(next > epoch);
    });
}

#[test]
fn a_holder_that_lives_and_makes_no_progress_loses_the_task_at_its_deadline() {
    simulate(|mut world| async move {
        let ((holder, _), (other, _)) = two(&mut world).await;
        let epoch = claim(&holder).await.expect("free");
        // As long as it makes progress nobody may.
        for progress in 1..=10 {
            sleep(PATIENCE / 2).await;
            step(&holder, epoch, progress).await.expect("it holds it");
            let view = other.metastore.barrier(soon()).await.expect("it answers");
            assert!(!view.is_claimable(TASK, other.metastore.node()));
        }
        let since = Instant::now();
        let stuck = async {
            loop {
                sleep(Duration::from_secs(5)).await;
                let again = Command::RenewClaim(RenewClaim {
                    task: TASK.to_owned(),
                    epoch,
                    progress: 10,
                });
                match holder.metastore.propose(vec![again], soon()).await {
                    Err(ProposeError::Refused {
                        refusal: Refusal::Task(TaskRefusal::ClaimOver { .. }),
                        ..
                    }) => return since.elapsed(),
                    Err(_) => {}
                    Ok(committed) => panic!("{committed:?}"),
                }
            }
        };
        let ((after, next), seen) = tokio::join!(take_over(&other, since), stuck);
        assert!(
            (PATIENCE - SLACK..PATIENCE + SLACK).contains(&after),
            "{after:?}"
        );
        assert!(seen >= after && next > epoch);
        assert!(is_fenced_off(&step(&holder, epoch, 11).await));
        assert_eq!(taken(&other.metastore.view()), 10);
    });
}

/// The node with the smallest id, whose way to the store is broken while its log goes on.
#[test]
fn a_node_that_cannot_write_to_the_store_stops_neither_archive_nor_trim() {
    simulate(|mut world| async move {
        world.settings.snapshot_entries = 50;
        let (one, other) = (world.machine(), world.machine());
        let (broken, faults) = world.open_behind(&one).await.expect("it opens");
        let (well, _) = world.open(&other).await.expect("it opens");
        let written = |node: &Node| metric(node, "tarn_replica_archive_objects_total");
        sleep(Duration::from_secs(120)).await;
        assert!(written(&broken) > 0, "it has the task");
        assert_eq!(written(&well), 0, "one is enough");

        faults.set_faults(StoreFaults {
            unavailable_before: 1000,
            ..StoreFaults::default()
        });
        let before = well.metastore.view().n;
        sleep(Duration::from_secs(420)).await;
        assert!(metric(&broken, "tarn_replica_archive_failures_total") > 0);
        let log = &well.metastore.shared.log;
        let floor = log.floor().await.expect("it answers").lsn;
        assert!(floor.n > before + 60, "{floor} after {before}");
        let covered = covered(&well.store, floor).await.expect("it lists");
        let end = well.metastore.view().n;
        // Two ticks in three seconds, and what is nothing else waits for a minute.
        assert!(covered + 100 > end, "{covered} of {end}");
        assert_eq!(well.metastore.view().sessions.len(), 2, "both live");

        // Mended: it does not take the task back from who does it.
        faults.set_faults(StoreFaults::default());
        let (by_broken, by_well) = (written(&broken), written(&well));
        sleep(Duration::from_secs(200)).await;
        assert!(written(&well) > by_well);
        assert!(written(&broken) <= by_broken + 1);
        broken.drain().await;
        well.drain().await;
    });
}
