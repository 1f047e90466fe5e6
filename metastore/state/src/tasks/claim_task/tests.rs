use tarn_model::NodeId;

use super::*;
use crate::commands::{CloseSession, Closes, ExpireSession, ReleaseClaim, RenewClaim};
use crate::harness::{Cluster, create_topic, session};
use crate::{Command, ProposalOutcome};

const PATIENCE: u32 = 30_000;

fn claim(task: &str) -> Command {
    Command::ClaimTask(ClaimTask {
        task: task.to_owned(),
        patience_ms: PATIENCE,
    })
}

fn renew(epoch: u64, progress: u64) -> Command {
    Command::RenewClaim(RenewClaim {
        task: "archive".to_owned(),
        epoch: ClaimEpoch(epoch),
        progress,
    })
}

fn by(cluster: &mut Cluster, id: u128, command: Command) -> Result<Outcome, Refusal> {
    match cluster.propose(id, vec![command]) {
        ProposalOutcome::Applied(mut outcomes) => Ok(outcomes.remove(0)),
        ProposalOutcome::Refused { refusal, .. } => Err(refusal),
    }
}

fn held(node: i32) -> Result<Outcome, Refusal> {
    let node = NodeId(node);
    Err(TaskRefusal::TaskHeld { node }.into())
}

fn claimed(epoch: u64) -> Result<Outcome, Refusal> {
    Ok(Outcome::TaskClaimed(ClaimEpoch(epoch)))
}

fn over(current: Option<u64>) -> Result<Outcome, Refusal> {
    let current = current.map(ClaimEpoch);
    Err(TaskRefusal::ClaimOver { current }.into())
}

fn two() -> Cluster {
    let mut cluster = Cluster::one();
    cluster.open(2);
    cluster
}

#[test]
fn who_makes_progress_keeps_the_task_and_who_only_lives_loses_it() {
    let mut cluster = two();
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(1));
    for progress in 1..=20 {
        cluster.live(&[1, 2], 6_000);
        assert_eq!(by(&mut cluster, 2, claim("archive")), held(1));
        assert_eq!(by(&mut cluster, 1, renew(1, progress)), Ok(Outcome::Done));
    }
    // It lives, and its heartbeats without progress count for nothing.
    cluster.live(&[1, 2], 27_000);
    let stuck = Err(TaskRefusal::NoProgress { have: 20 }.into());
    assert_eq!(by(&mut cluster, 1, renew(1, 20)), stuck);
    assert_eq!(by(&mut cluster, 2, claim("archive")), held(1));
    assert!(!cluster.state.is_claimable("archive", NodeId(2)));
    cluster.live(&[1, 2], 3_000);
    assert!(cluster.state.is_claimable("archive", NodeId(2)));
    assert_eq!(by(&mut cluster, 2, claim("archive")), claimed(2));
    assert_eq!(by(&mut cluster, 1, renew(1, 21)), over(Some(2)));
    assert_eq!(by(&mut cluster, 1, claim("archive")), held(2));
    // Its own epoch is what counts, not its own word for another's.
    assert_eq!(by(&mut cluster, 1, renew(2, 21)), over(Some(2)));
    assert_eq!(by(&mut cluster, 2, renew(2, 1)), Ok(Outcome::Done));
}

#[test]
fn a_late_step_counts_as_long_as_nobody_took_the_task() {
    let mut cluster = two();
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(1));
    cluster.live(&[1, 2], 60_000);
    assert_eq!(by(&mut cluster, 1, renew(1, 1)), Ok(Outcome::Done));
    assert_eq!(by(&mut cluster, 2, claim("archive")), held(1));
}

#[test]
fn a_silent_holder_and_one_whose_session_ended_lose_it_before_the_deadline() {
    let mut cluster = two();
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(1));
    cluster.live(&[2], 12_000);
    assert_eq!(by(&mut cluster, 2, claim("archive")), held(1));
    cluster.live(&[2], 3_000);
    assert_eq!(by(&mut cluster, 2, claim("archive")), claimed(2));

    let expire = Command::ExpireSession(ExpireSession {
        session: session(1),
    });
    assert_eq!(by(&mut cluster, 2, expire), Ok(Outcome::Done));
    let close = Command::CloseSession(CloseSession {});
    assert_eq!(by(&mut cluster, 2, close), Ok(Outcome::Done));
    assert_eq!(cluster.open(3), NodeId(3));
    assert_eq!(by(&mut cluster, 3, claim("archive")), claimed(3));
}

#[test]
fn who_follows_on_the_same_node_goes_on_or_begins_anew() {
    let mut cluster = two();
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(1));
    let closes = Closes::Own(vec![session(1)]);
    assert_eq!(cluster.open_closing(3, closes), NodeId(1));
    assert_eq!(by(&mut cluster, 2, claim("archive")), held(1));
    assert_eq!(by(&mut cluster, 3, renew(1, 1)), Ok(Outcome::Done));
    // A process that does not know what it did before.
    assert_eq!(by(&mut cluster, 3, claim("archive")), claimed(2));
    assert_eq!(by(&mut cluster, 3, renew(1, 2)), over(Some(2)));
}

#[test]
fn a_released_task_is_free_at_once_and_its_epoch_never_comes_back() {
    let mut cluster = two();
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(1));
    let release = |epoch| {
        Command::ReleaseClaim(ReleaseClaim {
            task: "archive".to_owned(),
            epoch: ClaimEpoch(epoch),
        })
    };
    assert_eq!(by(&mut cluster, 2, release(1)), over(Some(1)));
    assert_eq!(by(&mut cluster, 1, release(1)), Ok(Outcome::Done));
    assert_eq!(by(&mut cluster, 1, release(1)), over(None));
    assert_eq!(by(&mut cluster, 1, renew(1, 1)), over(None));
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(2));
    assert_eq!(by(&mut cluster, 1, renew(1, 1)), over(Some(2)));
    assert_eq!(by(&mut cluster, 2, claim("other")), claimed(3));
}

#[test]
fn what_stands_beside_a_fenced_step_does_not_happen() {
    let mut cluster = two();
    assert_eq!(by(&mut cluster, 1, claim("archive")), claimed(1));
    cluster.live(&[1, 2], 30_000);
    assert_eq!(by(&mut cluster, 2, claim("archive")), claimed(2));
    let create = Command::CreateTopic(create_topic(9, "orders", 1));
    let refused = cluster.propose(1, vec![create.clone(), renew(1, 1)]);
    assert!(
        matches!(&refused, ProposalOutcome::Refused { command: 1, .. }),
        "{refused:?}"
    );
    assert!(cluster.state.topics.is_empty());
    let applied = cluster.propose(2, vec![create, renew(2, 1)]);
    assert!(matches!(applied, ProposalOutcome::Applied(_)));
}

#[test]
fn claims_are_bounded_and_lost_ones_make_room() {
    let mut cluster = two();
    let long = "t".repeat(caps::CLAIM_TASK_BYTES_MAX);
    assert_eq!(by(&mut cluster, 1, claim(&long)), claimed(1));
    let refused = by(&mut cluster, 1, claim(&format!("{long}t")));
    assert!(matches!(refused, Err(Refusal::TooLong { .. })));
    for (task, patience_ms) in [("", 1), ("t", 0), ("t", 3_600_001)] {
        let task = task.to_owned();
        let refused = by(
            &mut cluster,
            1,
            Command::ClaimTask(ClaimTask { task, patience_ms }),
        );
        let is_invalid = matches!(refused, Err(Refusal::Task(TaskRefusal::ClaimInvalid(_))));
        assert!(is_invalid, "{patience_ms}");
    }
    for n in 1..caps::CLAIMS_MAX {
        let task = format!("t{n:05}");
        let claim = Claim {
            node: NodeId(2),
            epoch: cluster.state.next_claim,
            progress: 0,
            deadline: cluster
                .state
                .liveness_time
                .plus(std::time::Duration::from_secs(60)),
            patience_ms: 2 * PATIENCE,
        };
        cluster.state.next_claim.0 += 1;
        cluster.state.claims.insert(task, claim);
    }
    let full = Err(Refusal::Full {
        what: "claims".into(),
        max: caps::CLAIMS_MAX as u64,
    });
    assert_eq!(by(&mut cluster, 1, claim("u")), full);
    assert!(by(&mut cluster, 1, claim(&long)).is_ok(), "it adds none");
    // Node 2 falls silent: one of its claims makes room.
    cluster.live(&[1], 15_000);
    assert!(by(&mut cluster, 1, claim("u")).is_ok());
    assert_eq!(cluster.state.claims.len(), caps::CLAIMS_MAX);
    assert!(cluster.state.claim("t00001").is_none());
    cluster.state.check_invariants().unwrap();
}
