//! What a proposal of several parts promises: all or none, once, and a true word about which.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{BoxFuture, join_all, ready};
use tarn_commit_log::LogFaults;
use tarn_model::{TableUuid, TopicId};
use tarn_state::commands::{AllocateProducerId, CreateTopic};
use tarn_state::{Command, Outcome};
use tokio::time::{Instant, sleep};

use super::harness::{Appends, Gates, Kind, soon, taken};
use super::simulated::{World, simulate, simulate_over};
use crate::{Found, JointError, Landed, Node, Part, View};

/// Takes a producer id: twice if applied twice, and the state does not tell who has it.
pub(super) struct TakeId;

impl Part for TakeId {
    fn commands(&self) -> Vec<Command> {
        vec![Command::AllocateProducerId(AllocateProducerId {})]
    }

    fn find<'a>(&'a self, _: &'a View) -> BoxFuture<'a, Found> {
        Box::pin(ready(Found::Untold))
    }
}

/// Takes a topic's name, which another may have.
struct TakeName(u128, String);

impl Part for TakeName {
    fn commands(&self) -> Vec<Command> {
        vec![Command::CreateTopic(CreateTopic {
            id: TopicId::from_u128(self.0),
            name: self.1.clone(),
            partitions: 1,
            configs: BTreeMap::new(),
            table: TableUuid(self.0.to_be_bytes()),
        })]
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        let topic = view.topic(TopicId::from_u128(self.0));
        let is_taken = || view.topics.values().any(|topic| topic.name == self.1);
        Box::pin(ready(match topic {
            Some(_) => Found::There,
            None if is_taken() => Found::Never,
            None => Found::NotYet,
        }))
    }
}

async fn commit(node: &Node, name: &TakeName, within: Duration) -> Result<Landed, JointError> {
    let deadline = Instant::now() + within;
    node.metastore.commit(&[&TakeId, name], deadline).await
}

const SHORT: Duration = Duration::from_secs(1);

#[test]
fn each_part_has_its_outcomes() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, _) = world.open(&host).await.expect("it opens");
        let names = [TakeName(1, "a".to_owned()), TakeName(2, "b".to_owned())];
        let parts: [&dyn Part; 3] = [&names[0], &TakeId, &names[1]];
        let landed = node.metastore.commit(&parts, soon()).await;
        let landed = landed.expect("nobody is in the way");
        assert_eq!(landed.view.topics.len(), 2);
        let outcomes = landed.outcomes.expect("it was seen applied");
        assert!(matches!(outcomes[1][..], [Outcome::ProducerId(_)]));
        assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    });
}

#[test]
fn one_refused_part_refuses_all_and_is_named() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, _) = world.open(&host).await.expect("it opens");
        let first = commit(&node, &TakeName(1, "a".to_owned()), SHORT).await;
        first.expect("the name is free");
        let second = commit(&node, &TakeName(2, "a".to_owned()), SHORT).await;
        assert!(
            matches!(second, Err(JointError::Refused { part: 1, .. })),
            "{second:?}"
        );
        assert_eq!(taken(&node.metastore.view()), 1, "no id for the second");
    });
}

#[test]
fn what_landed_unseen_is_found() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, gate) = world.open(&host).await.expect("it opens");
        gate.set(|gates| {
            gates.appends = Appends::LoseReply;
            gates.follow_closed = true;
        });
        let name = TakeName(1, "a".to_owned());
        let (landed, ()) = tokio::join!(commit(&node, &name, SHORT), async {
            sleep(2 * SHORT).await;
            gate.set(|gates| *gates = Gates::default());
        });
        let landed = landed.expect("it is there");
        assert!(landed.outcomes.is_none(), "nobody saw them");
        assert!(landed.view.topic(TopicId::from_u128(1)).is_some());
        assert_eq!(taken(&landed.view), 1, "once");
    });
}

#[test]
fn what_nobody_can_tell_stays_unknown_and_is_not_doubled() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, gate) = world.open(&host).await.expect("it opens");
        gate.set(|gates| {
            gates.appends = Appends::LoseReply;
            gates.follow_closed = true;
        });
        let deadline = Instant::now() + SHORT;
        let (answer, ()) = tokio::join!(node.metastore.commit(&[&TakeId], deadline), async {
            sleep(2 * SHORT).await;
            gate.set(|gates| *gates = Gates::default());
        });
        assert!(
            matches!(answer, Err(JointError::Unknown { .. })),
            "{answer:?}"
        );
        let view = node.metastore.barrier(soon()).await.expect("it answers");
        assert_eq!(taken(&view), 1);
    });
}

#[test]
fn who_was_overtaken_is_told_so_and_never_lands() {
    simulate(|mut world| async move {
        let (host_a, host_b) = (world.machine(), world.machine());
        let (a, gate) = world.open(&host_a).await.expect("it opens");
        let (b, _) = world.open(&host_b).await.expect("it opens");
        gate.set(|gates| gates.appends = Appends::Hold);
        let ours = TakeName(1, "a".to_owned());
        let theirs = TakeName(2, "a".to_owned());
        let (answer, other) = tokio::join!(commit(&a, &ours, SHORT), commit(&b, &theirs, SHORT));
        other.expect("the name is free");
        assert!(matches!(answer, Err(JointError::Overtaken)), "{answer:?}");
        gate.set(|gates| *gates = Gates::default());
        let free = commit(&a, &TakeName(3, "b".to_owned()), 10 * SHORT).await;
        let view = free.expect("the log is back").view;
        assert_eq!(taken(&view), 2, "of the other and of the last");
    });
}

#[test]
fn what_never_went_out_is_not_done() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (node, gate) = world.open(&host).await.expect("it opens");
        gate.set(|gates| gates.appends = Appends::Hold);
        let first = TakeName(1, "a".to_owned());
        let second = TakeName(2, "b".to_owned());
        let in_front = commit(&node, &first, 10 * SHORT);
        let (_, answer) = tokio::join!(in_front, async {
            sleep(SHORT).await;
            let answer = commit(&node, &second, SHORT).await;
            gate.set(|gates| *gates = Gates::default());
            answer
        });
        assert!(
            matches!(answer, Err(JointError::NotDone { .. })),
            "{answer:?}"
        );
        let view = node.metastore.barrier(soon()).await.expect("it answers");
        assert!(view.topic(TopicId::from_u128(1)).is_some());
        assert!(view.topic(TopicId::from_u128(2)).is_none());
    });
}

/// Two processes, each with a chain of joint proposals, some for the same names, over a log that
/// loses, repeats and delays.
async fn among_faults(mut world: World) {
    let (host_a, host_b) = (world.machine(), world.machine());
    let (a, _) = world.open(&host_a).await.expect("it opens");
    let (b, _) = world.open(&host_b).await.expect("it opens");
    world.faults.set_faults(LogFaults {
        request_lost: 150,
        reply_lost: 150,
        late: 150,
        late_max: Duration::from_secs(3),
        twice: 100,
        ..LogFaults::default()
    });
    let chain = async |node: &Node, of: u128| {
        let mut told = Vec::new();
        for n in 0..15 {
            // Every third name is wanted by both.
            let name = if n % 3 == 0 {
                format!("both-{n}")
            } else {
                format!("{of}-{n}")
            };
            let part = TakeName(of * 1000 + n, name);
            told.push((part.0, commit(node, &part, SHORT).await));
        }
        told
    };
    let told = join_all([chain(&a, 1), chain(&b, 2)]).await.concat();
    world.faults.set_faults(LogFaults::default());
    world.faults.land_all().await;
    // Behind it nothing of before can come.
    let last = commit(&a, &TakeName(1, "last".to_owned()), 100 * SHORT).await;
    last.expect("nothing fails any more");
    let last = commit(&b, &TakeName(2, "last-too".to_owned()), 100 * SHORT).await;
    let view = last.expect("nothing fails any more").view;
    for (id, answer) in told {
        let is_there = view.topic(TopicId::from_u128(id)).is_some();
        match answer {
            Ok(_) => assert!(is_there, "{id} was told to be there"),
            Err(JointError::Unknown { .. }) => {}
            Err(error) => assert!(!is_there, "{id} was told {error}"),
        }
    }
    let topics = i64::try_from(view.topics.len()).expect("few");
    assert_eq!(taken(&view), topics, "an id for each name, all or none");
}

#[test]
fn it_is_all_or_none_and_once_whatever_the_log_does() {
    for seed in 1..=20 {
        simulate_over(Kind::Memory, seed, among_faults);
    }
}

#[test]
fn the_planted_defect_that_proposes_apart_is_found() {
    let found = std::panic::catch_unwind(|| {
        simulate_over(Kind::Memory, 1, |world| async move {
            tarn_model::plant_defect(Some("joint-proposes-apart"));
            among_faults(world).await;
        });
    });
    tarn_model::plant_defect(None);
    assert!(found.is_err(), "an id without its name");
}
