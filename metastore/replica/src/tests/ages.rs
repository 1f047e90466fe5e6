//! An upgrade: processes of this version beside ones of the next, which knows a command more. Nobody sees an
//! entry that it cannot read before the operator has said that all are new.

use std::time::Duration;

use tarn_commit_log::CommitLog;
use tarn_model::{Fate, Kind, plant_defect};
use tarn_state::commands::RaiseLevel;
use tarn_state::{Command, FeatureLevel, Refusal, Rehearse, SessionRefusal};
use tokio::time::{sleep, timeout};

use super::harness::{SOON, soon, take_id};
use super::simulated::{World, simulate};
use crate::{Node, NodeSettings, ProposeError};

const OLD: FeatureLevel = FeatureLevel::NEWEST;
const NEW: FeatureLevel = FeatureLevel::REHEARSAL;

async fn rehearse(node: &Node) -> Result<(), ProposeError> {
    let commands = vec![Command::Rehearse(Rehearse {})];
    node.metastore.propose(commands, soon()).await.map(|_| ())
}

async fn raise(node: &Node) -> Result<(), ProposeError> {
    let commands = vec![Command::RaiseLevel(RaiseLevel { level: NEW })];
    node.metastore.propose(commands, soon()).await.map(|_| ())
}

/// Both go on, and have computed the same.
async fn agree(nodes: &[&Node]) {
    for node in nodes {
        take_id(node).await.expect("it goes on");
    }
    for node in nodes {
        node.metastore.barrier(soon()).await.expect("it follows");
    }
    let views: Vec<_> = nodes.iter().map(|node| node.metastore.view()).collect();
    let newest = views.iter().max_by_key(|view| view.n).expect("some");
    for view in &views {
        let (_, outcome_hash) = newest.hashes_at(view.n).expect("it is recent");
        assert_eq!(view.outcome_hash, outcome_hash, "at {}", view.n);
        assert_eq!(view.level, newest.level);
    }
}

fn refusal(result: Result<(), ProposeError>) -> Refusal {
    match result {
        Err(error @ ProposeError::Refused { .. }) => {
            assert_eq!(error.fate(), Fate::NotDone);
            match error {
                ProposeError::Refused { refusal, .. } => refusal,
                _ => unreachable!("it was just looked at"),
            }
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn two_ages_live_side_by_side_until_all_are_new() {
    simulate(|mut world| async move {
        let machines = [world.machine(), world.machine(), world.machine()];
        let (old, _) = world.open_up_to(OLD, &machines[0]).await.expect("it opens");
        // It replays what the old one wrote, from the level at which that began.
        let (new, _) = world.open_up_to(NEW, &machines[1]).await.expect("it opens");
        agree(&[&old, &new]).await;

        let error = rehearse(&new)
            .await
            .expect_err("the old one could not read it");
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(
            matches!(
                refusal(Err(error)),
                Refusal::AboveLevel {
                    needs: NEW,
                    level: OLD,
                    ..
                }
            ),
            "it says what it needs"
        );
        let refused = refusal(raise(&new).await);
        assert_eq!(refused, SessionRefusal::LevelRefused(NEW.0).into());
        agree(&[&old, &new]).await;

        old.drain().await;
        raise(&new).await.expect("all that are open can apply it");
        rehearse(&new).await.expect("all can read it");
        let (third, _) = world.open_up_to(NEW, &machines[2]).await.expect("it opens");
        agree(&[&new, &third]).await;

        // The old one is told why it is not started again, and harms nobody.
        let refused = world
            .open_up_to(OLD, &machines[0])
            .await
            .expect_err("it is too old");
        assert!(refused.to_string().contains("needs level 2"), "{refused}");
        agree(&[&new, &third]).await;
    });
}

#[test]
fn an_older_one_reads_the_newer_ones_snapshot_at_the_level_of_the_cluster() {
    simulate(|mut world| async move {
        world.settings = NodeSettings {
            snapshot_entries: 10,
            ..world.settings
        };
        let machines = [world.machine(), world.machine(), world.machine()];
        let (old, _) = world.open_up_to(OLD, &machines[0]).await.expect("it opens");
        let (new, log) = world.open_up_to(NEW, &machines[1]).await.expect("it opens");
        old.drain().await;
        let before = new.metastore.view().n;
        let trimmed = async {
            loop {
                take_id(&new).await.expect("nothing fails here");
                if log.floor().await.expect("the log answers").lsn.n > before {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(SOON, trimmed)
            .await
            .expect("it trims the log by a snapshot of its own");
        let (old, _) = world
            .open_up_to(OLD, &machines[2])
            .await
            .expect("it reads the snapshot");
        agree(&[&old, &new]).await;
    });
}

#[test]
fn only_a_lone_process_raises_the_feature_level_by_itself() {
    simulate(|mut world| async move {
        let machine = world.machine();
        world.settings.alone = true;
        let (old, _) = world.open_up_to(OLD, &machine).await.expect("it opens");
        take_id(&old).await.expect("nothing fails here");
        old.drain().await;
        for (alone, level) in [(false, OLD), (true, NEW)] {
            world.settings.alone = alone;
            let (node, _) = world.open_up_to(NEW, &machine).await.expect("it opens");
            assert_eq!(node.metastore.view().level, level, "alone: {alone}");
            node.drain().await;
        }
    });
}

/// The planted defect: what the proposer's look at the level keeps away.
#[test]
fn a_command_above_the_level_would_stop_the_older_one() {
    simulate(|mut world: World| async move {
        let machines = [world.machine(), world.machine()];
        let (old, _) = world.open_up_to(OLD, &machines[0]).await.expect("it opens");
        let (new, _) = world.open_up_to(NEW, &machines[1]).await.expect("it opens");
        plant_defect(Some("propose-above-level"));
        let written = rehearse(&new).await;
        plant_defect(None);
        assert!(matches!(refusal(written), Refusal::AboveLevel { .. }));
        let why = timeout(SOON, old.metastore.stopped())
            .await
            .expect("it stops");
        assert!(why.contains("unknown enum variant 60000"), "{why}");
        sleep(Duration::from_secs(1)).await;
        take_id(&new).await.expect("who can read it goes on");
    });
}
