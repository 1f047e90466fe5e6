//! A name has one node id and one living process.

use std::time::Duration;

use tarn_model::{caps, codes};
use tarn_state::Advertised;
use tokio::time::{Instant, sleep, timeout};

use super::harness::{Appends, SOON, take_id, until};
use super::simulated::simulate;
use crate::OpenError;

#[test]
fn a_killed_process_gets_its_name_back_though_nobody_else_lives() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (killed, gate) = world.open(&host).await.expect("it opens");
        take_id(&killed).await.expect("nothing fails here");
        gate.set(|gates| gates.appends = Appends::Hold);
        let began = Instant::now();
        let (node, _) = world.open(&host).await.expect("it opens in the end");
        assert_eq!(node.metastore.node(), killed.metastore.node());
        let took = began.elapsed();
        let silent = caps::SESSION_SILENT_AFTER;
        assert!(
            silent <= took && took < 2 * silent,
            "neither at once nor for ever: {took:?}"
        );
        node.drain().await;
    });
}

#[test]
fn a_process_that_closed_its_session_is_not_waited_for() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (first, _) = world.open(&host).await.expect("it opens");
        let id = first.metastore.node();
        let draining = async {
            sleep(Duration::from_secs(2)).await;
            first.drain().await;
        };
        let began = Instant::now();
        let (second, ()) = tokio::join!(world.open(&host), draining);
        let (second, _) = second.expect("it opens");
        assert_eq!(second.metastore.node(), id);
        assert!(began.elapsed() < caps::SESSION_SILENT_AFTER / 2);
        second.drain().await;
    });
}

#[test]
fn a_process_whose_name_another_has_that_lives_ends_and_says_so() {
    simulate(|mut world| async move {
        let host = world.machine();
        let (first, _) = world.open(&host).await.expect("it opens");
        let second = timeout(SOON, world.open(&host)).await.expect("soon");
        match second {
            Err(OpenError::Refused(why)) => {
                assert!(why.starts_with(codes::NODE_NAME_TAKEN.code), "{why}");
                assert!(why.contains("node.name"), "{why}");
            }
            other => panic!("unexpected {other:?}"),
        }
        take_id(&first).await.expect("it goes on");
        first.drain().await;
    });
}

/// Its session was expired while it was away: it is advertised again without being asked.
#[test]
fn an_agent_is_advertised_in_whatever_session() {
    simulate(|mut world| async move {
        let (host_a, host_b) = (world.machine(), world.machine());
        let (a, gate) = world.open(&host_a).await.expect("it opens");
        let (b, _) = world.open(&host_b).await.expect("it opens");
        let at = Advertised {
            host: "a".to_owned(),
            port: 9092,
            zone: None,
        };
        a.metastore.advertise(at.clone()).await;
        let (id, first) = (a.metastore.node(), a.metastore.session());
        gate.set(|gates| {
            gates.appends = Appends::Hold;
            gates.follow_closed = true;
        });
        until(&b, "it is expired", |state| {
            !state.sessions.contains_key(&first)
        })
        .await;
        gate.set(|gates| *gates = super::harness::Gates::default());
        let view = until(&b, "it is back", |state| {
            let mut sessions = state.sessions.values();
            sessions.any(|it| it.agent.as_ref().is_some_and(|agent| agent.at == at))
        })
        .await;
        let agent = view.sessions.values().find(|it| it.agent.is_some());
        assert_eq!(agent.expect("just seen").node, id);
        a.metastore.withdraw().await;
        let view = a.metastore.view();
        assert!(view.sessions.values().all(|it| it.agent.is_none()));
        a.drain().await;
        b.drain().await;
    });
}
